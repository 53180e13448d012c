"""The wire formats of other servers, so that their clients work here by changing only a URL.

Each is a module that reads and writes its bodies and knows nothing of HTTP, beside one with its routes::

    hugging_face  routes_hugging_face    POST /, POST /hf
    tei           routes_tei             POST /predict, GET /info, GET /health
    inference     routes_inference       /v2/…, the Open Inference Protocol; ``tensors`` is its binary part
    label_studio  routes_label_studio    /label-studio/…

Their requests go the way of a native one: same predictor, same limits, same log, same metrics.
"""

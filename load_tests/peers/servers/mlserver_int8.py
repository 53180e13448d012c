"""MLServer with a runtime of one's own over the int8 engine, adaptive batching, and its pool of inference workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlserver
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from load_tests.baselines.int8_model import Model
from load_tests.peers.servers.launching import Options, options

_BATCH_REQUESTS = 32
_WAIT_S = 0.005


class Int8Runtime(mlserver.MLModel):
    """Answers the texts of a request, or of several that MLServer has put together."""

    async def load(self) -> bool:
        """Load the engine, in the worker's process."""
        extra: Any = self.settings.parameters.extra
        self._model = Model(Path(extra["bundle"]), int(extra["threads"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return labels and scores, a row for each text."""
        answers = self._model.answer(StringCodec.decode_input(payload.inputs[0]))
        labels = StringCodec.encode_output("label", [label for label, _ in answers])
        scores = NumpyCodec.encode_output("score", np.array([[score] for _, score in answers], dtype=np.float32))
        return InferenceResponse(model_name=self.name, outputs=[labels, scores])


def write_settings(asked: Options) -> None:
    """Write what ``mlserver start`` reads; ports other than HTTP's are given by the machine."""
    server = {"host": "127.0.0.1", "http_port": asked.port, "parallel_workers": asked.workers, "debug": False}
    server |= {"grpc_port": asked.port + 1, "metrics_port": asked.port + 2, "use_structured_logging": False}
    model = {
        "name": "hone",
        "implementation": f"{__spec__.name}.Int8Runtime",
        "parameters": {"extra": {"bundle": str(asked.bundle), "threads": asked.threads}},
        "max_batch_size": _BATCH_REQUESTS,
        "max_batch_time": _WAIT_S,
    }
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / "settings.json").write_text(json.dumps(server), encoding="utf-8")
    (asked.folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")


if __name__ == "__main__":
    from mlserver.cli import main

    told = options()
    write_settings(told)
    sys.argv = ["mlserver", "start", str(told.folder)]
    main()

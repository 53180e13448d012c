"""Triton with its dynamic batcher over the int8 engine, started by its Python package."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from load_tests.baselines.int8_model import Model
from load_tests.peers.servers.launching import Options, options

_BATCH_TEXTS = 128
_WAIT_US = 1_000


def inference(model: Model) -> Any:
    """Return what Triton calls with the texts (n, 1) of a batch."""

    @batch
    def infer(text: Any) -> dict[str, Any]:
        answers = model.answer([row[0].decode("utf-8") for row in text])
        labels = np.array([[label.encode("utf-8")] for label, _ in answers], dtype=np.object_)
        return {"label": labels, "score": np.array([[score] for _, score in answers], dtype=np.float32)}

    return infer


def serve(asked: Options) -> None:
    """Serve until interrupted."""
    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=asked.port,
        allow_grpc=False,
        allow_metrics=False,
        log_verbose=0,
    )
    calls = [inference(Model(asked.bundle, asked.threads)) for _ in range(asked.workers)]
    with Triton(config=config) as triton:
        triton.bind(
            model_name="hone",
            infer_func=calls if len(calls) > 1 else calls[0],
            inputs=[Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="label", dtype=bytes, shape=(1,)), Tensor(name="score", dtype=np.float32, shape=(1,))],
            config=ModelConfig(max_batch_size=_BATCH_TEXTS, batcher=DynamicBatcher(max_queue_delay_microseconds=_WAIT_US)),
        )
        triton.serve()


if __name__ == "__main__":
    serve(options())

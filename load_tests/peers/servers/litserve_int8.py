"""LitServe with its own batching over the int8 engine."""

from __future__ import annotations

from typing import Any

import litserve as ls

from load_tests.baselines.int8_model import Model
from load_tests.peers.servers.launching import Options, options

_BATCH_REQUESTS = 32
# Long enough for what arrives at one moment, short against a batch's time.
_WAIT_S = 0.005


class Classifier(ls.LitAPI):
    """Answers the texts of all requests of a batch together."""

    def __init__(self, asked: Options) -> None:
        super().__init__(max_batch_size=_BATCH_REQUESTS, batch_timeout=_WAIT_S, api_path="/predict")
        self._asked = asked

    def setup(self, device: Any) -> None:  # noqa: ARG002 - LitServe hands it
        """Load the engine, in the worker's process."""
        self._model = Model(self._asked.bundle, self._asked.threads)

    # LitServe makes a query parameter, or a model of the answer, of what these two name as types.
    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Return a request's texts."""
        texts: list[str] = request["texts"]
        return texts

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Return what waits as it came."""
        return inputs

    def predict(self, x: list[list[str]]) -> list[list[tuple[str, float]]]:
        """Return each request's answers."""
        answers = iter(self._model.answer([text for texts in x for text in texts]))
        return [[next(answers) for _ in texts] for texts in x]

    def unbatch(self, output: list[list[tuple[str, float]]]) -> list[list[tuple[str, float]]]:
        """Return the answers request by request."""
        return output

    def encode_response(self, output):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Return an answer's body."""
        return [{"label": label, "score": score} for label, score in output]


if __name__ == "__main__":
    asked = options()
    server = ls.LitServer(Classifier(asked), accelerator="cpu", devices=1, workers_per_device=asked.workers)
    server.run(host="127.0.0.1", port=asked.port, log_level="warning", access_log=False, generate_client_file=False)

"""text-embeddings-inference's ``/predict``: which inputs are one text, a batch or a pair, and what is answered to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import to_json

from core.errors import InvalidText
from core.schemas import ErrorAnswer, Wire
from serve.predicting import Options, Predictions

_Texts = Annotated[list[str], Field(fail_fast=True)]
_Batch = Annotated[list[_Texts], Field(fail_fast=True)]

_PAIR = (
    "{where} is two texts in one list, which in this format are a pair; this classifier reads single texts. "
    'For two answers send [["first"], ["second"]], or texts to POST /v1/predict'
)


def _capitalised(value: object) -> object:
    # Said here and not as four choices: generators of clients name their constants without regard to case.
    return {"left": "Left", "right": "Right"}.get(value, value) if isinstance(value, str) else value


class TeiRequest(Wire):
    """Body of ``POST /predict``."""

    inputs: str | _Texts | _Batch = Field(
        description='One text as `"a"` or `["a"]`, or a batch as `[["a"], ["b"]]`; a pair, `["a", "b"]`, is refused.'
    )
    truncate: bool | None = Field(None, description="False refuses a text the encoder cannot read whole; absent: it is cut.")
    truncation_direction: Annotated[Literal["Left", "Right"], BeforeValidator(_capitalised)] = Field(
        "Right", description="Which end is cut off; `left` and `right` are understood too."
    )
    raw_scores: bool = Field(False, description="Scores as logits rather than probabilities.")

    def query_options(self) -> Options:
        """Return how to answer."""
        # The client says which end goes; that is the end the text is cut at.
        side: Literal["left", "right"] = "left" if self.truncation_direction == "Left" else "right"
        return Options(
            function="none" if self.raw_scores else "softmax",
            truncation="refuse" if self.truncate is False else side,
        )


class TeiError(ErrorAnswer):
    """An error on the routes of this format."""

    error_type: str = Field(description="`Validation`, `Empty`, `Overloaded`, `Unhealthy`, `Unauthorized` or `Backend`.")


@dataclass(frozen=True)
class TeiTexts:
    """The texts of a request; ``batch`` says that the answer is a list of lists."""

    texts: list[str]
    batch: bool


def read_inputs(inputs: str | list[str] | list[list[str]]) -> TeiTexts:
    """Return the texts of ``inputs``.

    Raises:
        InvalidText: for a pair, for lists of another length, and for no text at all (``details["empty"]``).
    """
    if isinstance(inputs, str):
        found = TeiTexts([inputs], batch=False)
    elif all(isinstance(item, str) for item in inputs):
        found = TeiTexts([_single(inputs, "inputs")], batch=False)
    else:
        found = TeiTexts([_single(item, f"inputs[{place}]") for place, item in enumerate(inputs)], batch=True)
    if not all(found.texts):
        raise InvalidText("inputs holds an empty text; every text must hold at least one visible character", empty=True)
    return found


def _single(texts: Sequence[Any], where: str) -> str:
    if len(texts) == 2:
        raise InvalidText(_PAIR.format(where=where), field=where)
    if len(texts) != 1:
        raise InvalidText(
            f'{where} is a list of {len(texts)} texts; one text is "a" or ["a"], a batch is [["a"], ["b"]]',
            field=where,
            got=len(texts),
            empty=not texts,
        )
    return str(texts[0])


def render(answer: Predictions, *, batch: bool) -> bytes:
    """Return the body: a list of labels, best first, or for a batch a list of such lists."""
    rows = [[{"score": score, "label": label} for label, score in prediction.scores] for prediction in answer.predictions]
    return to_json(rows if batch else rows[0])


def timing_headers(answer: Predictions, texts: Sequence[str], elapsed_s: float, device: str) -> list[tuple[bytes, bytes]]:
    """Return where the time went, in whole milliseconds; ``elapsed_s`` is what the whole answer took."""
    timing = answer.timing
    milliseconds = {
        b"x-compute-time": elapsed_s,
        b"x-total-time": elapsed_s,
        b"x-tokenization-time": timing.tokenize_s,
        b"x-queue-time": timing.queue_s,
        b"x-inference-time": timing.engine_s,
    }
    return [
        (b"x-compute-type", device.encode()),
        (b"x-compute-characters", b"%d" % sum(map(len, texts))),
        (b"x-compute-tokens", b"%d" % timing.tokens),
        *((name, b"%d" % round(seconds * 1000)) for name, seconds in milliseconds.items()),
    ]

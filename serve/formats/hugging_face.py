"""Hugging Face's ``text-classification``: one text or several in, a list of lists of labels out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue
from pydantic_core import to_json

from core.errors import MalformedBody
from core.schemas import Wire
from serve.predicting import Options, Predictions


class HuggingFaceParameters(Wire):
    """What the clients call ``parameters``."""

    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        None, description="What turns logits into scores; absent: softmax."
    )
    top_k: int | None = Field(None, ge=1, le=10_000, description="How many labels, best first; absent: all.")
    truncation: bool | None = Field(None, description="False refuses a text the encoder cannot read whole; absent: it is cut.")
    return_all_scores: bool | None = Field(None, description="An older way to say `top_k`: false asks for the best label only.")


class HuggingFaceRequest(Wire):
    """Body of ``POST /`` and ``POST /hf``."""

    inputs: str | Annotated[list[str], Field(fail_fast=True)] | dict[str, JsonValue] = Field(
        description="One text, or a list of texts that are answered each for itself; a pair (`text`, `text_pair`) is refused."
    )
    parameters: HuggingFaceParameters | None = Field(None, description="Options.")
    options: dict[str, JsonValue] | None = Field(None, description="Those of the hosted service; not needed here.")

    def texts(self) -> list[str]:
        """Return the texts, each to be answered for itself.

        Raises:
            MalformedBody: they are a pair.
        """
        if isinstance(self.inputs, dict):
            raise MalformedBody(
                "inputs is an object; this classifier reads single texts, so send a string or a list of strings",
                allowed=["string", "array of strings"],
            )
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs

    def query_options(self) -> Options:
        """Return how to answer."""
        asked = self.parameters or HuggingFaceParameters.model_construct()
        best_only = asked.top_k is None and asked.return_all_scores is False
        return Options(
            top_k=1 if best_only else asked.top_k,
            function=asked.function_to_apply or "softmax",
            truncation="refuse" if asked.truncation is False else "right",
        )


def render(answer: Predictions) -> bytes:
    """Return the body: one list of labels per text, also for one text, because the clients take the first of them."""
    return to_json(
        [[{"label": label, "score": score} for label, score in prediction.scores] for prediction in answer.predictions]
    )

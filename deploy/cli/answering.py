"""`hone predict` and `hone correct`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import InvalidText
from core.settings import Settings
from deploy.cli.context import JsonOption, LocalOption, settings_of
from deploy.cli.show import note, percent, say, show_json, show_table

if TYPE_CHECKING:
    from deploy.clients import CorrectionFields

_SHOWN_CHARS = 60


def predict(
    context: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts to classify; none, or -, reads lines from standard input.")
    ] = None,
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, max=10_000, help="Show so many labels, best first.")] = None,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Classify texts, through the running service or, where none runs, with the champion itself.

    With --json each answer is one line, in the order of the texts. Without a service answers are not kept, so they carry no
    prediction_id and a correction has to name the text.

    \b
    Examples:
      hone predict "Great phone, I love it" "这是一个非常差的产品，我不喜欢。"
      hone predict --json --top-k 1 < reviews.txt > answers.jsonl
    """
    lines = _lines() if not texts or texts == ["-"] else texts
    answers = _answers(settings_of(context), lines, top_k, local=local)
    if as_json:
        for answer in answers:
            show_json(answer)
        return
    found = list(answers)
    ids = any("prediction_id" in answer for answer in found)
    rows = [
        [_shorten(text), *_label_cells(answer, top_k), *([answer.get("prediction_id")] if ids else [])]
        for text, answer in zip(lines, found, strict=True)
    ]
    versions = sorted({str(answer["model_version"]) for answer in found})
    show_table(["text", "label", "score", *(["prediction_id"] if ids else [])], rows)
    note(f"answered by {', '.join(versions)}")


def correct(
    context: typer.Context,
    label: Annotated[str, typer.Argument(help="The right label.")],
    prediction_id: Annotated[
        str | None, typer.Option("--id", metavar="PREDICTION_ID", help="The prediction it is about.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="The text, where no prediction is at hand.")] = None,
    annotator: Annotated[str | None, typer.Option("--annotator", help="Who says so.")] = None,
    confidence: Annotated[float | None, typer.Option("--confidence", min=0.0, max=1.0, help="How sure they are.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: sent twice with one key, it counts once.")] = None,
    as_json: JsonOption = False,
    local: LocalOption = False,
) -> None:
    """Say what was right. It is on disk when this returns, and the next run learns from it.

    With the label the prediction had already, it counts as a confirmation.

    \b
    Examples:
      hone correct negative --id p_0123…
      hone correct positive --text "Not bad at all" --annotator ada
    """
    if (prediction_id is None) == (text is None):
        raise typer.BadParameter("give exactly one of --id and --text")
    said: CorrectionFields = {
        "prediction_id": prediction_id,
        "text": text,
        "annotator": annotator,
        "confidence": confidence,
    }
    answer = _send_correction(settings_of(context), label, said, key, local=local)
    if as_json:
        show_json(answer)
        return
    predicted = f", where the model had said {answer['predicted_label']}" if answer["predicted_label"] else ""
    say(f"kept {answer['correction_id']}: a {answer['kind']} to {answer['label']}{predicted}")


def _answers(settings: Settings, texts: Sequence[str], top_k: int | None, *, local: bool) -> Iterator[dict[str, Any]]:
    from deploy.client import ServiceClient

    client = ServiceClient(settings)
    if local or not client.ready():
        from deploy.local import LocalModel

        yield from LocalModel.load(settings).predict(texts, top_k)
        return
    # Part by part, so that the first answers are shown while the last are asked for.
    for part in client.parts(texts):
        for answer in client.predict_many(part, top_k=top_k):
            yield answer.model_dump(mode="json")


def _send_correction(settings: Settings, label: str, said: CorrectionFields, key: str | None, *, local: bool) -> dict[str, Any]:
    from deploy.client import ServiceClient

    client = ServiceClient(settings)
    if not local and client.alive():
        return client.correct(label, key=key, **said).model_dump(mode="json")
    from core.schemas import CorrectionRequest
    from deploy.local import add_correction
    from serve.parsing import parse_json

    body = {name: value for name, value in {**said, "label": label}.items() if value is not None}
    request = parse_json(json.dumps(body).encode(), CorrectionRequest)
    return add_correction(settings, request, key).model_dump(mode="json")


def _lines() -> list[str]:
    """Return the lines of standard input; a blank one would shift all later answers against their lines, so it is refused."""
    try:
        lines = [line.removesuffix("\r") for line in sys.stdin.buffer.read().decode().split("\n")]
    except UnicodeDecodeError as error:
        raise InvalidText(f"standard input is not UTF-8: byte {error.start} cannot be read", byte=error.start) from None
    if not lines[-1]:
        # What follows the last line's end is no line.
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InvalidText(f"line {number} of standard input is blank; every line must hold a text", line=number)
    if not lines:
        raise InvalidText("standard input is empty; give texts as arguments, or one per line on standard input")
    return lines


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 1]}…"


def _label_cells(answer: dict[str, Any], top_k: int | None) -> tuple[str, str]:
    shown = answer["scores"][: top_k or 1]
    return "\n".join(item["label"] for item in shown), "\n".join(percent(item["score"]) for item in shown)

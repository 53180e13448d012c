"""Label Studio's ML backend: tasks in, pre-annotations out; annotations in, corrections out.

A labelling configuration must hold one ``Choices`` over one ``Text``; its choices are matched with the labels by their exact
name, else without regard to case. The region of a pre-annotation is named like its prediction, which Label Studio keeps when
a person accepts or changes it: so the webhook knows which prediction was corrected.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from core.errors import InputError, InvalidText, MalformedBody
from core.labels import LabelSet
from core.schemas import CorrectionRequest
from serve.predicting import Prediction

_CONFIG_MAX_CHARS = 200_000
_PREDICTION_ID = re.compile(r"p_[0-9a-f]{32}")


class LabelStudioBody(BaseModel):
    """A body of Label Studio, which sends more fields with every release."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class SetupRequest(LabelStudioBody):
    """Body of ``POST /label-studio/setup``."""

    project: str | int | None = Field(None, description="`id.created_at` of the project.")
    label_config: str = Field("", alias="schema", description="The labelling configuration.")


class Task(LabelStudioBody):
    """One task; ``data`` holds the text under the name the labelling configuration says."""

    id: JsonValue = None
    data: dict[str, JsonValue] = Field(default_factory=dict)


class PredictTasksRequest(LabelStudioBody):
    """Body of ``POST /label-studio/predict``."""

    tasks: list[Task]
    label_config: str = ""


class Annotation(LabelStudioBody):
    """What a person said about a task."""

    id: int | None = None
    result: list[dict[str, JsonValue]] = Field(default_factory=list)
    was_cancelled: bool = False
    completed_by: JsonValue = None
    updated_at: str | None = None


class Project(LabelStudioBody):
    """The project an event is about."""

    id: JsonValue = None
    label_config: str = ""


class WebhookRequest(LabelStudioBody):
    """Body of ``POST /label-studio/webhook``; ``annotations`` are those that were deleted."""

    action: str
    project: Project = Field(default_factory=Project)
    task: Task = Field(default_factory=Task)
    annotation: Annotation = Field(default_factory=Annotation)
    annotations: list[Annotation] = Field(default_factory=list, max_length=1_000)


@dataclass(frozen=True)
class Labelling:
    """What a labelling configuration says: the names of its tags, the field of the text, and its choices.

    ``choices`` maps each name of a choice, its value and where it has one its alias, to the one that stands in annotations.
    """

    from_name: str
    to_name: str
    field: str
    choices: Mapping[str, str]

    @classmethod
    def read(cls, config: str) -> Labelling:
        """Return what ``config`` says.

        Raises:
            MalformedBody: it is not XML, or has not exactly one Choices over a Text.
        """
        root = _parse(config)
        texts: dict[str | None, str] = {tag.get("name"): tag.get("value", "") for tag in root.iter("Text")}
        found = [tag for tag in root.iter("Choices") if tag.get("toName") in texts]
        if len(found) != 1:
            raise MalformedBody(f"the labelling configuration must have one Choices over a Text, it has {len(found)}")
        (tag,) = found
        choices: dict[str, str] = {}
        for choice in tag.iter("Choice"):
            value = choice.get("value", "")
            kept = choice.get("alias") or value
            choices |= {value: kept, kept: kept}
        to_name = tag.get("toName")
        return cls(tag.get("name", ""), str(to_name), texts[to_name].removeprefix("$"), choices)

    def label_of(self, choice: str, labels: LabelSet) -> str:
        """Return the label that ``choice`` stands for; where none does, the choice itself, which is then refused as unknown."""
        names = [choice, *(name for name, kept in self.choices.items() if kept == choice)]
        return next((label for name in names if (label := _match(name, labels))), choice)

    def choice_of(self, label: str) -> str | None:
        """Return the choice that stands for ``label`` in annotations, None where there is none."""
        name = _match(label, self.choices)
        return None if name is None else self.choices[name]

    def text_of(self, task: Task, place: int) -> str:
        """Return the text of a task.

        Raises:
            InvalidText: it has none under the configured field.
        """
        text = task.data.get(self.field)
        if not isinstance(text, str):
            raise InvalidText(f"tasks[{place}] has no text in the field the labelling configuration names", place=place)
        return text

    def check(self, labels: LabelSet) -> None:
        """Raise unless at least one choice stands for a label: with none, nothing would ever be shown or learned."""
        if not any(_match(choice, labels) for choice in self.choices):
            raise InputError(
                f"none of the {len(set(self.choices.values()))} choices is a label of this classifier; its labels begin with: "
                f"{', '.join(labels.names[:5])}",
                labels=list(labels.names[:100]),
            )

    def result(self, prediction: Prediction, version: str) -> dict[str, Any]:
        """Return a prediction as Label Studio shows it; empty where its label is none of the choices."""
        label, score = prediction.scores[0]
        choice = self.choice_of(label)
        region = {
            "id": prediction.prediction_id,
            "from_name": self.from_name,
            "to_name": self.to_name,
            "type": "choices",
            "value": {"choices": [choice]},
        }
        return {"model_version": version, "score": score, "result": [] if choice is None else [region]}


def correction_of(request: WebhookRequest, labels: LabelSet) -> CorrectionRequest | None:
    """Return what an annotation says, None where it says nothing: a task that was skipped, or no choice.

    Raises:
        MalformedBody, InvalidText: the project is not one of single choices over texts, or the task has no text.
    """
    labelling = Labelling.read(request.project.label_config)
    annotation = request.annotation
    regions = [region for region in annotation.result if region.get("from_name") == labelling.from_name]
    chosen = [choice for region in regions for choice in _choices(region)]
    if annotation.was_cancelled or not chosen:
        return None
    if len(chosen) > 1:
        raise MalformedBody(
            f"the annotation holds {len(chosen)} choices; this classifier gives a text one label", got=len(chosen)
        )
    named = next((str(region["id"]) for region in regions if _PREDICTION_ID.fullmatch(str(region.get("id")))), None)
    return CorrectionRequest(
        prediction_id=named,
        text=None if named else labelling.text_of(request.task, 0),
        label=labelling.label_of(chosen[0], labels)[:200],
        annotator=_annotator(annotation.completed_by),
        metadata={"label_studio": {"project": _plain(request.project.id), "annotation": annotation.id}},
    )


def as_text(correction: CorrectionRequest, request: WebhookRequest) -> CorrectionRequest:
    """Return ``correction`` about its task's text rather than a prediction, for one that is not kept any more."""
    text = Labelling.read(request.project.label_config).text_of(request.task, 0)
    return correction.model_copy(update={"prediction_id": None, "text": text})


def idempotency_key(request: WebhookRequest, correction: CorrectionRequest) -> str:
    """Return a key by which an event that is delivered twice counts once, and an annotation that was changed counts again."""
    annotation = request.annotation
    said = f"{annotation.updated_at}\n{correction.model_dump_json()}"
    return key_prefix(request, annotation) + hashlib.sha256(said.encode()).hexdigest()


def key_prefix(request: WebhookRequest, annotation: Annotation) -> str:
    """Return how the keys of all that was ever said with ``annotation`` begin."""
    project = request.project.id if type(request.project.id) is int else "-"
    return f"label-studio:{project}:{annotation.id}:"


def _parse(config: str) -> ElementTree.Element:
    # Without a document type there are no entities, neither from elsewhere nor ones that grow.
    if len(config) > _CONFIG_MAX_CHARS or "<!DOCTYPE" in config.upper():
        raise MalformedBody(f"the labelling configuration must have at most {_CONFIG_MAX_CHARS} characters and no DOCTYPE")
    try:
        return ElementTree.fromstring(config)  # noqa: S314 - entities are ruled out above
    except (ElementTree.ParseError, ValueError, LookupError):
        raise MalformedBody("the labelling configuration is not XML") from None


def _match(name: str, names: Iterable[str]) -> str | None:
    known = list(names)
    if name in known:
        return name
    folded = [other for other in known if other.casefold() == name.casefold()]
    return folded[0] if len(folded) == 1 else None


def _choices(region: Mapping[str, JsonValue]) -> list[str]:
    value = region.get("value")
    choices = value.get("choices") if isinstance(value, dict) else None
    return [choice for choice in choices if isinstance(choice, str) and choice] if isinstance(choices, list) else []


def _annotator(completed_by: JsonValue) -> str | None:
    """Return who it was, by number: a name or an address is not needed here and would have to be protected."""
    number = completed_by.get("id") if isinstance(completed_by, dict) else completed_by
    return f"label-studio:{number}" if type(number) is int else None


def _plain(value: JsonValue) -> JsonValue:
    return value if isinstance(value, str | int) else None

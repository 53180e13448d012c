"""The Open Inference Protocol (KServe V2, Triton, MLServer) over one input of texts; JSON and binary tensors alike.

Outputs: ``label`` and ``prediction_id`` (BYTES), ``score`` (FP32), all in the shape of the input; ``scores`` (FP32, one column
per label, in the order the metadata names them), or with the classification extension its best as ``value:index:label``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StrictInt
from pydantic_core import to_json

from core.errors import MalformedBody
from core.schemas import Wire
from serve.formats.tensors import read_strings, write_numbers, write_strings
from serve.predicting import Options, Predictions

MODEL_NAME = "hone"
INPUT_NAME = "text"
OUTPUTS: tuple[tuple[str, Literal["BYTES", "FP32"]], ...] = (
    ("label", "BYTES"),
    ("score", "FP32"),
    ("prediction_id", "BYTES"),
    ("scores", "FP32"),
)
_BY_DEFAULT = ("label", "score", "prediction_id")
_KINDS = dict(OUTPUTS)

Dimension = Annotated[StrictInt, Field(ge=0, le=2**31)]
Parameters = dict[str, JsonValue]


class InputTensor(Wire):
    """The texts: as ``data``, or behind the JSON, where ``binary_data_size`` says how many bytes of it."""

    name: str
    shape: Annotated[list[Dimension], Field(min_length=1, max_length=8)]
    datatype: str
    parameters: Parameters | None = None
    data: list[JsonValue] | None = None


class RequestedOutput(Wire):
    """One output that is wanted; ``parameters`` may hold ``classification`` and ``binary_data``."""

    name: str
    parameters: Parameters | None = None


class InferenceRequest(Wire):
    """Body of ``POST /v2/models/hone/infer``."""

    id: Annotated[str, Field(max_length=1_000)] | None = Field(None, description="Comes back in the answer.")
    parameters: Parameters | None = Field(None, description="`binary_data_output` is honoured, the rest is not needed here.")
    inputs: Annotated[list[InputTensor], Field(max_length=16, fail_fast=True)] = Field(description="One tensor of texts.")
    outputs: Annotated[list[RequestedOutput], Field(max_length=16, fail_fast=True)] | None = None


class OutputTensor(Wire):
    """One output: ``data`` in JSON, or behind it, where ``parameters`` holds ``binary_data_size``."""

    name: str
    shape: list[int]
    datatype: Literal["BYTES", "FP32"]
    parameters: Parameters | None = None
    data: list[str] | list[float] | None = None


class InferenceAnswer(Wire):
    """Answer of ``POST /v2/models/hone/infer``."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


@dataclass(frozen=True)
class Wanted:
    """One output to write; ``best`` is the number of classes of the classification extension."""

    name: str
    binary: bool
    best: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request that was understood; ``shape`` is that of the input."""

    request_id: str | None
    texts: list[str]
    shape: list[int]
    outputs: list[Wanted]

    def options(self) -> Options:
        """Return how to answer: with no more scores than the outputs need."""
        needs = [item.best if item.name == "scores" else 1 for item in self.outputs]
        return Options(top_k=None if None in needs else max(filter(None, needs), default=1))


def understand(request: InferenceRequest, binary: bytes) -> Asked:
    """Return what is asked for; ``binary`` is what followed the JSON.

    Raises:
        MalformedBody: it is not one tensor of strings, or an output that there is not.
        InvalidText: a string is not UTF-8.
    """
    if len(request.inputs) != 1:
        raise MalformedBody(f"got {len(request.inputs)} inputs; send one, of datatype BYTES", allowed=1)
    tensor = request.inputs[0]
    if tensor.datatype != "BYTES":
        raise MalformedBody("inputs[0].datatype must be BYTES: the texts in UTF-8", allowed=["BYTES"])
    outputs = _wanted(request)
    return Asked(request.id, _texts(tensor, binary), list(tensor.shape), outputs)


def _texts(tensor: InputTensor, binary: bytes) -> list[str]:
    count = prod(tensor.shape)
    parameters = tensor.parameters or {}
    if any(name.startswith("shared_memory") for name in parameters):
        raise MalformedBody("shared memory is not offered; send the texts in the request")
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        if tensor.data is not None or type(size) is not int or size != len(binary):
            raise MalformedBody(
                f"inputs[0] must have no data, and a binary_data_size of the {len(binary)} bytes behind the JSON",
                expected=len(binary),
            )
        return read_strings(binary, count)
    if binary:
        raise MalformedBody(f"{len(binary)} bytes follow the JSON, and no input has a binary_data_size", got=len(binary))
    return _flat(tensor.data or [], count)


def _flat(data: list[Any], count: int) -> list[str]:
    """Return the strings of ``data``, which may be nested as the shape is."""
    while data and all(isinstance(item, list) for item in data):
        data = [inner for item in data for inner in item]
    if len(data) != count:
        raise MalformedBody(f"inputs[0].data has {len(data)} values, and its shape says {count}", got=len(data), expected=count)
    if not all(isinstance(item, str) for item in data):
        raise MalformedBody("inputs[0].data must hold strings, all nested equally deep")
    return data


def _wanted(request: InferenceRequest) -> list[Wanted]:
    binary = (request.parameters or {}).get("binary_data_output") is True
    if not request.outputs:
        return [Wanted(name, binary) for name in _BY_DEFAULT]
    found = [_one_wanted(place, output, binary=binary) for place, output in enumerate(request.outputs)]
    if len({item.name for item in found}) != len(found):
        raise MalformedBody("an output is named twice; name each once")
    return found


def _one_wanted(place: int, output: RequestedOutput, *, binary: bool) -> Wanted:
    if output.name not in _KINDS:
        raise MalformedBody(f"outputs[{place}].name is unknown; allowed: {', '.join(_KINDS)}", allowed=list(_KINDS))
    parameters = output.parameters or {}
    best = parameters.get("classification")
    if best is not None and (output.name != "scores" or type(best) is not int or not 1 <= best <= 10_000):
        raise MalformedBody(f"outputs[{place}]: classification takes a number from 1 to 10000, on the output scores")
    return Wanted(output.name, parameters.get("binary_data", binary) is True, best if type(best) is int else None)


def render(asked: Asked, answer: Predictions) -> tuple[bytes, int | None]:
    """Return the body and, where binary tensors follow its JSON, how long that is."""
    tensors = [_tensor(item, asked.shape, answer) for item in asked.outputs]
    body = {"model_name": MODEL_NAME, "model_version": answer.version, "outputs": [tensor for tensor, _ in tensors]}
    if asked.request_id is not None:
        body["id"] = asked.request_id
    head = to_json(body)
    if not any(item.binary for item in asked.outputs):
        return head, None
    return b"".join([head, *(tail for _, tail in tensors)]), len(head)


def _tensor(wanted: Wanted, shape: list[int], answer: Predictions) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of one output, and its bytes where it is binary."""
    values, datatype, own_shape = _values(wanted, shape, answer)
    tensor: dict[str, Any] = {"name": wanted.name, "shape": own_shape, "datatype": datatype}
    if not wanted.binary:
        return {**tensor, "data": values}, b""
    tail = write_numbers(values) if datatype == "FP32" else write_strings(values)
    return {**tensor, "parameters": {"binary_data_size": len(tail)}}, tail


def _values(wanted: Wanted, shape: list[int], answer: Predictions) -> tuple[Sequence[Any], str, list[int]]:
    predictions = answer.predictions
    match wanted.name:
        case "label":
            return [prediction.scores[0][0] for prediction in predictions], "BYTES", shape
        case "score":
            return [prediction.scores[0][1] for prediction in predictions], "FP32", shape
        case "prediction_id":
            return [prediction.prediction_id for prediction in predictions], "BYTES", shape
    places = {label: place for place, label in enumerate(answer.labels)}
    rows = [prediction.scores for prediction in predictions]
    if wanted.best is None:
        # A label that the memory knows and the version does not has no column.
        ordered = [scores.get(label, 0.0) for scores in map(dict, rows) for label in answer.labels]
        return ordered, "FP32", [len(rows), len(places)]
    best = min(wanted.best, len(places))
    # As Triton writes them.
    strings = [f"{score:f}:{places.get(label, -1)}:{label}" for row in rows for label, score in row[:best]]
    return strings, "BYTES", [len(rows), best]


def metadata(version: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return what ``GET /v2/models/hone`` tells; ``parameters.labels`` are the columns of ``scores``."""
    shapes = {"scores": [-1, len(labels)]}
    outputs = [{"name": name, "datatype": kind, "shape": shapes.get(name, [-1])} for name, kind in OUTPUTS]
    return {
        "name": MODEL_NAME,
        "versions": [version],
        "platform": "hone",
        "inputs": [{"name": INPUT_NAME, "datatype": "BYTES", "shape": [-1]}],
        "outputs": outputs,
        "parameters": {"labels": list(labels)},
    }

"""The Open Inference Protocol, asked by tritonclient itself: binary, which is its default, and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from core.errors import UnknownVersion
from core.schemas import ErrorAnswer
from serve.formats.inference import InferenceAnswer
from serve.probation import Limits, Tally
from serve.slot import Challenge, Loaded, ModelSlot
from tests.serve.formats.conftest import Listen, Listening

TEXTS = ["so positive", "negative 你好", "neutral"]
LABELS = ["positive", "negative", "neutral"]
INFER = "/v2/models/hone/infer"


@pytest.fixture
def client(replica: Listening) -> Iterator[Any]:
    """Give a tritonclient."""
    made = triton.InferenceServerClient(replica.url.removeprefix("http://"))
    yield made
    made.close()


def _input(texts: list[str], shape: list[int] | None = None, *, binary: bool = True) -> Any:
    shape = shape or [len(texts)]
    tensor = triton.InferInput("text", shape, "BYTES")
    tensor.set_data_from_numpy(np.array(texts, dtype=object).reshape(shape), binary_data=binary)
    return tensor


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_asks_and_is_answered(client: Any, binary: bool) -> None:
    result = client.infer("hone", [_input(TEXTS, binary=binary)], request_id="r-1")
    assert [label.decode() for label in result.as_numpy("label")] == LABELS
    assert result.as_numpy("score").dtype == np.float32
    assert all(result.as_numpy("score") > 0.5)
    assert all(name.startswith(b"p_") for name in result.as_numpy("prediction_id"))
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("r-1", "hone", "v1")


def test_outputs_in_json_on_request(client: Any) -> None:
    outputs = [triton.InferRequestedOutput(name, binary_data=False) for name in ("label", "scores")]
    result = client.infer("hone", [_input(TEXTS)], outputs=outputs)
    assert result.as_numpy("label").tolist() == LABELS
    assert result.as_numpy("scores").shape == (3, 3)
    columns = client.get_model_metadata("hone")["parameters"]["labels"]
    assert [columns[place] for place in result.as_numpy("scores").argmax(axis=1)] == LABELS


@pytest.mark.parametrize("binary", [True, False])
def test_all_scores_are_in_the_order_of_the_labels(client: Any, binary: bool) -> None:
    outputs = [triton.InferRequestedOutput("scores", binary_data=binary), triton.InferRequestedOutput("label")]
    result = client.infer("hone", [_input(TEXTS)], outputs=outputs)
    assert result.as_numpy("scores").sum(axis=1) == pytest.approx(np.ones(3), abs=1e-4)
    assert result.as_numpy("scores").argmax(axis=1).tolist() == [2, 0, 1]


@pytest.mark.parametrize(("asked", "given_back"), [(1, 1), (2, 2), (9, 3)])
def test_the_classification_extension(client: Any, asked: int, given_back: int) -> None:
    result = client.infer("hone", [_input(TEXTS)], outputs=[triton.InferRequestedOutput("scores", class_count=asked)])
    rows = result.as_numpy("scores")
    assert rows.shape == (3, given_back)
    value, index, label = rows[0][0].decode().split(":")
    assert (index, label) == ("2", "positive")
    assert 0.5 < float(value) <= 1.0


def test_outputs_have_the_shape_of_the_input(client: Any) -> None:
    result = client.infer("hone", [_input(TEXTS, [3, 1])])
    assert result.as_numpy("label").shape == (3, 1)


def test_a_version_may_be_insisted_on(client: Any) -> None:
    assert client.infer("hone", [_input(TEXTS)], model_version="v1").get_response()["model_version"] == "v1"
    assert client.infer("hone", [_input(TEXTS)], model_version="champion").get_response()["model_version"] == "v1"
    with pytest.raises(InferenceServerException, match="this version does not serve; v1 does"):
        client.infer("hone", [_input(TEXTS)], model_version="v2")


def test_what_is_wrong_is_told_through_the_client(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="there is no such model; the one here is hone"):
        client.infer("bert", [_input(TEXTS)])
    with pytest.raises(InferenceServerException, match="name is unknown; allowed: label"):
        client.infer("hone", [_input(TEXTS)], outputs=[triton.InferRequestedOutput("logits")])
    with pytest.raises(InferenceServerException, match=r"inputs\[1\] is blank"):
        client.infer("hone", [_input(["a", " "])])


def test_metadata_and_health(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("hone")
    assert client.is_model_ready("hone", "v1")
    assert not client.is_model_ready("hone", "v9")
    assert not client.is_model_ready("bert")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    metadata = client.get_model_metadata("hone", "v1")
    assert (metadata["name"], metadata["versions"]) == ("hone", ["v1"])
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


def test_without_a_model_it_is_not_ready(listen: Listen) -> None:
    with listen(versions=0) as replica:
        client = triton.InferenceServerClient(replica.url.removeprefix("http://"))
        assert client.is_server_live()
        assert not client.is_server_ready()
        with pytest.raises(InferenceServerException, match="no version serves yet"):
            client.infer("hone", [_input(TEXTS)])
        client.close()


def _body(**changes: Any) -> dict[str, Any]:
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    return {"inputs": [{**tensor, **changes}]}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"inputs": []}, "got 0 inputs"),
    ({"inputs": [*_body()["inputs"], *_body()["inputs"]]}, "got 2 inputs"),
    (_body(datatype="FP32"), "must be BYTES"),
    (_body(shape=[3]), "its shape says 3"),
    (_body(shape=[2**31] * 8), "its shape says"),
    (_body(shape=[-2]), "inputs"),
    (_body(shape=[True, 2]), "inputs"),
    (_body(shape=[]), "inputs"),
    (_body(data=[1, 2]), "must hold strings"),
    (_body(data=[["a"], "b"]), "must hold strings"),
    (_body(data=None), "has 0 values"),
    (_body(data=[], shape=[0]), "inputs is empty"),
    (_body(parameters={"binary_data_size": 4}), "must have no data"),
    (_body(parameters={"binary_data_size": "4"}, data=None), "binary_data_size of the 0 bytes"),
    (_body(parameters={"shared_memory_region": "r"}), "shared memory is not offered"),
    ({**_body(), "outputs": [{"name": "label"}, {"name": "label"}]}, "named twice"),
    ({**_body(), "outputs": [{"name": "label", "parameters": {"classification": 1}}]}, "on the output scores"),
    ({**_body(), "outputs": [{"name": "scores", "parameters": {"classification": 0}}]}, "from 1 to 10000"),
    ({**_body(), "input": 1}, "there is no such field"),
]


@pytest.mark.parametrize(("body", "says"), BAD, ids=[f"{place}-{says}" for place, (_, says) in enumerate(BAD)])
def test_bad_requests_are_refused_with_a_reason(replica: Listening, body: object, says: str) -> None:
    answer = replica.http.post(INFER, json=body)
    assert answer.status_code in (400, 422)
    assert says in answer.json()["error"]


def test_nested_data_of_any_shape_is_read(replica: Listening) -> None:
    body = _body(shape=[1, 2, 1], data=[[["so positive"], ["negative"]]])
    outputs = InferenceAnswer.model_validate_json(replica.http.post(INFER, json=body).content).outputs
    assert (outputs[0].shape, outputs[0].data) == ([1, 2, 1], ["positive", "negative"])


def test_a_page_cannot_send_what_says_no_media_type(replica: Listening) -> None:
    content = json.dumps(_body()).encode()
    assert replica.http.post(INFER, content=content).status_code == 200
    assert replica.http.post(INFER, content=content, headers={"origin": "http://evil.example"}).status_code == 415
    assert replica.http.post(INFER, content=content, headers={"content-type": "text/plain"}).status_code == 415


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.just(json.dumps(_body()).encode()), st.binary(max_size=80)),
    st.binary(max_size=40),
    st.one_of(st.none(), st.integers(0, 400), st.just(len(json.dumps(_body())))),
    st.sampled_from([None, {"binary_data_size": 8}, {"binary_data_size": -1}, {"binary_data_size": 1e300}]),
)
def test_no_body_is_a_server_error(
    replica: Listening, head: bytes, tail: bytes, length: int | None, parameters: dict[str, Any] | None
) -> None:
    if parameters is not None:
        head = json.dumps(_body(parameters=parameters, data=None)).encode()
        length = len(head) if length is None else length
    headers = {} if length is None else {"inference-header-content-length": str(length)}
    answer = replica.http.post(INFER, content=head + tail, headers=headers)
    assert answer.status_code < 500
    if answer.status_code != 200:
        ErrorAnswer.model_validate_json(answer.content)


def test_a_challenger_that_answers_a_share_can_be_asked_by_name(replica: Listening) -> None:
    slot = ModelSlot()
    slot.current = replica.parts.slot.require()
    challenger = Loaded("v2", slot.current.classifier, slot.current.source)
    slot.challenge = Challenge("v2", Tally(Limits(), 3), challenger)
    assert slot.answering("v1") is slot.current
    assert slot.answering("v2") is challenger
    slot.challenge.loaded = None
    with pytest.raises(UnknownVersion, match="v1 does"):
        slot.answering("v2")

"""Whatever is sent, no answer is a server error and every answer is what the OpenAPI document says it is."""

from __future__ import annotations

import http.client as http_client
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from core.schemas import ErrorAnswer
from core.settings import Settings
from serve.parts import assemble
from tests.bundles import LABELS, register_ngram_bundle
from tests.serve.servers import listening
from tests.serve.test_openapi import OPERATIONS

_CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# The same examples each time, so that a build does not fail by chance; hours of other ones are run by hand.
_BOUNDED = hypothesis_settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/x-ndjson")
def _lines(_: schemathesis.SerializationContext, row: object) -> bytes:
    """Send what stands for a row as the only one, bytes as they are."""
    return row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a replica with two versions, of which one can be rolled back to."""
    home = tmp_path_factory.mktemp("fuzz") / "home"
    made = Settings.model_validate({"HONE_HOME": home, "max_texts": 50, "swap_poll_s": 0.05})
    made.home.prepare()
    parts = assemble(made, None, "replica-1")
    for seed in range(2):
        parts.registry.promote(register_ngram_bundle(parts.registry, seed=seed), by="test", why="a fixture")
    with listening(parts) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    """Give a client of it, once it has a model."""
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(base_url=url, transport=transport, trust_env=False, timeout=30) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture(scope="module")
def api(url: str, http: httpx.Client) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_every_operation_keeps_to_its_description(api: Any, url: str, method: str, path: str, mode: GenerationMode) -> None:
    operation = api[path][method]

    @_BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=_CHECKS)

    try:
        ask()
    except Unsatisfiable:
        # What takes neither parameters nor a body nor a key cannot be asked wrongly.
        assert mode is GenerationMode.NEGATIVE
        assert method == "get"


# Bodies near the right ones, which a schema does not lead to.

_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
_TEXT = st.text(alphabet=st.characters(), max_size=60) | st.sampled_from([*LABELS, "\0", "\ud800", "<a" * 200, "\u202e", " "])
_FIELDS = {
    "text": _TEXT,
    "texts": st.lists(_TEXT, max_size=60),
    "top_k": st.integers(-1, 20_000),
    "metadata": st.dictionaries(st.text(max_size=300), _VALUE, max_size=3),
    "function": st.sampled_from(["softmax", "sigmoid", "none", "relu"]),
    "truncation": st.sampled_from(["left", "right", "refuse", "up"]),
    "long_text": st.sampled_from(["truncate", "chunk", ""]),
    "min_score": st.floats(),
    "explain": st.booleans(),
    "prediction_id": _TEXT,
    "label": _TEXT,
    "annotator": _TEXT,
    "confidence": st.floats(),
}
_DEEP = [b"[" * 100_000, b'{"a":' * 50_000, b'{"texts":[' + b"[" * 1_000 + b"]" * 1_000 + b"]}"]
_BODY = st.dictionaries(st.sampled_from(sorted(_FIELDS)), st.none(), max_size=6).flatmap(
    lambda chosen: st.fixed_dictionaries({name: _FIELDS[name] | _VALUE for name in chosen})
)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/corrections"])
@hypothesis_settings(_BOUNDED, max_examples=60)
@given(body=_BODY)
def test_a_body_of_known_fields_is_answered_or_refused(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    _send(http, path, json.dumps(body).encode())


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/corrections", "/v1/rollback", "/hf", "/predict", "/label-studio/predict"])
@hypothesis_settings(_BOUNDED, max_examples=60)
@given(body=st.binary(max_size=300) | _VALUE.map(json.dumps).map(str.encode) | st.sampled_from(_DEEP))
def test_a_body_of_anything_is_answered_or_refused(http: httpx.Client, path: str, body: bytes) -> None:
    _send(http, path, body)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "OPTIONS", "TRACE"])
@hypothesis_settings(_BOUNDED, max_examples=40)
@given(path=st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=80), query=st.binary(max_size=40))
def test_a_path_of_anything_is_answered_or_refused(url: str, method: str, path: str, query: bytes) -> None:
    # Not httpx, which would mend the path before it is sent.
    connection = http_client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    target = f"/v1/models/{path}?{query.hex()}"
    connection.request(method, target, b"{}", {"content-type": "application/json", "connection": "close"})
    answer = connection.getresponse()
    assert answer.status < 500, answer.read()
    connection.close()


def _send(http: httpx.Client, path: str, body: bytes) -> None:
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400 and path.startswith("/v1/"):
        ErrorAnswer.model_validate_json(answer.content)

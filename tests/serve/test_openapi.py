"""The OpenAPI document lists every route and resolves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.serve.conftest import Service

OPERATIONS = {
    ("post", "/v1/predict"),
    ("post", "/v1/corrections"),
    ("get", "/v1/corrections"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{version}"),
    ("post", "/v1/models/{version}/promote"),
    ("post", "/v1/models/{version}/approve"),
    ("get", "/v1/models/{version}/card"),
    ("get", "/v1/models/{version}/card.md"),
    ("get", "/v1/models/{version}/gate"),
    ("get", "/v1/models/{version}/gate.html"),
    ("post", "/v1/confirmations"),
    ("post", "/v1/corrections/bulk"),
    ("get", "/v1/corrections/export"),
    ("get", "/v1/corrections/{correction_id}"),
    ("post", "/v1/corrections/{correction_id}/withdraw"),
    ("post", "/v1/corrections/{correction_id}/change"),
    ("get", "/v1/labels"),
    ("get", "/v1/labels/events"),
    ("post", "/v1/labels/events"),
    ("post", "/v1/rollback"),
    ("post", "/v1/runs"),
    ("get", "/v1/runs"),
    ("get", "/v1/runs/{run_id}"),
    ("delete", "/v1/runs/{run_id}"),
    ("get", "/v1/status"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/metrics/targets"),
    ("post", "/v1/models/{version}/challenge"),
    ("get", "/v1/model"),
    ("post", "/v1/withdraw"),
    ("post", "/v1/erasures"),
    ("get", "/v1/erasures"),
    ("get", "/v1/erasures/{erasure_id}"),
    ("post", "/v1/subjects/export"),
    ("get", "/v1/trail"),
    ("get", "/v1/trail/verify"),
    ("get", "/v1/annotators"),
    ("get", "/v1/accuracy"),
    ("get", "/v1/drift"),
    ("get", "/v1/history"),
    ("get", "/v1/drift/{window_id}/why"),
    ("get", "/v1/drift/{window_id}/why.html"),
    ("post", "/v1/drift/alarms/{alarm_id}"),
    ("post", "/v1/drift/reference"),
    ("get", "/v1/quarantine"),
    ("post", "/v1/quarantine"),
    ("post", "/v1/quarantine/{correction_id}"),
    ("get", "/v1/review"),
    ("post", "/v1/review/{item_id}"),
    ("post", "/"),
    ("post", "/hf"),
    ("post", "/predict"),
    ("get", "/info"),
    ("get", "/health"),
    ("get", "/v2"),
    ("get", "/v2/health/live"),
    ("get", "/v2/health/ready"),
    ("get", "/v2/models/{model}"),
    ("get", "/v2/models/{model}/ready"),
    ("post", "/v2/models/{model}/infer"),
    ("get", "/v2/models/{model}/versions/{version}"),
    ("get", "/v2/models/{model}/versions/{version}/ready"),
    ("post", "/v2/models/{model}/versions/{version}/infer"),
    ("get", "/label-studio/health"),
    ("post", "/label-studio/setup"),
    ("post", "/label-studio/predict"),
    ("post", "/label-studio/webhook"),
}
PARAMETERS = {
    "{window_id}": "w_0",
    "{alarm_id}": "d_0",
    "{version}": "v1",
    "{correction_id}": "c_1",
    "{run_id}": "r_1",
    "{erasure_id}": "e_1",
    "{item_id}": "i_1",
    "{model}": "hone",
}
# Their answers are no JSON object.
PLAIN = {"/v1/models/v1/card.md", "/metrics", "/v1/metrics/targets", "/health", "/v1/corrections/export"}


async def _document(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = (await service.http.get("/openapi.json")).json()
    return found


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


async def test_every_route_is_there(service: Service) -> None:
    document = await _document(service)
    assert {(method, path) for path, methods in document["paths"].items() for method in methods} == OPERATIONS


async def test_every_listed_route_exists(service: Service) -> None:
    for method, listed in OPERATIONS:
        path = reduce(lambda found, name: found.replace(name, PARAMETERS[name]), PARAMETERS, listed)
        response = await service.http.request(method, path, json={})
        assert response.json().get("code") != "unknown_route" if path not in PLAIN else response.status_code == 200


async def test_every_reference_resolves(service: Service) -> None:
    document = await _document(service)
    schemas = document["components"]["schemas"]
    for reference in set(_references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_every_operation_says_its_body_its_answer_and_its_errors(service: Service) -> None:
    document = await _document(service)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert ("requestBody" in operation) == (method == "post"), (method, path)
            error = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
            assert error == {"$ref": f"#/components/schemas/{'TeiError' if path == '/predict' else 'ErrorAnswer'}"}
            assert any(status.startswith("2") for status in operation["responses"])
            assert "422" not in operation["responses"]


async def test_the_document_is_valid(service: Service) -> None:
    OpenAPIV31SpecValidator(await _document(service)).validate()


async def test_operations_have_names_of_their_own(service: Service) -> None:
    """Generated clients make a function of each."""
    document = await _document(service)
    names = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(names)) == len(names)

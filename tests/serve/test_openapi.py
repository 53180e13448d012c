"""The OpenAPI document lists every route and resolves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.serve.conftest import Service

OPERATIONS = {
    ("post", "/v1/predict"),
    ("post", "/v1/corrections"),
    ("get", "/v1/corrections"),
    ("get", "/v1/models"),
    ("get", "/v1/models/{version}"),
    ("post", "/v1/models/{version}/promote"),
    ("post", "/v1/rollback"),
    ("post", "/v1/runs"),
    ("get", "/v1/runs"),
    ("get", "/v1/runs/{run_id}"),
    ("delete", "/v1/runs/{run_id}"),
    ("get", "/v1/status"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("post", "/v1/models/{version}/challenge"),
    ("post", "/v1/withdraw"),
}


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
    for method, path in OPERATIONS:
        response = await service.http.request(method, path.replace("{version}", "v1").replace("{run_id}", "r_1"), json={})
        assert response.json().get("code") != "unknown_route" if path != "/metrics" else response.status_code == 200


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
            assert error == {"$ref": "#/components/schemas/ErrorAnswer"}
            assert any(status.startswith("2") for status in operation["responses"])
            assert "422" not in operation["responses"]

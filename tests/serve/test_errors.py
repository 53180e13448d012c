"""Every error has one shape, whoever raises it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

import serve
from core import errors
from core.errors import HoneError
from core.schemas import ErrorAnswer
from serve.statuses import STATUSES, error_response, status_of
from tests.serve.conftest import Service


def _tree(root: type[HoneError]) -> list[type[HoneError]]:
    return [root, *(found for branch in root.__subclasses__() for found in _tree(branch))]


@pytest.mark.parametrize("kind", _tree(HoneError), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_the_shape(kind: type[HoneError]) -> None:
    error = kind("what was wrong", allowed=["GET"])
    response = error_response(error, "request-1")
    assert 400 <= response.status_code < 600
    answer = ErrorAnswer.model_validate_json(bytes(response.body))
    assert (answer.error, answer.code, answer.request_id) == ("what was wrong", kind.code, "request-1")
    assert ("retry-after" in response.headers) == (response.status_code in (429, 503))


def test_details_of_any_type_are_told() -> None:
    body = error_response(HoneError("odd", path=Path("a"), pair=(1, 2)), "request-1").body
    assert ErrorAnswer.model_validate_json(bytes(body)).details == {"path": "a", "pair": [1, 2]}


def test_statuses_are_those_the_documents_promise() -> None:
    promised = {
        errors.MalformedBody: 400,
        errors.BodyTooLarge: 413,
        errors.UnsupportedMediaType: 415,
        errors.InvalidText: 422,
        errors.TextTooLong: 422,
        errors.TooManyTexts: 422,
        errors.UnknownLabel: 422,
        errors.UnknownPrediction: 404,
        errors.UnknownVersion: 404,
        errors.UnknownRun: 404,
        errors.UnknownRoute: 404,
        errors.IdempotencyConflict: 409,
        errors.GateRefused: 409,
        errors.NothingToRollBack: 409,
        errors.RunNotActive: 409,
        errors.BundleError: 409,
        errors.Overloaded: 429,
        errors.NoModel: 503,
        errors.StoreUnavailable: 503,
        errors.DeadlineExceeded: 504,
        HoneError: 500,
    }
    assert {kind: status_of(kind("…")) for kind in promised} == promised
    assert set(STATUSES) <= set(_tree(HoneError))


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/predict/", "/v1/models/v1/", "/console/../app.py", "/console/a.py"])
async def test_unknown_paths(service: Service, path: str) -> None:
    response = await service.http.get(path)
    answer = ErrorAnswer.model_validate_json(response.content)
    assert (response.status_code, answer.code) == (404, "unknown_route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/predict", "POST"),
        ("PUT", "/v1/runs", "GET, POST"),
        ("POST", "/v1/models", "GET"),
        ("PATCH", "/v1/runs/r_1", "DELETE, GET"),
        ("DELETE", "/", "GET, POST"),
        ("GET", "/hf", "POST"),
        ("DELETE", "/openapi.json", "GET"),
    ],
)
async def test_other_methods(service: Service, method: str, path: str, allowed: str) -> None:
    response = await service.http.request(method, path)
    answer = ErrorAnswer.model_validate_json(response.content)
    assert (response.status_code, answer.code) == (405, "unknown_route")
    assert sorted(response.headers["allow"].split(", ")) == allowed.split(", ")
    assert answer.details["allowed"] == sorted(allowed.split(", "))


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/predict"), ("GET", "/v1/models"), ("GET", "/readyz")])
async def test_what_nobody_foresaw_is_told_without_its_cause(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("with the user's secret text")

    monkeypatch.setattr(service.parts.slot, "require", fail)
    monkeypatch.setattr(service.parts.registry, "versions", fail)
    response = await service.http.request(method, path, json={"text": "a"})
    answer = ErrorAnswer.model_validate_json(response.content)
    assert (response.status_code, answer.code) == (500, "internal")
    assert "secret" not in response.text
    assert "Traceback" not in response.text
    logged = [record for record in caplog.records if record.name == "hone.serve" and record.levelname == "ERROR"]
    # What watches the registry meets the same failure in its own time, for no request.
    assert [vars(record)["request_id"] for record in logged if "request_id" in vars(record)] == [answer.request_id]
    assert not any("secret" in record.getMessage() for record in logged)
    assert service.value("hone_refused_total", code="internal") == 1.0


async def test_every_answer_has_a_request_id(service: Service) -> None:
    async def ask(**headers: str) -> httpx.Response:
        return await service.post("/v1/predict", {"text": "a"}, **headers)

    assert (await ask(x_request_id="trace-1:2/3")).headers.get_list("x-request-id") == ["trace-1:2/3"]
    made = {(await ask()).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for strange in ("a b", "x" * 129, "<script>", ""):
        assert re.fullmatch("[0-9a-f]{32}", (await ask(x_request_id=strange)).headers["x-request-id"])
    for path in ("/healthz", "/", "/nope", "/metrics"):
        assert (await service.http.get(path, headers={"x-request-id": "mine"})).headers["x-request-id"] == "mine"


async def test_requests_are_counted_by_route_and_not_by_path(service: Service) -> None:
    for path in ("/v1/models/v1", "/v1/models/v9", "/secret-1", "/secret-2", "/console/none.js"):
        await service.http.get(path)
    exposed = (await service.http.get("/metrics")).text
    assert 'hone_requests_total{route="/v1/models/{version}",status="200"} 1.0' in exposed
    assert 'hone_requests_total{route="unmatched",status="404"} 2.0' in exposed
    assert "secret" not in exposed
    assert "v9" not in exposed


def test_no_route_module_knows_a_status_by_number() -> None:
    """The mapping lives in one place: elsewhere only the statuses of success stand."""
    for path in Path(serve.__file__).parent.rglob("*.py"):
        if path.name in ("statuses.py", "edge.py", "openapi.py", "app.py"):
            continue
        assert not re.search(r"status_code=[345]\d\d", path.read_text(encoding="utf-8")), path

"""A classifier with a name: all its routes are below the name, and know nothing of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from tests.serve.conftest import Service, Start


@pytest.fixture
async def named(start: Start) -> AsyncIterator[Service]:
    async with start(changed={"name": "reviews"}) as service:
        yield service


async def test_all_ways_to_ask_are_below_the_name(named: Service) -> None:
    native = await named.post("/reviews/v1/predict", {"text": "so positive"})
    assert native.json()["label"] == "positive"
    hugging_face = await named.post("/reviews", {"inputs": "so positive"})
    assert hugging_face.status_code == 200
    assert (await named.post("/reviews/", {"inputs": "so positive"})).json() == hugging_face.json()
    assert (await named.http.get("/reviews/v2/health/ready")).status_code == 200
    assert (await named.http.get("/reviews/readyz")).json()["model_version"] == "v1"
    body = {"prediction_id": native.json()["prediction_id"], "label": "neutral"}
    assert (await named.post("/reviews/v1/corrections", body)).status_code == 201
    # In metrics, a route is what it is without the name.
    assert named.value("hone_requests_total", route="/v1/predict", status="200") == 1.0


async def test_errors_are_hones_below_the_name_too(named: Service) -> None:
    for path in ("/reviews/v1/nothing", "/reviewsx/v1/predict", "/other"):
        answer = await named.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_route")
    slashed = await named.http.get("/reviews/v1/models/..%2fsecret")
    assert slashed.json()["code"] in ("unknown_version", "unknown_route")


async def test_the_console_and_its_files_are_found_from_where_they_lie(named: Service) -> None:
    moved = await named.http.get("/reviews")
    assert (moved.status_code, moved.headers["location"]) == (307, "/reviews/")
    for page in ("/reviews/", "/reviews/docs"):
        text = (await named.http.get(page)).text
        links = re.findall(r'(?:href|src)="([^"#]+)"', text)
        assert links
        assert all(not link.startswith("/") for link in links)
        for link in links:
            assert (await named.http.get(f"/reviews/{'' if link == '.' else link}")).status_code == 200


async def test_its_specification_says_where_it_is_and_its_targets_say_so_too(named: Service) -> None:
    assert (await named.http.get("/reviews/openapi.json")).json()["servers"] == [{"url": "/reviews"}]
    (target,) = (await named.http.get("/reviews/v1/metrics/targets")).json()
    assert target["labels"] == {"__metrics_path__": "/reviews/metrics"}


async def test_without_a_name_nothing_is_taken_off(service: Service) -> None:
    assert "servers" not in (await service.http.get("/openapi.json")).json()
    assert (await service.http.get("/reviews/v1/status")).status_code == 404

"""Why a window drifts as a page: whole, self-contained, and deaf to what labels, metadata and texts say."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import typer.testing

from core.drift.profile import PROFILE, Profile
from core.drift.samples import Sample, measure_texts
from core.drift_bodies import AccuracyGuess, DriftExample, DriftFinding, DriftWhy, DriftWindow, Moved
from serve.drift_page import moved_chart, page_of
from serve.pages import HEADERS
from tests.bundles import LABELS
from tests.serve.conftest import Service
from tests.serve.test_drift import _drift

_HOSTILE = '</title></style><script>alert("x")</script><img src=x onerror=alert(1)>&amp;\'\u202e\x00\ud800'
_NOW = datetime(2026, 11, 28, tzinfo=UTC)


def _report(name: str = "refund") -> DriftWhy:
    window = DriftWindow(
        window_id="w_1",
        model_version="v1",
        created_at=_NOW,
        started_at=_NOW,
        ended_at=_NOW,
        rows=500,
        seen=900,
        texts=500,
        state="drift",
        why=f"label_psi 0.4 {name}",
        findings=[
            DriftFinding(detector="label_psi", watches="outputs", verdict="drift", size=0.4, p_value=1e-4, limit=1e-3),
            DriftFinding(detector="embedding", watches="inputs", verdict="unknown", size=None, p_value=None, limit=None),
        ],
        estimate=AccuracyGuess(accuracy=0.8, low=0.75, high=0.85, rows=500),
    )
    moved = [Moved(name=f"{name} {n}", reference_ratio=None if n else 0.1, window_ratio=0.5, impact=0.3) for n in range(30)]
    example = DriftExample(prediction_id="p_1", text=f"a {name}", label=name, confidence=0.5, unlikeness=3.2)
    return DriftWhy(window=window, classes=moved, words=moved, slices=[], examples=[example])


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def _parsed(page: str) -> _Seen:
    seen = _Seen()
    seen.feed(page)
    return seen


def test_the_page_says_what_the_report_says() -> None:
    seen = _parsed(page_of(_report()))
    for told in ("Drift: v1", "label_psi", "a refund", "500 predictions of 900", "80.0%", "refund 29", "10.0% → 50.0%"):
        assert told in seen.text
    assert (seen.links, "script" in seen.tags) == ([], False)


def test_whatever_people_wrote_is_text() -> None:
    page = page_of(_report(_HOSTILE))
    seen = _parsed(page)
    assert not {"script", "img"} & seen.tags
    assert '<script>alert("x")</script>' in seen.text
    assert "\u202e" not in page
    page.encode("utf-8")


def test_pictures_are_well_formed_and_bounded() -> None:
    for rows in ([], _report(_HOSTILE).words, _report("一" * 80).words):
        picture = ElementTree.fromstring(moved_chart("Words", rows))  # noqa: S314 - our own
        assert len(picture.findall("g")) <= 12


async def test_the_route_gives_the_page_and_refuses_as_the_report_does(service: Service) -> None:
    window_id, _ = await _drift(service)
    path = f"/v1/drift/{window_id}/why.html"
    without = await service.http.get(path)
    assert (without.status_code, without.json()["code"]) == (409, "conflict")
    texts = [f"this is what was {label}" for label in LABELS] * 40
    confidences = np.full(len(texts), 0.9, dtype=np.float32)
    sample = Sample(tuple(LABELS) * 40, confidences, measure_texts(texts, lambda _: True))
    profile = Profile(sample, np.ones(len(texts), dtype=bool), {"what": 1.0})
    profile.save(service.parts.registry.path("v1") / PROFILE)
    answer = await service.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "text 19" in answer.text
    assert (await service.http.get("/v1/drift/w_nowhere/why.html")).status_code == 404
    _check_command(service)


def _check_command(service: Service) -> None:
    """Check that the command line writes the same page, and nothing without --why."""
    from deploy.cli import app

    home = service.parts.settings.home.root
    runner = typer.testing.CliRunner(env={"HONE_HOME": str(home), "COLUMNS": "200"})
    file = home / "drift.html"
    done = runner.invoke(app, ["drift", "--why", "--out", str(file)])
    assert done.exit_code == 0, done.output
    assert "text 19" in _parsed(file.read_text()).text
    assert runner.invoke(app, ["drift", "--out", str(file)]).exit_code == 2
    nowhere = runner.invoke(app, ["drift", "--why", "--out", str(home / "no" / "drift.html")])
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (1, True)

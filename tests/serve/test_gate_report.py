"""What the gate decided, as JSON and as a page: whole, self-contained, and deaf to what labels say."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from core.gate import Bin, ClassChange, GateDecision, Looks, Reliability, Rule
from core.pages import shown
from serve.gate_charts import MOST_ROWS, changes_chart
from serve.gate_page import page_of
from serve.gate_report import Change, GateReport, report_of
from serve.pages import HEADERS
from tests.bundles import register_ngram_bundle
from tests.serve.conftest import Service

_HOSTILE = '</title></style><script>alert("x")</script><img src=x onerror=alert(1)>&amp;\'\u202e\x00\ud800'


def _change(name: str, rows: int = 100, right: int = 80, better: int = 8, worse: int = 2) -> ClassChange:
    return ClassChange(
        name=name, rows=rows, champion_right=right, candidate_right=right + better - worse, better=better, worse=worse
    )


def _decision(name: str = "a label") -> GateDecision:
    bins = [Bin(rows=10, confidence=0.4, right_ratio=0.5), Bin(rows=90, confidence=0.9, right_ratio=0.95)]
    return GateDecision(
        promote=True,
        summary="passed on holdout_gain",
        champion="v1",
        rules=[
            Rule(name="holdout_gain", value=0.001, limit=0.02, kind="evidence", passed=True, why=f"recall of {name!r} rises"),
            Rule(name="size", value=3.0, limit=2.0, kind="required", passed=False, why="bytes on disk"),
        ],
        mode="approve",
        looks=Looks(holdout="0" * 64, holdout_looks=3, recent_looks=2),
        classes=[_change(name), _change("another", better=0, worse=9)],
        slices=[_change(f"length {name}")],
        holdout=_change("holdout", rows=200, right=160, better=8, worse=11),
        reliability=Reliability(champion=bins, candidate=bins),
    )


class _Reader(HTMLParser):
    """Collects what a browser would take for elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    return reader


async def test_the_report_tells_flips_and_uncertainty(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=3, decision=_decision())
    answer = await service.http.get("/v1/models/challenger/gate")
    report = GateReport.model_validate_json(answer.content)
    assert (report.version, report.champion, report.standing, report.looks.holdout_looks) == ("v2", "v1", "waiting", 3)
    assert report.flips is not None
    assert report.flips.model_dump() == {"both_right": 149, "better": 8, "worse": 11, "both_wrong": 32}
    better, worse = report.classes
    assert better.gain_ratio == pytest.approx(0.06)
    assert better.low_ratio is not None
    assert better.high_ratio is not None
    assert 0 < better.low_ratio < 0.06 < better.high_ratio
    assert worse.high_ratio is not None
    assert worse.high_ratio < 0
    assert report.decision_hash == service.parts.registry.decision_hash("v2")


async def test_the_page_is_served_under_a_policy_that_lets_nothing_in(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=3, decision=_decision())
    answer = await service.http.get("/v1/models/v2/gate.html")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    reader = _read(answer.text)
    assert reader.tags & {"script", "link", "img", "iframe", "object", "form"} == set()
    assert not {name for name in reader.attributes if name in ("style", "src", "href") or name.startswith("on")}
    assert "http" not in answer.text.replace("http-equiv", "")
    words = "".join(reader.words)
    for expected in ("passed on holdout_gain", "waits for a person", "holdout_gain", "a label", "length a label", "Look 3"):
        assert expected in words
    # Signed, it says by whom.
    await service.post("/v1/models/v2/approve", {"approve": True, "reason": "read <b>it</b>", "by": "ada"})
    signed = (await service.http.get("/v1/models/v2/gate.html")).text
    assert "ada (local)" in signed
    assert "read &lt;b&gt;it&lt;/b&gt;" in signed


async def test_the_page_says_what_a_look_counts_where_that_is_less(service: Service) -> None:
    decision = _decision()
    light = decision.looks.model_copy(update={"holdout_weight": 0.1, "holdout_weights": 1.3})
    register_ngram_bundle(service.parts.registry, seed=3, decision=decision.model_copy(update={"looks": light}))
    words = "".join(_read((await service.http.get("/v1/models/v2/gate.html")).text).words)
    assert "At the holdout this one counts 0.1, and all together 1.3: what people said does not speak for this head." in words
    assert (await service.http.get("/v1/models/v2/gate")).json()["looks"]["holdout_weight"] == 0.1


@pytest.mark.parametrize("version", ["v1", "v9"])
async def test_what_the_gate_was_not_asked_about_has_no_report(service: Service, version: str) -> None:
    for end in ("gate", "gate.html"):
        answer = await service.http.get(f"/v1/models/{version}/{end}")
        assert (answer.status_code, answer.json()["code"]) in ((404, "not_found"), (404, "unknown_version"))


async def test_a_label_is_only_ever_text(service: Service) -> None:
    register_ngram_bundle(service.parts.registry, seed=3, decision=_decision("a label"))
    told = report_of(service.parts.registry, "v2")
    hostile = told.model_copy(
        update={
            "summary": _HOSTILE,
            "classes": [change.model_copy(update={"name": _HOSTILE}) for change in told.classes],
            "slices": [change.model_copy(update={"name": _HOSTILE}) for change in told.slices],
            "rules": [rule.model_copy(update={"why": _HOSTILE}) for rule in told.rules],
        }
    )
    plain, changed = _read(page_of(told)), _read(page_of(hostile))
    assert (changed.tags, changed.attributes) == (plain.tags, plain.attributes)
    assert 'alert("x")' in "".join(changed.words)
    page_of(hostile).encode("utf-8")
    for picture in re.findall(r"<svg.*?</svg>", page_of(hostile), re.DOTALL):
        ElementTree.fromstring(picture)  # noqa: S314 - made here a moment ago


def test_text_that_is_no_text_is_shown_as_such() -> None:
    assert shown("a\x00b\ud800c") == "a\ufffdb?c"
    assert shown("a\u202eb\u2066") == "a\ufffdb\ufffd"
    assert shown("中文 и <i> \u0645\u200c\u0628") == "中文 и &lt;i&gt; \u0645\u200c\u0628"


def test_of_many_labels_the_picture_shows_those_that_moved_most() -> None:
    changes = [
        Change.of(_change(f"label {number}", better=number, worse=60 - number, rows=200, right=100)) for number in range(61)
    ]
    picture = changes_chart(changes, "Labels")
    assert picture.count("<circle") == MOST_ROWS
    assert "label 0:" in picture
    assert "label 60:" in picture
    assert "label 30:" not in picture


def test_decisions_of_earlier_releases_have_a_page() -> None:
    old = ClassChange.model_validate({"name": "a", "rows": 10, "champion_right": 5, "candidate_right": 7})
    change = Change.of(old)
    assert (change.gain_ratio, change.low_ratio, change.high_ratio) == (0.2, None, None)
    assert "a:" in changes_chart([change], "Labels")
    assert "default-src 'none'" in HEADERS["content-security-policy"]

"""The pages load nothing from elsewhere and never read text as markup."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from typing import get_args
from urllib.parse import urljoin

import pytest

from core.bundle import Features
from core.drift_bodies import AlarmState, DriftFinding, DriftState
from core.gate import Rule
from core.history_bodies import EventKind
from core.moves import Action, Standing
from core.quality_bodies import Stratum
from core.registry import Aliases
from core.rollouts import STATES
from core.schemas import RunSpeed, RunState, Source, Trigger
from feedback.replicas import ReplicaState
from tests.serve.conftest import Service

PAGES = ("/", "/docs")


def _sources(suffix: str) -> dict[str, str]:
    folder = files("serve") / "console"
    return {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(suffix)}


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_whole_and_strict(service: Service, path: str) -> None:
    response = await service.http.get(path)
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    linked = re.findall(r'(?:src|href)="([^"#]+)"', response.text)
    assert linked
    for link in linked:
        # From where the page lies, which is below a name where several classifiers share an address.
        assert not re.match("[a-z]*:|/", link), link
        assert (await service.http.get(urljoin(path, link))).status_code == 200, link


def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup() -> None:
    for name, text in (_sources(".html") | _sources(".css") | _sources(".js")).items():
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\bstyle=|\bon\w+=", text), name


def test_what_others_wrote_is_as_they_published_it_and_asks_nobody_for_anything() -> None:
    folder = files("serve") / "console" / "vendor"
    told = re.findall(r"^    ([0-9a-f]{64}  \S+)$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    lying = {f"{one.name}/{file.name}": file.read_bytes() for one in folder.iterdir() if one.is_dir() for file in one.iterdir()}
    assert [f"{hashlib.sha256(lying[name]).hexdigest()}  {name}" for name in sorted(lying)] == told
    script = lying["uplot/uPlot.iife.min.js"].decode()
    assert f"(v{json.loads(lying['uplot/package.json'])['version']})" in script[:100]
    assert b"The MIT License (MIT)" in lying["uplot/LICENSE"]
    asks = r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|import|eval|Function)\b\s*\("
    assert not re.search(f"{asks}|innerHTML|outerHTML|insertAdjacentHTML|document\\.write", script)
    assert "url(" not in lying["uplot/uPlot.min.css"].decode()


async def test_what_is_below_the_console_is_served_and_nothing_beside_it(service: Service) -> None:
    script = await service.http.get("/console/vendor/uplot/uPlot.iife.min.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "default-src 'none'" in script.headers["content-security-policy"]
    for path in ("vendor/uplot/LICENSE", "vendor/README.md", "vendor", "vendor/..%2fapp.js", "..%2fapp.py", "/app.js"):
        assert (await service.http.get(f"/console/{path}")).status_code == 404, path


def test_both_languages_say_the_same_things() -> None:
    words = _sources(".js")["words.js"]
    english, chinese = words.split("zh: {")
    keys = re.compile(r'^\s+"?([\w.-]+)"?:\s*["\'`]', re.MULTILINE)
    assert keys.findall(english)
    assert keys.findall(english) == keys.findall(chinese)


def test_every_word_that_is_asked_for_is_there() -> None:
    words = _sources(".js").pop("words.js")
    known = set(re.findall(r"^    (\w+):", words, re.MULTILINE))
    asked = {name for text in _sources(".js").values() for name in re.findall(r'\bword\("(\w+)"', text)}
    asked |= set(re.findall(r'data-word="(\w+)"', _sources(".html")["index.html"]))
    assert asked <= known
    # What is named by a value of the service's: a new one must not leave a hole in the page.
    values = {
        "source": get_args(Source),
        "run": get_args(RunState),
        "trigger": get_args(Trigger),
        "speed": get_args(RunSpeed),
        "alias": tuple(Aliases.model_fields),
        "move": get_args(Action),
        "standing": get_args(Standing),
        "rollout": STATES,
        "replica": get_args(ReplicaState),
        "event": get_args(EventKind),
        "drift": get_args(DriftState),
        "alarm": get_args(AlarmState),
        "watches": get_args(DriftFinding.model_fields["watches"].annotation),
        "features": get_args(Features),
        "rule": get_args(Rule.model_fields["kind"].annotation),
        "stratum": get_args(Stratum),
        "why": get_args(Stratum),
    }
    assert {f"{kind}_{value}" for kind, found in values.items() for value in found} <= known

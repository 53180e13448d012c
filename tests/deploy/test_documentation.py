"""The documentation is built with warnings as errors, has every page, and needs no network to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy.reference import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))


class _Loaded(HTMLParser):
    """Collects what a browser loads by itself: scripts, styles, pictures, fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = tag in ("script", "img", "iframe", "source") or (
            tag == "link" and given.get("rel") in ("stylesheet", "preload")
        )
        address = given.get("src") or given.get("href")
        if loads and address:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the built pages."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_found_from_the_menu(site: Path) -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        name = str(page.relative_to(ROOT / "docs"))
        assert (site / name).with_suffix(".html").exists(), name
        assert re.search(rf"- {re.escape(name)}$", menu, re.MULTILINE), f"{name} is not in the menu of mkdocs.yml"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        reader = _Loaded()
        reader.feed(page.read_text(encoding="utf-8"))
        assert reader.addresses, page
        assert [address for address in reader.addresses if "//" in address] == [], page


def test_it_can_be_searched_without_a_server(site: Path) -> None:
    assert "gate" in (site / "search" / "search_index.js").read_text(encoding="utf-8")


def test_every_decision_says_what_holds_what_else_there_was_and_what_it_costs() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    index = (ROOT / "docs" / "adr" / "index.md").read_text(encoding="utf-8")
    assert [int(page.name[:4]) for page in decisions] == list(range(1, len(decisions) + 1))
    for page in decisions:
        text = page.read_text(encoding="utf-8")
        parts = [text.index(f"**{name}.**") for name in ("Holds", "Decision", "Instead", "Costs")]
        assert parts == sorted(parts), page
        title = text.splitlines()[0].removeprefix("# ")
        assert f"[{title}]({page.name})" in index

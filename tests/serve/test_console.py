"""The pages load nothing from elsewhere and never read text as markup."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

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
        assert link.startswith("/"), link
        assert (await service.http.get(link)).status_code == 200, link


def test_nothing_comes_from_elsewhere_and_no_text_becomes_markup() -> None:
    for name, text in (_sources(".html") | _sources(".css") | _sources(".js")).items():
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\bstyle=|\bon\w+=", text), name


def test_both_languages_say_the_same_things() -> None:
    words = _sources(".js")["words.js"]
    english, chinese = words.split("zh: {")
    keys = re.compile(r'^\s+"?([\w.-]+)"?:\s*["\'`]', re.MULTILINE)
    assert keys.findall(english)
    assert keys.findall(english) == keys.findall(chinese)

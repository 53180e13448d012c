"""The examples of docs/clients.md, run against a real replica."""

from __future__ import annotations

import re

import pytest

from core.settings import Settings
from deploy.reference import ROOT

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_an_example_of_every_python_way() -> None:
    for way in ("Client(", "AsyncClient(", "httpx.post(", "InferenceClient(", "InferenceServerClient("):
        assert any(way in example for example in EXAMPLES), way


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_run(service: Settings, example: str) -> None:
    assert "127.0.0.1:8321" in example
    code = example.replace("127.0.0.1:8321", service.url.removeprefix("http://"))
    exec(compile(code, "docs/clients.md", "exec"), {"__name__": "example"})  # noqa: S102 - our own page

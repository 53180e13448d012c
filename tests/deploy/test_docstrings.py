"""The examples in the docstrings of every room are true; core's have a test beside them."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_ROOMS = ("feedback", "serve", "train", "deploy", "load_tests")
_MODULES = sorted(
    ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    for room in _ROOMS
    for path in (_ROOT / room).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", _MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0

"""The examples in the docstrings of core are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

import core

_MODULES = sorted(module.name for module in pkgutil.iter_modules(core.__path__, "core."))
# Pure functions whose example is part of their documentation.
_WITH_EXAMPLES = {"core.batches", "core.gate_statistics", "core.labels", "core.text"}


@pytest.mark.parametrize("name", _MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0
    assert (results.attempted > 0) >= (name in _WITH_EXAMPLES)


@pytest.mark.parametrize("name", _MODULES)
def test_every_module_and_public_name_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    own = {key: value for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    for key, value in own.items():
        if key.startswith("_") or not callable(value):
            continue
        assert value.__doc__, f"{name}.{key}"
        for member in vars(value) if isinstance(value, type) else ():
            if not member.startswith("_") and (callable(getattr(value, member)) or isinstance(vars(value)[member], property)):
                assert inspect.getdoc(getattr(value, member)), f"{name}.{key}.{member}"

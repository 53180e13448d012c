"""Every sentence that the service says on the console has a form in Chinese, and every error code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from core.errors import HoneError

_ROOT = Path(__file__).parents[2]
_TEXT = (files("serve") / "console" / "sentences.js").read_text(encoding="utf-8")
_PAIR = re.compile(r'\["((?:[^"\\]|\\.)*)", "((?:[^"\\]|\\.)*)"\]')
FORMS = dict(_PAIR.findall(_TEXT.partition("const ERRORS")[0]))
ERRORS = dict(re.findall(r'^  (\w+): "([^"]+)",$', _TEXT.partition("const ERRORS")[2], re.MULTILINE))
# Where sentences are made that the console shows.
_MODULES = (
    "core/gate.py",
    "core/gate_evidence.py",
    "core/gate_rules.py",
    "feedback/drift_report.py",
    "feedback/suspicion.py",
    "train/choosing.py",
    "train/drift_watch.py",
    "train/foresight.py",
    "train/holding.py",
    "train/orphans.py",
    "train/triggers.py",
)
# Parts of sentences, each of which stands in a form with the rest of it.
_PARTS = {
    "{} points, at worst {}",
    "; recent traffic gains {} points at least",
    "; recent traffic is answered better, and of this {} points are no chance",
    "{}, so likelier is not better",
    "{} points on the holdout, at best {}",
    "against {}, the best that served: {}",
    "{} points on {}, where it gains most",
    "recent predictions",
    "new labels",
    "the holdout",
    "full: {}{}",
    ", with a drift alarm open",
    "head: {}, but {} new labelled texts are too few{}; {} are needed",
    " after {} in vain",
    "the last {} failed or changed nothing; waiting {} s after it",
    "{} runs",
    "{} {}{}",
    " (p = {})",
    "{}; {}",
    "a run is {}",
    "of {} holdout rows it puts {} right and {} wrong: {}",
    "; {}",
    "{} when it had registered {}, before it promoted it",
}


def _template(node: ast.AST) -> str | None:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _aside(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what nobody is told: docstrings, errors and log lines, which have their own, and descriptions of fields."""
    for node in ast.walk(tree):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Raise | ast.JoinedStr) or called in ("Field", "RuntimeError") or called.startswith("log."):
            yield from (part for part in ast.walk(node) if part is not node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def sentences_of(module: str) -> set[str]:
    """Return the sentences made in a module, with ``{}`` for their values."""
    tree = ast.parse((_ROOT / module).read_text(encoding="utf-8"))
    aside = set(map(id, _aside(tree)))
    found = {_template(node) for node in ast.walk(tree) if id(node) not in aside}
    return {text for text in found if text is not None and text.strip().count(" ") >= 1}


@pytest.mark.parametrize("module", _MODULES)
def test_every_sentence_has_its_form(module: str) -> None:
    found = sentences_of(module)
    assert found
    assert found - _PARTS - FORMS.keys() == set()


def test_every_form_keeps_its_values() -> None:
    assert len(FORMS) == len(_PAIR.findall(_TEXT.partition("const ERRORS")[0]))
    for form, chinese in FORMS.items():
        places = [int(place) for place in re.findall(r"\{(\d)\}", chinese)]
        assert sorted(places) == list(range(form.count("{}"))), form
        assert re.search(r"[\u4e00-\u9fff]", chinese), form


def test_every_error_is_told_by_its_code() -> None:
    def codes(kind: type[HoneError]) -> set[str]:
        return {kind.code}.union(*(codes(child) for child in kind.__subclasses__()))

    # What keeps a stack from starting is told where it is started.
    stack = {"stack", "port_in_use", "home_unusable", "home_locked", "exposed"}
    assert ERRORS.keys() == codes(HoneError) - stack

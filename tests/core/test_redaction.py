"""Personal data is found where it is and nowhere else, on a written set of texts in English and Chinese."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.redaction import KINDS, Found, Redactor, redactor_of

_MARK = re.compile(r"⟦(\w+)\|(.*?)⟧")
_PAGE = Path(__file__).parents[2] / "docs" / "privacy.md"


def _case(line: str) -> tuple[str, set[Found]]:
    text, wanted, end = "", set(), 0
    for mark in _MARK.finditer(line):
        text += line[end : mark.start()]
        wanted.add(Found(len(text), len(text) + len(mark[2]), mark[1]))
        text += mark[2]
        end = mark.end()
    return text + line[end:], wanted


def _cases(name: str) -> list[tuple[str, set[Found]]]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [_case(line) for line in lines if not line.startswith("#")]


def _measured(cases: list[tuple[str, set[Found]]]) -> dict[str, tuple[int, float, float]]:
    """Return how often each kind stands in ``cases``, and with which precision and recall it is found, places exact."""
    redactor = Redactor()
    right: Counter[str] = Counter()
    found: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for text, marked in cases:
        got = set(redactor.find(text))
        right.update(place.kind for place in got & marked)
        found.update(place.kind for place in got)
        wanted.update(place.kind for place in marked)
    return {kind: (wanted[kind], right[kind] / found[kind], right[kind] / wanted[kind]) for kind in KINDS}


@pytest.mark.parametrize(("name", "least"), [("redaction_cases.txt", 0.95), ("redaction_held_out.txt", 0.8)])
def test_precision_and_recall_are_those_the_documentation_states(name: str, least: float) -> None:
    page = _PAGE.read_text(encoding="utf-8")
    for kind, (count, precision, recall) in _measured(_cases(name)).items():
        assert min(precision, recall) >= least, kind
        assert f"| `{kind}` | {count} | {precision:.3f} | {recall:.3f} |" in page


@pytest.mark.parametrize("name", ["redaction_cases.txt", "redaction_held_out.txt"])
def test_a_quarter_of_a_set_at_least_has_nothing_to_find(name: str) -> None:
    cases = _cases(name)
    assert sum(not marked for _, marked in cases) >= len(cases) / 4


def test_what_is_found_is_replaced_by_its_kind() -> None:
    text = "张伟 13812345678, zw@example.com, 192.0.2.7, 4111 1111 1111 1111, 510107200002291232"
    assert Redactor().redact(text) == "张伟 [PHONE], [EMAIL], [IP], [CARD], [NATIONAL_ID]"


def test_kinds_can_be_chosen() -> None:
    assert Redactor(["email"]).redact("a@example.com 192.0.2.7") == "[EMAIL] 192.0.2.7"
    assert not Redactor([]).finds_something


def test_own_patterns_come_first_and_in_values_of_json_too() -> None:
    redactor = Redactor(patterns={"order": r"ORD-\d+", "member": r"会员\d+"})
    value = {"note": ["ORD-77 for a@example.com", {"a@example.com": 5}], "rows": None, "who": "会员4111111111111111"}
    assert redactor.redact_json(value) == {
        "note": ["[ORDER] for [EMAIL]", {"[EMAIL]": 5}],
        "rows": None,
        "who": "[MEMBER]",
    }


@pytest.mark.parametrize(
    ("kinds", "patterns", "regions", "said"),
    [
        ("email,face", "", "CN", "face is no kind"),
        ("all", '{"x": "("}', "CN", "no regular expression"),
        ("all", '{"X Y": "a"}', "CN", "no name of a pattern"),
        ("all", '{"word": "[A-Z]+"}', "CN", "its own replacement"),
        ("all", '["a"]', "CN", "JSON object"),
        ("all", "{", "CN", ""),
        ("all", "", "XX", "no region"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(kinds: str, patterns: str, regions: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        redactor_of(kinds, patterns, regions)


_PIECES = st.sampled_from(
    ["ada@example.com", "+44 20 7946 0958", "4111111111111111", "192.0.2.7", "13812345678", "::", "1.2.3.4"]
)


@given(st.lists(st.one_of(st.text(max_size=20), _PIECES, st.from_regex(r"[0-9 .:@+()\-]{0,30}", fullmatch=True)), max_size=6))
@example(["1000000000", "44200000000 0"])
def test_places_are_in_order_and_redacting_again_changes_nothing(pieces: list[str]) -> None:
    redactor = Redactor()
    text = " ".join(pieces)
    places = redactor.find(text)
    assert all(before.end <= after.start for before, after in pairwise(places))
    assert all(0 <= place.start < place.end <= len(text) for place in places)
    once = redactor.redact(text)
    assert redactor.redact(once) == once

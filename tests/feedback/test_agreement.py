"""Krippendorff's alpha against the worked example of its author."""

from __future__ import annotations

import pytest

from feedback.agreement import alpha, alpha_by_annotator, alpha_by_label

# K. Krippendorff (2011), section C: four observers, twelve units, values missing.
_OBSERVERS = ("123321412...", "12332241250 3".replace("0 ", "."), ".33323422 51.".replace(" ", ""), "12332441251.")


def _units() -> list[list[str]]:
    return [[column for column in unit if column != "."] for unit in zip(*_OBSERVERS, strict=True)]


def test_the_worked_example_comes_out_as_published() -> None:
    assert [len(line) for line in _OBSERVERS] == [12] * 4
    assert alpha(_units()) == pytest.approx(0.743, abs=5e-4)


def test_agreement_of_one_label_is_that_of_yes_and_no() -> None:
    units = dict(enumerate(_units()))
    for label, found in alpha_by_label(units).items():
        assert found == pytest.approx(alpha([[value == label for value in unit] for unit in units.values()]))


def test_who_always_differs_has_an_agreement_below_chance() -> None:
    units = {number: [("ann", "ab"[number % 2]), ("ben", "ab"[number % 2]), ("eve", "ba"[number % 2])] for number in range(10)}
    found = alpha_by_annotator(units)
    assert found["eve"] is not None
    assert found["ann"] is not None
    assert found["eve"] < -0.5 < found["ann"]


def test_nothing_is_said_where_nothing_can_be_said() -> None:
    assert alpha([]) is None
    assert alpha([["a"], ["b"]]) is None
    assert alpha([["a", "a"]]) is None
    assert alpha_by_annotator({1: [("ann", "a")]}) == {"ann": None}

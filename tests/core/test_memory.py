"""The memory and its neighbours: bounded, and equal to looking through everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.memory import Lesson, Memory
from core.neighbours import NeighbourIndex, nearest


def _lesson(key: str, label: str = "a", sequence: int = 1) -> Lesson:
    return Lesson(key, f"text {key}", label, sequence, f"c_{sequence}", (sequence,))


_OPERATIONS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["put", "forget"])), max_size=60)


@given(operations=_OPERATIONS, most=st.integers(0, 4))
def test_a_memory_holds_the_newest_lessons_and_no_more_than_it_may(operations: list[tuple[str, str]], most: int) -> None:
    memory, expected = Memory(most), dict[str, int]()
    for sequence, (key, action) in enumerate(operations, 1):
        if action == "forget":
            assert memory.forget(key) == (key in expected)
            expected.pop(key, None)
            continue
        left = memory.put(_lesson(key, sequence=sequence))
        expected[key] = sequence
        gone = sorted(expected, key=expected.__getitem__)[: max(0, len(expected) - most)]
        assert left == gone
        for old in gone:
            del expected[old]
    assert {key: lesson.sequence for key, lesson in memory.lessons.items()} == expected


def test_a_lesson_that_is_told_again_is_as_young_as_its_last_telling() -> None:
    memory = Memory(2)
    memory.put(_lesson("a", sequence=1))
    memory.put(_lesson("b", sequence=2))
    memory.put(_lesson("a", "b", sequence=3))
    assert memory.put(_lesson("c", sequence=4)) == ["b"]
    told = memory.get("a")
    assert told is not None
    assert told.label == "b"


_MATRICES = st.integers(0, 10_000).map(
    lambda seed: (
        np.random.default_rng(seed).uniform(-1, 1, (3, 7)).round(1).astype(np.float32),
        np.random.default_rng(seed + 1).integers(0, 3, 7),
    )
)


@given(drawn=_MATRICES, least=st.sampled_from([0.3, 0.5, 0.8]))
def test_a_text_is_answered_by_its_nearest_unless_one_as_near_says_otherwise(
    drawn: tuple[np.ndarray, np.ndarray], least: float
) -> None:
    similarities, codes = drawn
    found = nearest(similarities, codes)
    for row, answers in enumerate(found.answers(least)):
        near = [(similarity, code) for similarity, code in zip(similarities[row], codes, strict=True) if similarity >= least]
        assert answers == (len({code for _, code in near}) == 1)
        if answers:
            assert codes[found.places[row]] == near[0][1]


@settings(max_examples=50)
@given(operations=st.lists(st.tuples(st.integers(0, 90), st.sampled_from(["a", "b"]), st.booleans()), max_size=250))
def test_an_index_finds_what_looking_through_all_would_find(operations: list[tuple[int, str, bool]]) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(91, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index, held = NeighbourIndex(8), dict[str, tuple[int, str]]()
    for number, label, forgets in operations:
        key = str(number)
        if forgets:
            index.forget(key)
            held.pop(key, None)
        else:
            index.put(_lesson(key, label), vectors[number])
            held[key] = number, label
    assert index.keys() == set(held)
    asked = vectors[:10]
    for embedding, near in zip(asked, index.view().find(asked, 0.4), strict=True):
        close = {key: (float(embedding @ vectors[at]), label) for key, (at, label) in held.items()}
        close = {key: value for key, value in close.items() if value[0] >= 0.4}
        if len({label for _, label in close.values()}) != 1:
            assert near is None
            continue
        assert near is not None
        assert near.similarity == pytest.approx(max(similarity for similarity, _ in close.values()), abs=1e-6)


def test_what_is_forgotten_leaves_no_vector_in_views_that_were_given_out() -> None:
    index = NeighbourIndex(2)
    index.put(_lesson("a"), np.array([1.0, 0.0], dtype=np.float32))
    view = index.view()
    assert view.find(np.array([[1.0, 0.0]], dtype=np.float32), 0.9) != [None]
    index.forget("a")
    assert not view.vectors.any()
    assert index.view().find(np.array([[1.0, 0.0]], dtype=np.float32), 0.9) == [None]


def test_a_text_that_is_told_anew_keeps_its_vector_and_one_without_is_near_to_nothing() -> None:
    index = NeighbourIndex(2)
    asked = np.array([[1.0, 0.0]], dtype=np.float32)
    index.put(_lesson("a"), asked[0])
    index.put(_lesson("a", "b"))
    index.put(_lesson("unread"))
    (near,) = index.view().find(asked, 0.9)
    assert near is not None
    assert near.lesson.label == "b"


def test_what_is_told_again_and_again_takes_no_more_room() -> None:
    memory = Memory(10)
    for _ in range(50):
        for number in range(10):
            assert memory.put(_lesson(f"k{number}", sequence=number)) == []
    assert len(memory._ages) == 10
    for sequence in range(10, 500):
        memory.put(_lesson("k3", sequence=sequence))
    assert len(memory._ages) <= 2 * 10 + 16
    assert memory.put(_lesson("another", sequence=500)) == ["k0"]

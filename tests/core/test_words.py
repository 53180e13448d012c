"""Parts of a text: nothing but white space lies between them, and whatever belongs together stays so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.words import group_parts, keep_parts, split_parts

texts = st.text(max_size=60) | st.text(alphabet="ab ,.!'\u200d😀👍🏽é\u0301好กำ\u0627\u064bא", max_size=40)


@given(texts)
def test_parts_hold_all_but_white_space_in_order(text: str) -> None:
    parts = split_parts(text)
    ends = [0]
    for start, end in parts:
        assert ends[-1] <= start < end
        assert text[ends[-1] : start].strip() == ""
        assert text[start:end].split() == [text[start:end]]
        ends.append(end)
    assert text[ends[-1] :].strip() == ""


@given(texts, st.integers(1, 40))
def test_groups_are_few_even_and_hold_every_part(text: str, most: int) -> None:
    parts = split_parts(text)
    groups = group_parts(parts, most)
    assert len(groups) == min(most, len(parts))
    members = [sum(low <= start and end <= high for start, end in parts) for low, high in groups]
    assert sum(members) == len(parts)
    assert not members or max(members) - min(members) <= 1


@given(texts, st.integers(1, 12), st.data())
def test_taking_parts_out_leaves_the_others_as_they_are(text: str, most: int, data: st.DataObject) -> None:
    parts = group_parts(split_parts(text), most)
    assert keep_parts(text, parts, (1 << len(parts)) - 1) == (text if parts else "")
    assert keep_parts(text, parts, 0) == ""
    kept = data.draw(st.integers(0, (1 << len(parts)) - 1))
    left = keep_parts(text, parts, kept)
    place = 0
    for number, (start, end) in enumerate(parts):
        if kept >> number & 1:
            place = left.index(text[start:end], place) + end - start
    outside = [text[start:end] for number, (start, end) in enumerate(parts) if not kept >> number & 1]
    assert len("".join(left.split())) == len("".join(text.split())) - sum(len("".join(part.split())) for part in outside)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I can't log-in!", ["I", "can't", "log-in!"]),
        ("(hello) world…", ["(hello)", "world…"]),
        ("这个手机，很好！", ["这", "个", "手", "机，", "很", "好！"]),
        ("カードが使えない", ["カ", "ー", "ド", "が", "使", "え", "な", "い"]),
        ("카드가 안 돼요", ["카드가", "안", "돼요"]),
        ("iPhone手机", ["iPhone", "手", "机"]),
        ("great😍😍 stuff👍🏽", ["great", "😍😍", "stuff", "👍🏽"]),
        ("👨‍👩‍👧 ❤️", ["👨‍👩‍👧", "❤️"]),
        ("بطاقتي لا تعمل", ["بطاقتي", "لا", "تعمل"]),
        ("הַכַּרְטִיס שלי", ["הַכַּרְטִיס", "שלי"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("\u0301", ["\u0301"]),
        ("$5 <b>x</b>", ["$5", "<b>x</b>"]),
        ("  \n\t ", []),
        ("", []),
    ],
)
def test_parts_are_what_a_person_would_point_at(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in split_parts(text)] == expected

"""The audit trail is only ever added to, and shows it when somebody has done anything else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from core.errors import TrailBroken
from feedback.store import Store


def _change(url: str, *statements: str, allowed: bool = False) -> None:
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        if allowed and connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER trail_UPDATE"))
            connection.execute(text("DROP TRIGGER trail_DELETE"))
        elif allowed:
            connection.execute(text("DROP TRIGGER trail_append_only ON trail"))
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_entries_are_told_newest_first_and_in_pages(store: Store) -> None:
    for number in range(3):
        store.record("ada", f"act {number}", "v1", {"n": number})
    page = store.trail_entries(2)
    assert [entry.action for entry in page.entries] == ["act 2", "act 1"]
    assert [entry.details for entry in store.trail_entries(2, page.next_before).entries] == [{"n": 0}]


def test_entries_of_many_at_once_make_one_chain(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.record("a", f"act {number}"), range(40)))
    proof = store.verify_trail()
    assert proof.entries == 40
    store.record("b", "later")
    assert store.verify_trail(proof.last_hash).entries == 41


@pytest.mark.parametrize("statement", ["UPDATE trail SET actor = 'x'", "DELETE FROM trail"])
def test_the_database_itself_refuses_to_change_an_entry(store: Store, store_url: str, statement: str) -> None:
    store.record("ada", "promote", "v2")
    with pytest.raises(DBAPIError, match="append-only"):
        _change(store_url, statement)
    assert store.verify_trail().entries == 1


@pytest.mark.parametrize(
    ("statements", "whole"),
    [
        (["UPDATE trail SET actor = 'ben' WHERE sequence = 2"], 1),
        (["UPDATE trail SET at = '2020-01-01 00:00:00.000000' WHERE sequence = 3"], 2),
        (["UPDATE trail SET details = '{}' WHERE sequence = 1"], 0),
        (["DELETE FROM trail WHERE sequence = 2"], 1),
        (["DELETE FROM trail WHERE sequence = 2", "UPDATE trail SET sequence = 2 WHERE sequence = 3"], 1),
    ],
)
def test_whoever_gets_round_that_is_found_out(store: Store, store_url: str, statements: list[str], whole: int) -> None:
    for number in range(3):
        store.record("ada", "act", str(number), {"n": number})
    _change(store_url, *statements, allowed=True)
    with pytest.raises(TrailBroken, match=f"up to entry {whole};"):
        store.verify_trail()


def test_a_trail_that_was_cut_is_found_out_by_a_hash_that_was_noted(store: Store, store_url: str) -> None:
    store.record("ada", "first")
    noted = store.record("ada", "second").hash
    _change(store_url, "DELETE FROM trail WHERE sequence = 2", allowed=True)
    assert store.verify_trail().entries == 1
    with pytest.raises(TrailBroken, match="cut"):
        store.verify_trail(noted)

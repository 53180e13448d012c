"""Random digits: each given out once, whoever asks."""

from __future__ import annotations

import os
import threading

from hypothesis import given
from hypothesis import strategies as st

from core.random_ids import RandomHex


@given(st.lists(st.integers(1, 10_000), max_size=30))
def test_it_is_always_as_many_hexadecimal_digits_as_were_asked_for(lengths: list[int]) -> None:
    random_hex = RandomHex()
    for length in lengths:
        digits = random_hex(length)
        assert len(digits) == length
        assert set(digits) <= set("0123456789abcdef")


def test_no_digits_are_given_out_twice_by_several_threads() -> None:
    random_hex = RandomHex()
    found: list[list[str]] = [[] for _ in range(4)]

    def take(own: list[str]) -> None:
        own.extend(random_hex(32) for _ in range(2_000))

    threads = [threading.Thread(target=take, args=(own,)) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({name for own in found for name in own}) == 8_000


def test_a_forked_process_does_not_give_out_what_its_parent_does() -> None:
    random_hex = RandomHex()
    random_hex(32)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, random_hex(32).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 32).decode()
    os.close(reading)
    os.close(writing)
    assert told != random_hex(32)

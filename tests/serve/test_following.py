"""A look that fails is not the last."""

from __future__ import annotations

import asyncio
import logging

import pytest

from serve.following import follow


async def test_a_look_that_fails_is_told_of_and_followed_by_another(caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []

    async def look() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise OSError("the disk is away")

    async def pause() -> None:
        if len(looks) == 3:
            raise asyncio.CancelledError

    with caplog.at_level(logging.ERROR, "hone.serve"), pytest.raises(asyncio.CancelledError):
        await follow(look, pause, "following the moon failed")
    assert looks == [0, 1, 2]
    assert [record.message for record in caplog.records] == ["following the moon failed"]

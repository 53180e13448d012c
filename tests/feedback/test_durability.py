"""What was acknowledged is there after the process was killed."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from core.schemas import CorrectionRequest
from feedback.store import Store

_ROUNDS = 10
_ROOT = Path(__file__).parents[2]
# Four threads send corrections for ever; each line on stdout is one answer, written after add_correction returned.
_CORRECT_FOR_EVER = """
import itertools, os, sys, threading
from core.schemas import CorrectionRequest
from feedback.store import Store
store = Store.open(sys.argv[1])
numbers = itertools.count()
def send():
    while True:
        key = f"{sys.argv[2]}-{next(numbers)}"
        answer = store.add_correction(CorrectionRequest(text=key, label="x"), idempotency_key=key)
        os.write(1, f"{key} {answer.correction_id}\\n".encode())
for thread in [threading.Thread(target=send) for _ in range(4)]:
    thread.start()
"""


def _answers_until_killed(store_url: str, number: int, lines: int) -> list[tuple[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CORRECT_FOR_EVER, store_url, str(number)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    # What was acknowledged between the last line read and the kill counts as well; only half a line does not.
    seen += [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    key_and_id = [line.split() for line in seen]
    return [(key, correction_id) for key, correction_id in key_and_id]


@pytest.mark.integration
def test_acknowledged_corrections_survive_kill_9(store_url: str) -> None:
    chance = random.Random(7)  # noqa: S311 - when to kill, not a secret
    acknowledged: list[tuple[str, str]] = []
    for number in range(_ROUNDS):
        acknowledged += _answers_until_killed(store_url, number, chance.randint(1, 40))
    store = Store.open(store_url)
    kept = store.training_corrections()
    assert {key for key, _ in acknowledged} <= {word.text for word in kept}
    # The key was kept together with the correction: sending again is answered with the first id and adds nothing.
    before = store.correction_count()
    for key, correction_id in acknowledged:
        again = store.add_correction(CorrectionRequest(text=key, label="x"), idempotency_key=key)
        assert again.correction_id == correction_id
    assert store.correction_count() == before == len(kept)
    store.close()

"""Processes that write to one store and are killed at random: what was acknowledged has to be there, once.

``python -m load_tests.kills --rounds 200`` runs the long series, on SQLite or with ``--store-url`` on PostgreSQL. A process has
four threads that send corrections, by text and by prediction id, and a prediction log that writes beside them.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from core.schemas import CorrectionRequest
from feedback.store import Store

_ROOT = Path(__file__).parents[1]
# Each line on stdout is one acknowledgement: its key, what it corrects, its id. It is written after add_correction returned.
_WRITE_FOR_EVER = """
import itertools, os, sys, threading
from pathlib import Path
from uuid import uuid4
from core.schemas import CorrectionRequest
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from load_tests.rows import prediction_rows

url, folder, mark = sys.argv[1:]
store, log = Store.open(url), PredictionLog(Store(url), Path(folder))
numbers = itertools.count()

def send():
    while True:
        number = next(numbers)
        key = f"{mark}-{number}"
        request = CorrectionRequest(text=key, label="x")
        if number % 3 == 0:
            (record,) = prediction_rows(1, first=number, mark=mark)
            store.log_predictions([record])
            request = CorrectionRequest(prediction_id=record.prediction_id, label="x")
        answer = store.add_correction(request, idempotency_key=key)
        os.write(1, f"{key} {request.prediction_id or '-'} {answer.correction_id}\\n".encode())
        log.put(prediction_rows(20, first=20 * number, mark=f"log-{mark}"))

for thread in [threading.Thread(target=send) for _ in range(4)]:
    thread.start()
"""


@dataclass
class Tally:
    """What a series found. All but ``rounds`` and ``acknowledged`` have to be 0."""

    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    answered_otherwise: int = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list, repr=False)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, counted twice or answered otherwise when sent again."""
        return not (self.lost or self.doubled or self.answered_otherwise)


def kill_series(store_url: str, spool: Path, rounds: int, seed: int) -> Tally:
    """Return what came of ``rounds`` processes, each killed after some acknowledgements, all over one store."""
    chance = random.Random(seed)
    tally = Tally(rounds=rounds)
    for number in range(rounds):
        tally.seen += _until_killed(store_url, spool, f"{seed}-{number}", chance.randint(1, 60))
    store = Store.open(store_url)
    try:
        _check(store, tally)
    finally:
        store.close()
    return tally


def _until_killed(store_url: str, spool: Path, mark: str, lines: int) -> list[tuple[str, str, str]]:
    command = [sys.executable, "-c", _WRITE_FOR_EVER, store_url, str(spool), mark]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = [process.stdout.readline() for _ in range(lines)]
    process.kill()
    # What was acknowledged between the last line read and the kill counts as well; only half a line does not.
    seen += [line for line in process.communicate()[0].splitlines(keepends=True) if line.endswith("\n")]
    assert all(seen), "the process ended before it was killed"
    return [(key, prediction_id, correction_id) for key, prediction_id, correction_id in map(str.split, seen)]


def _check(store: Store, tally: Tally) -> None:
    tally.acknowledged = len(tally.seen)
    kept = _all_ids(store)
    tally.doubled = len(kept) - len(set(kept))
    tally.lost = len({correction_id for _, _, correction_id in tally.seen} - set(kept))
    for key, prediction_id, correction_id in tally.seen:
        named = prediction_id != "-"
        request = CorrectionRequest(text=None if named else key, prediction_id=prediction_id if named else None, label="x")
        again = store.add_correction(request, idempotency_key=key)
        tally.answered_otherwise += again.correction_id != correction_id
    # The keys were kept together with the corrections: sending all of them again has added nothing.
    tally.doubled += len(_all_ids(store)) - len(kept)


def _all_ids(store: Store) -> list[str]:
    page = store.corrections(1_000)
    found = [answer.correction_id for answer in page.corrections]
    while page.next_before is not None:
        page = store.corrections(1_000, page.next_before)
        found += [answer.correction_id for answer in page.corrections]
    return found


def main() -> int:
    """Run a series and say what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--store-url", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.store_url or f"sqlite:///{folder}/feedback.db"
        tally = kill_series(url, Path(folder) / "spool", options.rounds, options.seed)
    print(tally)
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())

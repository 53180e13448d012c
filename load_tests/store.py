"""What the feedback store bears: rows and corrections a second, and what a correction and the review queue cost among millions.

::

    python -m load_tests.store --rows 5000000

Without ``--store-url`` (an empty PostgreSQL database) it makes a SQLite file of its own. Prints one JSON object; the exit
code is 1 when a bar is missed. The disk decides about much of it: each correction waits for one write to it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
from sqlalchemy import delete

from core.schemas import CorrectionRequest
from feedback.prediction_log import PredictionLog
from feedback.store import Store
from feedback.tables import predictions
from load_tests.rows import prediction_rows

BARS = {
    "prediction_rows_per_s": ("at least", 5_000.0),
    "corrections_per_s": ("at least", 1_000.0),
    "correction_p99_ms": ("at most", 20.0),
    "review_queue_ms": ("at most", 200.0),
    "correction_cost_ratio": ("at most", 1.25),
}
_CLIENTS = 32
_PACE_S = 0.01
_INSERT = (
    "INSERT INTO predictions (created_at, prediction_id, text, text_key, label, score, model_version, source, text_kept, "
    "sample_ratio) SELECT {when}, {id}, 'a text of the usual length, which is number ' || n, {key}, 'label ' || (n % 77), "
    "{score}, 'v' || (n % 3), 'head', 'full', 1.0 FROM {numbers}"
)
_DIALECTS = {
    "sqlite": {
        "when": "datetime('2026-01-01', n || ' seconds')",
        "id": "printf('p_%012d', n)",
        "key": "lower(hex(randomblob(16)))",
        "score": "abs(random() % 1000000) / 1e6",
        "numbers": "(WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows}) "
        "SELECT n FROM counted)",
    },
    "postgresql": {
        "when": "timestamptz '2026-01-01' + n * interval '1 second'",
        "id": "'p_' || lpad(n::text, 12, '0')",
        "key": "md5(random()::text)",
        "score": "random()",
        "numbers": "generate_series(1, {rows}) AS n",
    },
}


def log_rate(store: Store, folder: Path, rows: int) -> float:
    """Return how many predictions a second a log brings to disk, from the queue on."""
    log = PredictionLog(store, folder, queue_rows=rows)
    records = prediction_rows(rows, mark="log")
    started = time.perf_counter()
    log.put(records)
    log.flush(600.0)
    elapsed = time.perf_counter() - started
    log.close()
    assert log.written == rows, (log.written, log.spooled, log.dropped)
    return rows / elapsed


def correction_rate(store: Store, seconds: float) -> float:
    """Return how many single corrections a second are durable, with 32 callers at a time, each with a key of its own."""
    numbers, end = count(), time.perf_counter() + seconds
    done = [0] * _CLIENTS

    def send(place: int) -> None:
        while time.perf_counter() < end:
            number = next(numbers)
            store.add_correction(CorrectionRequest(text=f"grouped {number}", label="x"), idempotency_key=f"grouped-{number}")
            done[place] += 1

    threads = [threading.Thread(target=send, args=(place,)) for place in range(_CLIENTS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - started)


def correction_times_ms(store: Store, ids: list[str], mark: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return how long (n,) single corrections of these predictions take, one at a time with pauses between."""
    times = []
    for number, prediction_id in enumerate(ids):
        request = CorrectionRequest(prediction_id=prediction_id, label="x")
        started = time.perf_counter()
        store.add_correction(request, idempotency_key=f"{mark}-{number}")
        times.append(1e3 * (time.perf_counter() - started))
        time.sleep(_PACE_S)
    return np.array(times)


def fill(store: Store, rows: int) -> None:
    """Add ``rows`` predictions by the database's own means: through the log, millions would take the afternoon."""
    with store._writing() as connection:
        for index in predictions.indexes:
            index.drop(connection)
        parts = {name: part.format(rows=rows) for name, part in _DIALECTS[connection.dialect.name].items()}
        connection.exec_driver_sql(_INSERT.format(**parts))
        for index in predictions.indexes:
            index.create(connection)
    with store._writing() as connection:
        connection.exec_driver_sql("ANALYZE")


def spread_ids(rows: int, wanted: int) -> list[str]:
    """Return the ids of predictions from all over those that :func:`fill` added, so that no cache holds all of them."""
    return [f"p_{number:012d}" for number in range(1, rows + 1, max(1, rows // wanted))][:wanted]


def _longest_ms(ask: Callable[[], object], times: int = 20) -> float:
    longest = 0.0
    for _ in range(times):
        started = time.perf_counter()
        ask()
        longest = max(longest, 1e3 * (time.perf_counter() - started))
    return longest


def measure(store: Store, folder: Path, rows: int) -> dict[str, float]:
    """Return all figures; ``rows`` is how many predictions the store is filled with for the last of them."""
    figures = {"rows": float(rows), "prediction_rows_per_s": log_rate(store, folder / "spool", 50_000)}
    figures["corrections_per_s"] = correction_rate(store, 5.0)
    few, samples = 1_000, 300
    with store._writing() as connection:
        # Also the log's, so that few means few.
        connection.execute(delete(predictions))
    fill(store, few)
    among_few = correction_times_ms(store, spread_ids(few, samples), "few")
    figures["correction_p50_ms"], figures["correction_p99_ms"] = np.percentile(among_few, [50, 99]).tolist()
    with store._writing() as connection:
        connection.execute(delete(predictions))
    fill(store, rows)
    among_many = correction_times_ms(store, spread_ids(rows, samples), "many")
    figures["correction_p50_full_ms"], figures["correction_p99_full_ms"] = np.percentile(among_many, [50, 99]).tolist()
    figures["correction_cost_ratio"] = figures["correction_p50_full_ms"] / figures["correction_p50_ms"]
    return figures | review_figures(store)


def review_figures(store: Store) -> dict[str, float]:
    """Return how long the review queue takes to be filled for a version, and to be asked."""
    started = time.perf_counter()
    picks = store.uncertain_candidates("v1", 400)
    store.ask_about_uncertain(picks, [1.0] * len(picks))
    filling_ms = 1e3 * (time.perf_counter() - started)
    shares = {"uncertain": 0.7, "audit": 0.3}
    asking_ms = _longest_ms(lambda: store.next_review("ada", 10, shares, 600.0))  # type: ignore[arg-type]
    return {"review_filling_ms": filling_ms, "review_queue_ms": asking_ms}


def missed(figures: dict[str, float]) -> list[str]:
    """Return the names of the bars that the figures miss.

    >>> missed({"corrections_per_s": 900.0, "correction_p99_ms": 20.0})
    ['corrections_per_s']
    """
    return [
        name
        for name, (side, bar) in BARS.items()
        if name in figures and (figures[name] < bar if side == "at least" else figures[name] > bar)
    ]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--store-url", default="")
    parser.add_argument("--folder", type=Path, help="Where the SQLite file and the spool are made; a disk, not memory.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        folder = Path(made)
        store = Store.open(options.store_url or f"sqlite:///{folder / 'feedback.db'}")
        figures = measure(store, folder, options.rows)
        store.close()
    print(json.dumps(figures | {"missed": missed(figures)}, indent=1))
    return 1 if missed(figures) else 0


if __name__ == "__main__":
    sys.exit(main())

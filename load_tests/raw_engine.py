"""The raw engine: what the very classifier that is served does in one process, without HTTP, queue or anybody else.

::

    python -m load_tests.raw_engine --bundle <folder> --data texts.csv --threads 2

Texts are tokenized beforehand and sorted by length; only :meth:`Classifier.score` is timed. The threads work on one batch
together, or each on a batch of its own, whichever is faster. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from core.classifier import Classifier, Prepared
from core.encoder import thread_count
from load_tests.samples import latency_summary
from load_tests.traffic import read_texts

BATCHES = (8, 16, 32, 64)


def throughput(
    classifier: Classifier, prepared: Sequence[Prepared], batch_texts: int, duration_s: float, lanes: int = 1
) -> float:
    """Return texts per second in batches of ``batch_texts`` neighbours, ``lanes`` of them at a time, in whole passes."""
    batches = [prepared[start : start + batch_texts] for start in range(0, len(prepared), batch_texts)]
    passes = 0
    with ThreadPoolExecutor(lanes) as pool:
        began = perf_counter()
        while passes == 0 or perf_counter() - began < duration_s:
            for _ in pool.map(classifier.score, batches):
                pass
            passes += 1
        return passes * len(prepared) / (perf_counter() - began)


def single_latency(classifier: Classifier, prepared: Sequence[Prepared], duration_s: float) -> dict[str, float] | None:
    """Return the latency of one text at a time, in milliseconds, over texts of all lengths."""
    taken: list[float] = []
    began = perf_counter()
    while perf_counter() - began < duration_s:
        # A step that has no divisor in common with the number of texts visits all lengths.
        started = perf_counter()
        classifier.score([prepared[len(taken) * 7919 % len(prepared)]])
        taken.append(perf_counter() - started)
    return latency_summary(taken)


def measure(
    by_lanes: Mapping[int, Classifier], texts: Sequence[str], batches: Sequence[int], duration_s: float
) -> dict[str, Any]:
    """Return throughput by lanes and batch size, the best of them, and the latency of single texts at its best.

    ``by_lanes`` is one classifier for each number of lanes, all with the same threads in sum.
    """
    rates: dict[tuple[int, int], float] = {}
    singles: list[dict[str, float]] = []
    for lanes, classifier in by_lanes.items():
        prepared = sorted(classifier.prepare(texts), key=lambda text: len(text.ids))
        throughput(classifier, prepared[:: max(1, len(prepared) // 128)], 16, 0.0, lanes)
        share_s = duration_s / len(batches) / len(by_lanes)
        rates |= {(lanes, batch): round(throughput(classifier, prepared, batch, share_s, lanes), 1) for batch in batches}
        alone = single_latency(classifier, prepared, duration_s / 2 / len(by_lanes))
        singles += [alone] if alone is not None else []
    best = max(rates, key=lambda key: rates[key])
    return {
        "texts_per_s": rates[best],
        "best_lanes": best[0],
        "best_batch_texts": best[1],
        "by_lanes_and_batch": {f"{lanes}x{batch}": rate for (lanes, batch), rate in rates.items()},
        "single_ms": min(singles, key=lambda found: found["p50"]) if singles else None,
        "mean_tokens": round(sum(len(text.ids) for text in prepared) / len(prepared), 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the engine without a service around it.")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--texts", type=int, default=512, help="texts in one pass")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--batch", type=int, action="append", help="batch sizes to try")
    parser.add_argument("--lanes", type=int, action="append", help="batches at a time to try; default: 1, and one per thread")
    parser.add_argument("--duration-s", type=float, default=8.0)
    options = parser.parse_args()
    threads = thread_count(options.threads)
    by_lanes = {
        lanes: Classifier.load(options.bundle, threads=threads // lanes, checked=False)
        for lanes in options.lanes or sorted({1, threads})
    }
    texts = read_texts(options.data)[: options.texts]
    print(json.dumps(measure(by_lanes, texts, options.batch or BATCHES, options.duration_s)))


if __name__ == "__main__":
    main()

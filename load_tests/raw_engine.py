"""The raw engine: what the very classifier that is served does in one process, without HTTP, queue or anybody else.

::

    python -m load_tests.raw_engine --bundle <folder> --data texts.csv --threads 2

Texts are tokenized beforehand and sorted by length; only :meth:`Classifier.score` is timed. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from core.classifier import Classifier, Prepared
from load_tests.samples import latency_summary
from load_tests.traffic import read_texts

BATCHES = (8, 16, 32, 64)


def throughput(classifier: Classifier, prepared: Sequence[Prepared], batch_texts: int, duration_s: float) -> float:
    """Return texts per second in batches of ``batch_texts`` neighbours; one pass at least, and only whole passes."""
    batches = [prepared[start : start + batch_texts] for start in range(0, len(prepared), batch_texts)]
    passes = 0
    began = perf_counter()
    while passes == 0 or perf_counter() - began < duration_s:
        for batch in batches:
            classifier.score(batch)
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


def measure(classifier: Classifier, texts: Sequence[str], batches: Sequence[int], duration_s: float) -> dict[str, Any]:
    """Return throughput by batch size, the best of them, and the latency of single texts."""
    prepared = sorted(classifier.prepare(texts), key=lambda text: len(text.ids))
    throughput(classifier, prepared[:: max(1, len(prepared) // 128)], 16, 0.0)
    by_batch = {str(batch): round(throughput(classifier, prepared, batch, duration_s / len(batches)), 1) for batch in batches}
    best = max(by_batch, key=lambda batch: by_batch[batch])
    return {
        "texts_per_s": by_batch[best],
        "best_batch_texts": int(best),
        "by_batch": by_batch,
        "single_ms": single_latency(classifier, prepared, duration_s / 2),
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
    parser.add_argument("--duration-s", type=float, default=8.0)
    options = parser.parse_args()
    classifier = Classifier.load(options.bundle, threads=options.threads, checked=False)
    texts = read_texts(options.data)[: options.texts]
    print(json.dumps(measure(classifier, texts, options.batch or BATCHES, options.duration_s)))


if __name__ == "__main__":
    main()

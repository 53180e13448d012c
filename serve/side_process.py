"""A process beside the replica, of low priority: it proves that bundles load, and answers texts by two versions.

What kills, hangs or fills this process does not harm the replica. It is started as ``python -m serve.side_process`` and speaks
lines of JSON: first it is told what to load, and says that it has; then it is told texts and says what each version makes of
them. It ends when its input does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import IO, Any

from core.classifier import Classifier
from core.errors import HoneError
from serve.loading import load_bundle
from serve.probation import Spoken

_OOM_FIRST = "1000"


def main() -> int:
    """Serve one replica until it closes the pipe."""
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order = json.loads(sys.stdin.readline())
    _step_back(order["niceness"])
    # The kernel ends what hangs inside a library, also when nobody is left to do it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ceil(order["timeout_s"]) + 5)
    try:
        classifiers = [
            load_bundle(Path(folder), threads=order["threads"], cache=Path(order["cache"])) for folder in order["folders"]
        ]
    except HoneError as error:
        _say(answers, {"error": error.message})
        return 1
    except Exception as error:
        _say(answers, {"error": f"{type(error).__name__} while loading"})
        return 1
    signal.alarm(0)
    _say(answers, {"loaded": True})
    for line in sys.stdin:
        _say(answers, {"rows": [_compare(classifiers, text, turn) for turn, text in enumerate(json.loads(line)["texts"])]})
    return 0


def _step_back(niceness: int) -> None:
    os.nice(niceness)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_FIRST)


def _compare(classifiers: Sequence[Classifier], text: str, turn: int) -> list[list[Any] | None]:
    """Return label, score and seconds by each classifier, or None where it failed; they take turns at going first."""
    order = range(len(classifiers)) if turn % 2 else reversed(range(len(classifiers)))
    rows = {place: _speak(classifiers[place], text) for place in order}
    return [rows[place] for place in range(len(classifiers))]


def _speak(classifier: Classifier, text: str) -> list[Any] | None:
    started = perf_counter()
    try:
        scores = classifier.score(classifier.prepare([text]))[0]
        spoken = Spoken(classifier.labels.names[int(scores.argmax())], float(scores.max()), perf_counter() - started)
    except Exception:
        return None
    # A comparison with itself is false for what is not a number.
    return [spoken.label, spoken.score, spoken.seconds] if 0.0 <= spoken.score <= 1.0 + 1e-6 else None


def _say(answers: IO[str], value: object) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())

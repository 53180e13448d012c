"""The detectors of texts and answers, fitted on a version's profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.drift.detector import Detector, Score, Watched
from core.drift.distributions import JensenShannonDetector, NumberDetector, PsiDetector
from core.drift.embeddings import MmdDetector
from core.drift.samples import Sample

SHORTFALL = "shortfall"
ERRORS = "errors"
WATCHES: Mapping[str, Watched] = {
    "length": "inputs",
    "unknown_words": "inputs",
    "language": "inputs",
    "embedding": "inputs",
    "label_psi": "outputs",
    "label_js": "outputs",
    "confidence": "outputs",
    SHORTFALL: "errors",
    ERRORS: "errors",
}


def make_detectors() -> list[Detector]:
    """Return one detector of each kind, not fitted yet.

    >>> [detector.name for detector in make_detectors()] == [name for name in WATCHES if WATCHES[name] != "errors"]
    True
    """
    return [
        NumberDetector("length", "inputs", lambda sample: sample.texts.lengths if sample.texts else None),
        NumberDetector("unknown_words", "inputs", lambda sample: sample.texts.unknown_ratios if sample.texts else None),
        JensenShannonDetector("language", "inputs", lambda sample: sample.texts.languages if sample.texts else None),
        MmdDetector(),
        PsiDetector("label_psi", "outputs", lambda sample: sample.labels),
        JensenShannonDetector("label_js", "outputs", lambda sample: sample.labels),
        NumberDetector("confidence", "outputs", lambda sample: sample.confidences),
    ]


def compare(detectors: Sequence[Detector], window: Sample) -> dict[str, Score | None]:
    """Return each fitted detector's score of ``window``, None where there is nothing to compare."""
    return {detector.name: detector.score(window) for detector in detectors}

"""What a candidate costs against the champion: bytes on disk, and time to answer the same texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import process_time

from core.bundle import HEAD, NGRAMS, TOKENIZER, Manifest, read_manifest
from core.classifier import Classifier, Prepared

_TEXTS = 64
_BATCH_TEXTS = 8
_ROUNDS = 5


def size_ratio(champion: Path, candidate: Path) -> float:
    """Return the candidate's bytes on disk divided by the champion's."""
    return folder_bytes(candidate) / max(1, folder_bytes(champion))


def served_bytes(folder: Path, manifest: Manifest) -> int:
    """Return the bytes of what is loaded to answer: head, n-grams, tokenizer, and the engine the version was judged with."""
    names = [HEAD, NGRAMS, TOKENIZER]
    if manifest.encoder is not None:
        names.append(manifest.encoder.variants[manifest.encoder.serving])
    return sum((folder / name).stat().st_size for name in names if name in manifest.files)


def latency_ratio(champion: Path, candidate: Path, texts: Sequence[str]) -> float | None:
    """Return the time the candidate takes for ``texts`` divided by the champion's; 1 where they have the same encoder.

    Both are asked by the engine variant that the champion is served with. Which variant a version is served with is a matter of
    parity, where a row or two of a thousand decide: a champion that may be served in 8 bits would keep out every other that may
    not, though its encoder is the same. Processor time of one thread, in rounds that take turns, so that what else runs on the
    machine has little say. None without texts.
    """
    own = read_manifest(champion).encoder
    new = read_manifest(candidate).encoder
    if (own and own.weights_sha256) == (new and new.weights_sha256):
        return 1.0
    sample = list(texts[:: max(1, len(texts) // _TEXTS)][:_TEXTS])
    if not sample:
        return None
    variant = own.serving if own is not None and new is not None and own.serving in new.variants else None
    classifiers = [Classifier.load(folder, threads=1, checked=False, variant=variant) for folder in (champion, candidate)]
    prepared = [classifier.prepare(sample) for classifier in classifiers]
    taken: list[list[float]] = [[], []]
    for _ in range(_ROUNDS):
        for place, classifier in enumerate(classifiers):
            taken[place].append(_seconds(classifier, prepared[place]))
    before, after = map(median, taken)
    return after / max(before, 1e-9)


def _seconds(classifier: Classifier, prepared: Sequence[Prepared]) -> float:
    began = process_time()
    for start in range(0, len(prepared), _BATCH_TEXTS):
        classifier.score(prepared[start : start + _BATCH_TEXTS])
    return process_time() - began


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

"""The exact set of examples a run sees: base data and the last word on each corrected text, hashed.

A text stays for ever in the split it first appeared in. A base row that is held out is never trained on, whoever sends it
again; what people said of other texts of that split is kept from the encoder (:meth:`Snapshot.learned`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import DataError
from core.labels import LabelSet
from core.schemas import FitSpeed
from core.text import Split, split_of
from feedback.corrections import TrainingCorrection
from feedback.dataset import BaseDataset
from feedback.examples import Example, hash_of, in_order, load_examples, save_examples

__all__ = ["BaseDataset", "Example", "Snapshot", "SnapshotCounts", "build_snapshot"]

# So many of what chance drew last show how often labels occur in traffic; what is older may be so no more.
MIX_ROWS = 2_000
_STRICTEST_FIRST: Mapping[Split, int] = {"test": 0, "validation": 1, "train": 2}


@dataclass(frozen=True)
class SnapshotCounts:
    """What became of the corrections and of doubtful base rows; all are numbers of texts."""

    added: int = 0
    relabelled: int = 0
    agreeing: int = 0
    conflicts_with_holdout: int = 0
    unknown_labels: int = 0
    base_rows_dropped: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Examples in file order with the hash that names them.

    ``learned_from`` are the sequence numbers of the corrections that every training sees, ``held_back`` those of texts in the
    test split, which a head alone learns. Both and ``counts`` describe the building and are not part of the file.
    """

    examples: tuple[Example, ...]
    hash: str
    counts: SnapshotCounts = SnapshotCounts()
    learned_from: tuple[int, ...] = ()
    held_back: tuple[int, ...] = ()

    def learned(self, speed: FitSpeed) -> tuple[Example, ...]:
        """Return all that a fit at ``speed`` learns from, or chooses by.

        Base rows of the test split nobody ever learns. What people said of other texts in it is kept from the encoder, so that
        it can tell what training that is worth. A head is asked by cross-fitting instead, so it learns them.
        """
        return tuple(example for example in self.examples if example.split != "test" or is_for_heads(example, speed))

    def of_split(self, split: Split) -> tuple[Example, ...]:
        """Return the examples of one split; those of ``test`` are for the evaluation alone."""
        return tuple(example for example in self.examples if example.split == split)

    def save(self, folder: Path) -> str:
        """Write it as ``<hash>.parquet`` and return the hash."""
        return save_examples(folder, self.examples)

    @classmethod
    def load(cls, folder: Path, name: str) -> Snapshot:
        """Return the snapshot of that hash.

        Raises:
            DataError: the file is missing or altered.
        """
        return cls(load_examples(folder, name), name)


def is_for_heads(example: Example, speed: FitSpeed) -> bool:
    """Return whether ``example`` is held back from the encoder alone, and the fit is of a head."""
    return speed == "head" and example.split == "test" and example.origin != "base"


def build_snapshot(
    base: Iterable[Example], corrections: Sequence[TrainingCorrection], labels: LabelSet, correction_weight: float
) -> Snapshot:
    """Return base data with the corrections merged in; the order of neither matters, a later correction wins.

    A correction of a base text in the train split gives it its label; of a held-out base text it changes nothing, and is
    counted where it disagrees. Any other text joins, in the split that its key decides. A corrected text weighs
    ``correction_weight``, a confirmed one 1.0, and so does one that chance drew: what was drawn is as traffic is, unless its
    errors count for more. The last of those are marked as drawn. Base rows of a text that stands in several splits stay in the
    strictest only: test, then validation.

    Raises:
        DataError: nothing is left to train on.
    """
    rows, dropped = _without_leaks(base)
    tally = dict.fromkeys(("added", "relabelled", "agreeing", "conflicts_with_holdout", "unknown_labels"), 0)
    learned_from: list[int] = []
    held_back: list[int] = []
    last_words = _last_words(corrections)
    drawn = sorted((word.sequence for word in last_words if word.drawn), reverse=True)[:MIX_ROWS]
    for correction in last_words:
        outcome, merged = _merge(rows.get(correction.text_key), correction, labels, correction_weight)
        tally[outcome] += 1
        if merged is not None:
            lately = correction.drawn and correction.sequence >= drawn[-1]
            rows[correction.text_key] = [merged.as_drawn() if lately else merged]
            heard = held_back if merged.split == "test" else learned_from
            heard.extend(correction.supported_by or (correction.sequence,))
    examples = in_order(example for group in rows.values() for example in group)
    if not any(example.split == "train" for example in examples):
        raise DataError("no example is left to train on: all are held out", rows=len(examples))
    counts = SnapshotCounts(**tally, base_rows_dropped=dropped)
    return Snapshot(examples, hash_of(examples), counts, tuple(sorted(learned_from)), tuple(sorted(held_back)))


def _merge(
    known: Sequence[Example] | None, correction: TrainingCorrection, labels: LabelSet, correction_weight: float
) -> tuple[str, Example | None]:
    """Return what the correction amounts to and the example it makes, None where everything stays as it is."""
    if correction.label not in labels:
        return "unknown_labels", None
    weight = correction_weight if correction.kind == "correction" and not correction.drawn else 1.0
    if known is None:
        key = correction.text_key
        example = Example(correction.text, key, correction.label, split_of(key), correction.kind, weight)
        return "added", example
    agrees = all(example.label == correction.label for example in known)
    if known[0].split != "train":
        return ("agreeing" if agrees else "conflicts_with_holdout"), None
    merged = replace(known[0], label=correction.label, origin=correction.kind, weight=weight)
    return ("agreeing" if agrees else "relabelled"), merged


def _last_words(corrections: Iterable[TrainingCorrection]) -> list[TrainingCorrection]:
    latest: dict[str, TrainingCorrection] = {}
    for correction in sorted(corrections, key=lambda correction: correction.sequence):
        latest[correction.text_key] = correction
    return list(latest.values())


def _without_leaks(base: Iterable[Example]) -> tuple[dict[str, list[Example]], int]:
    """Return base rows by text, each text in one split only, and how many rows that cost."""
    groups: dict[str, list[Example]] = {}
    for example in in_order(base):
        groups.setdefault(example.text_key, []).append(example)
    dropped = 0
    for key, group in groups.items():
        strictest = min((example.split for example in group), key=_STRICTEST_FIRST.__getitem__)
        kept = [example for example in group if example.split == strictest]
        dropped += len(group) - len(kept)
        groups[key] = kept
    return groups, dropped

"""Weights of base rows: rare labels count more, and groups in which a label is rare count more of it.

They are kept with the examples, so every later run of the loop weighs the same rows alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from core.errors import DataError
from feedback.examples import Example

# A row that counts a hundred times is one row learned by heart.
MOST_WEIGHT = 20.0


def weighed(examples: Sequence[Example], *, balance: float = 0.0, reweigh: str | None = None) -> list[Example]:
    """Return the examples with weights for those of the training and validation part; their mean stays 1.

    Args:
        examples: base examples.
        balance: 0 leaves labels as frequent as they are, 1 makes all count alike, 0.5 goes half the way (the square root of
            the inverse frequency).
        reweigh: a field of metadata. Each label then weighs within each group as if group and label had nothing to do with each
            other: ``P(group) P(label) / P(group, label)`` (Kamiran and Calders, Knowledge and Information Systems 33, 2012).

    Raises:
        DataError: no example has the field.
    """
    learned = [example for example in examples if example.split != "test"]
    weights = {example.text_key: 1.0 for example in learned}
    if balance:
        labels = Counter(example.label for example in learned)
        for example in learned:
            weights[example.text_key] *= (len(learned) / (len(labels) * labels[example.label])) ** balance
    if reweigh is not None:
        for key, factor in _independent(learned, reweigh).items():
            weights[key] *= factor
    mean = sum(weights.values()) / max(1, len(weights))
    return [
        replace(example, weight=round(min(MOST_WEIGHT, weights[example.text_key] / mean), 6))
        if example.text_key in weights
        else example
        for example in examples
    ]


def _independent(learned: Sequence[Example], field: str) -> dict[str, float]:
    groups = {example.text_key: str(example.metadata[field]) for example in learned if field in example.metadata}
    if not groups:
        raise DataError(f"no row to learn from has a value in {field!r}, by which rows were to be weighed")
    known = [example for example in learned if example.text_key in groups]
    of_group = Counter(groups.values())
    of_label = Counter(example.label for example in known)
    of_both = Counter((groups[example.text_key], example.label) for example in known)
    return {
        example.text_key: of_group[group] * of_label[example.label] / (len(known) * of_both[group, example.label])
        for example in known
        for group in [groups[example.text_key]]
    }

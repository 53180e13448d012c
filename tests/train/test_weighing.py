"""Weights of base rows: what they even out, and that they last."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from core.errors import DataError
from core.settings import Settings
from feedback.dataset import BaseDataset
from feedback.examples import Example
from train.teach import TeachRequest, teach
from train.weighing import MOST_WEIGHT, weighed


def _examples(counts: dict[tuple[str, str], int]) -> list[Example]:
    """Return so many training examples of each label and region, and one test example."""
    made = [
        Example.of(f"{label} {region} {n}", label, split="train", metadata={"region": region})
        for (label, region), count in counts.items()
        for n in range(count)
    ]
    return [*made, Example.of("held out", "yes", split="test")]


def _sums(examples: list[Example], *, by_region: bool = False) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for example in examples:
        if example.split != "test":
            sums[f"{example.label} {example.metadata['region']}" if by_region else example.label] += example.weight
    return dict(sums)


def test_labels_count_alike_or_half_so() -> None:
    rows = _examples({("yes", "a"): 90, ("no", "a"): 10})
    even = _sums(weighed(rows, balance=1.0))
    assert even["yes"] == pytest.approx(even["no"], rel=1e-4)
    half = _sums(weighed(rows, balance=0.5))
    assert half["yes"] / half["no"] == pytest.approx(3.0, rel=1e-3)
    assert sum(half.values()) == pytest.approx(100, rel=1e-4)


def test_group_and_label_have_nothing_to_do_with_each_other() -> None:
    rows = _examples({("yes", "a"): 40, ("no", "a"): 10, ("yes", "b"): 10, ("no", "b"): 40})
    sums = _sums(weighed(rows, reweigh="region"), by_region=True)
    assert sums["yes a"] / sums["no a"] == pytest.approx(1.0, rel=1e-4)
    assert sums["yes b"] / sums["no b"] == pytest.approx(1.0, rel=1e-4)


def test_held_out_rows_and_the_largest_weight_are_bounded() -> None:
    found = weighed(_examples({("yes", "a"): 5_000, ("no", "a"): 1}), balance=1.0)
    assert max(example.weight for example in found) == MOST_WEIGHT
    assert found[-1].weight == 1.0


def test_a_field_that_no_row_has_is_refused() -> None:
    with pytest.raises(DataError, match="'shop'"):
        weighed(_examples({("yes", "a"): 5}), reweigh="shop")


def test_weights_and_groups_stay_with_the_base_rows(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    rows = [f"{'good' if n % 5 else 'bad'} thing number {n},{'yes' if n % 5 else 'no'},{n % 3}" for n in range(200)]
    path.write_text("\n".join(["text,label,region", *rows]), encoding="utf-8")
    report = teach(settings, TeachRequest(data=path, features="ngrams", balance=1.0, reweigh="region"))
    (name,) = [file.stem for file in settings.home.datasets.glob("*.parquet")]
    kept = BaseDataset.load(settings.home.datasets, name).examples
    learned = [example for example in kept if example.split != "test"]
    assert {example.weight > 1.5 for example in learned if example.label == "no"} == {True}
    assert {example.metadata["region"] for example in kept} == {"0", "1", "2"}
    assert report.metrics["accuracy"] > 0.9
    with pytest.raises(DataError, match="no column 'shop'"):
        teach(settings, TeachRequest(data=path, features="ngrams", reweigh="shop"))

"""One version of several: what is averaged, what is taught, what is refused, and what the registry keeps of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.bundle import TUNED
from core.classifier import Classifier, Head
from core.errors import DataError, InputError
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import Snapshot
from tests.train.conftest import _settings
from tests.train.toys import Row, toy_rows, write_csv, write_toy_base
from train.base import Base, load_base
from train.ensemble import EnsembleRequest, ensemble, mixed_targets, softened
from train.head import FeatureRows
from train.request import FinetuneSettings
from train.select import HeadRows, judge
from train.soup import Ingredient, average
from train.teach import TeachRequest, teach
from train.tensors import embed_ids

# So much that the trained encoder beats the toy as it is: else that is served, and there is nothing to average.
_TUNING = FinetuneSettings(epochs=20, patience_epochs=20, learning_rate=3e-3, batch_texts=8, precision="fp32")


@pytest.fixture(scope="session")
def two_once(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path, toy_file: Path, empty_store: Path) -> Settings:
    """Give a state folder with two versions of the toy data, trained at full speed with other seeds; only to be read."""
    made = _settings(tmp_path_factory.mktemp("two") / "home")
    made.home.prepare()
    shutil.copy(empty_store, made.home.store)
    for seed in (0, 1):
        tuning = replace(_TUNING, seed=seed)
        request = TeachRequest(
            data=toy_file, base=str(toy_folder), speed="full", features="encoder", seed=seed, finetune=tuning, promote=seed == 0
        )
        assert next(option.name for option in teach(made, request).options if option.chosen) == "full"
    return made


@pytest.fixture
def two(two_once: Settings, tmp_path: Path) -> Settings:
    """Give a copy of the folder with two versions."""
    root = tmp_path / "two"
    shutil.copytree(two_once.home.root, root)
    return _settings(root)


def _mean(folders: list[Path], name: str) -> torch.Tensor:
    return torch.stack([load_base(str(folder / "encoder")).encoder.state_dict()[name] for folder in folders]).mean(dim=0)


def test_a_soup_has_the_mean_of_all_weights_and_costs_what_one_costs(two: Settings) -> None:
    report = ensemble(two, EnsembleRequest(("v1", "v2")))
    registry = Registry(two.home.registry)
    folders = [registry.path(version) for version in ("v1", "v2")]
    assert report.version == "v3"
    assert [(member.version, member.used) for member in report.members] == [("v1", True), ("v2", True)]
    made = load_base(str(registry.path("v3") / "encoder")).encoder.state_dict()
    for name in ("transformer.encoder.layer.0.output.dense.weight", "transformer.encoder.layer.1.attention.self.key.bias"):
        torch.testing.assert_close(made[name], _mean(folders, name))
    heads = [Head.load(folder / TUNED) for folder in folders]
    tuned = Head.load(registry.path("v3") / TUNED)
    np.testing.assert_allclose(tuned.bias, np.mean([head.bias for head in heads], axis=0), atol=1e-6)
    manifest = registry.manifest("v3")
    assert manifest.lineage.settings["ensemble"] == "soup"
    assert manifest.lineage.settings["members"] == "v1 v2"
    assert manifest.lineage.made_of == "the average of v1, v2"
    assert "the average of v1, v2" in (registry.path("v3") / "card.md").read_text(encoding="utf-8")
    assert Classifier.load(registry.path("v3")).predict(["where and when"]).shape == (1, 3)
    assert report.metrics["accuracy"] > 0.8
    assert report.decision.champion == "v1"
    assert list(two.home.runs.iterdir()) == []


def test_a_greedy_soup_is_no_worse_on_validation_rows_than_its_best_member(two: Settings) -> None:
    report = ensemble(two, EnsembleRequest(("v2", "v1"), "greedy", promote=False))
    used = [member.version for member in report.members if member.used]
    assert used
    assert not report.promoted
    alone = next(option for option in report.options if option.name == "full")
    registry = Registry(two.home.registry)
    best = min(_validation_loss(registry, version, two) for version in ("v1", "v2"))
    assert alone.log_loss is not None
    assert alone.log_loss <= best + 1e-3
    assert Registry(two.home.registry).aliases().champion == "v1"


def _validation_loss(registry: Registry, version: str, settings: Settings) -> float:
    """Return the log loss of a version's trained head alone, as :mod:`train.select` measures it."""
    manifest = registry.manifest(version)
    rows = list(Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot).of_split("validation"))
    base = load_base(str(registry.path(version) / "encoder"))
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    truth = np.array([manifest.labels.index(row.label) for row in rows])
    own = np.arange(len(rows))
    features = FeatureRows(embed_ids(base, ids), None)
    found = judge(
        HeadRows(features, truth, np.ones(len(rows), np.float32), own[:0], own, 3),
        "",
        "encoder",
        Head.load(registry.path(version) / TUNED),
        0.0,
    )
    assert found.log_loss is not None
    return found.log_loss


def test_one_is_taught_what_several_of_any_kind_say_together(two: Settings, toy_file: Path) -> None:
    teach(two, TeachRequest(data=toy_file, features="ngrams", promote=False))
    report = ensemble(two, EnsembleRequest(("v1", "v3"), "distill", finetune=_TUNING, promote=False))
    manifest = Registry(two.home.registry).manifest("v4")
    assert report.version == "v4"
    assert report.metrics["accuracy"] > 0.8
    assert manifest.lineage.made_of == "taught what v1, v3 say together"
    assert manifest.lineage.settings["distill_temperature"] == 2.0
    assert (manifest.lineage.speed, manifest.lineage.rows["train"]) == ("full", 120)


def test_encoders_with_other_starts_are_not_averaged(two: Settings, toy_file: Path, tmp_path: Path) -> None:
    other = write_toy_base(tmp_path / "other", seed=3)
    request = TeachRequest(data=toy_file, base=str(other), speed="full", features="encoder", finetune=_TUNING, promote=False)
    teach(two, request)
    with pytest.raises(InputError, match=r"v1 and v3 started from different encoders, toy and other.*--how distill"):
        ensemble(two, EnsembleRequest(("v1", "v3")))


def test_what_has_no_trained_encoder_is_not_averaged(taught: Settings, two: Settings, toy_file: Path, toy_folder: Path) -> None:
    teach(two, TeachRequest(data=toy_file, base=str(toy_folder), features="both", promote=False))
    with pytest.raises(InputError, match="v3 keeps no encoder that was trained"):
        ensemble(two, EnsembleRequest(("v1", "v3")))
    with pytest.raises(InputError, match="two versions or more; there is v1"):
        ensemble(taught, EnsembleRequest(("v1", "champion")))


def test_what_has_no_encoder_at_all_is_not_taught(settings: Settings, toy_file: Path) -> None:
    for seed in (0, 1):
        teach(settings, TeachRequest(data=toy_file, features="ngrams", seed=seed))
    with pytest.raises(InputError, match="none of the versions has an encoder"):
        ensemble(settings, EnsembleRequest(("v1", "v2"), "distill"))


def test_other_labels_and_rows_that_were_learned_are_refused(two: Settings, toy_folder: Path, tmp_path: Path) -> None:
    fewer = write_csv(tmp_path / "fewer.csv", [row for row in toy_rows() if row.label != "lost"])
    teach(two, TeachRequest(data=fewer, base=str(toy_folder), features="ngrams", promote=False))
    with pytest.raises(InputError, match="the same labels: 1 are known to one alone"):
        ensemble(two, EnsembleRequest(("v1", "v3"), "distill"))
    mixed = [Row(row.text, row.label, "train" if row.split == "test" else row.split) for row in toy_rows()]
    teach(two, TeachRequest(data=write_csv(tmp_path / "mixed.csv", mixed[:200]), features="ngrams", promote=False))
    with pytest.raises(DataError, match=r"has learned \d+ of the rows by which"):
        ensemble(two, EnsembleRequest(("v1", "v4"), "distill"))


@given(st.integers(1, 6), st.integers(2, 5), st.floats(0.2, 10.0), st.floats(0.0, 1.0), st.integers(0, 1000))
def test_what_is_learned_is_probabilities_with_the_members_order(
    rows: int, classes: int, temperature: float, weight: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes), size=rows).astype(np.float32)
    soft = softened(scores, temperature)
    np.testing.assert_allclose(soft.sum(axis=1), 1.0, atol=1e-5)
    assert (soft.argmax(axis=1) == scores.argmax(axis=1)).all()
    labels = random.integers(0, classes, rows)
    targets = mixed_targets(soft, labels, weight)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(targets[np.arange(rows), labels] - weight * soft[np.arange(rows), labels], 1 - weight, atol=1e-5)


def test_the_average_of_one_encoder_with_itself_is_itself(base: Base) -> None:
    head = Head(np.ones((32, 3), np.float32), None, np.zeros(3, np.float32))
    mean, same = average([Ingredient("v1", base, head), Ingredient("v2", base, head)])
    assert mean.digest() == base.digest()
    assert mean.encoder is not base.encoder
    assert same.encoder is not None
    np.testing.assert_array_equal(same.encoder, head.encoder)

"""From a labelled file to a registered version, or to one sentence and nothing changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from core.classifier import Classifier
from core.errors import BundleError, DataError, EncoderError
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import BaseDataset, Snapshot
from tests.train.toys import Row, to_examples, toy_rows, write_csv
from train.progress import Progress
from train.teach import TeachReport, TeachRequest, teach


def _tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def _mislabelled(rows: list[Row], word: str, label: str) -> list[Row]:
    """Return the rows with every training text that holds ``word`` under a wrong label."""
    return [replace(row, label=label) if word in row.text.split() and row.split != "test" else row for row in rows]


def test_the_first_version_is_registered_promoted_and_answers(taught_once: tuple[Settings, TeachReport]) -> None:
    settings, report = taught_once
    registry = Registry(settings.home.registry)
    assert (report.version, report.promoted) == ("v1", True)
    assert report.decision.promote
    assert registry.decision("v1") == report.decision
    assert registry.aliases().champion == "v1"
    assert [move.action for move in registry.history()] == ["register", "promote"]
    classifier = Classifier.load(registry.path("champion"))
    scores = classifier.predict(["thanks for the lovely phone", "where is my card"])
    assert [classifier.manifest.labels[int(row.argmax())] for row in scores] == ["calm", "lost"]
    assert list(settings.home.runs.iterdir()) == []


def test_what_was_taught_is_kept_under_its_hash(taught_once: tuple[Settings, TeachReport]) -> None:
    settings, report = taught_once
    lineage = Registry(settings.home.registry).manifest("v1").lineage
    dataset = BaseDataset.load(settings.home.datasets, lineage.dataset)
    assert dataset == BaseDataset.of(to_examples(toy_rows()))
    assert Snapshot.load(settings.home.snapshots, lineage.snapshot).examples == dataset.examples
    assert report.data.examples == len(dataset.examples)
    assert report.data.splits == dict(Counter(example.split for example in dataset.examples))


def test_the_same_data_again_is_registered_but_not_promoted(taught: Settings, toy_file: Path, toy_folder: Path) -> None:
    report = teach(taught, TeachRequest(data=toy_file, base=str(toy_folder), features="both"))
    aliases = Registry(taught.home.registry).aliases()
    assert (report.version, report.promoted) == ("v2", False)
    assert report.decision.champion == "v1"
    assert "no evidence" in report.decision.summary
    assert (aliases.champion, aliases.challenger) == ("v1", "v2")


def test_better_data_passes_the_gate(settings: Settings, toy_folder: Path, tmp_path: Path) -> None:
    rows = toy_rows()
    wrong = rows
    for word in ("broken", "refund", "awful"):
        wrong = _mislabelled(wrong, word, "calm")
    request = TeachRequest(base=str(toy_folder), features="ngrams")
    first = teach(settings, replace(request, data=write_csv(tmp_path / "wrong.csv", wrong)))
    second = teach(settings, replace(request, data=write_csv(tmp_path / "right.csv", rows)))
    assert second.metrics["accuracy"] > first.metrics["accuracy"]
    assert (first.promoted, second.promoted) == (True, True)
    aliases = Registry(settings.home.registry).aliases()
    assert (aliases.champion, aliases.previous, aliases.challenger) == ("v2", "v1", None)


def test_a_version_may_be_registered_only(settings: Settings, toy_file: Path) -> None:
    report = teach(settings, TeachRequest(data=toy_file, features="ngrams", promote=False))
    assert report.decision.promote
    assert not report.promoted
    aliases = Registry(settings.home.registry).aliases()
    assert (aliases.champion, aliases.challenger) == (None, "v1")


def test_what_beats_no_guess_is_not_promoted(settings: Settings, tmp_path: Path) -> None:
    rows = toy_rows()
    names = sorted({row.label for row in rows})
    turned = [replace(row, label=names[(names.index(row.label) + 1) % 3]) if row.split == "test" else row for row in rows]
    report = teach(settings, TeachRequest(data=write_csv(tmp_path / "turned.csv", turned), features="ngrams"))
    assert not report.promoted
    assert "beats_majority" in report.decision.summary
    assert Registry(settings.home.registry).aliases().champion is None


def test_too_small_a_holdout_is_not_promoted_on(settings: Settings, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "small.csv", toy_rows(48))
    report = teach(settings, TeachRequest(data=data, features="ngrams"))
    assert not report.promoted
    assert "holdout_rows" in report.decision.summary


@pytest.mark.parametrize(
    "content",
    ["", "text,label\n", "words,stars\na,5\n", "text,label\na,yes\nb,yes\n", "text,label,split\na,yes,test\nb,no,test\n"],
)
def test_bad_data_changes_nothing(taught: Settings, tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="utf-8")
    before = _tree(taught.home.root)
    with pytest.raises(DataError, match=r"bad\.csv"):
        teach(taught, TeachRequest(data=path))
    assert _tree(taught.home.root) == before
    assert Registry(taught.home.registry).aliases().champion == "v1"


def test_an_encoder_that_is_not_there_changes_nothing(settings: Settings, toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(EncoderError, match="nothing"):
        teach(settings, TeachRequest(data=toy_file, base=str(tmp_path / "nothing")))
    assert Registry(settings.home.registry).versions() == []
    assert list(settings.home.runs.iterdir()) == []


def test_a_failed_registration_leaves_no_folder_behind(
    taught: Settings, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise BundleError("altered on the way")

    monkeypatch.setattr(Registry, "register", refuse)
    with pytest.raises(BundleError):
        teach(taught, TeachRequest(data=toy_file, features="ngrams"))
    assert list(taught.home.runs.iterdir()) == []
    assert Registry(taught.home.registry).versions() == ["v1"]


def test_progress_is_reported(settings: Settings, toy_file: Path) -> None:
    heard: list[Progress] = []
    teach(settings, TeachRequest(data=toy_file, features="ngrams"), heard.append)
    assert heard[0].ratio == 0.0
    assert heard[-1].ratio > 0.5


def test_the_same_teaching_gives_the_same_bundle(
    taught_once: tuple[Settings, TeachReport], settings: Settings, toy_file: Path, toy_folder: Path
) -> None:
    again = teach(settings, TeachRequest(data=toy_file, base=str(toy_folder), features="both"))
    first = Registry(taught_once[0].home.registry).manifest("v1")
    second = Registry(settings.home.registry).manifest("v1")
    unlike = {"card.md", "encoder/onnx/fp32.onnx", "encoder/onnx/int8.onnx"}
    assert {name: first.files[name] for name in first.files.keys() - unlike} == {
        name: second.files[name] for name in second.files.keys() - unlike
    }
    assert again.metrics == taught_once[1].metrics

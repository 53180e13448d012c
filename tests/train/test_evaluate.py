"""How good a version is on a labelled file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.classifier import Classifier
from core.errors import BundleError, DataError
from core.settings import Settings
from tests.train.toys import toy_rows, write_bundle, write_csv
from train.evaluate import Engine, evaluate_file
from train.teach import TeachReport


@pytest.fixture(scope="session")
def folder(taught_once: tuple[Settings, TeachReport]) -> Path:
    """Give the bundle that learned the toy data."""
    return taught_once[0].home.registry / "versions" / "v1"


def test_by_default_the_test_part_is_asked(folder: Path, toy_file: Path, taught_once: tuple[Settings, TeachReport]) -> None:
    report = evaluate_file(folder, toy_file)
    assert (report.source, report.split, report.engine, report.rows, report.unknown_labels) == (
        "toy.csv",
        "test",
        "serving",
        60,
        0,
    )
    for name, value in report.metrics.items():
        assert taught_once[1].metrics[name] == pytest.approx(value, abs=2e-3)
    assert report.labels == ["angry", "calm", "lost"]
    assert sum(map(sum, report.confusion)) == 60
    held_out = [row for row in toy_rows() if row.split == "test"]
    assert {found.label: found.rows for found in report.classes} == {
        label: sum(row.label == label for row in held_out) for label in report.labels
    }
    right = sum(report.confusion[place][place] for place in range(3))
    assert report.metrics["accuracy"] == pytest.approx(right / 60)
    assert report.texts_per_s > 0


@pytest.mark.parametrize("engine", ["fp32", "int8", "torch", "serving"])
def test_engines_can_be_compared(folder: Path, toy_file: Path, engine: Engine) -> None:
    report = evaluate_file(folder, toy_file, engine=engine, compare_with="torch")
    assert (report.engine, report.compared_with) == (engine, "torch")
    assert report.agreement_ratio is not None
    assert report.agreement_ratio >= (0.95 if engine in ("int8", "serving") else 1.0)


def test_the_torch_engine_runs_the_weights_themselves(folder: Path, toy_file: Path) -> None:
    by_torch, by_onnx = (evaluate_file(folder, toy_file, engine=engine) for engine in ("torch", "fp32"))
    assert by_torch.metrics["log_loss"] == pytest.approx(by_onnx.metrics["log_loss"], abs=1e-4)


def test_other_parts_and_all_rows(folder: Path, toy_file: Path) -> None:
    assert evaluate_file(folder, toy_file, split="validation").rows == 60
    assert evaluate_file(folder, toy_file, split="all").rows == 240


def test_a_file_that_names_no_splits_counts_as_a_whole(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("text,label\nwhere is it,lost\nit is awful,angry\n,calm\n", encoding="utf-8")
    report = evaluate_file(folder, path)
    assert (report.split, report.rows) == ("all", 2)


def test_a_file_of_test_rows_of_one_label_is_enough(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.csv"
    path.write_text("text,label,split\nwhere is it,lost,test\nwhen and how,lost,test\n", encoding="utf-8")
    report = evaluate_file(folder, path)
    assert (report.split, report.rows) == ("test", 2)
    assert report.metrics["accuracy"] == 1.0


def test_labels_the_model_does_not_know_are_counted(folder: Path, tmp_path: Path) -> None:
    rows = [replace(row, label="furious") if row.label == "angry" else row for row in toy_rows()]
    report = evaluate_file(folder, write_csv(tmp_path / "other.csv", rows))
    assert (report.rows, report.unknown_labels) == (40, 20)


def test_named_columns(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "named.csv"
    path.write_text("Frage,Absicht\nwhere is it,lost\nawful,angry\n", encoding="utf-8")
    assert evaluate_file(folder, path, text_column="Frage", label_column="Absicht").rows == 2


def test_where_no_row_is_left_the_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "foreign.csv"
    path.write_text("text,label\na,x\nb,y\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"foreign\.csv has 2 rows in the split all, none with a label the model knows"):
        evaluate_file(folder, path)


def test_a_bundle_of_ngrams_has_one_engine(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    path = tmp_path / "a.csv"
    path.write_text("text,label\nall positive,positive\nso negative,negative\n", encoding="utf-8")
    engines: list[Engine] = ["serving", "torch"]
    for engine in engines:
        report = evaluate_file(tmp_path / "bundle", path, engine=engine)
        expected = Classifier.load(tmp_path / "bundle").predict(["all positive", "so negative"])
        assert report.metrics["accuracy"] == float(np.mean(expected.argmax(axis=1) == [2, 0]))


def test_an_altered_bundle_is_not_asked(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "ngrams.json").write_text("{}", encoding="utf-8")
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,positive\n", encoding="utf-8")
    with pytest.raises(BundleError, match="altered"):
        evaluate_file(tmp_path / "bundle", path)

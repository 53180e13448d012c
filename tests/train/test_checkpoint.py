"""Fine-tuning that was stopped goes on from its checkpoint as if nothing had happened, and from no other's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.classifier import Head
from core.errors import CheckpointUnusable, RunCancelled
from tests.train.toys import SIGNAL, Row, toy_rows
from train import precision
from train.base import Base, load_base
from train.checkpoint import Checkpoints
from train.finetune import Step, TokenRows, finetune
from train.request import CheckpointPlace, FinetuneSettings, Precision
from train.stepping import Trainer

_TUNING = FinetuneSettings(epochs=3, learning_rate=3e-3, batch_texts=16, seed=3)


def _tokens(base: Base, rows: list[Row]) -> TokenRows:
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([list(SIGNAL).index(row.label) for row in rows], np.int64)
    return TokenRows(ids, labels, np.ones(len(rows), np.float32))


def _tune(
    folder: Path,
    checkpoint: CheckpointPlace | None = None,
    *,
    settings: FinetuneSettings = _TUNING,
    on_step: Callable[[Step], None] = lambda _: None,
    rows: int = 96,
) -> tuple[str, Head]:
    """Fine-tune a freshly loaded toy encoder, and return the digest of its weights with the head."""
    base = load_base(str(folder))
    made = toy_rows(rows)
    train, validation = (_tokens(base, [row for row in made if row.split == split]) for split in ("train", "validation"))
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    head = finetune(base, blank, train, validation, settings, checkpoint=checkpoint, on_step=on_step)
    return base.digest(), head


def _stop_after(steps: int) -> Callable[[Step], None]:
    seen: list[Step] = []

    def hear(step: Step) -> None:
        seen.append(step)
        if len(seen) == steps:
            raise RunCancelled("enough")

    return hear


def _die_after(steps: int) -> Callable[[Step], None]:
    seen: list[Step] = []

    def hear(step: Step) -> None:
        seen.append(step)
        if len(seen) == steps:
            raise ConnectionAbortedError

    return hear


def _same(one: tuple[str, Head], other: tuple[str, Head]) -> None:
    assert one[0] == other[0]
    assert one[1].encoder is not None
    assert other[1].encoder is not None
    np.testing.assert_array_equal(one[1].encoder, other[1].encoder)
    np.testing.assert_array_equal(one[1].bias, other[1].bias)


@pytest.mark.parametrize("bits", ["fp32", "bf16"])
@pytest.mark.parametrize("stops", [(1,), (3,), (4, 2), (8,)])
def test_stopped_and_resumed_is_undisturbed(tmp_path: Path, toy_folder: Path, stops: tuple[int, ...], bits: Precision) -> None:
    settings = replace(_TUNING, precision=bits)
    undisturbed = _tune(toy_folder, settings=settings)
    earlier: Path | None = None
    for number, steps in enumerate(stops):
        place = CheckpointPlace(tmp_path / f"{number}.pt", resume=earlier)
        with pytest.raises(RunCancelled):
            _tune(toy_folder, place, settings=settings, on_step=_stop_after(steps))
        earlier = place.path
    # What else drew random numbers meanwhile must not matter.
    torch.manual_seed(99)
    _same(_tune(toy_folder, CheckpointPlace(tmp_path / "last.pt", resume=earlier), settings=settings), undisturbed)


def test_a_run_that_died_goes_on_from_its_last_checkpoint(tmp_path: Path, toy_folder: Path) -> None:
    place = CheckpointPlace(tmp_path / "dead.pt", every_s=1e-9)
    with pytest.raises(ConnectionAbortedError):
        _tune(toy_folder, place, on_step=_die_after(5))
    steps: list[Step] = []
    again = CheckpointPlace(tmp_path / "again.pt", resume=place.path)
    _same(_tune(toy_folder, again, on_step=steps.append), _tune(toy_folder))
    assert len(steps) == 9 - 4, "the fifth step had not been written yet"


def test_training_that_was_over_is_not_done_again(tmp_path: Path, toy_folder: Path) -> None:
    place = CheckpointPlace(tmp_path / "over.pt")
    done = _tune(toy_folder, place)
    steps: list[Step] = []
    _same(_tune(toy_folder, CheckpointPlace(tmp_path / "next.pt", resume=place.path), on_step=steps.append), done)
    assert not steps


def test_where_nothing_was_written_yet_it_starts_over(tmp_path: Path, toy_folder: Path) -> None:
    place = CheckpointPlace(tmp_path / "new.pt", resume=tmp_path / "missing.pt")
    _same(_tune(toy_folder, place), _tune(toy_folder))


@pytest.mark.parametrize("other", [{"settings": replace(_TUNING, learning_rate=1e-3)}, {"rows": 120}])
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, toy_folder: Path, other: dict[str, object]) -> None:
    place = CheckpointPlace(tmp_path / "one.pt")
    _tune(toy_folder, place)
    with pytest.raises(CheckpointUnusable, match="other"):
        _tune(toy_folder, CheckpointPlace(tmp_path / "two.pt", resume=place.path), **other)  # type: ignore[arg-type] # by name


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 torn", b"\x80\x04N."])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, toy_folder: Path, damage: bytes) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(damage)
    with pytest.raises(CheckpointUnusable):
        _tune(toy_folder, CheckpointPlace(tmp_path / "two.pt", resume=path))


def test_a_disk_that_takes_no_checkpoint_stops_no_training(tmp_path: Path, toy_folder: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    place = CheckpointPlace(tmp_path / "file" / "one.pt", every_s=1e-9)
    _same(_tune(toy_folder, place), _tune(toy_folder))


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for number in (3, 33):
        Checkpoints(CheckpointPlace(tmp_path / "3.pt"), "k").save({"number": number})
    assert [path.name for path in tmp_path.iterdir()] == ["3.pt"]
    assert Checkpoints(CheckpointPlace(tmp_path / "x", resume=tmp_path / "3.pt"), "k").load() == {"number": 33}


@pytest.mark.parametrize(("seconds", "chosen"), [((1.0, 0.5), "bf16"), ((1.0, 0.95), "fp32"), ((1.0, 2.0), "fp32")])
def test_the_clearly_faster_precision_is_taken(
    base: Base, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], chosen: Precision
) -> None:
    now = [0.0]

    class Clocked(Trainer):
        def step(self, batch: list[int]) -> Step:
            step = super().step(batch)
            now[0] += seconds[step.precision == "bf16"]
            return step

    monkeypatch.setattr(precision, "Trainer", Clocked)
    monkeypatch.setattr(precision, "perf_counter", lambda: now[0])
    monkeypatch.setattr(precision, "_has_bf16_products", lambda: True)
    rows = _tokens(base, [row for row in toy_rows(96) if row.split == "train"])
    digest = base.digest()
    linear = torch.nn.Linear(32, 3)
    settings = replace(_TUNING, epochs=400, batch_texts=8)
    assert precision.faster_precision(base, linear, rows, settings) == chosen
    base.changed()
    assert base.digest() == digest, "the trial must leave the encoder as it is"
    assert precision.faster_precision(base, linear, rows, replace(settings, budget_s=5.0)) == "fp32"

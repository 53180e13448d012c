"""Workers that train together give the model one of them would give, take turns at nothing, and stop and go on together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.classifier import Head, softmax
from core.errors import CheckpointUnusable, InputError, RunCancelled
from core.finetuning import FinetuneSettings
from tests.train.teams import in_team
from tests.train.toys import SIGNAL, toy_rows
from train.base import Base, load_base
from train.finetune import Step, TokenRows, take_on, train_encoder
from train.head import FeatureRows, logits
from train.request import CheckpointPlace, Workers
from train.team import ALONE, JoinedTeam, Share, SharedDropout, Team, share_of
from train.team_task import KEPT, STEP, STOP, TeamTask, raise_refusal, take_part
from train.tensors import embed_ids

# 48 rows in batches of 10: the last has 8, of which two of three workers have 3 and one has 2.
_TUNING = FinetuneSettings(epochs=3, learning_rate=3e-3, batch_texts=10, seed=3, precision="fp32", dropout=0.1)
# Sums of shares are added up in another order than that of one sum; nothing else differs. The rate is 30 times the usual one.
_MOST_GAP = 1e-4

Kept = dict[str, torch.Tensor]


def _tokens(base: Base, split: str) -> TokenRows:
    rows = [row for row in toy_rows(96) if row.split == split]
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([list(SIGNAL).index(row.label) for row in rows], np.int64)
    weights = np.linspace(0.5, 2.0, len(rows), dtype=np.float32)
    return TokenRows(ids, labels, weights)


def _train(
    folder: Path,
    team: Team,
    settings: FinetuneSettings = _TUNING,
    checkpoint: CheckpointPlace | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Kept:
    base = load_base(str(folder))
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    parts = (_tokens(base, "train"), _tokens(base, "validation"))
    return train_encoder(base, blank, *parts, settings, team, checkpoint=checkpoint, on_step=on_step)


def _answers(folder: Path, kept: Kept) -> Any:
    base = load_base(str(folder))
    head = take_on(base, kept)
    return softmax(logits(head, FeatureRows(embed_ids(base, _tokens(base, "validation").ids), None)))


def _alike(folder: Path, kept: Kept, other: Kept) -> None:
    one, two = _answers(folder, kept), _answers(folder, other)
    assert float(np.abs(one - two).max()) < _MOST_GAP
    assert (one.argmax(axis=1) == two.argmax(axis=1)).all()


@pytest.fixture(scope="module")
def undisturbed(toy_folder: Path) -> Kept:
    """Give what one worker trains."""
    return _train(toy_folder, ALONE)


def test_one_worker_alone_is_what_fine_tuning_always_was(toy_folder: Path, undisturbed: Kept) -> None:
    from train.finetune import finetune

    base = load_base(str(toy_folder))
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    head = finetune(base, blank, _tokens(base, "train"), _tokens(base, "validation"), _TUNING)
    again = load_base(str(toy_folder))
    same = take_on(again, undisturbed)
    assert base.digest() == again.digest()
    np.testing.assert_array_equal(head.bias, same.bias)


@pytest.mark.parametrize("size", [2, 3])
def test_workers_give_the_model_that_one_gives(tmp_path: Path, toy_folder: Path, undisturbed: Kept, size: int) -> None:
    steps: list[Step] = []
    alone = _train(toy_folder, ALONE, on_step=steps.append)
    heard: list[tuple[list[Step], Kept]] = in_team(size, tmp_path, lambda _: _hearing(toy_folder))
    for told, kept in heard:
        _alike(toy_folder, kept, alone)
        assert all(torch.equal(kept[name], heard[0][1][name]) for name in kept), "all workers have the same weights"
        assert bool(told) == (told is heard[0][0]), "the leader alone reports"
    losses = [step.loss for step in heard[0][0]]
    np.testing.assert_allclose(losses, [step.loss for step in steps], atol=1e-4)
    assert [step.number for step in heard[0][0]] == [step.number for step in steps]


def _hearing(folder: Path) -> tuple[list[Step], Kept]:
    steps: list[Step] = []
    kept = _train(folder, JoinedTeam(), on_step=steps.append)
    return steps, kept


@pytest.mark.parametrize("sharded", [False, True])
def test_parts_of_batches_and_bfloat16_are_shared_too(tmp_path: Path, toy_folder: Path, sharded: bool) -> None:
    settings = replace(_TUNING, epochs=1, micro_texts=4, head_dropout=0.2, precision="bf16")
    alone = _train(toy_folder, ALONE, settings)
    kept = in_team(2, tmp_path, lambda _: _train(toy_folder, _team(sharded), settings))[0]
    one, two = _answers(toy_folder, alone), _answers(toy_folder, kept)
    # bfloat16 has three digits, and rounds a share's products otherwise than the whole batch's.
    assert float(np.abs(one - two).max()) < 2e-2


@pytest.mark.parametrize("sharded", [False, True])
def test_stopped_as_a_team_one_worker_goes_on(tmp_path: Path, toy_folder: Path, undisturbed: Kept, sharded: bool) -> None:
    place = CheckpointPlace(tmp_path / "team.pt")

    def work(_: int) -> str:
        seen: list[Step] = []

        def stop(step: Step) -> None:
            seen.append(step)
            if len(seen) == 7:
                raise RunCancelled("enough")

        try:
            _train(toy_folder, _team(sharded), checkpoint=place, on_step=stop)
        except RunCancelled:
            return "stopped"
        return "ended"

    assert in_team(2, tmp_path, work) == ["stopped", "stopped"]
    steps: list[Step] = []
    again = CheckpointPlace(tmp_path / "again.pt", resume=place.path)
    _alike(toy_folder, _train(toy_folder, ALONE, checkpoint=again, on_step=steps.append), undisturbed)
    assert len(steps) == 15 - 7


def test_what_cannot_be_trained_is_said_by_the_leader(tmp_path: Path, toy_folder: Path) -> None:
    base = load_base(str(toy_folder))
    base.save(tmp_path / "base")
    (tmp_path / "damaged.pt").write_bytes(b"damaged")
    lost = CheckpointPlace(tmp_path / "checkpoint.pt", resume=tmp_path / "damaged.pt")
    _refused(base, tmp_path, _TUNING, lost, CheckpointUnusable, "cannot be read")
    fresh = CheckpointPlace(tmp_path / "checkpoint.pt")
    _refused(base, tmp_path, replace(_TUNING, lora_rank=4, dropout=None), fresh, InputError, "HONE_LEARN_SHARDED", sharded=True)


def test_workers_stop_when_the_caller_wants_it_and_tell_of_their_steps(tmp_path: Path, toy_folder: Path) -> None:
    base = load_base(str(toy_folder))
    base.save(tmp_path / "base")
    place = CheckpointPlace(tmp_path / "checkpoint.pt")
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    parts = (_tokens(base, "train"), _tokens(base, "validation"))
    task = TeamTask(tmp_path, "toy", blank, *parts, _TUNING, False, place, Workers(2, 2, tmp_path / "log"))
    (tmp_path / STOP).touch()
    in_team(2, tmp_path, lambda _: take_part(task, JoinedTeam(), torch.device("cpu")))
    raise_refusal(tmp_path)
    assert json.loads((tmp_path / STEP).read_bytes())["number"] == 1
    assert place.path.exists()
    assert not (tmp_path / KEPT).exists(), "nothing is taken for trained"


def _refused(
    base: Base,
    folder: Path,
    settings: FinetuneSettings,
    place: CheckpointPlace,
    kind: type[Exception],
    words: str,
    *,
    sharded: bool = False,
) -> None:
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    parts = (_tokens(base, "train"), _tokens(base, "validation"))
    meeting = folder / f"meeting-{kind.__name__}"
    meeting.mkdir()
    task = TeamTask(folder, "toy", blank, *parts, settings, False, place, Workers(2, 2, folder / "log"))
    in_team(2, meeting, lambda _: take_part(task, _team(sharded), torch.device("cpu")))
    with pytest.raises(kind, match=words):
        raise_refusal(folder)


def _team(sharded: bool) -> JoinedTeam:
    if not sharded:
        return JoinedTeam()
    from train.sharding import ShardingTeam

    return ShardingTeam()


def test_shared_out_weights_train_alike_and_go_on_from_one_workers_checkpoint(
    tmp_path: Path, toy_folder: Path, undisturbed: Kept
) -> None:
    place = CheckpointPlace(tmp_path / "one.pt")
    seen: list[Step] = []

    def stop(step: Step) -> None:
        seen.append(step)
        if len(seen) == 6:
            raise RunCancelled("enough")

    with pytest.raises(RunCancelled):
        _train(toy_folder, ALONE, checkpoint=place, on_step=stop)
    resumed = CheckpointPlace(tmp_path / "two.pt", resume=place.path)
    found: list[tuple[Kept, Kept, int]] = in_team(2, tmp_path, lambda _: _sharding(toy_folder, resumed))
    for whole, rest, numbers in found:
        _alike(toy_folder, whole, undisturbed)
        _alike(toy_folder, rest, undisturbed)
        assert numbers < 0.7 * sum(tensor.numel() for tensor in undisturbed.values()), "each keeps about half of the weights"


def _sharding(folder: Path, resumed: CheckpointPlace) -> tuple[Kept, Kept, int]:
    from torch.distributed.tensor import DTensor

    kept: list[int] = []
    team = _team(True)
    whole = _train(folder, team, on_step=lambda _: None)
    original = team.whole

    def count(tree: dict[str, torch.Tensor]) -> Any:
        kept.append(sum(tensor.to_local().numel() for tensor in tree.values() if isinstance(tensor, DTensor)))
        return original(tree)

    counting = _team(True)
    counting.whole = count  # type: ignore[method-assign] # a look at what is put together
    rest = _train(folder, counting, replace(_TUNING), CheckpointPlace(resumed.path, 0.0, resumed.resume))
    return whole, rest, kept[-1]


@given(rows=st.integers(1, 40), size=st.integers(1, 9))
def test_shares_are_the_whole_batch_once(rows: int, size: int) -> None:
    batch = list(range(100, 100 + rows))
    shares = [share_of(batch, rank, size) for rank in range(size)]
    counted = [row for share in shares if share.part for row in share.rows]
    assert sorted(counted) == batch
    assert sum(share.part for share in shares) == pytest.approx(1.0)
    assert all(share.rows == [batch[place] for place in share.places] for share in shares)
    assert all(share.rows for share in shares), "nobody stands aside"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_dropout_drops_what_it_drops_for_one_worker(size: int) -> None:
    whole = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(7)
    wanted = torch.nn.functional.dropout(whole, 0.4)
    state = torch.get_rng_state()
    for rank in range(size):
        share = share_of(list(range(5)), rank, size)
        torch.manual_seed(7)
        layer = SharedDropout(0.4, _present(share))
        assert torch.equal(layer(whole[share.places]), wanted[share.places])
        assert torch.equal(torch.get_rng_state(), state), "the next draw is the same everywhere"
        assert torch.equal(layer.eval()(whole), whole)
    torch.manual_seed(7)
    table = whole[:4]
    drawn = SharedDropout(0.4, _present(share_of(list(range(5)), 0, 2)))(table)
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.nn.functional.dropout(table, 0.4)), "a table without rows of the batch is as for one"


def _present(share: Share) -> Callable[[], Share]:
    return lambda: share

"""Fine-tuning on a problem that can be solved: it learns, repeats itself, keeps its best, ends in time, and can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.classifier import Head
from core.errors import RunCancelled
from tests.train.toys import SIGNAL, Row, toy_rows
from train import finetune as module
from train import stepping
from train.base import Base, load_base, token_embeddings
from train.finetune import Step, TokenRows, finetune, shuffled_batches
from train.head import FeatureRows, fit_head, logits
from train.request import FinetuneSettings
from train.tensors import embed_ids

_NAMES = list(SIGNAL)
_QUICK = FinetuneSettings(epochs=3, learning_rate=3e-3, batch_texts=16)


def _tokens(base: Base, rows: list[Row]) -> TokenRows:
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([_NAMES.index(row.label) for row in rows], np.int64)
    return TokenRows(ids, labels, np.ones(len(rows), np.float32))


def _parts(base: Base, count: int = 160) -> tuple[TokenRows, TokenRows]:
    rows = toy_rows(count)
    return _tokens(base, [r for r in rows if r.split == "train"]), _tokens(base, [r for r in rows if r.split == "validation"])


_NOTHING = TokenRows([], np.empty(0, np.int64), np.empty(0, np.float32))


def _blank(classes: int = 3) -> Head:
    return Head(np.zeros((32, classes), np.float32), None, np.zeros(classes, np.float32))


def _accuracy(base: Base, head: Head, rows: TokenRows) -> float:
    scores = logits(head, FeatureRows(embed_ids(base, rows.ids), None))
    return float((scores.argmax(axis=1) == rows.labels).mean())


def test_the_loss_falls_and_what_the_probe_knew_stays_known(base: Base) -> None:
    train, validation = _parts(base)
    probe = fit_head(FeatureRows(embed_ids(base, train.ids), None), train.labels, classes=3)
    before = _accuracy(base, probe, validation)
    steps: list[Step] = []
    settings = replace(_QUICK, epochs=4, batch_texts=8)
    head = finetune(base, probe, train, validation, settings, train_embeddings=True, on_step=steps.append)
    losses = [step.loss for step in steps]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert _accuracy(base, head, validation) >= before
    ratios = [step.ratio for step in steps]
    assert ratios == sorted(ratios)
    assert ratios[-1] == 1.0
    assert all(step.examples_per_s > 0 for step in steps)
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert {step.steps for step in steps} == {len(steps)}
    assert not base.encoder.training


def _run(folder: Path, seed: int) -> tuple[str, Head]:
    base = load_base(str(folder))
    train, validation = _parts(base, 48)
    head = finetune(base, _blank(), train, validation, replace(_QUICK, epochs=1, seed=seed))
    return base.digest(), head


def test_the_same_seed_gives_the_same_weights(toy_folder: Path) -> None:
    (digest, head), (again, same) = _run(toy_folder, 1), _run(toy_folder, 1)
    assert digest == again
    assert head.encoder is not None
    assert same.encoder is not None
    np.testing.assert_array_equal(head.encoder, same.encoder)
    assert _run(toy_folder, 2)[0] != digest


@pytest.mark.parametrize("train_embeddings", [False, True])
def test_token_embeddings_move_only_when_asked(base: Base, train_embeddings: bool) -> None:
    before = {name: tensor.clone() for name, tensor in base.encoder.state_dict().items()}
    digest = base.digest()
    train, validation = _parts(base, 48)
    settings = replace(_QUICK, epochs=1)
    finetune(base, _blank(), train, validation, settings, train_embeddings=train_embeddings)
    moved = {name for name, tensor in base.encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert any("word_embeddings" in name for name in moved) == train_embeddings
    assert any("layer.0" in name for name in moved)
    assert base.digest() != digest
    assert token_embeddings(base).weight.requires_grad


def test_the_weights_of_the_best_epoch_are_kept(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = _parts(base, 96)
    seen: list[tuple[float, Head]] = []
    states: list[dict[str, torch.Tensor]] = []
    measure = module.judge_epoch

    def spy(at: Base, linear: torch.nn.Linear, rows: TokenRows) -> tuple[float, float]:
        loss, accuracy = measure(at, linear, rows)
        seen.append((loss, Head(linear.weight.detach().numpy().T.copy(), None, linear.bias.detach().numpy().copy())))
        states.append({name: tensor.clone() for name, tensor in at.encoder.state_dict().items()})
        return loss, accuracy

    monkeypatch.setattr(module, "judge_epoch", spy)
    # A rate that is far too high: the loss jumps about, so that the last epoch is hardly the best.
    settings = replace(_QUICK, epochs=6, learning_rate=0.3, patience_epochs=10)
    head = finetune(base, _blank(), train, validation, settings)
    losses = [loss for loss, _ in seen]
    best = losses.index(min(losses))
    assert best < len(losses) - 1
    np.testing.assert_array_equal(head.bias, seen[best][1].bias)
    final = base.encoder.state_dict()
    assert all(torch.equal(final[name], tensor) for name, tensor in states[best].items())
    assert measure(base, _linear(head), validation)[0] == pytest.approx(min(losses), rel=1e-5)


def _linear(head: Head) -> torch.nn.Linear:
    assert head.encoder is not None
    linear = torch.nn.Linear(*head.encoder.shape)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.encoder.T.copy()))
        linear.bias.copy_(torch.from_numpy(head.bias))
    return linear


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 4), (10, 8)])
def test_training_ends_when_epochs_bring_nothing(
    base: Base, monkeypatch: pytest.MonkeyPatch, patience: int, epochs: int
) -> None:
    train, validation = _parts(base, 24)
    heard: list[float] = []

    def worse(*_: object) -> tuple[float, float]:
        heard.append(float(len(heard)))
        return heard[-1], 0.5

    monkeypatch.setattr(module, "judge_epoch", worse)
    finetune(base, _blank(), train, validation, replace(_QUICK, epochs=8, patience_epochs=patience))
    assert len(heard) == epochs


def test_how_sure_an_epoch_is_does_not_count_since_what_is_served_has_a_temperature(base: Base) -> None:
    _, validation = _parts(base, 24)
    rng = np.random.default_rng(0)
    head = Head(rng.normal(0.0, 0.1, size=(base.hidden, 3)).astype(np.float32), None, np.zeros(3, np.float32))
    assert head.encoder is not None
    surer = Head(head.encoder * np.float32(4.0), None, head.bias)
    at, sure_at = module.judge_epoch(base, _linear(head), validation), module.judge_epoch(base, _linear(surer), validation)
    assert sure_at == pytest.approx(at, abs=1e-3)


def test_of_epochs_that_validation_rows_do_not_tell_apart_the_last_is_kept(
    toy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "judge_epoch", lambda *_: (0.0, 1.0))
    kept, last = load_base(str(toy_folder)), load_base(str(toy_folder))
    train, validation = _parts(kept, 24)
    finetune(kept, _blank(), train, validation, replace(_QUICK, epochs=3, patience_epochs=1))
    finetune(last, _blank(), train, _NOTHING, replace(_QUICK, epochs=3, patience_epochs=1))
    assert kept.digest() == last.digest()


@pytest.mark.parametrize(("known", "epochs"), [(False, 8), (True, 3)])
def test_few_rows_are_read_more_often_unless_training_goes_on_from_a_version(base: Base, known: bool, epochs: int) -> None:
    train, _ = _parts(base, 24)
    steps: list[Step] = []
    settings = FinetuneSettings(learning_rate=1e-4, batch_texts=16)
    finetune(base, _blank(), replace(train, known=known), _NOTHING, settings, on_step=steps.append)
    assert len(steps) == steps[-1].steps == epochs * -(-len(train.ids) // 16)


def test_without_validation_rows_the_last_epoch_is_kept(base: Base) -> None:
    train, _ = _parts(base, 24)
    steps: list[Step] = []
    finetune(base, _blank(), train, _NOTHING, replace(_QUICK, epochs=3), on_step=steps.append)
    assert steps[-1].ratio == 1.0


def _clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], None]:
    """Put a clock in place on which every step takes a second."""
    time = [0.0]
    monkeypatch.setattr(stepping, "time", SimpleNamespace(monotonic=lambda: time[0]))

    def tick(_: Step) -> None:
        time[0] += 1.0

    return tick


@pytest.mark.parametrize("budget_s", [1.0, 14.0])
def test_a_budget_of_time_ends_training(base: Base, monkeypatch: pytest.MonkeyPatch, budget_s: float) -> None:
    train, validation = _parts(base, 96)
    tick = _clock(monkeypatch)
    steps: list[Step] = []

    def hear(step: Step) -> None:
        steps.append(step)
        tick(step)

    settings = replace(_QUICK, epochs=10_000, budget_s=budget_s, patience_epochs=10_000)
    head = finetune(base, _blank(), train, validation, settings, on_step=hear)
    assert budget_s <= len(steps) <= budget_s + 1
    assert np.isfinite(head.bias).all()
    assert not base.encoder.training


def test_a_budget_that_is_not_reached_changes_nothing(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _clock(monkeypatch)
    digests = []
    for budget_s in (0.0, 1e9):
        base = load_base(str(toy_folder))
        train, validation = _parts(base, 48)
        finetune(base, _blank(), train, validation, replace(_QUICK, epochs=1, budget_s=budget_s))
        digests.append(base.digest())
    assert digests[0] == digests[1]


def test_weights_decide_between_rows_that_contradict_each_other(base: Base) -> None:
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch(["the card is late"] * 32)]
    labels = np.tile(np.array([0, 1]), 16)
    weights = np.where(labels == 1, 5.0, 1.0).astype(np.float32)
    head = finetune(base, _blank(2), TokenRows(ids, labels, weights), _NOTHING, replace(_QUICK, epochs=10))
    scores = logits(head, FeatureRows(embed_ids(base, ids[:1]), None))
    assert scores[0, 1] > scores[0, 0]


def test_a_wish_to_stop_leaves_the_encoder_usable(base: Base) -> None:
    train, validation = _parts(base, 96)
    digest = base.digest()
    steps: list[Step] = []

    def stop(step: Step) -> None:
        steps.append(step)
        if len(steps) == 3:
            raise RunCancelled("enough")

    with pytest.raises(RunCancelled):
        finetune(base, _blank(), train, validation, _QUICK, on_step=stop)
    assert len(steps) == 3
    assert np.isfinite(embed_ids(base, validation.ids)).all()
    assert base.digest() != digest, "the digest has to name the weights as they are now"
    finetune(base, _blank(), train, validation, replace(_QUICK, epochs=1))
    assert token_embeddings(base).weight.requires_grad


def test_fine_tuning_starts_from_a_head_over_embeddings(base: Base) -> None:
    with pytest.raises(ValueError, match="embeddings"):
        finetune(base, Head(None, np.zeros((4, 2), np.float32), np.zeros(2, np.float32)), _NOTHING, _NOTHING, _QUICK)


@given(st.lists(st.integers(1, 60), max_size=300), st.integers(1, 7), st.integers(0, 5))
def test_batches_hold_every_row_once(lengths: list[int], most: int, seed: int) -> None:
    batches = shuffled_batches(lengths, batch_texts=most, random=np.random.default_rng(seed))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= most for batch in batches)


def test_no_two_epochs_are_alike_and_batches_hold_like_lengths() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 60, 400).tolist()
    generator = np.random.default_rng(1)
    first, second = (shuffled_batches(lengths, batch_texts=16, random=generator) for _ in range(2))
    assert first != second
    padded = sum(max(lengths[place] for place in batch) * len(batch) for batch in first)
    assert padded < 1.2 * sum(lengths)
    longest = [max(lengths[place] for place in batch) for batch in first]
    assert longest != sorted(longest)


def test_attention_drops_nothing_in_training_and_the_rest_does(base: Base) -> None:
    stepping.drop_attention_dropout(base.encoder)
    rates = {name: module.p for name, module in base.encoder.named_modules() if isinstance(module, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.endswith("attention.self.dropout")} == {0.0}
    assert min(rate for name, rate in rates.items() if not name.endswith("attention.self.dropout")) > 0.0


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.0, 1.0), st.integers(0, 5))
def test_an_epoch_sees_every_fresh_row_and_a_share_of_the_others(count: int, new: int, ratio: float, seed: int) -> None:
    fresh = np.arange(count)[:new]
    rows = TokenRows([[1]] * count, np.zeros(count, np.int64), np.ones(count, np.float32), fresh)
    drawn = rows.drawn(ratio, np.random.default_rng(seed))
    assert len(drawn) == len(set(drawn.tolist())) == rows.per_epoch(ratio)
    assert set(fresh.tolist()) <= set(drawn.tolist()) <= set(range(count))
    assert len(drawn) - len(fresh) == round(ratio * (count - len(fresh)))


def test_replay_draws_anew_each_epoch_and_costs_as_many_steps_as_it_says(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    train, _ = _parts(base, 96)
    batches: list[list[int]] = []
    step = stepping.Trainer.step

    def noted(trainer: stepping.Trainer, batch: list[int]) -> Step:
        batches.append(batch)
        return step(trainer, batch)

    monkeypatch.setattr(stepping.Trainer, "step", noted)
    rows = replace(train, fresh=np.array([0, 5]))
    steps: list[Step] = []
    finetune(base, _blank(), rows, _NOTHING, replace(_QUICK, epochs=2, replay_ratio=0.25), on_step=steps.append)
    assert steps[-1].ratio == 1.0
    half = len(batches) // 2
    first, second = ({place for batch in part for place in batch} for part in (batches[:half], batches[half:]))
    assert len(first) == len(second) == 2 + round(0.25 * (len(train.ids) - 2))
    assert {0, 5} <= first & second
    assert first != second

"""How the encoder is to be trained: what a preset is, what may be changed, and that a record says all of it."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from core.errors import InputError
from core.finetuning import (
    PRESETS,
    FinetuneSettings,
    FinetuneWish,
    Preset,
    finetuning,
    nearest_preset,
    parse_changes,
    split_changes,
)
from core.settings import Settings

_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 50),
        "learning_rate": st.floats(1e-6, 1e-2),
        "schedule": st.sampled_from(["linear", "cosine", "constant", "step"]),
        "layer_decay": st.floats(0.1, 1.0),
        "dropout": st.none() | st.floats(0.0, 0.9),
        "precision": st.sampled_from([None, "fp32", "bf16"]),
        "micro_texts": st.integers(0, 64),
    },
)


@given(st.sampled_from(get_args(Preset)), _CHANGES)
def test_what_is_written_of_it_gives_it_again(preset: Preset, changes: dict[str, object]) -> None:
    settings = finetuning(preset, changes)
    name, *pairs = str(settings).split()
    assert finetuning(name, parse_changes(pairs)) == settings  # type: ignore[arg-type] # the name of a preset, as it must be


@given(st.sampled_from(get_args(Preset)), _CHANGES)
def test_it_survives_a_record_and_another_process(preset: Preset, changes: dict[str, object]) -> None:
    settings = finetuning(preset, changes)
    kind = TypeAdapter(FinetuneSettings)
    assert kind.validate_json(kind.dump_json(settings)) == settings
    assert FinetuneSettings(**dataclasses.asdict(settings)) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own


def test_the_default_is_the_preset_in_the_middle() -> None:
    assert finetuning() == FinetuneSettings() == finetuning("balanced")
    assert set(PRESETS) == set(get_args(Preset))
    assert len({finetuning(name) for name in PRESETS}) == len(PRESETS)
    assert nearest_preset(finetuning("thorough", {"seed": 4})) == ("thorough", {"seed": 4})


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"learning_rate": "much"}, {"nothing": 1}, {"l1": float("nan")}, {"schedule": "up"}, {"dropout": 1.0}],
)
def test_a_setting_that_cannot_be_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        finetuning("fast", wrong)


@pytest.mark.parametrize("wrong", [["epochs"], ["=3"], ["epochs="], ["epochs=1", "epochs=2"]])
def test_pairs_that_say_nothing_or_two_things_are_refused(wrong: list[str]) -> None:
    with pytest.raises(InputError, match="name=value"):
        parse_changes(wrong)


def test_a_run_is_trained_as_the_service_says_unless_it_says_otherwise(tmp_path: Path) -> None:
    settings = Settings(HONE_HOME=tmp_path, learn_preset="fast", learn_finetune="seed=7, epochs=2", learn_replay_ratio=0.5)
    assert settings.finetuning(FinetuneWish()) == finetuning("fast", {"seed": 7, "epochs": 2, "replay_ratio": 0.5})
    assert settings.finetuning(FinetuneWish(changes={"epochs": 4})).epochs == 4
    # A preset of its own is that preset, and no mixture; how much is replayed is the service's affair.
    assert settings.finetuning(FinetuneWish("thorough")) == finetuning("thorough", {"replay_ratio": 0.5})
    assert split_changes(" ") == []


def test_a_service_is_not_started_with_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs"):
        Settings(HONE_HOME=tmp_path, learn_finetune="epochs=none")


@given(rows=st.integers(1, 100_000), batch=st.integers(1, 256))
def test_few_rows_are_read_more_often_unless_training_goes_on_from_a_version(rows: int, batch: int) -> None:
    settings = FinetuneSettings(batch_texts=batch)
    most = settings.most_epochs(rows, known=False)
    assert 3 <= most <= 8
    assert most >= settings.most_epochs(rows + 1, known=False)
    # No more than it takes, and all that is allowed where it takes more.
    steps = -(-rows // batch)
    assert most in (3, 8) or (most - 1) * steps < 600 <= most * steps
    # What goes on from a version, and what was asked for in so many words, stays as it is.
    assert settings.most_epochs(rows, known=True) == 3
    assert FinetuneSettings(epochs=5).most_epochs(rows, known=False) == 5

"""Training through small matrices: the rest stays, they are merged, and what comes out is an ordinary encoder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModel

from core.classifier import Classifier, Head
from core.errors import EncoderError, InputError, RunCancelled
from core.finetuning import FinetuneSettings, recorded
from core.registry import Registry
from core.settings import Settings
from tests.train.test_families import FAMILIES
from tests.train.toys import SIGNAL, Row, toy_rows, toy_tokenizer
from train.base import Base, load_base
from train.evaluate import evaluate_file
from train.export import MOST_GAP
from train.finetune import finetune
from train.lora import adapted
from train.request import CheckpointPlace, Precision
from train.stepping import Step, TokenRows
from train.teach import TeachRequest, teach
from train.tensors import embed_ids

_SMALL = FinetuneSettings(epochs=2, learning_rate=3e-3, batch_texts=16, lora_rank=4, precision="fp32", seed=3)


@pytest.fixture(params=["bert", "deberta-v3", "gpt2", "llama"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a folder with a tiny encoder or decoder in Hugging Face layout."""
    torch.manual_seed(0)
    made = tmp_path / str(request.param)
    model: Any = AutoModel
    model.from_config(FAMILIES[request.param]()).save_pretrained(made)
    toy_tokenizer().save(str(made / "tokenizer.json"))
    return made


def test_it_is_taught_merged_exported_compared_and_served(folder: Path, settings: Settings, toy_file: Path) -> None:
    tuning = replace(_SMALL, learning_rate=1e-2)
    report = teach(settings, TeachRequest(data=toy_file, base=str(folder), features="encoder", speed="full", finetune=tuning))
    assert report.parity is not None
    assert report.parity.encoder_gap <= MOST_GAP
    assert "full" in {option.name for option in report.options}
    registry = Registry(settings.home.registry)
    assert recorded(registry.manifest(report.version).lineage.settings) == tuning
    served = registry.path(report.version)
    scores = Classifier.load(served).predict(["where and when", "awful and rude", ""])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)
    compared = evaluate_file(served, toy_file, compare_with="torch")
    assert compared.agreement_ratio is not None
    assert compared.agreement_ratio >= 0.99
    # Whoever opens the folder needs no peft, and later training takes it as any other.
    plain: Any = transformers.AutoModel
    assert "lora" not in " ".join(plain.from_pretrained(served / "encoder").state_dict())


def _rows(base: Base, rows: list[Row]) -> TokenRows:
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([list(SIGNAL).index(row.label) for row in rows], np.int64)
    return TokenRows(ids, labels, np.ones(len(rows), np.float32))


def _tune(
    folder: Path,
    settings: FinetuneSettings = _SMALL,
    checkpoint: CheckpointPlace | None = None,
    *,
    train_embeddings: bool = False,
    on_step: Callable[[Step], None] = lambda _: None,
) -> tuple[Base, Head]:
    base = load_base(str(folder))
    made = toy_rows(96)
    train, validation = (_rows(base, [row for row in made if row.split == split]) for split in ("train", "validation"))
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    head = finetune(
        base, blank, train, validation, settings, checkpoint=checkpoint, train_embeddings=train_embeddings, on_step=on_step
    )
    return base, head


def _moved(base: Base, folder: Path) -> set[str]:
    before = load_base(str(folder)).encoder.state_dict()
    after = base.encoder.state_dict()
    assert set(after) == set(before), "it has to be the encoder it was"
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_only_what_linear_layers_do_changes_and_by_no_more_than_the_rank(toy_folder: Path) -> None:
    base, _ = _tune(toy_folder)
    moved = _moved(base, toy_folder)
    assert moved
    assert all(name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight")) for name in moved)
    assert not any("pooler" in name for name in moved)
    before = load_base(str(toy_folder)).encoder.state_dict()
    for name in moved:
        assert torch.linalg.matrix_rank(base.encoder.state_dict()[name] - before[name], atol=1e-5) <= 4
    assert all(parameter.requires_grad for parameter in base.encoder.parameters())
    # And once more, from there.
    rows = _rows(base, [row for row in toy_rows(48) if row.split == "train"])
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    finetune(base, blank, rows, rows, replace(_SMALL, epochs=1))


def test_layers_are_taken_by_name_and_embeddings_train_where_a_grown_vocabulary_needs_it(toy_folder: Path) -> None:
    base, _ = _tune(toy_folder, replace(_SMALL, lora_targets="query+value", lora_alpha=1), train_embeddings=True)
    moved = _moved(base, toy_folder)
    assert {name.split(".")[-2] for name in moved} == {"query", "value", "word_embeddings"}


@pytest.mark.parametrize("bits", ["fp32", "bf16"])
def test_stopped_and_resumed_is_undisturbed_and_what_was_stopped_is_whole(
    toy_folder: Path, tmp_path: Path, bits: Precision
) -> None:
    settings = replace(_SMALL, precision=bits, lora_dropout=0.1)
    undisturbed, head = _tune(toy_folder, settings)
    seen: list[Step] = []

    def stop(step: Step) -> None:
        seen.append(step)
        if len(seen) == 4:
            raise RunCancelled("enough")

    first = CheckpointPlace(tmp_path / "first.pt")
    with pytest.raises(RunCancelled):
        _tune(toy_folder, settings, first, on_step=stop)
    # Neither the encoder nor what the optimiser knows of it is in the checkpoint.
    assert first.path.stat().st_size < 500_000
    resumed, same = _tune(toy_folder, settings, CheckpointPlace(tmp_path / "second.pt", resume=first.path))
    assert resumed.digest() == undisturbed.digest()
    np.testing.assert_array_equal(same.bias, head.bias)


def test_an_encoder_is_whole_after_it_was_stopped(toy_folder: Path) -> None:
    base = load_base(str(toy_folder))
    names = set(base.encoder.state_dict())
    with pytest.raises(RunCancelled), adapted(base, _SMALL):
        raise RunCancelled("enough")
    assert set(base.encoder.state_dict()) == names
    assert np.isfinite(embed_ids(base, [[2, 5, 3]])).all()


def test_names_it_has_not_are_refused(toy_folder: Path) -> None:
    with pytest.raises(InputError, match="no linear layers called 'q_proj'"):
        _tune(toy_folder, replace(_SMALL, lora_targets="q_proj"))


def test_without_the_extra_it_is_said_what_to_install(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EncoderError, match=r"hone\[lora\]"):
        _tune(toy_folder)
    _tune(toy_folder, replace(_SMALL, lora_rank=0, epochs=1))

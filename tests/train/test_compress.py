"""Making a version smaller: what each part does to an encoder, and a recipe from version to version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from transformers import AutoModel

from core.classifier import Classifier
from core.encoder import OnnxEncoder
from core.errors import DataError, EncoderError, InputError
from core.registry import Registry
from core.settings import Settings
from tests.train.toys import install_champion, toy_rows
from train.base import Base, load_base
from train.compress import AS_IT_IS, CompressRequest, compress
from train.compress_page import compress_page
from train.encode import VARIANTS, ExportedEncoder
from train.export import export_encoder
from train.recipes import Recipe, usual
from train.shrink import drop_layers, fold, imitate, lower_rank, prune_vocabulary
from train.slim import divide_products, halve_weights, quantise_tables
from train.tensors import embed_ids

TEXTS = [row.text for row in toy_rows(60)]


def _ids(base: Base, texts: list[str] = TEXTS) -> list[list[int]]:
    return [encoding.ids for encoding in base.tokenizer.encode_batch(texts)]


def _again(base: Base, folder: Path) -> Base:
    """Return the encoder as it is read from its files."""
    base.save(folder)
    return load_base(str(folder))


@pytest.mark.parametrize("text", ["tables", "half", "vocabulary", "tables+half+vocabulary+layers=3", "rank=8"])
def test_a_recipe_is_written_as_it_is_read(text: str) -> None:
    assert Recipe.parse(text).name == text


@pytest.mark.parametrize("text", ["", "layers", "layers=0", "tables=1", "int4", "layers=-1", "tables,vocabulary"])
def test_a_recipe_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="parts are"):
        Recipe.parse(text)


def test_the_usual_recipes_leave_out_a_third_and_a_half_of_the_layers() -> None:
    assert [recipe.layers for recipe in usual(6)] == [None, None, 4, 3]
    assert [recipe.layers for recipe in usual(1)] == [None, None]


def test_words_are_read_as_before_and_unseen_ones_in_pieces(base: Base, tmp_path: Path) -> None:
    before, size = embed_ids(base, _ids(base)), base.tokenizer.get_vocab_size()
    kept = prune_vocabulary(base, TEXTS[:10])
    assert kept == base.tokenizer.get_vocab_size() < size
    again = _again(base, tmp_path / "pruned")
    seen = embed_ids(again, _ids(again, TEXTS[:10]))
    np.testing.assert_allclose(seen, before[:10], atol=1e-6)
    assert again.tokenizer.encode("card").tokens == ["[CLS]", "card", "[SEP]"]
    unseen = again.tokenizer.encode("phones").tokens
    assert "[UNK]" not in unseen
    assert len(unseen) > 3


def test_layers_are_left_out_and_the_rest_is_a_model_of_its_kind(base: Base, tmp_path: Path) -> None:
    ids = _ids(base)
    drop_layers(base, 1)
    folder = tmp_path / "one"
    again = _again(base, folder)
    np.testing.assert_allclose(embed_ids(again, ids), embed_ids(base, ids), atol=1e-6)
    assert AutoModel.from_pretrained(folder, trust_remote_code=False).config.num_hidden_layers == 1
    with pytest.raises(EncoderError, match="1 layers; 1 cannot be kept"):
        drop_layers(base, 1)


def test_a_changed_encoder_learns_to_answer_as_before(base: Base) -> None:
    ids = _ids(base)
    wanted = embed_ids(base, ids)
    drop_layers(base, 1)
    before = float(((embed_ids(base, ids) - wanted) ** 2).sum(axis=1).mean())
    heard: list[float] = []
    imitate(base, ids, wanted, epochs=20, on_share=heard.append)
    after = float(((embed_ids(base, ids) - wanted) ** 2).sum(axis=1).mean())
    assert after < before / 3
    assert heard[-1] == 1.0


def test_products_of_low_rank_are_folded_and_divided_again(base: Base, tmp_path: Path) -> None:
    ids = _ids(base)
    assert lower_rank(base, 4) > 0
    expected = embed_ids(base, ids)
    fold(base)
    np.testing.assert_allclose(embed_ids(base, ids), expected, atol=1e-5)
    counts: list[int] = []
    exported = export_encoder(base, tmp_path, TEXTS, None, rework=lambda path: counts.append(divide_products(path)))
    plain = export_encoder(base, tmp_path, TEXTS, None)
    assert counts[0] > 0
    assert (exported.folder / VARIANTS["fp32"]).stat().st_size < (plain.folder / VARIANTS["fp32"]).stat().st_size
    np.testing.assert_allclose(exported.embed_ids(ids, "fp32"), expected, atol=1e-4)
    with pytest.raises(EncoderError, match="no product"):
        lower_rank(base, 10_000)


def _grown(source: Path, target: Path) -> Path:
    """Write an engine whose table of words is large enough to be worth making smaller, and return ``target``."""
    model = onnx.load(str(source))
    table = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("word_embeddings.weight"))
    values = onnx.numpy_helper.to_array(table)
    grown = onnx.numpy_helper.from_array(np.concatenate([values, np.zeros((4_096, values.shape[1]), np.float32)]), table.name)
    model.graph.initializer.remove(table)
    model.graph.initializer.append(grown)
    onnx.save(model, str(target))
    return target


def test_weights_in_16_bits_are_half_as_large_and_answer_alike(exported: ExportedEncoder, tmp_path: Path) -> None:
    path = _grown(exported.folder / VARIANTS["fp32"], tmp_path / "fp32.onnx")
    ids = exported.tokenize(TEXTS, max_tokens=32)
    before, size = OnnxEncoder(path).embed(ids), path.stat().st_size
    assert halve_weights(path) == 1
    assert path.stat().st_size < 0.7 * size
    np.testing.assert_allclose(OnnxEncoder(path).embed(ids), before, atol=2e-3)
    assert halve_weights(path) == 0, "done twice it is as done once"


def test_tables_in_8_bits_look_up_nearly_the_same(exported: ExportedEncoder, tmp_path: Path) -> None:
    path = tmp_path / "fp32.onnx"
    path.write_bytes((exported.folder / VARIANTS["fp32"]).read_bytes())
    ids = exported.tokenize(TEXTS, max_tokens=32)
    before, size = OnnxEncoder(path).embed(ids), path.stat().st_size
    assert quantise_tables(path) == 0, "toy tables are too small to be worth it"
    _grown(path, path)
    size = path.stat().st_size
    assert quantise_tables(path) == 1
    assert path.stat().st_size < size / 2
    after = OnnxEncoder(path).embed(ids)
    assert float(np.abs(after - before).max()) < 0.02


def test_a_version_is_made_smaller_and_registered_but_not_promoted(taught: Settings) -> None:
    recipes = (Recipe.parse("tables+vocabulary"), Recipe.parse("vocabulary+layers=1"), Recipe.parse("layers=7"))
    report = compress(taught, CompressRequest("champion", recipes, "vocabulary+layers=1", epochs=5))
    assert [option.name for option in report.options] == [AS_IT_IS, *(recipe.name for recipe in recipes)]
    first, _, layers, impossible = report.options
    assert first.loss == 0.0
    assert impossible.problem is not None
    assert "2 layers" in impossible.problem
    assert layers.served_bytes is not None
    assert first.served_bytes is not None
    assert layers.served_bytes < first.served_bytes
    assert layers.accuracy is not None
    assert layers.accuracy > 0.8
    assert all(option.texts_per_s for option in report.options[:3])
    registry = Registry(taught.home.registry)
    assert (report.registered, registry.aliases().champion) == ("v2", "v1")
    manifest = registry.manifest("v2")
    assert manifest.lineage.settings["compression"] == "vocabulary+layers=1"
    assert manifest.lineage.parent == "v1"
    assert Classifier.load(registry.path("v2")).predict(["where and when"]).shape == (1, 3)
    assert report.decision is not None
    assert "vocabulary+layers=1 is v2" in compress_page(report).render()
    assert list(taught.home.runs.iterdir()) == []


def test_the_best_loses_no_more_than_it_may(taught: Settings) -> None:
    recipes = (Recipe.parse("tables+half+vocabulary"),)
    report = compress(taught, CompressRequest("v1", recipes, "best", max_loss=1.0))
    assert (report.chosen, report.registered) == ("tables+half+vocabulary", "v2")
    assert compress(taught, CompressRequest("v2", recipes)).registered is None


def test_a_choice_that_is_not_there_is_refused_before_anything_is_made(taught: Settings) -> None:
    with pytest.raises(InputError, match="there are: best, tables"):
        compress(taught, CompressRequest("v1", (Recipe(tables=True),), "rank=3"))


def test_a_version_without_an_encoder_cannot_be_made_smaller(settings: Settings) -> None:
    install_champion(settings)
    with pytest.raises(DataError, match="no encoder"):
        compress(settings, CompressRequest("champion"))

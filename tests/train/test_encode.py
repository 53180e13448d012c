"""Encoders as files, and embeddings that are computed once."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.bundle import MANIFEST, file_sha256
from core.encoder import held_encoder
from core.errors import RunCancelled
from tests.train.toys import write_bundle, write_toy_base
from train import encode
from train.base import load_base
from train.encode import VARIANTS, EmbeddingCache, ExportedEncoder, FloatMatrix
from train.export import export_encoder

_TEXTS = ["why", "the card is late", "refund my order", "the card is late"]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list that hears how many texts are computed each time."""
    heard: list[int] = []
    really = ExportedEncoder.embed_ids

    def embed_ids(self: ExportedEncoder, ids: Sequence[list[int]], *more: object) -> FloatMatrix:
        heard.append(len(ids))
        return really(self, ids, *more)  # type: ignore[arg-type] # handed on as they came

    monkeypatch.setattr(ExportedEncoder, "embed_ids", embed_ids)
    return heard


def test_kept_rows_equal_computed_ones(exported: ExportedEncoder, tmp_path: Path, computed: list[int]) -> None:
    cache = EmbeddingCache(tmp_path)
    shares: list[float] = []
    first = cache.embed(exported, _TEXTS, max_tokens=48, on_share=shares.append)
    assert computed == [3]
    np.testing.assert_array_equal(first[1], first[3])
    direct = exported.embed_ids(exported.tokenize(_TEXTS, max_tokens=48), "fp32")
    np.testing.assert_allclose(first, direct, atol=1e-6)
    again = EmbeddingCache(tmp_path).embed(exported, _TEXTS[::-1], max_tokens=48)
    np.testing.assert_array_equal(again, first[::-1])
    assert computed == [3, 4]
    assert shares[-1] == 1.0


def test_only_new_texts_are_computed(exported: ExportedEncoder, tmp_path: Path, computed: list[int]) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.embed(exported, _TEXTS, max_tokens=48)
    rows = cache.embed(exported, [*_TEXTS, "thanks", "how"], max_tokens=48)
    assert computed == [3, 2]
    assert rows.shape == (6, 32)
    assert cache.embed(exported, [], max_tokens=48).shape == (0, 32)


def test_rows_of_other_encoders_variants_and_lengths_are_apart(
    exported: ExportedEncoder, tmp_path: Path, computed: list[int]
) -> None:
    other = export_encoder(load_base(str(write_toy_base(tmp_path / "other", seed=1))), tmp_path, [], None)
    cache = EmbeddingCache(tmp_path / "cache")
    long = ["the card is late again today"]
    rows = [
        cache.embed(exported, long, max_tokens=48),
        cache.embed(other, long, max_tokens=48),
        cache.embed(exported, long, max_tokens=48, variant="int8"),
        cache.embed(exported, long, max_tokens=4),
    ]
    assert computed == [1, 1, 1, 1]
    assert len({row.tobytes() for row in rows}) == 4
    assert len(list((tmp_path / "cache" / "embeddings").iterdir())) == 4


def _garbage(path: Path) -> None:
    path.write_bytes(b"no tensors")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("damage", [_garbage, _cut, Path.unlink])
def test_a_damaged_cache_is_the_same_as_none(
    exported: ExportedEncoder, tmp_path: Path, computed: list[int], damage: object
) -> None:
    assert callable(damage)
    cache = EmbeddingCache(tmp_path)
    first = cache.embed(exported, _TEXTS, max_tokens=48)
    (path,) = (tmp_path / "embeddings").iterdir()
    damage(path)
    np.testing.assert_array_equal(cache.embed(exported, _TEXTS, max_tokens=48), first)
    cache.embed(exported, _TEXTS, max_tokens=48)
    assert computed == [3, 3]


def test_one_damaged_row_is_computed_again(exported: ExportedEncoder, tmp_path: Path, computed: list[int]) -> None:
    cache = EmbeddingCache(tmp_path)
    first = cache.embed(exported, _TEXTS, max_tokens=48)
    (path,) = (tmp_path / "embeddings").iterdir()
    body = bytearray(path.read_bytes())
    body[-4] ^= 1
    path.write_bytes(body)
    # A text alone and one among others come out of the engine alike but for the last digits.
    np.testing.assert_allclose(cache.embed(exported, _TEXTS, max_tokens=48), first, atol=1e-6)
    assert computed == [3, 1]


def test_who_is_interrupted_has_what_was_computed(
    exported: ExportedEncoder, tmp_path: Path, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "_KEPT_AT_ONCE", 2)

    def stop(share: float) -> None:
        if share > 0.9:
            raise RunCancelled("enough")

    with pytest.raises(RunCancelled):
        EmbeddingCache(tmp_path).embed(exported, _TEXTS, max_tokens=48, on_share=stop)
    shares: list[float] = []
    EmbeddingCache(tmp_path).embed(exported, _TEXTS, max_tokens=48, on_share=shares.append)
    assert computed == [2, 1, 1]
    assert shares == sorted(shares)


def test_engines_are_kept_by_a_process_that_says_so(exported: ExportedEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "_kept_engines", deque(maxlen=0))
    digest = exported.engine_digest("int8")
    exported.embed_ids([[2, 3]], "int8")
    assert held_encoder(digest) is None
    encode.keep_engines(1)
    exported.embed_ids([[2, 3]], "int8")
    assert held_encoder(digest) is not None


@pytest.fixture
def fresh(exported: ExportedEncoder, tmp_path: Path) -> ExportedEncoder:
    """Give a copy of the exported toy encoder, to move about."""
    shutil.copytree(exported.folder, tmp_path / "fresh")
    return ExportedEncoder(tmp_path / "fresh", exported.facts)


def test_a_kept_encoder_is_found_by_its_digest(fresh: ExportedEncoder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert ExportedEncoder.of_cache(cache, fresh.facts.digest) is None
    kept = fresh.keep(cache)
    assert not fresh.folder.exists()
    assert ExportedEncoder.of_cache(cache, fresh.facts.digest) == kept
    assert kept.tokenize(["why"], max_tokens=9) != []


def test_a_second_encoder_of_the_same_digest_is_dropped(fresh: ExportedEncoder, tmp_path: Path) -> None:
    second = ExportedEncoder(tmp_path / "second", fresh.facts)
    shutil.copytree(fresh.folder, second.folder)
    kept = fresh.keep(tmp_path / "cache")
    marker = (kept.folder / VARIANTS["fp32"]).stat().st_ino
    assert second.keep(tmp_path / "cache") == kept
    assert not second.folder.exists()
    assert (kept.folder / VARIANTS["fp32"]).stat().st_ino == marker


@pytest.mark.parametrize("lost", ["facts.json", VARIANTS["fp32"], VARIANTS["int8"], "encoder/tokenizer.json"])
def test_a_damaged_kept_encoder_is_replaced(fresh: ExportedEncoder, tmp_path: Path, lost: str) -> None:
    second = ExportedEncoder(tmp_path / "second", fresh.facts)
    shutil.copytree(fresh.folder, second.folder)
    kept = fresh.keep(tmp_path / "cache")
    (kept.folder / lost).unlink()
    assert ExportedEncoder.of_cache(tmp_path / "cache", fresh.facts.digest) is None
    second.keep(tmp_path / "cache")
    found = ExportedEncoder.of_cache(tmp_path / "cache", fresh.facts.digest)
    assert found is not None
    assert found.embed_ids(found.tokenize(_TEXTS, max_tokens=48), "int8").shape == (4, 32)


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def test_bundles_share_the_files_of_an_encoder(fresh: ExportedEncoder, tmp_path: Path) -> None:
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        fresh.link_into(tmp_path / name)
    first, second = _files(tmp_path / "v1"), _files(tmp_path / "v2")
    assert first.keys() == second.keys() == _files(fresh.folder).keys() - {"facts.json"}
    assert all(first[name].samefile(second[name]) for name in first)


def test_where_the_disk_knows_no_links_files_are_copied(
    fresh: ExportedEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "v1").mkdir()
    fresh.link_into(tmp_path / "v1")
    copies, own = _files(tmp_path / "v1"), _files(fresh.folder)
    assert {name: file_sha256(path) for name, path in copies.items()} == {name: file_sha256(own[name]) for name in copies}
    assert not any(path.samefile(own[name]) for name, path in copies.items())


def test_a_bundle_of_ngrams_has_no_encoder(tmp_path: Path) -> None:
    manifest = write_bundle(tmp_path / "bundle")
    assert (tmp_path / "bundle" / MANIFEST).exists()
    assert ExportedEncoder.of_bundle(tmp_path / "bundle", manifest) is None

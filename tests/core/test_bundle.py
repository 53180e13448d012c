"""A bundle is what was sealed, byte for byte, or it is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bundle import CARD, FORMAT, HEAD, MANIFEST, NGRAMS, TOKENIZER, Manifest, file_sha256, read_manifest, seal, verify
from core.errors import BundleError
from tests.bundles import write_ngram_bundle
from tests.core.encoders import FP32, INT8, write_encoder_bundle
from tests.core.manifests import edit, read_body

_FILES = (HEAD, NGRAMS, CARD, TOKENIZER, "encoder/config.json", FP32, INT8)


def test_a_sealed_bundle_verifies_and_reads_back_equal(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    written = write_encoder_bundle(folder)
    assert verify(folder) == read_manifest(folder) == written
    assert set(written.files) == set(_FILES)
    assert written.files[HEAD] == file_sha256(folder / HEAD)
    assert Manifest.model_validate_json(written.model_dump_json()) == written


def test_a_bundle_may_move(bundle: Path, tmp_path: Path) -> None:
    before = verify(bundle)
    assert verify(bundle.rename(tmp_path / "elsewhere")) == before


def test_sealing_twice_keeps_the_files_and_leaves_no_other(bundle: Path) -> None:
    before = read_manifest(bundle)
    assert seal(bundle, before) == before
    assert {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} == {*_FILES, MANIFEST}


@pytest.mark.parametrize("name", _FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_altered_bit_is_found(bundle: Path, name: str, place: float) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[round(place * (len(data) - 1))] ^= 1
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"altered {name}"):
        verify(bundle)


@given(place=st.integers(0, 10**6), bit=st.integers(0, 7), name=st.sampled_from(_FILES))
def test_any_altered_bit_is_found(sealed: Path, place: int, bit: int, name: str) -> None:
    whole = (sealed / name).read_bytes()
    data = bytearray(whole)
    data[place % len(data)] ^= 1 << bit
    (sealed / name).write_bytes(data)
    try:
        with pytest.raises(BundleError, match=f"altered {name}"):
            verify(sealed)
    finally:
        (sealed / name).write_bytes(whole)


@pytest.mark.parametrize("name", _FILES)
def test_an_extra_or_missing_byte_is_found(bundle: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()
    for data in (whole + b"\n", whole[:-1], b""):
        (bundle / name).write_bytes(data)
        with pytest.raises(BundleError, match="altered"):
            verify(bundle)


@pytest.mark.parametrize("name", _FILES)
def test_a_missing_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        verify(bundle)
    (bundle / name).mkdir()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        verify(bundle)


@pytest.mark.parametrize(
    "name", ["extra.txt", "encoder/pytorch_model.bin", ".hidden", "new/manifest.json", "encoder/onnx/x.onnx"]
)
def test_an_extra_file_is_found(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"holds {name}, which its manifest"):
        verify(bundle)


def test_a_manifest_below_the_top_is_a_file_like_any_other(bundle: Path) -> None:
    (bundle / "encoder" / MANIFEST).write_text("{}", encoding="utf-8")
    sealed = seal(bundle, read_manifest(bundle))
    assert verify(bundle).files[f"encoder/{MANIFEST}"] == sealed.files[f"encoder/{MANIFEST}"]
    (bundle / "encoder" / MANIFEST).write_text("[]", encoding="utf-8")
    with pytest.raises(BundleError, match="altered"):
        verify(bundle)


@pytest.mark.parametrize("name", _FILES)
def test_a_file_must_not_lie_elsewhere(bundle: Path, tmp_path: Path, name: str) -> None:
    shutil.move(bundle / name, tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="outside the bundle"):
        verify(bundle)


def test_links_to_other_folders_and_special_files_are_found(bundle: Path, tmp_path: Path) -> None:
    (bundle / "linked").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="holds linked"):
        verify(bundle)
    (bundle / "linked").unlink()
    (bundle / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="holds broken"):
        verify(bundle)
    (bundle / "broken").unlink()
    os.mkfifo(bundle / "pipe")
    with pytest.raises(BundleError, match="holds pipe"):
        verify(bundle)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "encoder/../../secret", "nul\0byte", "x" * 5000, "", "."])
def test_a_manifest_that_names_other_paths_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("of the operator", encoding="utf-8")
    edit(bundle, files={name: file_sha256(tmp_path / "secret"), **read_body(bundle)["files"]})
    with pytest.raises(BundleError):
        verify(bundle)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        '"text"',
        "[" * 100_000,
        '{"format": 2}',
        '{"format": "1"}',
        "{}",
        '{"format": null}',
        '{"format": 1}',
    ],
)
def test_what_is_no_manifest_is_refused(bundle: Path, body: str) -> None:
    (bundle / MANIFEST).write_text(body, encoding="utf-8")
    with pytest.raises(BundleError, match="bundle"):
        read_manifest(bundle)


def test_a_manifest_of_another_format_says_which_is_read(bundle: Path) -> None:
    edit(bundle, format=FORMAT + 1)
    with pytest.raises(BundleError, match=f"bundle format {FORMAT + 1}; this release reads {FORMAT}"):
        verify(bundle)


@given(share=st.floats(0.0, 0.999))
def test_a_manifest_cut_short_is_refused(sealed: Path, share: float) -> None:
    whole = (sealed / MANIFEST).read_bytes()
    (sealed / MANIFEST).write_bytes(whole[: int(len(whole) * share)])
    try:
        with pytest.raises(BundleError):
            verify(sealed)
    finally:
        (sealed / MANIFEST).write_bytes(whole)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"labels": ["only"]}, "labels"),
        ({"labels": ["same", "same", "other"]}, "labels"),
        ({"labels": "ab"}, "labels"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"features": "all"}, "features"),
        ({"text": {"html": True, "lower": True}}, "text.lower"),
        ({"license": "MIT"}, "license"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"lineage": None}, "lineage"),
        ({"probes": [{"text": "a"}]}, "probes.0.label"),
    ],
)
def test_wrong_fields_are_named(bundle: Path, changes: dict[str, Any], field: str) -> None:
    edit(bundle, **changes)
    with pytest.raises(BundleError, match=f"wrong fields: {field}"):
        read_manifest(bundle)


def test_the_refusal_of_a_field_does_not_quote_it(bundle: Path) -> None:
    edit(bundle, probes=[{"text": 7, "label": "a", "score": "a secret"}])
    with pytest.raises(BundleError) as caught:
        read_manifest(bundle)
    assert "secret" not in caught.value.message


def test_a_folder_without_a_manifest_is_no_bundle(bundle: Path, tmp_path: Path) -> None:
    (bundle / MANIFEST).unlink()
    for folder in (bundle, tmp_path / "nowhere"):
        with pytest.raises(BundleError, match="is not a bundle"):
            verify(folder)


def test_a_manifest_in_another_encoding_is_refused(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(json.dumps(read_body(bundle)).encode("utf-16"))
    with pytest.raises(BundleError, match="not JSON"):
        read_manifest(bundle)


def test_labels_keep_their_order_and_their_script(tmp_path: Path) -> None:
    labels = ["差评", "好评", "Zebra", "apple"]
    write_ngram_bundle(tmp_path / "bundle", labels)
    assert verify(tmp_path / "bundle").labels == labels

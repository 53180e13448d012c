"""The profile of a version: what is saved comes back, what is damaged is refused, no rare word is in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core.drift.profile import MIN_WORD_TEXTS, PROFILE, Profile, common_words, read_profile
from core.drift.samples import Sample, Texts, language_of, measure_texts
from core.errors import BundleError


def _profile(rows: int = 40, *, texts: bool = True) -> Profile:
    random = np.random.default_rng(0)
    measured = Texts(
        random.poisson(9, rows).astype(np.float32),
        random.random(rows).astype(np.float32),
        tuple(random.choice(["en", "zh"], rows).tolist()),
        random.normal(0, 1, (rows // 2, 6)).astype(np.float16).astype(np.float32),
    )
    labels = tuple(random.choice(["good", "坏"], rows).tolist())
    sample = Sample(labels, random.random(rows).astype(np.float32), measured if texts else None)
    return Profile(sample, random.random(rows) < 0.8, {"so": 0.5, "好": 0.25}, "key")


@pytest.mark.parametrize("texts", [True, False])
def test_what_is_saved_comes_back(tmp_path: Path, *, texts: bool) -> None:
    profile = _profile(texts=texts)
    profile.save(tmp_path / PROFILE)
    found = read_profile(tmp_path)
    assert found is not None
    assert found.sample.labels == profile.sample.labels
    assert np.array_equal(found.sample.confidences, profile.sample.confidences)
    assert np.array_equal(found.right, profile.right)
    assert (found.words, found.texts_key) == (profile.words, "key")
    if not texts:
        assert found.sample.texts is None
        return
    ours, theirs = profile.sample.texts, found.sample.texts
    assert ours is not None
    assert theirs is not None
    assert theirs.languages == ours.languages
    assert np.array_equal(theirs.lengths, ours.lengths)
    assert ours.embeddings is not None
    assert theirs.embeddings is not None
    assert np.array_equal(theirs.embeddings, ours.embeddings)


def test_a_bundle_of_an_earlier_release_has_none(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None


@pytest.mark.parametrize("keep", [0, 7, 200, 600])
def test_a_damaged_profile_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / PROFILE
    _profile().save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BundleError):
        Profile.load(path)


def test_rare_words_are_left_out() -> None:
    texts = [["common", "eve"]] + [["common"]] * (MIN_WORD_TEXTS - 1) + [["rare"]] * (MIN_WORD_TEXTS - 1)
    assert set(common_words(texts, len(texts))) == {"common"}


def test_texts_are_measured_as_the_version_reads_them() -> None:
    found = measure_texts(["the weather is very fine today", "这是一个非常好的产品，我非常喜欢它"], {"the", "is"}.__contains__)
    assert found.languages == ("en", "zh")
    assert found.lengths.tolist() == [6.0, 16.0]
    assert found.unknown_ratios.tolist() == pytest.approx([2 / 3, 1.0])


def test_few_letters_have_no_language() -> None:
    assert (language_of("12:30 ok?"), language_of("")) == ("und", "und")


def test_equal_profiles_are_equal_files_and_old_files_are_read(tmp_path: Path) -> None:
    sample = Sample(("a", "b"), np.array([0.5, 0.9], dtype=np.float32))
    profile = Profile(sample, np.array([True, False]), {"word": 0.5}, "key")
    written = set()
    for _ in range(8):
        profile.save(tmp_path / "profile")
        written.add((tmp_path / "profile").read_bytes())
    assert len(written) == 1
    tensors = load_file(tmp_path / "profile")
    names = {"labels": ["a", "b"], "languages": [], "words": ["word"]}
    save_file(tensors, tmp_path / "old", {"format": "1", "names": json.dumps(names), "texts_key": "key"})
    for name in ("profile", "old"):
        again = Profile.load(tmp_path / name)
        assert (again.sample.labels, again.words, again.texts_key) == (("a", "b"), {"word": 0.5}, "key")

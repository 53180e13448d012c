"""Long texts: every token is read in windows, and the last ones from the right end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.bundle import TOKENIZER, read_manifest, seal
from core.classifier import Classifier
from core.encoder import load_tokenizer
from core.windows import last_tokens, windows
from tests.core.encoders import MAX_TOKENS, WORDS, write_encoder_bundle, write_tokenizer


@pytest.fixture(scope="module", params=[True, False], ids=["special tokens", "no special tokens"])
def tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Tokenizer, int]:
    """Give a tokenizer that cuts, one that does not, and how many special tokens stand at either end."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    write_tokenizer(path, special=request.param)
    whole = Tokenizer.from_file(str(path))
    return load_tokenizer(path, max_tokens=MAX_TOKENS), whole, int(request.param)


@given(st.lists(st.sampled_from(WORDS[:-1]), min_size=MAX_TOKENS + 1, max_size=70))
@settings(deadline=None)
def test_windows_cover_every_token_and_overlap(tokenizers: tuple[Tokenizer, Tokenizer, int], words: list[str]) -> None:
    cutting, whole, special = tokenizers
    text = " ".join(words)
    ids = whole.encode(text).ids
    middle = ids[special : len(ids) - special]
    room = MAX_TOKENS - 2 * special
    found = windows(cutting.encode(text))
    contents = [window[special : len(window) - special] for window in found]
    assert all(
        window[:special] == ids[:special] and window[len(window) - special :] == ids[len(ids) - special :] for window in found
    )
    assert all(len(content) == room for content in contents[:-1])
    overlap = room // 4
    assert overlap < len(contents[-1]) <= room
    assert contents[0] + [token for content in contents[1:] for token in content[overlap:]] == middle


@given(st.lists(st.sampled_from(WORDS[:-1]), min_size=MAX_TOKENS + 1, max_size=40))
@settings(deadline=None)
def test_the_last_tokens_are_those_at_the_end(tokenizers: tuple[Tokenizer, Tokenizer, int], words: list[str]) -> None:
    cutting, whole, special = tokenizers
    ids = whole.encode(" ".join(words)).ids
    middle = ids[special : len(ids) - special]
    kept = middle[-(MAX_TOKENS - 2 * special) :]
    assert last_tokens(cutting.encode(" ".join(words))) == [*ids[:special], *kept, *ids[len(ids) - special :]]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder: Path = tmp_path_factory.mktemp("bundle") / "v1"
    write_encoder_bundle(folder)
    return Classifier.load(folder)


def test_readings_differ_for_long_texts_only(classifier: Classifier) -> None:
    long, short = "good " * 6 + "bad " * 6, "good phone"
    right, left, chunked = (classifier.prepare([long], reading)[0] for reading in ("right", "left", "windows"))
    assert (right.truncated, left.truncated, chunked.truncated) == (True, True, False)
    assert right.ids != left.ids
    assert len(right.ids) == len(left.ids) == MAX_TOKENS
    assert [len(window.ids) for window in (chunked, *chunked.rest)] == [MAX_TOKENS, MAX_TOKENS, 4]
    plain = [classifier.prepare([short], reading)[0] for reading in ("right", "left", "windows")]
    assert {(tuple(item.ids), item.truncated, item.rest) for item in plain} == {(tuple(plain[0].ids), False, ())}


def test_the_n_grams_are_those_of_the_whole_text(classifier: Classifier) -> None:
    long = "good " * 6 + "bad " * 6
    expected = classifier.prepare([long])[0].ngrams
    assert expected is not None
    for reading in ("left", "windows"):
        prepared = classifier.prepare([long], reading)[0]
        for item in (prepared, *prepared.rest):
            assert item.ngrams is not None
            np.testing.assert_array_equal(item.ngrams.indices, expected.indices)
            np.testing.assert_array_equal(item.ngrams.values, expected.values)


def test_a_text_without_a_token_is_answered_by_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "v1"
    write_encoder_bundle(folder)
    write_tokenizer(folder / TOKENIZER, special=False)
    seal(folder, read_manifest(folder).model_copy(update={"probes": []}))
    bare = Classifier.load(folder)
    together = bare.logits(bare.prepare(["", "good", "<b></b>"]))
    alone = bare.logits(bare.prepare(["<b></b>"]))
    expected = bare.head.bias / bare.manifest.temperature
    np.testing.assert_allclose(together[[0, 2]], [expected, expected], rtol=1e-6)
    np.testing.assert_allclose(alone, [expected], rtol=1e-6)
    np.testing.assert_allclose(together[1], bare.logits(bare.prepare(["good"]))[0], rtol=1e-5)


def test_a_word_longer_than_the_encoder_reads_is_read_all_the_same(tmp_path: Path) -> None:
    # "phones…" is one word of many pieces.
    write_tokenizer(tmp_path / "tokenizer.json")
    cutting = load_tokenizer(tmp_path / "tokenizer.json", max_tokens=MAX_TOKENS)
    found = windows(cutting.encode("phone" + "s" * 30))
    assert sum(len(window) - 2 for window in found) - (len(found) - 1) == 31

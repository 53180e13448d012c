"""What a fitted head is worth and how it is to be served, found on rows it did not learn; the last stage of every fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from core.bundle import TOKENIZER, Nearness, Parity, Variant
from core.classifier import Head, softmax
from core.drift.profile import Profile
from core.drift.reading import known_by_ngrams, known_by_tokenizer
from core.encoder import load_tokenizer
from core.ngrams import Ngrams
from train.encode import EmbeddingCache, ExportedEncoder
from train.features import FeatureRows, FloatMatrix
from train.head import logits
from train.held import Held
from train.measure import summary
from train.nearness import LabelledRows, calibrate
from train.parity import choose_variant, compare
from train.profiling import profile_of
from train.progress import Stages
from train.rows import Rows
from train.select import Option


@dataclass(frozen=True)
class Measured:
    """The engine variant to serve and what was measured with it; ``metrics`` are of the test rows unless named otherwise.

    ``profile`` is None where too few rows are held out to compare traffic with, ``held`` where there are no validation rows.
    """

    parity: Parity | None
    serving: Variant
    metrics: dict[str, float]
    nearness: Nearness | None
    profile: Profile | None
    held: Held | None


@dataclass(frozen=True)
class Measuring:
    """The rows of a fit and how they are read: by ``encoder``, None where n-grams alone answer, and as ``ngram_rows``."""

    rows: Rows
    ngram_rows: csr_matrix[np.float32]
    cache: EmbeddingCache
    encoder: ExportedEncoder | None
    max_tokens: int
    stages: Stages

    def of(self, head: Head, chosen: Option, ngrams: Ngrams, parent: Path | None, seed: int) -> Measured:
        """Return what is measured of ``head``, which was fitted on training and validation rows as the option ``chosen``.

        Args:
            head: the head that is to be served, as it was learned.
            chosen: the option, whose own head was fitted on the training part alone.
            ngrams: the vocabulary, by which unknown words are told.
            parent: the folder of the bundle fitted on from, if any.
            seed: of what is drawn at random.
        """
        parity, serving, scores = self._parity(head, chosen)
        metrics = summary(scores, self.rows.labels[self.rows.test])
        if chosen.accuracy is not None and chosen.log_loss is not None:
            metrics |= {"validation_accuracy": chosen.accuracy, "validation_log_loss": chosen.log_loss}
        said = self._validation_scores(chosen, serving)
        return Measured(
            parity=parity,
            serving=serving,
            metrics=metrics,
            nearness=self._nearness(serving, said, scores, seed),
            profile=self._profile(scores, chosen, ngrams, serving, parent),
            held=Held.of(said, self.rows.labels[self.rows.validation]) if len(said) else None,
        )

    def _parity(self, head: Head, chosen: Option) -> tuple[Parity | None, Variant, FloatMatrix]:
        """Return parity, the variant to serve, and its probabilities (n, c) on the test rows."""
        test, scale, encoder = self.rows.test, np.float32(chosen.temperature), self.encoder
        truth, ngrams = self.rows.labels[test], self.ngram_rows[test]
        if encoder is None:
            return None, "fp32", softmax(logits(head, FeatureRows(None, ngrams)) / scale)
        variants: tuple[Variant, ...] = ("fp32", "int8")
        by_variant = {
            variant: logits(head, FeatureRows(self._embed_test(encoder, variant), ngrams)) / scale for variant in variants
        }
        gap = encoder.facts.encoder_gap
        parities = {name: compare(by_variant["fp32"], scores, truth, encoder_gap=gap) for name, scores in by_variant.items()}
        serving = choose_variant(parities)
        return parities[serving], serving, softmax(by_variant[serving])

    def _validation_scores(self, chosen: Option, serving: Variant) -> FloatMatrix:
        """Return the probabilities (v, c) of the validation part by the head that was fitted on the training part alone."""
        places = self.rows.validation
        if not len(places):
            return np.empty((0, len(self.rows.names)), dtype=np.float32)
        embeddings = self._embed(self.encoder, places, serving) if self.encoder is not None else None
        rows = FeatureRows(embeddings, self.ngram_rows[places] if chosen.features != "encoder" else None)
        return softmax(logits(chosen.head, rows) / np.float32(chosen.temperature))

    def _nearness(self, serving: Variant, said: FloatMatrix, scores: FloatMatrix, seed: int) -> Nearness | None:
        """Return how near a text must be to a corrected one, read off the validation part as the served engine reads it.

        ``said`` (v, c) are the probabilities of the validation part, ``scores`` (t, c) those of the test part.
        """
        rows, encoder = self.rows, self.encoder
        if encoder is None or not len(rows.validation):
            return None

        def labelled(places: NDArray[np.int64], probabilities: FloatMatrix) -> LabelledRows:
            return LabelledRows(rows.pick(places), self._embed(encoder, places, serving), rows.labels[places], probabilities)

        return calibrate(labelled(rows.validation, said), labelled(rows.test, scores), seed=seed)

    def _profile(
        self, scores: FloatMatrix, chosen: Option, ngrams: Ngrams, serving: Variant, parent: Path | None
    ) -> Profile | None:
        """Return how the version answers what it was not fitted on, for whoever watches it for drift."""
        encoder = self.encoder

        def embed(texts: Sequence[str]) -> FloatMatrix:
            if encoder is None:
                raise RuntimeError("there is nothing to embed with")
            return self.cache.embed(encoder, texts, max_tokens=self.max_tokens, variant=serving)

        if encoder is not None and chosen.features == "encoder":
            known = known_by_tokenizer(load_tokenizer(encoder.folder / TOKENIZER, max_tokens=self.max_tokens))
        else:
            known = known_by_ngrams(ngrams)
        return profile_of(self.rows, scores, embed if encoder else None, known, parent)

    def _embed(self, encoder: ExportedEncoder, places: NDArray[np.int64], serving: Variant) -> FloatMatrix:
        return self.cache.embed(encoder, self.rows.pick(places), max_tokens=self.max_tokens, variant=serving)

    def _embed_test(self, encoder: ExportedEncoder, variant: Variant) -> FloatMatrix:
        return self.cache.embed(
            encoder,
            self.rows.pick(self.rows.test),
            max_tokens=self.max_tokens,
            variant=variant,
            on_share=lambda share: self.stages.at("measure", share),
        )

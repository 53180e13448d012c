"""The stages of a fit, each a method: features, heads, fine-tuning, choice, measuring, sealing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.bundle import Features, Manifest, Parity, Variant, Vocabulary, read_manifest
from core.classifier import Head, softmax
from core.ngrams import Ngrams
from feedback.snapshot import Snapshot
from train.assemble import Origin, Parts, write_bundle
from train.base import Base, load_base
from train.doubt import DOUBTED_WEIGHT, doubted, near_similarity
from train.encode import EmbeddingCache, ExportedEncoder
from train.export import choose_variant, compare, export_encoder
from train.finetune import Step, TokenRows, finetune
from train.head import FeatureRows, fit_head, logits
from train.measure import summary
from train.progress import Clock, Stages
from train.request import FitRequest, Parent, Workplace
from train.rows import Rows, token_limit
from train.select import HeadRows, Option, OptionReport, add_heads, choose, combine, fit_option, judge
from train.tensors import embed_ids
from train.vectorise import fit_ngrams, ngram_rows
from train.vocabulary import extend_vocabulary

FloatMatrix = NDArray[np.float32]

_SAMPLE_TEXTS = 256
_PROBE_ROWS = 512
_PROBE_ROWS_PER_CLASS = 20


@dataclass(frozen=True)
class Fitted:
    """A sealed bundle in ``folder`` and how it came about."""

    folder: Path
    manifest: Manifest
    options: list[OptionReport]
    seconds: dict[str, float]


class Fitter:
    """The state of one fit; each method is a stage."""

    def __init__(
        self, rows: Rows, request: FitRequest, place: Workplace, stages: Stages, clock: Clock, parent: Parent | None
    ) -> None:
        self.rows, self.request, self.place, self.stages, self.clock = rows, request, place, stages, clock
        self.parent = parent
        self.cache = EmbeddingCache(place.cache)
        self.encoder: ExportedEncoder | None = None
        self.max_tokens = 64
        self.options: list[Option] = []
        self.chosen: Option | None = None
        self.head: Head | None = None
        self.inherited: Vocabulary | None = None
        self.weights = rows.weights
        self.doubted = 0
        self.ngrams: Ngrams = fit_ngrams(
            rows.pick(rows.train), longest=rows.longest_ngram(), min_documents=rows.least_documents()
        )
        self.ngram_rows = ngram_rows(self.ngrams, rows.texts)

    def fit_ngrams_alone(self) -> None:
        """Fit the linear floor and nothing else."""
        heads = self._head_rows(None)
        self.options = [fit_option(heads, "ngrams", "ngrams", self._beat)]
        self._settle(heads)

    def fit_head_speed(self) -> None:
        """Fit linear heads on the features of an encoder that stays as it is."""
        self.encoder = self._given_encoder()
        embeddings = self._embed(self.encoder, self.rows.learnable)
        self._doubt(embeddings)
        heads = self._head_rows(embeddings)
        self.options = self._linear_options(heads)
        self._settle(heads)

    def fit_full_speed(self) -> None:
        """Fit heads, fine-tune the encoder from the probe, and combine it with the n-gram head."""
        known = self._parent_encoder()
        base = load_base(self.request.base or (str(known.folder / "encoder") if known else None))
        if known is not None:
            # Loaded from a folder called encoder; what it is called by is where its weights started.
            base.name = known.facts.base
            self.inherited = known.facts.vocabulary
        vocabulary = self._extend(base)
        if vocabulary is None:
            before: ExportedEncoder | None = self._exported(base)
            embeddings = self._embed(self._exported(base), self.rows.learnable)
            self._doubt(embeddings)
            frozen = self._head_rows(embeddings)
            self.options = self._linear_options(frozen)
            probe = next(option.head for option in self.options if option.features == "encoder")
        else:
            # New embeddings mean nothing yet, so there is no frozen encoder worth serving, and a rough probe is as good.
            before, frozen = None, self._head_rows(None)
            self.options = [fit_option(frozen, "ngrams", "ngrams", self._beat)]
            probe = self._rough_probe(base)
        self.clock.lap("fit")

        tuned_head = self._finetune(base, probe, train_embeddings=vocabulary is not None)
        self.stages.at("export")
        record = vocabulary or self.inherited
        tuned = export_encoder(base, self.place.staging, self._sample(), record).keep(self.place.cache)
        self.clock.lap("export")
        heads = self._head_rows(self._embed(tuned, self.rows.validation, stage="export"))
        floor = self.options[0]
        self.options.append(judge(heads, "full", "encoder", tuned_head, self.clock.seconds["finetune"]))
        self.options.extend(combine(heads, tuned_head, floor.head, floor.fit_s))
        chosen = choose(self.options, self.request.features)
        # Where fine-tuning did not pay, the frozen encoder is served, and its rows are the ones to refit on.
        pays = chosen.name.startswith("full") or before is None
        self.encoder = tuned if pays else before
        self._settle(heads if pays else frozen)

    def _doubt(self, embeddings: FloatMatrix) -> None:
        """Take weight from base rows that a correction next to them contradicts."""
        rows = self.rows
        base = np.setdiff1d(rows.learnable, rows.corrected)
        if not len(rows.corrected) or not len(base):
            return
        similarity = near_similarity(embeddings[base], rows.labels[base], seed=self.request.seed)
        if similarity is None:
            return
        places = doubted(embeddings, rows.labels, base, rows.corrected, similarity=similarity)
        self.weights = rows.weights.copy()
        self.weights[places] *= DOUBTED_WEIGHT
        self.doubted = len(places)

    def _linear_options(self, heads: HeadRows) -> list[Option]:
        """Fit a head for each kind of features that may be served, and the linear floor beside them for a person to see.

        A run of the learner has no reader: with one kind wanted it fits that alone.
        """
        kinds: dict[str, Features] = {"ngrams": "ngrams", "encoder": "encoder", "encoder + ngrams": "both"}
        wanted = self.request.features
        tuning = self.request.speed == "full"
        return [
            fit_option(heads, name, kind, self._beat)
            for name, kind in kinds.items()
            if wanted in ("auto", kind) or tuning or (self.parent is None and kind == "ngrams")
        ]

    def _rough_probe(self, base: Base) -> Head:
        places = self.rows.train[: max(_PROBE_ROWS, _PROBE_ROWS_PER_CLASS * len(self.rows.names))]
        base.tokenizer.enable_truncation(max_length=self.max_tokens)
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch(self.rows.pick(places))]
        base.tokenizer.no_truncation()
        rows = FeatureRows(embed_ids(base, ids), None)
        return fit_head(rows, self.rows.labels[places], classes=len(self.rows.names), weights=self.weights[places])

    def finish(self, snapshot: Snapshot, dataset: str, run: str | None) -> Fitted:
        """Choose the engine variant by parity, measure on the test part, and seal the bundle."""
        chosen, head = self.chosen, self.head
        if chosen is None or head is None:
            raise RuntimeError("finish follows a fit")
        self.stages.at("measure")
        folder = Path(tempfile.mkdtemp(dir=self.place.staging, prefix="bundle-"))
        uses_encoder = chosen.features != "ngrams"
        encoder = self.encoder if uses_encoder else None
        parity, serving, scores = self._parity(head, chosen, encoder)
        measured = summary(scores, self.rows.labels[self.rows.test])
        if chosen.accuracy is not None and chosen.log_loss is not None:
            measured |= {"validation_accuracy": chosen.accuracy, "validation_log_loss": chosen.log_loss}
        self.clock.lap("measure")
        parts = Parts(
            head=head,
            temperature=chosen.temperature,
            features=chosen.features,
            ngrams=self.ngrams if chosen.features != "encoder" else None,
            encoder=encoder,
            max_tokens=self.max_tokens,
            parity=parity,
            serving=serving,
            metrics=measured,
            seconds=dict(self.clock.seconds),
            doubted=self.doubted,
        )
        options = [option.report(chosen=option is chosen) for option in self.options]
        origin = Origin(snapshot.hash, dataset, run, self.parent.version if self.parent else None)
        manifest = write_bundle(folder, parts, self.rows, self.request, origin, options)
        return Fitted(folder, manifest, options, dict(self.clock.seconds))

    def _parent_encoder(self) -> ExportedEncoder | None:
        if self.parent is None or self.request.base is not None:
            return None
        return ExportedEncoder.of_bundle(self.parent.folder, read_manifest(self.parent.folder))

    def _given_encoder(self) -> ExportedEncoder:
        known = self._parent_encoder()
        if known is not None:
            self.max_tokens = known.facts.max_positions
            self.clock.lap("load")
            return known
        base = load_base(self.request.base)
        self._limit_tokens(base)
        return self._exported(base)

    def _exported(self, base: Base) -> ExportedEncoder:
        kept = ExportedEncoder.of_cache(self.place.cache, base.digest())
        if kept is None:
            kept = export_encoder(base, self.place.staging, self._sample(), self.inherited).keep(self.place.cache)
        self.clock.lap("load")
        return kept

    def _sample(self) -> list[str]:
        """Return texts from all over the learnable rows, on which an export is compared and calibrated."""
        places = self.rows.learnable
        return self.rows.pick(places[:: max(1, len(places) // _SAMPLE_TEXTS)][:_SAMPLE_TEXTS])

    def _extend(self, base: Base) -> Vocabulary | None:
        vocabulary = extend_vocabulary(base, self.rows.pick(self.rows.train))
        self._limit_tokens(base)
        self.clock.lap("load")
        return vocabulary

    def _limit_tokens(self, base: Base) -> None:
        encodings = base.tokenizer.encode_batch(self.rows.pick(self.rows.train[:5000]))
        self.max_tokens = token_limit([len(encoding.ids) for encoding in encodings], base.max_positions)

    def _embed(self, encoder: ExportedEncoder, places: NDArray[np.int64], *, stage: str = "encode") -> FloatMatrix:
        """Return embeddings (n, h) of all rows, zero but for those at ``places``."""
        out = np.zeros((len(self.rows.texts), encoder.facts.hidden), dtype=np.float32)
        out[places] = self.cache.embed(
            encoder,
            self.rows.pick(places),
            max_tokens=self.max_tokens,
            on_share=lambda share: self.stages.at(stage, share),
        )
        self.clock.lap("encode")
        return out

    def _head_rows(self, embeddings: FloatMatrix | None) -> HeadRows:
        rows = self.rows
        return HeadRows(
            FeatureRows(embeddings, self.ngram_rows), rows.labels, self.weights, rows.train, rows.validation, len(rows.names)
        )

    def _finetune(self, base: Base, head: Head, *, train_embeddings: bool) -> Head:
        base.tokenizer.enable_truncation(max_length=self.max_tokens)
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch(self.rows.texts)]
        base.tokenizer.no_truncation()

        def part(places: NDArray[np.int64]) -> TokenRows:
            return TokenRows([ids[place] for place in places], self.rows.labels[places], self.weights[places])

        def report(step: Step) -> None:
            self.stages.at("finetune", step.ratio, loss=step.loss, examples_per_s=step.examples_per_s)

        rows, settings = self.rows, self.request.finetune
        tuned = finetune(
            base, head, part(rows.train), part(rows.validation), settings, train_embeddings=train_embeddings, on_step=report
        )
        self.clock.lap("finetune")
        return tuned

    def _settle(self, heads: HeadRows) -> None:
        """Choose, then refit what is linear on training and validation rows together.

        The temperature stays the one fitted for rows the head had not seen.
        """
        self.stages.at("fit", 0.9)
        chosen = choose(self.options, self.request.features)
        self.chosen = chosen
        if not len(self.rows.validation):
            self.head = chosen.head
        elif chosen.ngram_weight is not None:
            ngrams = heads.fit("ngrams", self.rows.learnable, on_step=self._beat)
            tuned = next(option.head for option in self.options if option.name == "full")
            self.head = add_heads(tuned, ngrams, chosen.ngram_weight)
        elif chosen.name == "full":
            self.head = chosen.head
        else:
            self.head = heads.fit(chosen.features, self.rows.learnable, start=chosen.head, on_step=self._beat)
        self.clock.lap("fit")

    def _beat(self) -> None:
        self.stages.at("fit", 0.5)

    def _parity(
        self, head: Head, chosen: Option, encoder: ExportedEncoder | None
    ) -> tuple[Parity | None, Variant, FloatMatrix]:
        """Return parity, the variant to serve, and its probabilities (n, c) on the test rows."""
        test, scale = self.rows.test, np.float32(chosen.temperature)
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

    def _embed_test(self, encoder: ExportedEncoder, variant: Variant) -> FloatMatrix:
        return self.cache.embed(
            encoder,
            self.rows.pick(self.rows.test),
            max_tokens=self.max_tokens,
            variant=variant,
            on_share=lambda share: self.stages.at("measure", share),
        )

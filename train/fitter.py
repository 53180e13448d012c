"""The stages that every fit goes through, each a method: features, heads, choice, measuring, sealing. None needs torch."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.bundle import Features, Manifest, Vocabulary, read_manifest
from core.classifier import Head
from core.ngrams import Ngrams
from feedback.snapshot import Snapshot
from train.assemble import Origin, Parts, write_bundle
from train.crossfit import OutOfFold, cross_fitted, part_of
from train.doubt import DOUBTED_WEIGHT, Doubt
from train.encode import EmbeddingCache, ExportedEncoder
from train.head import REGULARISATION, FeatureRows, logits
from train.label_shift import LEAST_DRAWN_ROWS, Estimate, LabelShift, Scored
from train.measuring import Measuring
from train.progress import Clock, Stages
from train.request import FitRequest, Parent, Workplace
from train.rows import Rows, token_limit
from train.select import FULL, HeadRows, Option, OptionReport, add_heads, choose, fit_option
from train.vectorise import fit_ngrams, most_ngrams, ngram_rows

if TYPE_CHECKING:
    from train.base import Base

FloatMatrix = NDArray[np.float32]

_SAMPLE_TEXTS = 256


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
        # The head that was trained together with the encoder; None where none was.
        self.tuned: Head | None = None
        # How labels are shifted in traffic; the head itself knows nothing of it.
        self.shift = LabelShift()
        # What the gate is to know of recent rows, by text key; see train.crossfit.
        self.out_of_fold = OutOfFold()
        # What base rows say of each other does not depend on corrections, and takes a second to find.
        self._doubts: Doubt | None = None
        self.ngrams: Ngrams = fit_ngrams(
            rows.pick(rows.train),
            longest=rows.longest_ngram(),
            min_documents=rows.least_documents(),
            most=most_ngrams(len(rows.names)),
        )
        self.ngram_rows = ngram_rows(self.ngrams, rows.texts)

    def fit(self) -> None:
        """Fit linear heads on the features of an encoder that stays as it is, or on n-grams where nothing else is wanted."""
        if self.request.features == "ngrams":
            heads = self._head_rows(None)
            self.options = [fit_option(heads, "ngrams", "ngrams", self._beat, self._inherited_regularisation())]
            self._settle(heads)
            self._cross_fit(heads)
            return
        self.encoder = self._given_encoder()
        embeddings = self._embed(self.encoder, self.rows.learnable)
        self._doubt(embeddings)
        heads = self._head_rows(embeddings)
        self.options = self._linear_options(heads)
        self._settle(heads)
        self._cross_fit(heads)

    def _cross_fit(self, heads: HeadRows) -> None:
        """Find what this fit would say of the rows that the gate asks about, had it not learned from them."""
        rows, chosen, head = self.rows, self.chosen, self.head
        if chosen is None or head is None:
            return
        drawn, answers = self._shift_labels(heads, chosen, head)
        wanted = set(self.request.cross_fit).difference(rows.keys[place] for place in drawn)
        asked = np.array([place for place in rows.learnable if rows.keys[place] in wanted], dtype=np.int64)
        asked, others = self._without(heads, chosen, head, asked)
        others += np.float32(chosen.temperature) * self.shift.over(rows.names.names)
        known = [rows.keys[place] for place in (*drawn, *asked)]
        self.out_of_fold = OutOfFold.of(known, rows.names.names, np.concatenate([answers, others]))
        self.clock.lap("cross-fit")

    def _shift_labels(self, heads: HeadRows, option: Option, head: Head) -> tuple[NDArray[np.int64], FloatMatrix]:
        """Find how labels are shifted in traffic; return the places of rows that tell it (m,), and their logits (m, c).

        Those are as if the row's part had told nothing. Other rows play no part in them: a repetition of the run, of which the
        gate may ask about others, comes to the same.
        """
        rows = self.rows
        wanted = self.request.label_shift and len(rows.drawn) >= LEAST_DRAWN_ROWS and not rows.weighed
        drawn, scores = self._without(heads, option, head, rows.drawn if wanted else rows.drawn[:0])
        if not len(drawn):
            return drawn, scores
        scale, held = np.float32(option.temperature), rows.validation
        parts = self._parts(drawn)
        unlearned = logits(option.head, heads.kind(option.features).take(held))
        found = Estimate.of(
            Scored(np.asarray(scores / scale, dtype=np.float64), rows.labels[drawn]),
            parts,
            Scored(np.asarray(unlearned / scale, dtype=np.float64), rows.labels[held]),
        )
        self.shift = LabelShift.of(rows.names.names, found.offsets)
        for turn, offsets in found.without.items():
            scores[parts == turn] += scale * offsets.astype(np.float32)
        return drawn, scores

    def _without(
        self, heads: HeadRows, option: Option, head: Head, asked: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], FloatMatrix]:
        """Return those of the places ``asked`` (m,) and the logits (m, c) that were fitted without them, a part at a time."""
        rows, embeddings = self.rows, heads.features.embeddings
        if not len(asked):
            return asked, np.empty((0, len(rows.names)), dtype=np.float32)

        def weights_without(places: NDArray[np.int64]) -> FloatMatrix:
            if embeddings is None:
                return rows.weights
            return self._doubting(embeddings, np.setdiff1d(rows.corrected, places))[0]

        scores = cross_fitted(heads, rows.learnable, asked, option, head, weights_without, self._parts(asked))
        known = np.flatnonzero(~np.isnan(scores[:, 0]))
        return asked[known], scores[known]

    def _parts(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([part_of(self.rows.keys[place]) for place in places], dtype=np.int64)

    def _doubt(self, embeddings: FloatMatrix) -> None:
        """Take weight from base rows that a correction next to them contradicts."""
        self.weights, self.doubted = self._doubting(embeddings, self.rows.corrected)

    def _doubting(self, embeddings: FloatMatrix, corrected: NDArray[np.int64]) -> tuple[FloatMatrix, int]:
        """Return the weights (n,) of all rows when those at ``corrected`` are the corrections known, and how many lose some."""
        rows = self.rows
        base = np.setdiff1d(rows.learnable, rows.corrected)
        if not len(corrected) or not len(base):
            return rows.weights, 0
        if self._doubts is None:
            self._doubts = Doubt(embeddings, rows.labels, base, seed=self.request.seed)
        places = self._doubts.places(base, corrected)
        weights = rows.weights.copy()
        weights[places] *= DOUBTED_WEIGHT
        return weights, len(places)

    def _linear_options(self, heads: HeadRows) -> list[Option]:
        """Fit a head for each kind of features that may be served, and the linear floor beside them for a person to see.

        A run of the learner has no reader: with one kind wanted it fits that alone.
        """
        kinds: dict[str, Features] = {"ngrams": "ngrams", "encoder": "encoder", "encoder + ngrams": "both"}
        wanted = self.request.features
        tuning = self.request.speed == "full"
        given = self._inherited_regularisation()
        return [
            fit_option(heads, name, kind, self._beat, given)
            for name, kind in kinds.items()
            if wanted in ("auto", kind) or tuning or (self.parent is None and kind == "ngrams")
        ]

    def _inherited_regularisation(self) -> float | None:
        """Return the penalty's inverse strength that the parent's head was fitted with; None where one is to be chosen.

        A run of the learner that refits a head fits one, and its callers wait for it. But over an encoder that was just trained
        the texts it was trained on are told apart too easily, and what suited the encoder before does not suit it any more.
        """
        if self.parent is None or self.request.speed == "full":
            return None
        lineage = read_manifest(self.parent.folder).lineage
        if lineage.speed == "full":
            return None
        found = lineage.settings.get("regularisation")
        return float(found) if isinstance(found, int | float) else REGULARISATION

    def finish(self, snapshot: Snapshot, dataset: str, run: str | None) -> Fitted:
        """Choose the engine variant by parity, measure on the test part, and seal the bundle."""
        chosen, head = self.chosen, self.head
        if chosen is None or head is None:
            raise RuntimeError("finish follows a fit")
        self.stages.at("measure")
        folder = Path(tempfile.mkdtemp(dir=self.place.staging, prefix="bundle-"))
        uses_encoder = chosen.features != "ngrams"
        encoder = self.encoder if uses_encoder else None
        found = Measuring(self.rows, self.ngram_rows, self.cache, encoder, self.max_tokens, self.stages).of(
            head, chosen, self.ngrams, self.parent.folder if self.parent else None, self.request.seed
        )
        self.clock.lap("measure")
        parts = Parts(
            # What was measured on held-out rows is what the head knows; their mix of labels is not that of traffic.
            head=self.shift.applied(head, self.rows.names.names, chosen.temperature),
            shift=self.shift,
            temperature=chosen.temperature,
            features=chosen.features,
            ngrams=self.ngrams if chosen.features != "encoder" else None,
            encoder=encoder,
            max_tokens=self.max_tokens,
            measured=found,
            seconds=dict(self.clock.seconds),
            doubted=self.doubted,
            tuned=self.tuned if uses_encoder else None,
            regularisation=chosen.regularisation,
        )
        options = [option.report(chosen=option is chosen) for option in self.options]
        origin = Origin(snapshot.hash, dataset, run, self.parent.version if self.parent else None)
        manifest = write_bundle(folder, parts, self.rows, self.request, origin, options)
        self.out_of_fold.save(self.place.cache, folder)
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
        # Loads torch, which a run of the learner does without: it has its parent's encoder as files.
        from train.base import load_base

        base = load_base(self.request.base)
        self._limit_tokens(base)
        return self._exported(base)

    def _exported(self, base: Base) -> ExportedEncoder:
        from train.export import export_encoder

        kept = ExportedEncoder.of_cache(self.place.cache, base.digest())
        if kept is None:
            kept = export_encoder(base, self.place.staging, self._sample(), self.inherited).keep(self.place.cache)
        self.clock.lap("load")
        return kept

    def _sample(self) -> list[str]:
        """Return texts from all over the learnable rows, on which an export is compared and calibrated."""
        places = self.rows.learnable
        return self.rows.pick(places[:: max(1, len(places) // _SAMPLE_TEXTS)][:_SAMPLE_TEXTS])

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
            beside = next(option for option in self.options if option.features == "ngrams")
            ngrams = heads.fit("ngrams", self.rows.learnable, on_step=self._beat, regularisation=beside.regularisation)
            tuned = next(option.head for option in self.options if option.name == FULL)
            self.head = add_heads(tuned, ngrams, chosen.ngram_weight)
        elif chosen.name == FULL:
            self.head = chosen.head
        else:
            self.head = heads.fit(
                chosen.features,
                self.rows.learnable,
                start=chosen.head,
                on_step=self._beat,
                regularisation=chosen.regularisation,
            )
        self.clock.lap("fit")

    def _beat(self) -> None:
        self.stages.at("fit", 0.5)

"""The stages of a fit that trains the encoder too: vocabulary, probe, fine-tuning, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.bundle import Vocabulary
from core.classifier import Head
from train.base import Base, load_base
from train.encode import ExportedEncoder
from train.export import export_encoder
from train.finetune import Step, TokenRows, finetune
from train.fitter import Fitter
from train.head import FeatureRows, FloatMatrix, fit_head
from train.progress import Epoch, Pace
from train.select import FULL, HeadRows, choose, combine, fit_option, judge
from train.tensors import embed_ids
from train.vocabulary import extend_vocabulary

_PROBE_ROWS = 512
_PROBE_ROWS_PER_CLASS = 20


@dataclass(frozen=True)
class _Start:
    """What fine-tuning starts from; ``before`` is the encoder as it is, None where its vocabulary was extended."""

    base: Base
    vocabulary: Vocabulary | None
    before: ExportedEncoder | None
    frozen: HeadRows
    probe: Head


class FullFitter(Fitter):
    """A fit at full speed."""

    def fit(self) -> None:
        """Fit heads, fine-tune the encoder from the probe, and combine it with the n-gram head."""
        start = self._start()
        base, before = start.base, start.before
        tuned_head = self._finetune(base, start.probe, train_embeddings=start.vocabulary is not None)
        tuned, heads = self._offer(base, tuned_head, start.vocabulary or self.inherited)
        chosen = choose(self.options, self.request.features)
        # Where fine-tuning did not pay, the frozen encoder is served, and its rows are the ones to refit on.
        pays = chosen.name.startswith(FULL) or before is None
        self.encoder = tuned if pays else before
        self.tuned = tuned_head if pays else None
        self._settle(heads if pays else start.frozen)
        self._shift_by(start.frozen)

    def _shift_by(self, heads: HeadRows) -> None:
        """Find how labels are shifted by heads that can be fitted without the rows that tell it, as an encoder cannot.

        Of these the one that validation rows prefer. The encoder's head learned the same rows, so it is as far from traffic.
        """
        able = [option for option in self.options if not option.name.startswith(FULL)]
        best = choose(able, "auto")
        self._shift_labels(heads, best, best.head)
        self.clock.lap("cross-fit")

    def _offer(self, base: Base, head: Head, vocabulary: Vocabulary | None) -> tuple[ExportedEncoder, HeadRows]:
        """Export a trained encoder and add what it gives with its head, alone and with the n-grams' head, to the options.

        The first of the options is the n-grams' head. Returned are the export, and the validation rows as it reads them.
        """
        self.stages.at("export")
        tuned = export_encoder(base, self.place.staging, self._sample(), vocabulary).keep(self.place.cache)
        self.clock.lap("export")
        heads = self._head_rows(self._embed(tuned, self.rows.validation, stage="export"))
        floor = self.options[0]
        self.options.append(judge(heads, FULL, "encoder", head, self.clock.seconds["finetune"]))
        self.options.extend(combine(heads, head, floor.head, floor.fit_s))
        return tuned, heads

    def _start(self) -> _Start:
        """Return the encoder to be trained, with the probe that it is trained from."""
        known = self._parent_encoder()
        base = load_base(self.request.base or (str(known.folder / "encoder") if known else None))
        if known is not None:
            # Loaded from a folder called encoder; what it is called by is where its weights started.
            base.name = known.facts.base
            self.inherited = known.facts.vocabulary
        vocabulary = self._extend(base)
        before: ExportedEncoder | None = None
        if vocabulary is None:
            before = self._exported(base)
            embeddings = self._embed(before, self.rows.learnable)
            self._doubt(embeddings)
            frozen = self._head_rows(embeddings)
            self.options = self._linear_options(frozen)
            probe = next(option.head for option in self.options if option.features == "encoder")
        else:
            # New embeddings mean nothing yet, so there is no frozen encoder worth serving, and a rough probe is as good.
            frozen = self._head_rows(None)
            self.options = [fit_option(frozen, "ngrams", "ngrams", self._beat)]
            probe = self._rough_probe(base)
        self.clock.lap("fit")
        return _Start(base, vocabulary, before, frozen, probe)

    def _rough_probe(self, base: Base) -> Head:
        places = self.rows.train[: max(_PROBE_ROWS, _PROBE_ROWS_PER_CLASS * len(self.rows.names))]
        rows = FeatureRows(embed_ids(base, self._tokens(base, places)), None)
        return fit_head(rows, self.rows.labels[places], classes=len(self.rows.names), weights=self.weights[places])

    def _extend(self, base: Base) -> Vocabulary | None:
        vocabulary = extend_vocabulary(base, self.rows.pick(self.rows.train))
        self._limit_tokens(base)
        self.clock.lap("load")
        return vocabulary

    def _fresh(self) -> NDArray[np.int64] | None:
        """Return the places, among the training rows, of corrections, where all the others were learned by the parent."""
        fresh = np.flatnonzero(np.isin(self.rows.train, self.rows.corrected))
        return fresh if len(fresh) and self._parent_encoder() is not None else None

    def _tokens(self, base: Base, places: NDArray[np.int64]) -> list[list[int]]:
        """Return the token ids of the rows at ``places``, cut where the fit cuts them."""
        base.tokenizer.enable_truncation(max_length=self.max_tokens)
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch(self.rows.pick(places))]
        base.tokenizer.no_truncation()
        return ids

    def _targets(self) -> FloatMatrix | None:
        """Return probabilities (n, c) that the training rows are to be given in place of their labels."""
        return None

    def _finetune(
        self, base: Base, head: Head, *, train_embeddings: bool, on_epoch: Callable[[Epoch], None] | None = None
    ) -> Head:
        def part(places: NDArray[np.int64], fresh: NDArray[np.int64] | None = None) -> TokenRows:
            return TokenRows(self._tokens(base, places), self.rows.labels[places], self.weights[places], fresh)

        heard: list[Step] = []

        def report(step: Step) -> None:
            heard[:] = [step]
            self.stages.at("finetune", step.ratio, pace=Pace(step.loss, step.examples_per_s, step.number, step.steps))

        rows, settings, place = self.rows, self.request.finetune, self.place
        known = self._parent_encoder() is not None
        parts = (replace(part(rows.train, self._fresh()), targets=self._targets(), known=known), part(rows.validation))
        workers = place.workers
        # A clock that ends training is for somebody who waits: starting workers would take most of it.
        if workers is None or settings.budget_s:
            tuned = finetune(
                base,
                head,
                *parts,
                settings,
                train_embeddings=train_embeddings,
                checkpoint=place.checkpoint,
                on_step=report,
                on_epoch=on_epoch,
            )
        else:
            from train.workers import finetune_over

            tuned = finetune_over(
                workers,
                place.staging,
                base,
                head,
                *parts,
                settings,
                train_embeddings=train_embeddings,
                checkpoint=place.checkpoint,
                on_step=report,
                on_wait=lambda: self.stages.at("finetune", heard[0].ratio if heard else 0.0),
            )
            self.request = replace(self.request, workers=workers.count)
        # The lineage keeps what was decided here, so that a repetition need not decide again.
        precision = heard[0].precision if heard else settings.precision
        self.request = replace(self.request, finetune=replace(settings, precision=precision))
        self.clock.lap("finetune")
        return tuned

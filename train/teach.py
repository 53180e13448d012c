"""``hone train``: from a labelled file to a registered version."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from core.bundle import Parity, Vocabulary
from core.gate import GateDecision
from core.registries import registry_of
from core.schemas import FitSpeed
from core.settings import Settings
from core.text import TextSettings
from feedback.examples import Example, save_examples
from feedback.snapshot import BaseDataset, build_snapshot
from train.cleaning import DataReport, to_examples
from train.fit import fit
from train.fitter import Fitted
from train.judging import judge_candidate
from train.progress import Report, Stages, silent
from train.reading import read_table
from train.request import STAGES, FinetuneSettings, FitRequest, Wanted, Workers, Workplace
from train.select import OptionReport
from train.weighing import weighed

SAMPLE = Path(__file__).parent / "data" / "reviews.csv"


@dataclass(frozen=True)
class TeachRequest:
    """What to teach. ``data`` None is the package's own sample of product reviews."""

    data: Path | None = None
    text_column: str | None = None
    label_column: str | None = None
    base: str | None = None
    speed: FitSpeed = "head"
    features: Wanted = "auto"
    seed: int = 0
    promote: bool = True
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    # How base rows are weighed; see train.weighing.
    balance: float = 0.0
    reweigh: str | None = None
    # The share of the training and validation rows that only choose; None: what the file says, or a tenth or twentieth.
    validation_ratio: float | None = None

    def read(self) -> tuple[list[Example], DataReport]:
        """Return the examples of the file, not weighed yet, and what was found in it.

        Raises:
            DataError: the file is refused.
        """
        table = read_table(self.data or SAMPLE, text_column=self.text_column, label_column=self.label_column)
        settings = TextSettings.model_validate({})
        return to_examples(table, settings, metadata=self.metadata, validation_ratio=self.validation_ratio)

    def weigh(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples with the weights that were asked for."""
        if not self.balance and self.reweigh is None:
            return list(examples)
        return weighed(examples, balance=self.balance, reweigh=self.reweigh)

    @property
    def metadata(self) -> tuple[str, ...]:
        """The columns that have to stay with the examples."""
        return () if self.reweigh is None else (self.reweigh,)


# The default classifier: fine-tuned on the sample within the time a newcomer waits. Small batches give more steps in it.
DEFAULT_REQUEST = TeachRequest(
    speed="full", finetune=FinetuneSettings(epochs=2, learning_rate=1e-4, batch_texts=16, budget_s=25.0)
)


class TeachReport(BaseModel):
    """What came of it."""

    version: str
    promoted: bool
    decision: GateDecision
    data: DataReport
    options: list[OptionReport]
    metrics: dict[str, float]
    parity: Parity | None
    vocabulary: Vocabulary | None
    seconds: dict[str, float]


def teach(settings: Settings, request: TeachRequest, progress: Report = silent) -> TeachReport:
    """Train on a file, ask the gate, register, and promote if the gate agrees and nobody has to sign; return what happened.

    Raises:
        DataError: when the file is refused.
        EncoderError, BundleError: when the base encoder cannot be loaded or exported.
    """
    home = settings.home
    home.prepare()
    examples, data = request.read()
    examples = request.weigh(examples)
    dataset = BaseDataset.of(examples)
    snapshot = build_snapshot(examples, [], dataset.labels, settings.correction_weight)
    registry = registry_of(settings)
    staging = Path(tempfile.mkdtemp(dir=home.runs, prefix="teach-"))
    try:
        fitted = fit(
            snapshot,
            dataset.hash,
            FitRequest(request.speed, request.features, request.base, request.seed, request.finetune),
            Workplace(home.cache, staging, workers=Workers.of(settings)),
            Stages(STAGES[request.speed], progress),
        )
        # Kept before it is judged by: looks at a holdout are counted by what it shares with those of earlier.
        snapshot.save(home.snapshots)
        decision = judge_candidate(fitted.folder, registry.aliases().champion, registry, snapshot, settings)
        save_examples(home.datasets, examples)
        version = registry.register(fitted.folder, decision, by="train", why=f"taught from {data.source}")
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    promoted = request.promote and decision.promote and not decision.waits
    if promoted:
        registry.promote(version, by="gate", why=decision.summary)
    return _report(version, fitted, decision, data, promoted=promoted)


def _report(version: str, fitted: Fitted, decision: GateDecision, data: DataReport, *, promoted: bool) -> TeachReport:
    manifest = fitted.manifest
    return TeachReport(
        version=version,
        promoted=promoted,
        decision=decision,
        data=data,
        options=fitted.options,
        metrics=manifest.metrics,
        parity=manifest.parity,
        vocabulary=manifest.encoder.vocabulary if manifest.encoder else None,
        seconds=fitted.seconds,
    )

"""``hone compress``: a version made smaller and faster in several ways, what each costs, and one of them registered."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from pydantic import BaseModel, Field

from core.bundle import Manifest
from core.classifier import Classifier
from core.errors import DataError, EncoderError, InputError
from core.gate import GateDecision
from core.labels import LabelSet
from core.registries import registry_of
from core.settings import Settings
from core.text import TextSettings, clean
from feedback.snapshot import Snapshot
from train.base import Base, load_base
from train.encode import VARIANTS, ExportedEncoder
from train.expense import folder_bytes, served_bytes
from train.export import export_encoder
from train.fitter import Fitted, Fitter
from train.judging import judge_candidate
from train.progress import Clock, Report, Stages, silent
from train.recipes import Recipe, usual
from train.request import STAGES, FitRequest, Parent, Workplace
from train.rows import Rows
from train.shrink import drop_layers, fold, imitate, lower_rank, prune_vocabulary
from train.slim import divide_products, halve_weights, quantise_tables
from train.tensors import embed_ids

AS_IT_IS = "as it is"
BEST = "best"
_TIMED_TEXTS = 256
_ROUNDS = 5


@dataclass(frozen=True)
class CompressRequest:
    """What to make smaller and how.

    ``choose`` is a recipe, or :data:`BEST`: the fastest that loses at most ``max_loss`` of accuracy on validation rows; None
    registers nothing. ``epochs`` is how often the training texts are read to teach a changed encoder its old answers.
    """

    version: str
    recipes: tuple[Recipe, ...] = ()
    choose: str | None = None
    max_loss: float = 0.003
    epochs: int = 3
    seed: int = 0


class CompressionOption(BaseModel):
    """One way, measured. Accuracy is that on validation rows, of a head that had not seen them."""

    name: str
    accuracy: float | None
    loss: float | None = Field(description="Accuracy lost against the version as it is.")
    test_accuracy: float | None = Field(description="On the holdout, which chose nothing.")
    served_bytes: int | None = Field(None, description="What is loaded to answer.")
    folder_bytes: int | None = Field(None, description="All files, with the weights that later training starts from.")
    texts_per_s: float | None = None
    speedup: float | None = Field(None, description="Against torch in fp32 with the version's own encoder.")
    engine: str | None = None
    fit_s: float | None = None
    problem: str | None = None


class CompressionReport(BaseModel):
    """What each way came to, on this machine."""

    version: str
    torch_texts_per_s: float
    validation_rows: int
    options: list[CompressionOption]
    chosen: str | None = None
    registered: str | None = None
    decision: GateDecision | None = None


def compress(settings: Settings, request: CompressRequest, progress: Report = silent) -> CompressionReport:
    """Return what each recipe makes of a version; the chosen one is put before the gate and registered, never promoted.

    Raises:
        UnknownVersion: there is no such version or alias.
        DataError: the version has no encoder, or what it learned from is gone.
        InputError: the choice is none of the recipes.
    """
    settings.home.prepare()
    registry = registry_of(settings)
    version = registry.resolve(request.version)
    parent = Parent(version, registry.path(version))
    manifest = registry.manifest(version)
    encoder = ExportedEncoder.of_bundle(parent.folder, manifest)
    if encoder is None:
        raise DataError(f"{version} has no encoder that could be made smaller; it answers from n-grams alone")
    snapshot = Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot)
    base = load_base(str(parent.folder / "encoder"))
    recipes = request.recipes or tuple(usual(int(getattr(base.encoder.transformer.config, "num_hidden_layers", 0))))
    names = [recipe.name for recipe in recipes]
    if request.choose not in (None, BEST, *names):
        raise InputError(f"there is no recipe {request.choose!r} to choose; there are: {', '.join([BEST, *names])}")
    staging = Path(tempfile.mkdtemp(dir=settings.home.runs, prefix="compress-"))
    try:
        work = _Work(settings, request, parent, manifest, snapshot, staging)
        made: dict[str, Fitted] = {}
        options: list[CompressionOption] = []
        for number, recipe in enumerate((Recipe(), *recipes)):
            share = (number / (1 + len(recipes)), (number + 1) / (1 + len(recipes)))
            options.append(work.make(recipe, Stages(STAGES["full"], progress, share=share), made))
        torch_rate, rates = _rates(base, {name: fitted.folder for name, fitted in made.items()}, work.timed_texts())
        options = [_measured(option, made, rates, torch_rate, options[0].accuracy) for option in options]
        report = CompressionReport(
            version=version, torch_texts_per_s=torch_rate, validation_rows=len(work.rows.validation), options=options
        )
        chosen = _chosen(options, request)
        if chosen is None:
            return report
        decision = judge_candidate(made[chosen].folder, registry.aliases().champion, registry, snapshot, settings)
        name = registry.register(made[chosen].folder, decision, by="compress", why=f"{version} by {chosen}")
        return report.model_copy(update={"chosen": chosen, "registered": name, "decision": decision})
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _Work:
    """A version with the rows it learned from, ready to be made smaller."""

    def __init__(
        self,
        settings: Settings,
        request: CompressRequest,
        parent: Parent,
        manifest: Manifest,
        snapshot: Snapshot,
        staging: Path,
    ) -> None:
        self._settings, self._request, self._parent = settings, request, parent
        self._manifest, self._snapshot = manifest, snapshot
        self._place = Workplace(settings.home.cache, staging)
        # Its labels in its order, so that the versions can be compared class by class.
        self.rows = Rows.of(snapshot.examples, LabelSet(tuple(manifest.labels)), TextSettings.model_validate({}))

    def make(self, recipe: Recipe, stages: Stages, made: dict[str, Fitted]) -> CompressionOption:
        """Return the accuracy that a recipe keeps, and put its bundle among ``made``; one that cannot be followed says why."""
        name = recipe.name or AS_IT_IS
        fitting = FitRequest("head", self._manifest.features, None, self._request.seed, compression=recipe.name or None)
        fitter = ShrunkFitter(self.rows, fitting, self._place, stages, Clock(), self._parent)
        fitter.recipe, fitter.epochs = recipe, self._request.epochs
        try:
            fitter.fit()
        except EncoderError as error:
            return CompressionOption(name=name, accuracy=None, loss=None, test_accuracy=None, problem=error.message)
        fitted = fitter.finish(self._snapshot, self._manifest.lineage.dataset, None)
        made[name] = fitted
        metrics = fitted.manifest.metrics
        return CompressionOption(
            name=name,
            accuracy=metrics.get("validation_accuracy"),
            loss=None,
            test_accuracy=metrics.get("accuracy"),
            fit_s=round(sum(fitted.seconds.values()), 2),
        )

    def timed_texts(self) -> list[str]:
        """Return cleaned texts on which speeds are measured: of the validation part, or else of the training part."""
        places = self.rows.validation if len(self.rows.validation) else self.rows.train
        return self.rows.pick(places[:: max(1, len(places) // _TIMED_TEXTS)][:_TIMED_TEXTS])


class ShrunkFitter(Fitter):
    """A fit of heads on the parent's encoder made smaller; none of what the larger one gave is taken over."""

    recipe = Recipe()
    epochs = 0

    def _given_encoder(self) -> ExportedEncoder:
        known = self._parent_encoder()
        if known is None:
            raise RuntimeError("what is made smaller is the encoder of a parent")
        self.max_tokens, recipe = known.facts.max_positions, self.recipe
        if recipe == Recipe():
            return known
        base = load_base(str(known.folder / "encoder"))
        base.name = known.facts.base
        self._change(base)
        if recipe.forgets:
            self._imitate(base, known)
        if recipe.rank is not None:
            fold(base)
        self.stages.at("export")
        rework = divide_products if recipe.rank is not None else (lambda _: None)
        exported = export_encoder(base, self.place.staging, self._sample(), known.facts.vocabulary, rework=rework)
        for path in (exported.folder / file for file in VARIANTS.values()):
            if recipe.tables:
                quantise_tables(path)
            if recipe.half:
                halve_weights(path)
        self.clock.lap("export")
        return exported

    def _change(self, base: Base) -> None:
        recipe = self.recipe
        if recipe.vocabulary:
            prune_vocabulary(base, self.rows.pick(self.rows.learnable))
        if recipe.layers is not None:
            drop_layers(base, recipe.layers)
        if recipe.rank is not None:
            lower_rank(base, recipe.rank)

    def _imitate(self, base: Base, known: ExportedEncoder) -> None:
        places = self.rows.train
        wanted = self._embed(known, places)[places]
        base.tokenizer.enable_truncation(max_length=self.max_tokens)
        ids = [encoding.ids for encoding in base.tokenizer.encode_batch(self.rows.pick(places))]
        base.tokenizer.no_truncation()
        imitate(
            base,
            ids,
            wanted,
            epochs=self.epochs,
            seed=self.request.seed,
            on_share=lambda share: self.stages.at("finetune", share),
        )
        self.clock.lap("imitate")


def _rates(base: Base, folders: dict[str, Path], texts: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Return texts per second of torch in fp32, and of each bundle; medians of rounds in which all take turns."""
    classifiers = {name: Classifier.load(folder, checked=False) for name, folder in folders.items()}
    cleaned = [clean(text, TextSettings.model_validate({})) for text in texts]
    taken: dict[str, list[float]] = {name: [] for name in ("", *classifiers)}
    for _ in range(_ROUNDS):
        began = perf_counter()
        embed_ids(base, [encoding.ids for encoding in base.tokenizer.encode_batch(cleaned)])
        taken[""].append(perf_counter() - began)
        for name, classifier in classifiers.items():
            began = perf_counter()
            classifier.predict(texts)
            taken[name].append(perf_counter() - began)
    rates = {name: len(texts) / max(median(seconds), 1e-9) for name, seconds in taken.items()}
    return round(rates.pop(""), 1), {name: round(rate, 1) for name, rate in rates.items()}


def _measured(
    option: CompressionOption, made: dict[str, Fitted], rates: dict[str, float], torch_rate: float, before: float | None
) -> CompressionOption:
    fitted = made.get(option.name)
    if fitted is None:
        return option
    spec = fitted.manifest.encoder
    lost = None if before is None or option.accuracy is None else round(before - option.accuracy, 6)
    return option.model_copy(
        update={
            "loss": lost,
            "served_bytes": served_bytes(fitted.folder, fitted.manifest),
            "folder_bytes": folder_bytes(fitted.folder),
            "texts_per_s": rates[option.name],
            "speedup": round(rates[option.name] / torch_rate, 2),
            "engine": spec.serving if spec is not None else None,
        }
    )


def _chosen(options: Sequence[CompressionOption], request: CompressRequest) -> str | None:
    if request.choose is None:
        return None
    made = [option for option in options if option.problem is None and option.name != AS_IT_IS]
    if request.choose != BEST:
        found = next((option for option in made if option.name == request.choose), None)
        if found is None:
            problem = next(option.problem for option in options if option.name == request.choose)
            raise InputError(f"{request.choose} could not be made: {problem}")
        return found.name
    allowed = [option for option in made if option.loss is not None and option.loss <= request.max_loss]
    if not allowed:
        return None
    return max(allowed, key=lambda option: option.texts_per_s or 0.0).name

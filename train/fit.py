"""One fit: from a snapshot to a measured, sealed bundle."""

from __future__ import annotations

from core.labels import LabelSet
from core.text import TextSettings
from feedback.snapshot import Snapshot
from train.fitter import Fitted, Fitter
from train.progress import Clock, Stages
from train.request import FitRequest, Parent, Workplace
from train.rows import Rows


def fit(
    snapshot: Snapshot,
    dataset: str,
    request: FitRequest,
    place: Workplace,
    stages: Stages,
    *,
    parent: Parent | None = None,
    run: str | None = None,
) -> Fitted:
    """Return a bundle fitted on the training part of ``snapshot`` and measured on its test part.

    Args:
        snapshot: the examples; the test part is touched only to measure.
        dataset: hash of the base data set in it, for the lineage.
        request: what to fit.
        place: where files go.
        stages: hears of progress, and may cancel.
        parent: the version whose encoder is taken on, if any.
        run: id of the run, for the lineage.

    Raises:
        RunCancelled: when ``stages`` says so.
        EncoderError, BundleError: when the encoder cannot be loaded, or its export is not its equal.
    """
    clock = Clock()
    stages.at("load")
    settings = TextSettings.model_validate({})
    names = LabelSet.of(row.label for row in snapshot.learned(request.speed) if row.split != "validation")
    rows = Rows.of(snapshot.examples, names, settings, request.speed)
    if request.speed == "full" and request.features != "ngrams":
        # Loads torch, which the other speed does without.
        from train.full import FullFitter

        fitter: Fitter = FullFitter(rows, request, place, stages, clock, parent)
    else:
        fitter = Fitter(rows, request, place, stages, clock, parent)
    fitter.fit()
    return fitter.finish(snapshot, dataset, run)

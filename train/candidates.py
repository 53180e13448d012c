"""The candidate of a run: fitted at the speed that was asked for, or at the one that ``auto`` finds worth its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.bundle import Manifest, read_manifest
from core.errors import HoneError, RunCancelled, RunNotActive, StoreUnavailable
from core.schemas import FitSpeed, RunSpeed
from train.choosing import Choice
from train.jobs import Fit, FitJob

log = logging.getLogger("hone.learner")

# How much better the encoder must make the validation part for a full run to count as one that was worth it.
WORTH_RATIO = 0.002
# The head's part of an ``auto`` run, for the progress bar alone.
_HEAD_SHARE = 0.3


@dataclass(frozen=True)
class Candidate:
    """A sealed bundle in ``folder``, what was trained for it and why, and what the run's metrics keep of the way there."""

    folder: Path
    speed: FitSpeed
    why: str | None
    metrics: dict[str, float]


def make_candidate(speed: RunSpeed, job: FitJob, fit: Fit, choose: Callable[[Path], Choice]) -> Candidate:
    """Return the candidate of a run at ``speed``.

    Args:
        speed: what was asked for.
        job: what to fit; its request's speed is replaced by the one at hand.
        fit: carries a job out.
        choose: says, of the folder of the fitted head, whether to train the encoder too; for ``auto``.

    Raises:
        HoneError: what the fit raised. Where the encoder cannot be trained although ``auto`` wanted it, the head stands.
    """
    if speed != "auto":
        folder, seconds = _fitted(job, speed, fit)
        return Candidate(folder, speed, None, {f"{speed}_s": seconds})
    head, head_s = _fitted(replace(job, share=(0.0, _HEAD_SHARE)), "head", fit)
    choice = choose(head)
    metrics = {"head_s": head_s}
    if choice.speed == "head":
        return Candidate(head, "head", choice.why, metrics)
    try:
        full, full_s = _fitted(replace(job, share=(_HEAD_SHARE, 1.0)), "full", fit)
    except (RunCancelled, RunNotActive, StoreUnavailable):
        raise
    except HoneError as error:
        log.warning("the encoder could not be trained; the head stands", extra={"run_id": job.run_id, "reason": error.message})
        return Candidate(head, "head", f"{choice.why}; it failed, so the head stands: {error.message}", metrics)
    return _better(head, full, choice, {**metrics, "full_s": full_s})


def _fitted(job: FitJob, speed: FitSpeed, fit: Fit) -> tuple[Path, float]:
    # Each fit has a folder of its own, since it leaves more there than its bundle.
    place = replace(job.place, staging=job.place.staging / speed)
    place.staging.mkdir(exist_ok=True)
    features = job.request.features if speed == "head" else "auto"
    began = time.monotonic()
    folder = fit(replace(job, request=replace(job.request, speed=speed, features=features), place=place))
    return folder, round(time.monotonic() - began, 2)


def _better(head: Path, full: Path, choice: Choice, metrics: dict[str, float]) -> Candidate:
    """Return the one that does better on the validation part, so that the gate's holdout is looked at once."""
    before, after = _validation(read_manifest(head)), _validation(read_manifest(full))
    if before is None or after is None:
        return Candidate(full, "full", choice.why, metrics)
    gain = after[0] - before[0]
    metrics = {**metrics, "full_gain": round(gain, 5)}
    if after > before:
        return Candidate(full, "full", f"{choice.why}; on validation rows {gain:+.2%} against the head", metrics)
    return Candidate(head, "head", f"{choice.why}; on validation rows it brought {gain:+.2%}, so the head stands", metrics)


def _validation(manifest: Manifest) -> tuple[float, float] | None:
    """Return accuracy and, to decide between equals, log likelihood; None where there were no rows to measure them on."""
    found = manifest.metrics
    if "validation_accuracy" not in found:
        return None
    return found["validation_accuracy"], -found["validation_log_loss"]

"""Training several times with other seeds, and the average of what comes out as one version.

It costs what one costs when it answers. On BANKING77 and TREC-6 the average of three was right more often than any of them, on
SST-2 than their mean and not than the best (docs/results.md).
"""

from __future__ import annotations

from dataclasses import replace

from core.errors import InputError
from core.registries import registry_of
from core.settings import Settings
from train.ensemble import EnsembleReport, EnsembleRequest, ensemble
from train.progress import Progress, Report, silent
from train.soup import trained_encoder
from train.teach import TeachRequest, teach

# Averaging, exporting and measuring, beside a training.
_AVERAGE_SHARE = 0.1


def teach_members(settings: Settings, request: TeachRequest, count: int, progress: Report = silent) -> EnsembleReport:
    """Train ``count`` versions, with the seeds from that of the request on, and make one of their average.

    All are registered. The members wait as challengers; the average alone may be promoted.

    Raises:
        InputError: fewer than two are asked for, or not at full speed; or a training left the encoder as it was.
        DataError: when the file is refused.
    """
    if count < 2 or request.speed != "full":
        raise InputError(f"an average is made of two trainings or more at full speed; asked for: {count} at {request.speed}")
    registry, whole = registry_of(settings), count + _AVERAGE_SHARE
    versions = []
    for number in range(count):
        seed = request.seed + number
        own = replace(request, seed=seed, promote=False, finetune=replace(request.finetune, seed=seed))
        version = teach(settings, own, _part(progress, number / whole, 1.0 / whole)).version
        # What cannot be averaged is told now, not after all others were trained.
        trained_encoder(version, registry.path(version), registry.manifest(version))
        versions.append(version)
    asked = EnsembleRequest(tuple(versions), promote=request.promote)
    return ensemble(settings, asked, _part(progress, count / whole, _AVERAGE_SHARE / whole))


def _part(progress: Report, start: float, share: float) -> Report:
    """Return what reports a part of the whole; how long the rest takes is not known of a part."""

    def report(part: Progress) -> None:
        progress(replace(part, ratio=start + share * part.ratio, remaining_s=None))

    return report

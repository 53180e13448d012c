"""Clearing up after a learner that died: its run is ended, and a version it had registered already is named in it."""

from __future__ import annotations

import logging
import shutil

from core.errors import BundleError
from core.registries import registry_of
from core.registry import Registry
from core.settings import Settings
from feedback.runs import RunEnd
from feedback.store import Store
from train.resuming import RunRecord

log = logging.getLogger("hone.learner")

_DIED = "the learner that was at it died"


def give_up_orphans(settings: Settings, store: Store) -> list[str]:
    """Return the runs whose learner died; they have ended now, and of their files nothing is left.

    A learner that died before it registered a version leaves a failed run. One that died after that had done all but write it
    down where the version serves or was refused, so the run succeeded; where it was to be promoted and was not, the run failed,
    and the version, which is whole, waits for a person to promote it.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    # Before anybody declares them failed: what they made is looked up once they are, so that nothing comes in between.
    orphans = store.fail_orphans(_DIED)
    if not orphans:
        return []
    made = _versions_by_run(registry_of(settings))
    for run_id in orphans:
        version, promoted, held = made.get(run_id, (None, False, False))
        if version is None:
            log.warning("run failed: its learner died", extra={"run_id": run_id})
        else:
            found = store.run_record(run_id)
            record = RunRecord.model_validate(found) if found is not None else None
            end = RunEnd(
                "succeeded" if promoted or held else "failed",
                version=version,
                promoted=promoted,
                error=None if promoted or held else f"{_DIED} when it had registered {version}, before it promoted it",
                snapshot=record.snapshot if record is not None else None,
                learned_from=record.learned if record is not None else (),
            )
            store.mend_orphan(run_id, end)
            log.warning("its learner died, but the run has a version", extra={"run_id": run_id, "version": version})
        shutil.rmtree(settings.home.runs / run_id, ignore_errors=True)
    return orphans


def _versions_by_run(registry: Registry) -> dict[str, tuple[str, bool | None, bool]]:
    """Return, by run, its version, whether that was ever promoted (None: a person says), and whether the gate held it."""
    served = {move.version for move in registry.history() if move.action == "promote"}
    champion = registry.aliases().champion
    found = {}
    for version in registry.versions():
        try:
            run = registry.manifest(version).lineage.run
            decision = registry.decision(version)
        except BundleError:
            continue
        if run is not None:
            # The alias moves before the history is written.
            promoted = version == champion or version in served
            waits = decision is not None and decision.waits
            held = decision is not None and (waits or not decision.promote)
            found[run] = version, promoted or (None if waits else False), held
    return found

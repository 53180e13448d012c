"""How often the same rows were looked at: recorded before each look, so that a crash gives none away for nothing.

A holdout that shares half of its rows with one of earlier, or more, goes on with its count: rows that were erased, or came in,
make it no new one. Whose rows the earlier one had, its snapshot tells, from which erased rows are gone as well.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict

from core.errors import BundleError, DataError
from core.gate import Looks
from core.home import append_line
from core.registry import Registry
from core.schemas import now
from feedback.examples import hash_of
from feedback.snapshot import Example, Snapshot

SHARED_RATIO = 0.5

log = logging.getLogger("hone.learner")


class Look(BaseModel):
    """One candidate, judged on one holdout. ``family`` is the first holdout whose count it goes on with.

    ``weight`` is what it counts. A later line of the same moment and champion takes the place of an earlier one.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    holdout: str
    family: str
    snapshot: str
    champion: str
    weight: float = 1.0


class LookBook:
    """The looks of one registry, a line each; ``snapshots`` is the folder of what runs saw."""

    def __init__(self, registry: Registry, snapshots: Path) -> None:
        self._registry = registry
        self._snapshots = snapshots
        self._path = registry.root / "looks.jsonl"
        self._lock = FileLock(registry.root / "looks.lock", timeout=30)
        self._latest: Look | None = None

    def look(self, snapshot: Snapshot, champion: str) -> Looks:
        """Record that a candidate is about to be judged on ``snapshot``'s holdout; return how often that was done with this."""
        holdout = holdout_of(snapshot)
        name = hash_of(holdout)
        with self._lock:
            kept = self._kept()
            families = self._continued(holdout, name, kept)
            before = [look for look in kept if look.family in families]
            family = before[-1].family if before else name
            look = Look(at=now(), holdout=name, family=family, snapshot=snapshot.hash, champion=champion)
            append_line(self._path, look.model_dump(mode="json"))
        against = sum(look.champion == champion for look in kept)
        self._latest = look
        return Looks(
            holdout=name,
            holdout_looks=1 + len(before),
            recent_looks=1 + against,
            holdout_weights=1.0 + sum(look.weight for look in before),
        )

    def lighten(self, looks: Looks, weight: float) -> Looks:
        """Have the look that was recorded last, of which ``looks`` tells, count ``weight``: before it was taken."""
        if self._latest is None:
            raise RuntimeError("a look is recorded before it is made lighter")
        lighter = self._latest.model_copy(update={"weight": weight})
        with self._lock:
            append_line(self._path, lighter.model_dump(mode="json"))
        weights = looks.weights + weight - self._latest.weight
        self._latest = lighter
        return looks.model_copy(update={"holdout_weight": weight, "holdout_weights": weights})

    def _kept(self) -> list[Look]:
        if not self._path.exists():
            # Earlier releases kept them in the decisions alone.
            for look in self._of_decisions():
                append_line(self._path, look.model_dump(mode="json"))
        found: dict[tuple[AwareDatetime, str, str], Look] = {}
        for line in self._path.read_bytes().splitlines() if self._path.exists() else []:
            try:
                look = Look.model_validate_json(line)
            except ValueError:
                # Cut short by a crash, in which case nobody was judged either.
                continue
            found[look.at, look.champion, look.snapshot] = look
        return list(found.values())

    def _of_decisions(self) -> list[Look]:
        found = []
        for version, decision in self._registry.decisions().items():
            name = decision.looks.holdout
            if name is None or decision.champion is None:
                continue
            try:
                manifest = self._registry.manifest(version)
            except BundleError:
                continue
            fields = {"holdout": name, "family": name, "snapshot": manifest.lineage.snapshot, "champion": decision.champion}
            looked = {"at": manifest.created_at, "weight": decision.looks.holdout_weight}
            found.append(Look.model_validate({**looked, **fields}))
        return found

    def _continued(self, holdout: Sequence[Example], name: str, kept: Sequence[Look]) -> set[str]:
        """Return the families whose latest holdout is this one, or shares enough of its rows."""
        latest = {look.family: look for look in kept}
        keys = {example.text_key for example in holdout}
        same = {look.family for look in kept if look.holdout == name}
        return same | {family for family, look in latest.items() if family not in same and self._shares(keys, look)}

    def _shares(self, keys: Collection[str], look: Look) -> bool:
        try:
            earlier = {example.text_key for example in holdout_of(Snapshot.load(self._snapshots, look.snapshot))}
        except DataError:
            # Nobody knows any more, so it counts.
            log.warning("the rows of an earlier holdout are gone, so its looks count", extra={"snapshot": look.snapshot})
            return True
        return bool(keys) and len(earlier.intersection(keys)) >= SHARED_RATIO * len(keys)


def holdout_of(snapshot: Snapshot) -> list[Example]:
    """Return the frozen holdout: the base part of the test split."""
    return [example for example in snapshot.of_split("test") if example.origin == "base"]

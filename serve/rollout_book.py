"""What this replica has to say about versions: in the record, in the metrics and in the log, always all three."""

from __future__ import annotations

import asyncio
import logging

from filelock import Timeout

from core.metrics import Metrics
from core.rollouts import RolloutRecord, Rollouts, RolloutState
from core.schemas import now

_logger = logging.getLogger("hone.serve")
_BAD: frozenset[RolloutState] = frozenset({"failed", "rolled_back", "withdrawn"})


class RolloutBook:
    """Writes down what became of a version; a disk that is full costs the record, never an answer."""

    def __init__(self, rollouts: Rollouts, replica_id: str, metrics: Metrics) -> None:
        self.metrics = metrics
        self._rollouts = rollouts
        self._replica_id = replica_id
        self._last: tuple[str, RolloutState, str | None] | None = None

    async def note(self, version: str, state: RolloutState, reason: str | None = None) -> None:
        """Record that ``version`` is in ``state`` here; what was said last is not said again, only counted."""
        self.metrics.count("hone_rollouts_total", state=state)
        facts = {"version": version, "reason": reason}
        _logger.log(logging.ERROR if state in _BAD else logging.INFO, "rollout of %s: %s", version, state, extra=facts)
        if self._last == (version, state, reason):
            return
        self._last = version, state, reason
        rollout = RolloutRecord(at=now(), version=version, state=state, reason=reason, replica_id=self._replica_id)
        try:
            await asyncio.to_thread(self._rollouts.add, rollout)
        except (OSError, Timeout):
            _logger.exception("the rollout could not be recorded", extra=facts)

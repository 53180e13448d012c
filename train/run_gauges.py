"""How the run at work fares, in the metrics; the process that fits has none of its own."""

from __future__ import annotations

from core.metrics import Metrics
from core.schemas import RunAnswer

_MEASURED = {"hone_run_loss": "loss", "hone_run_pace": "examples_per_s", "hone_run_steps": "step"}


def show_run(metrics: Metrics, run: RunAnswer | None) -> None:
    """Set the gauges to what ``run`` says of itself, to zero where it says nothing or None is at work."""
    metrics.set("hone_run_progress_ratio", run.progress_ratio if run else 0.0)
    metrics.set("hone_run_remaining_seconds", (run.remaining_s if run else None) or 0.0)
    for gauge, name in _MEASURED.items():
        metrics.set(gauge, run.metrics.get(name, 0.0) if run else 0.0)

"""Recording rules: what alerts and dashboards both ask for, and the two objectives over every window their alerts look at."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.utils import floatToGoString

from core.slo import Objectives

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
PREDICTING = "/|/hf|/predict|/v1/predict|/v2/models/.*infer|/label-studio/predict"
"""Routes that predict, as a pattern of PromQL; the objectives are about these."""

_ALL = f'{{route=~"{PREDICTING}"}}'


@dataclass(frozen=True)
class Record:
    """One series that Prometheus keeps under a name of its own."""

    name: str
    expr: str


def records(objectives: Objectives) -> list[Record]:
    """Return every recording rule, for these objectives."""
    found = [record for window in WINDOWS for record in _objective_records(window, objectives)]
    return [
        *found,
        Record("hone:requests:rate5m", "sum by (deployment, route) (rate(hone_requests_total[5m]))"),
        Record("hone:predictions:rate5m", "sum by (deployment, version, source) (rate(hone_predictions_total[5m]))"),
        Record(
            "hone:request_seconds:p95_5m",
            "histogram_quantile(0.95, sum by (deployment, route, le) (rate(hone_request_seconds_bucket[5m])))",
        ),
        Record(
            "hone:padding:ratio_rate5m",
            'sum by (deployment) (rate(hone_tokens_total{kind="padding"}[5m])) '
            "/ sum by (deployment) (rate(hone_tokens_total[5m]))",
        ),
        Record("hone:champion_age:seconds", "time() - max by (deployment) (hone_champion_since_timestamp_seconds)"),
    ]


def _objective_records(window: str, objectives: Objectives) -> list[Record]:
    bound = floatToGoString(objectives.latency_s)  # type: ignore[no-untyped-call] # the library leaves it untyped
    every = f"sum by (deployment) (rate(hone_requests_total{_ALL}[{window}]))"
    failed = f'sum by (deployment) (rate(hone_requests_total{{route=~"{PREDICTING}",status=~"5.."}}[{window}]))'
    fast = f'sum by (deployment) (rate(hone_request_seconds_bucket{{route=~"{PREDICTING}",le="{bound}"}}[{window}]))'
    timed = f"sum by (deployment) (rate(hone_request_seconds_count{_ALL}[{window}]))"
    return [
        # A status that never occurred has no series; without the second part the ratio would be missing rather than 0.
        Record(f"hone:unavailable:ratio_rate{window}", f"({failed} or 0 * {every}) / {every}"),
        Record(f"hone:slow:ratio_rate{window}", f"1 - {fast} / {timed}"),
    ]

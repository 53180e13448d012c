"""Alerts: what a person should be woken for (``page``), or should read in the morning (``ticket``).

The two objectives are watched by how fast they use up what may fail: over a long window, so that it matters, and over a short
one, so that the alert ends soon after its cause. Windows and rates are those of "The Site Reliability Workbook" (Beyer et al.,
O'Reilly 2018), chapter 5, "Multiwindow, Multi-Burn-Rate Alerts": 14.4 uses up 2% of a 30-day budget in an hour, 6 uses up 5% in
six hours, 3 uses up 10% in a day, 1 uses up 10% in three days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from core.slo import Objectives

RUNBOOKS = "docs/runbooks.md"
_BURNS: tuple[tuple[str, str, float, Literal["page", "ticket"]], ...] = (
    ("1h", "5m", 14.4, "page"),
    ("6h", "30m", 6.0, "page"),
    ("1d", "2h", 3.0, "ticket"),
    ("3d", "6h", 1.0, "ticket"),
)


@dataclass(frozen=True)
class Alert:
    """One alert; ``after`` is how long ``expr`` must hold, and the runbook's section has the alert's own name."""

    name: str
    expr: str
    severity: Literal["page", "ticket"]
    summary: str
    look: str
    after: str = "0m"

    @property
    def runbook(self) -> str:
        """Where it is written what to do."""
        return f"{RUNBOOKS}#{self.name.lower()}"


def alerts(objectives: Objectives) -> list[Alert]:
    """Return every alert, for these objectives."""
    return [*_burns(objectives), *_SERVING, *_FEEDBACK, *_LEARNING]


def _burns(objectives: Objectives) -> Iterator[Alert]:
    kinds = (
        (
            "HoneUnavailable",
            "unavailable",
            objectives.availability_ratio,
            "Prediction requests end in server errors faster than the objective allows.",
            'The panel "Refused, by code" of the dashboard Service, then logs/serve.jsonl.',
        ),
        (
            "HoneSlow",
            "slow",
            objectives.latency_ratio,
            f"More prediction requests than the objective allows take longer than {objectives.latency_s:g} s.",
            'The panel "Where the time goes" of the dashboard Service tells waiting from computing.',
        ),
    )
    for name, series, ratio, summary, look in kinds:
        for severity in ("page", "ticket"):
            windows = [(long, short, factor) for long, short, factor, kind in _BURNS if kind == severity]
            terms = [
                f"(hone:{series}:ratio_rate{long} > {factor:g} * {_budget(ratio)} "
                f"and hone:{series}:ratio_rate{short} > {factor:g} * {_budget(ratio)})"
                for long, short, factor in windows
            ]
            suffix = "Fast" if severity == "page" else "Slowly"
            yield Alert(f"{name}{suffix}", " or ".join(terms), severity, summary, look, "2m" if severity == "page" else "15m")


def _budget(ratio: float) -> str:
    return f"{1 - ratio:.10g}"


def _first_or_more(series: str, window: str) -> str:
    """Return an expression for "it happened within ``window``": a counter that has just come into being shows no increase."""
    before = f"sum by (deployment) ({series} offset {window})"
    return f"sum by (deployment) (increase({series}[{window}])) > 0 or (sum by (deployment) ({series}) > 0 unless {before})"


def _by_version(series: str, bound: str = "") -> str:
    chosen = f'{{bound="{bound}"}}' if bound else ""
    return f"max by (deployment, version) ({series}{chosen})"


_SERVING = (
    Alert(
        "HoneDown",
        'up{job="hone"} == 0',
        "page",
        "Hone does not answer its scrapes.",
        "hone doctor on its machine says what is wrong and how to mend it.",
        "1m",
    ),
    Alert(
        "HoneNoReplicaServes",
        'max by (deployment) (hone_replicas{state="serving"}) < 1',
        "page",
        "No replica has a model to answer with.",
        "hone status names the state of every replica; hone models rollback goes back to the version before.",
        "1m",
    ),
    Alert(
        "HoneOverloaded",
        'sum by (deployment) (increase(hone_refused_total{code="overloaded"}[5m])) > 0',
        "page",
        "Requests are refused because more come than the engine can answer in time.",
        "HONE_REPLICAS, HONE_QUEUE_MAX_TEXTS, or who sends so much.",
        "5m",
    ),
    Alert(
        "HoneVersionRefused",
        'sum by (deployment) (increase(hone_swaps_total{outcome="failed"}[15m])) > 0',
        "ticket",
        "A replica could not load the champion and keeps answering with the version before.",
        "hone status says which version and why.",
    ),
    Alert(
        "HoneRolledBack",
        'sum by (deployment) (increase(hone_rollouts_total{state="rolled_back"}[1h])) > 0',
        "ticket",
        "A version did worse than the one before during its probation and was taken back.",
        "hone models list and hone status say which and why.",
    ),
    Alert(
        "HoneFilesRunOut",
        "max by (deployment, process) (hone_process_open_files_ratio) > 0.8",
        "ticket",
        "A process has more than four fifths of the files open that it may.",
        "The limit (ulimit -n), and whether connections are closed by who opens them.",
        "10m",
    ),
)

_FEEDBACK = (
    Alert(
        "HoneStoreAway",
        "min by (deployment) (hone_store_up) == 0",
        "page",
        "The feedback store does not answer; predictions go on, corrections are refused.",
        "The database, and the disk of the spool, which keeps predictions meanwhile.",
        "1m",
    ),
    Alert(
        "HoneSpoolFills",
        "max by (deployment) (hone_spool_ratio) > 0.5",
        "ticket",
        "Half of the spool is taken; when it is full, records of predictions are dropped.",
        "Whether the store is away or slow; HONE_SPOOL_MAX_BYTES bounds what waits for it.",
        "5m",
    ),
    Alert(
        "HonePredictionsDropped",
        'sum by (deployment) (increase(hone_log_rows_total{outcome="dropped"}[15m])) > 0',
        "ticket",
        "Records of predictions were lost; corrections that name them will be refused.",
        "Whether the store is away or slow; HONE_SPOOL_MAX_BYTES bounds what waits for it.",
    ),
)

_LEARNING = (
    Alert(
        "HoneLearnerGone",
        "max by (deployment) (hone_learner_up) == 0",
        "ticket",
        "No learner holds the lease, so nothing is learned; what serves is unharmed.",
        "logs/learner.log; hone up starts a learner again when it dies.",
        "10m",
    ),
    Alert(
        "HoneRunFailed",
        _first_or_more('hone_runs_total{state="failed"}', "1h"),
        "ticket",
        "A run failed; what serves is unharmed.",
        "GET /v1/runs says why, logs/learner.log and logs/train.log say where.",
    ),
    Alert(
        "HoneChampionStale",
        "max by (deployment) (hone_corrections_unlearned) > 0 and on (deployment) hone:champion_age:seconds > 14 * 86400",
        "ticket",
        "Corrections wait, and no version has become champion for two weeks.",
        "hone models show challenger says what the gate held against the latest candidates.",
        "1h",
    ),
    Alert(
        "HoneApprovalWaits",
        "max by (deployment) (hone_approval_waiting_seconds) > 86400",
        "ticket",
        "A version that passed the gate has waited for a signature for more than a day.",
        "The page Models of the console, or hone models report VERSION; then hone models approve or reject.",
        "5m",
    ),
    Alert(
        "HoneHoldoutWorn",
        "max by (deployment) (hone_holdout_worn) == 1",
        "ticket",
        "So many candidates were judged on the holdout that it cannot show a gain of two points any more.",
        'The panels "Looks at the holdout" and "Gain it takes" of the dashboard Learning.',
        "5m",
    ),
    Alert(
        "HoneDrift",
        "max by (deployment, detector) (hone_drift_detected) == 1",
        "ticket",
        "Traffic is not what the model was measured on, and nobody has taken note.",
        "hone drift says what moved, and what to do about it.",
        "5m",
    ),
    Alert(
        "HoneAccuracyDropped",
        f"{_by_version('hone_audited_accuracy_ratio', 'high')} "
        f"< on (deployment, version) {_by_version('hone_holdout_accuracy_ratio')} "
        f"and on (deployment, version) {_by_version('hone_champion_info')} == 1",
        "ticket",
        "The champion's audited accuracy lies, with its whole 95% interval, below what its holdout promised.",
        "hone accuracy, then hone drift.",
        "10m",
    ),
    Alert(
        "HoneConceptDrift",
        f"{_by_version('hone_estimated_accuracy_ratio', 'low')} > on (deployment, version) "
        f"{_by_version('hone_audited_accuracy_ratio', 'high')}",
        "ticket",
        "The model is surer than it is right: its estimated accuracy lies, interval and all, above the audited one.",
        "hone accuracy by class, then the corrections of the last days.",
        "10m",
    ),
)

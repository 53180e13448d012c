"""Every metric of Hone, in one catalogue: name, type, unit, labels, buckets, meaning.

Units are base units. Labels take values from small fixed sets (versions, routes, states), never from a request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.slo import LATENCY_BUCKETS_S

LOAD_BUCKETS_S = (0.01, 0.05, 0.25, 1.0, 2.5, 5.0, 15.0, 60.0)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
OTHER = "other"


@dataclass(frozen=True)
class Label:
    """What a label tells apart, and how many values of it a process counts under their own name; more are ``other``."""

    meaning: str
    most: int


LABELS: Mapping[str, Label] = {
    "route": Label("Route as it is declared, its parameters by name; `unmatched` where there is none.", 200),
    "status": Label("HTTP status; 499 where the caller left.", 64),
    "version": Label("Version of the model.", 500),
    "source": Label("Speed of learning that answered.", 8),
    "stage": Label("Part of a request's way.", 8),
    "kind": Label("Kind of what is counted.", 16),
    "code": Label("Error code, as in docs/errors.md.", 100),
    "outcome": Label("What became of it.", 16),
    "state": Label("State it is in, or ended in.", 16),
    "speed": Label("Speed of learning.", 8),
    "promote": Label("Whether the gate let the candidate through.", 4),
    "check": Label("Check of the probation.", 16),
    "call": Label("Method of the store.", 100),
    "rule": Label("Rule of the gate.", 32),
    "detector": Label("Detector of drift, as in docs/drift.md.", 16),
    "bound": Label("`accuracy`, the `low` or `high` end of its interval, or `corrected` by audits.", 5),
    "class_name": Label("Label the version was taught.", 300),
    "process": Label("Kind of process: `replica` or `learner`.", 4),
    "gpu": Label("Number of the GPU on its machine.", 64),
    "mode": Label("How a challenger is tried.", 8),
}


@dataclass(frozen=True)
class Metric:
    """One entry of the catalogue.

    ``unit`` is a base unit, which the name then ends with, or what is counted. ``starts`` are values of the only label that are
    exposed from the start, as zero: the first event of a counter that comes into being with it is seen by no rate.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    # How a gauge's values from several living processes become one (prometheus_client's multiprocess modes).
    merge: Literal["livesum", "livemostrecent", "livemax"] = "livemostrecent"
    starts: tuple[str, ...] = ()


CATALOGUE: tuple[Metric, ...] = (
    Metric("hone_requests_total", "counter", "requests", "Requests answered.", ("route", "status")),
    Metric("hone_request_seconds", "histogram", "seconds", "Time from body read to answer.", ("route",), LATENCY_BUCKETS_S),
    Metric("hone_predictions_total", "counter", "texts", "Texts answered.", ("version", "source")),
    Metric("hone_truncated_total", "counter", "texts", "Texts of which a part was not read.", ("version",)),
    Metric(
        "hone_abstained_total", "counter", "texts", "Texts whose best label was less probable than was asked for.", ("version",)
    ),
    Metric(
        "hone_prediction_seconds",
        "histogram",
        "seconds",
        "Time a text took, queue included.",
        ("version", "source"),
        LATENCY_BUCKETS_S,
    ),
    Metric(
        "hone_stage_seconds",
        "histogram",
        "seconds",
        "Where a request's time went: `tokenization`, `queue`, `engine`; those of the turns and batches its texts shared.",
        ("stage", "version", "source"),
        LATENCY_BUCKETS_S,
    ),
    Metric("hone_tokenize_seconds", "histogram", "seconds", "Time the tokenizer took for what was new.", (), LATENCY_BUCKETS_S),
    Metric("hone_engine_seconds", "histogram", "seconds", "Time the engine took for a batch.", (), LATENCY_BUCKETS_S),
    Metric("hone_batch_texts", "histogram", "texts", "Texts in a batch.", (), SIZE_BUCKETS),
    Metric("hone_tokens_total", "counter", "tokens", "Tokens the engine read.", ("kind",), starts=("text", "padding")),
    Metric(
        "hone_refused_total",
        "counter",
        "requests",
        "Requests refused, by error code.",
        ("code",),
        starts=("overloaded", "deadline_exceeded"),
    ),
    Metric(
        "hone_corrections_total",
        "counter",
        "corrections",
        "Corrections and confirmations accepted.",
        ("kind",),
        starts=("correction", "confirmation"),
    ),
    Metric(
        "hone_memory_texts",
        "gauge",
        "texts",
        "Corrected texts in a replica's memory: `answers` from memory, or `learned` by the version that serves.",
        ("state",),
        merge="livemax",
    ),
    Metric("hone_memory_evicted_total", "counter", "texts", "Corrected texts that left a memory because it was full."),
    Metric("hone_labelled", "gauge", "predictions", "Predictions people have labelled, by outcome.", ("version", "outcome")),
    Metric(
        "hone_live_accuracy_ratio",
        "gauge",
        "ratio",
        "Right among labelled predictions; biased to what people look at.",
        ("version",),
    ),
    Metric("hone_champion_info", "gauge", "info", "1 for the version that serves.", ("version",)),
    Metric("hone_replicas", "gauge", "replicas", "Replicas by the state of their model.", ("state",)),
    Metric(
        "hone_swaps_total",
        "counter",
        "swaps",
        "Swaps of a replica to another version.",
        ("outcome",),
        starts=("loaded", "swapped", "fell_back", "failed"),
    ),
    Metric(
        "hone_load_seconds",
        "histogram",
        "seconds",
        "Time to load and verify a version.",
        (),
        LOAD_BUCKETS_S,
    ),
    Metric(
        "hone_rollouts_total",
        "counter",
        "rollouts",
        "What became of versions in the replicas.",
        ("state",),
        starts=("serving", "failed", "rolled_back", "withdrawn"),
    ),
    Metric("hone_version_failures_total", "counter", "requests", "Requests on which a version's engine failed.", ("version",)),
    Metric(
        "hone_shadow_texts_total",
        "counter",
        "texts",
        "Texts that two versions were compared on.",
        ("outcome",),
        starts=("agreed", "differed", "failed", "dropped"),
    ),
    Metric("hone_shadow_agreement_ratio", "gauge", "ratio", "Share of compared texts with one label from both.", ("version",)),
    Metric("hone_probation_evidence_ratio", "gauge", "ratio", "Evidence against the new version; 1 rolls it back.", ("check",)),
    Metric("hone_challenger_info", "gauge", "info", "1 for the version that challenges.", ("version", "mode")),
    Metric(
        "hone_log_rows_total",
        "counter",
        "rows",
        "Predictions by what became of their record; `unsampled` ones were not to be kept.",
        ("outcome",),
        starts=("written", "spooled", "dropped", "unsampled"),
    ),
    Metric("hone_store_up", "gauge", "state", "1 while the feedback store answers."),
    Metric(
        "hone_store_seconds", "histogram", "seconds", "Time a call of the store took its caller.", ("call",), LATENCY_BUCKETS_S
    ),
    Metric("hone_store_failures_total", "counter", "calls", "Calls of the store that it did not answer."),
    Metric("hone_spool_bytes", "gauge", "bytes", "Size of the predictions that wait on disk for the store."),
    Metric("hone_spool_rows", "gauge", "rows", "Predictions that wait on disk for the store."),
    Metric("hone_spool_ratio", "gauge", "ratio", "Share of the spool that is taken; at 1 records are dropped."),
    Metric("hone_spool_age_seconds", "gauge", "seconds", "Age of the oldest prediction that waits on disk; 0: none does."),
    Metric("hone_learner_up", "gauge", "state", "1 while a learner holds the lease."),
    Metric("hone_corrections_unlearned", "gauge", "corrections", "Corrections that came since the latest run began."),
    Metric("hone_run_active", "gauge", "state", "1 while a run waits or works."),
    Metric("hone_run_ended_timestamp_seconds", "gauge", "seconds", "When the latest run ended, in seconds since 1970."),
    Metric("hone_champion_since_timestamp_seconds", "gauge", "seconds", "When the champion became it, in seconds since 1970."),
    Metric("hone_runs_total", "counter", "runs", "Runs that ended.", ("speed", "state")),
    Metric("hone_run_seconds", "histogram", "seconds", "Duration of a run.", ("speed",), (1, 5, 15, 60, 300, 900, 3600, 14400)),
    Metric("hone_run_progress_ratio", "gauge", "ratio", "Progress of the current run."),
    Metric("hone_run_remaining_seconds", "gauge", "seconds", "Time the current run still takes, as foreseen; 0: not known."),
    Metric("hone_run_steps", "gauge", "steps", "Steps of training that the current run has done."),
    Metric("hone_run_loss", "gauge", "loss", "Loss of the current run's latest batch; 0 where no encoder is trained."),
    Metric("hone_run_pace", "gauge", "examples", "Examples per second that the current run trains on."),
    Metric(
        "hone_gate_decisions_total", "counter", "decisions", "Verdicts of the gate.", ("promote",), starts=("true", "false")
    ),
    Metric(
        "hone_approvals_waiting",
        "gauge",
        "versions",
        "Versions that passed the gate and wait for a signature.",
    ),
    Metric(
        "hone_approval_waiting_seconds",
        "gauge",
        "seconds",
        "Time since the version that waits longest for a signature was registered; 0: none waits.",
    ),
    Metric("hone_holdout_looks", "gauge", "looks", "Candidates that were judged on the present holdout so far."),
    Metric(
        "hone_gate_least_gain_ratio",
        "gauge",
        "ratio",
        "Least gain in accuracy that the holdout could show at the latest look; 1: none.",
    ),
    Metric(
        "hone_holdout_worn",
        "gauge",
        "state",
        "1 where the present holdout was looked at so often that it cannot show a gain of two points any more.",
    ),
    Metric("hone_gate_rules_total", "counter", "rules", "Rules of the gate, by verdict.", ("rule", "outcome")),
    Metric("hone_holdout_accuracy_ratio", "gauge", "ratio", "Accuracy on the holdout, measured at export.", ("version",)),
    Metric(
        "hone_drift_windows_total",
        "counter",
        "windows",
        "Windows of answers compared with the champion's profile.",
        ("state",),
        starts=("quiet", "known", "drift", "unknown"),
    ),
    Metric("hone_drift_size", "gauge", "size", "Drift in the newest window, in the detector's own unit.", ("detector",)),
    Metric("hone_drift_detected", "gauge", "state", "1 where the newest window drifts and nobody took note.", ("detector",)),
    Metric(
        "hone_drift_alarms_total", "counter", "alarms", "Alarms raised, by each detector that saw the drift.", ("detector",)
    ),
    Metric(
        "hone_estimated_accuracy_ratio",
        "gauge",
        "ratio",
        "Accuracy of the newest window guessed without labels, with the bounds of its 95% interval.",
        ("version", "bound"),
    ),
    Metric(
        "hone_audited_accuracy_ratio",
        "gauge",
        "ratio",
        "Accuracy by the audit, a random sample, with the bounds of its 95% interval.",
        ("version", "bound"),
    ),
    Metric(
        "hone_audited_class_accuracy_ratio",
        "gauge",
        "ratio",
        "Of audited texts of a label, the share that was answered so.",
        ("version", "class_name"),
    ),
    Metric(
        "hone_accuracy_gap_ratio",
        "gauge",
        "ratio",
        "Accuracy guessed without labels less the audit's; large where what is right has changed.",
        ("version",),
    ),
    Metric("hone_process_resident_bytes", "gauge", "bytes", "Memory of the processes.", ("process",), merge="livesum"),
    Metric("hone_process_cpu_seconds_total", "counter", "seconds", "Processor time the processes took.", ("process",)),
    Metric("hone_process_threads", "gauge", "threads", "Threads of the processes.", ("process",), merge="livesum"),
    Metric("hone_process_open_files", "gauge", "files", "Open files of the processes.", ("process",), merge="livesum"),
    Metric(
        "hone_process_open_files_ratio",
        "gauge",
        "ratio",
        "Share of the open files it may have, of the process that has most.",
        ("process",),
        merge="livemax",
    ),
    Metric("hone_gpu_used_bytes", "gauge", "bytes", "Memory of a GPU that is taken, by whomever.", ("gpu",)),
    Metric("hone_gpu_size_bytes", "gauge", "bytes", "Memory a GPU has.", ("gpu",)),
    Metric("hone_gpu_busy_ratio", "gauge", "ratio", "Share of the last moments in which a GPU was at work.", ("gpu",)),
)

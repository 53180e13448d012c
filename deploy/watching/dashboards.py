"""The four dashboards: Service, Quality, Learning, Feedback. Every metric of the catalogue is on one of them."""

from __future__ import annotations

from deploy.watching.panels import SCOPE, VERSION, Dashboard, Panel, Query, Row
from deploy.watching.promql import increase, last, quantiles, rate
from deploy.watching.service_dashboard import SERVICE

_ACCURACY = Row(
    "Accuracy",
    (
        Panel(
            "Labelled predictions that were right",
            "Share of those people looked at; they look at what seems wrong, so it lies below the truth.",
            (Query(last("hone_live_accuracy_ratio", "version", VERSION), "{{version}}"),),
            "percentunit",
        ),
        Panel(
            "Labelled predictions",
            "How many, by version and outcome; a late label counts for the version that answered.",
            (Query(last("hone_labelled", "version, outcome", VERSION), "{{version}} {{outcome}}"),),
        ),
        Panel(
            "On the holdout",
            "Measured when the version was exported, on texts it was not trained on.",
            (Query(last("hone_holdout_accuracy_ratio", "version", VERSION), "{{version}}"),),
            "percentunit",
        ),
    ),
)
_TRIAL = Row(
    "Versions on trial",
    (
        Panel(
            "Evidence against the new version",
            "By check; at 1 it is rolled back.",
            (Query(last("hone_probation_evidence_ratio", "check"), "{{check}}"),),
            "percentunit",
        ),
        Panel(
            "Challenger",
            "1 for the version that challenges.",
            (Query(last("hone_challenger_info", "version, mode", VERSION), "{{version}} {{mode}}"),),
        ),
        Panel(
            "Agreement",
            "Share of compared texts with one label from both versions.",
            (Query(last("hone_shadow_agreement_ratio", "version", VERSION), "{{version}}"),),
            "percentunit",
        ),
        Panel(
            "Compared texts",
            "By outcome; dropped ones were not compared.",
            (Query(increase("hone_shadow_texts_total", "outcome"), "{{outcome}}"),),
        ),
    ),
)
_AUDIT = Row(
    "Audited and estimated",
    (
        Panel(
            "By the audit",
            "Accuracy on a random sample that people labelled, with its 95% interval.",
            (Query(last("hone_audited_accuracy_ratio", "version, bound", VERSION), "{{version}} {{bound}}"),),
            "percentunit",
        ),
        Panel(
            "Without labels",
            "Accuracy of the newest window guessed from calibrated probabilities, with its 95% interval.",
            (Query(last("hone_estimated_accuracy_ratio", "version, bound", VERSION), "{{version}} {{bound}}"),),
            "percentunit",
        ),
        Panel(
            "Estimate less audit",
            "Large where what is right has changed, which no estimate from probabilities can see.",
            (Query(last("hone_accuracy_gap_ratio", "version", VERSION), "{{version}}"),),
            "percentunit",
        ),
        Panel(
            "By the audit, each class",
            "Of audited texts of a class, the share that was answered so.",
            (Query(last("hone_audited_class_accuracy_ratio", "version, class_name", VERSION), "{{version}} {{class_name}}"),),
            "percentunit",
        ),
    ),
)
_DRIFT = Row(
    "Drift",
    (
        Panel("Size", "In each detector's own unit.", (Query(last("hone_drift_size", "detector"), "{{detector}}"),)),
        Panel("Seen", "1 where the newest window drifts.", (Query(last("hone_drift_detected", "detector"), "{{detector}}"),)),
        Panel(
            "Windows and alarms",
            "Windows compared, by verdict, and alarms raised, by detector, since the start.",
            (
                Query(last("hone_drift_windows_total", "state", merge="sum"), "{{state}}"),
                Query(last("hone_drift_alarms_total", "detector", merge="sum"), "alarms {{detector}}"),
            ),
        ),
    ),
)
QUALITY = Dashboard("hone-quality", "Hone: Quality", "Whether answers are right.", (_ACCURACY, _AUDIT, _DRIFT, _TRIAL))

_RUNS = Row(
    "Runs",
    (
        Panel(
            "Learner",
            "1 while a learner holds the lease, and while a run waits or works.",
            (Query(last("hone_learner_up", "deployment"), "learner"), Query(last("hone_run_active", "deployment"), "run")),
            now=True,
        ),
        Panel(
            "Progress",
            "Of the current run.",
            (Query(last("hone_run_progress_ratio", "deployment"), "{{deployment}}"),),
            "percentunit",
        ),
        Panel(
            "Remaining",
            "Of the current run, as foreseen.",
            (Query(last("hone_run_remaining_seconds", "deployment"), "{{deployment}}"),),
            "s",
        ),
        Panel(
            "Loss",
            "Of the batch at hand, while an encoder is trained.",
            (Query(last("hone_run_loss", "deployment"), "{{deployment}}"),),
        ),
        Panel(
            "Pace",
            "Steps done, and examples per second, while an encoder is trained.",
            (
                Query(last("hone_run_steps", "deployment"), "steps {{deployment}}"),
                Query(last("hone_run_pace", "deployment"), "examples/s {{deployment}}"),
            ),
        ),
        Panel(
            "Since the last run",
            "Seconds since the latest run ended.",
            (Query(f"time() - {last('hone_run_ended_timestamp_seconds', 'deployment')}", "{{deployment}}"),),
            "s",
            now=True,
        ),
        Panel(
            "Runs that ended",
            "By speed and state, since the start.",
            (Query(last("hone_runs_total", "speed, state", merge="sum"), "{{speed}} {{state}}"),),
        ),
        Panel(
            "Duration",
            "Mean seconds of a run, by speed, since the start.",
            (
                Query(
                    f"sum by (speed) (hone_run_seconds_sum{{{SCOPE}}}) / sum by (speed) (hone_run_seconds_count{{{SCOPE}}})",
                    "{{speed}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Waiting to be learned",
            "Corrections since the latest run began.",
            (Query(last("hone_corrections_unlearned", "deployment"), "{{deployment}}"),),
        ),
    ),
)
_GATE = Row(
    "Gate",
    (
        Panel(
            "Decisions",
            "Since the start; true: the gate let the candidate through.",
            (Query(last("hone_gate_decisions_total", "promote", merge="sum"), "{{promote}}"),),
        ),
        Panel(
            "Rules that failed",
            "Which rules held candidates back, since the start.",
            (Query(last("hone_gate_rules_total", "rule, outcome", merge="sum"), "{{rule}} {{outcome}}"),),
        ),
        Panel(
            "Waiting for approval",
            "Versions that passed the gate and that nobody has signed for; HONE_GATE_MODE=approve.",
            (Query(last("hone_approvals_waiting", "deployment"), "{{deployment}}"),),
        ),
        Panel(
            "Longest wait for approval",
            "Time since the version that waits longest was registered; 0: none waits.",
            (Query(last("hone_approval_waiting_seconds", "deployment"), "{{deployment}}"),),
            "s",
        ),
        Panel(
            "Looks at the holdout",
            "Candidates that were judged on the same rows; each look may use less. Worn: 1 once that is too little.",
            (
                Query(last("hone_holdout_looks", "deployment"), "looks {{deployment}}"),
                Query(last("hone_holdout_worn", "deployment"), "worn {{deployment}}"),
            ),
        ),
        Panel(
            "Gain it takes",
            "Least gain in accuracy that the holdout could show at the latest look. Above 0.02 it is worn, or too small.",
            (Query(last("hone_gate_least_gain_ratio", "deployment"), "{{deployment}}"),),
            "percentunit",
        ),
        Panel(
            "Age of the champion",
            "Seconds since the champion became it.",
            (Query('hone:champion_age:seconds{deployment=~"$deployment"}', "{{deployment}}"),),
            "s",
            now=True,
        ),
    ),
)
LEARNING = Dashboard("hone-learning", "Hone: Learning", "Whether it learns, and what the gate says.", (_RUNS, _GATE))

_CORRECTIONS = Row(
    "From people",
    (
        Panel(
            "Corrections and confirmations", "Accepted, by kind.", (Query(rate("hone_corrections_total", "kind"), "{{kind}}"),)
        ),
        Panel(
            "Memory",
            "Corrected texts that are answered from memory, or that the serving version has learned.",
            (Query(last("hone_memory_texts", "state"), "{{state}}"),),
        ),
        Panel(
            "Left the memory",
            "Corrected texts that had to go because the memory was full.",
            (Query(rate("hone_memory_evicted_total", "deployment"), "{{deployment}}"),),
        ),
        Panel(
            "Refused corrections",
            "Requests to correct that were refused or failed.",
            (
                Query(
                    rate("hone_requests_total", "status", f'{SCOPE},route=~"/v1/corrections.*",status=~"4..|5.."'),
                    "{{status}}",
                ),
            ),
        ),
    ),
)
_STORE = Row(
    "Store and spool",
    (
        Panel(
            "Store",
            "1 while the feedback store answers.",
            (Query(last("hone_store_up", "deployment", merge="min"), "{{deployment}}"),),
            now=True,
        ),
        Panel(
            "Calls of the store, p95",
            "Time a call took its caller.",
            quantiles("hone_store_seconds", "call", shares=(0.95,)),
            "s",
        ),
        Panel(
            "Calls that failed",
            "Calls of the store that it did not answer.",
            (Query(rate("hone_store_failures_total", "deployment"), "{{deployment}}"),),
        ),
        Panel(
            "Prediction log",
            "Predictions by what became of their record; unsampled ones were not to be kept.",
            (Query(rate("hone_log_rows_total", "outcome"), "{{outcome}}"),),
        ),
        Panel("Spool", "What waits on disk for the store.", (Query(last("hone_spool_bytes", "deployment"), "bytes"),), "bytes"),
        Panel(
            "Spool, share taken",
            "At 1 records are dropped.",
            (Query(last("hone_spool_ratio", "deployment"), "{{deployment}}"),),
            "percentunit",
        ),
        Panel("Predictions in the spool", "How many wait.", (Query(last("hone_spool_rows", "deployment"), "{{deployment}}"),)),
        Panel(
            "Oldest in the spool",
            "Age of the oldest prediction that waits.",
            (Query(last("hone_spool_age_seconds", "deployment"), "{{deployment}}"),),
            "s",
        ),
    ),
)
FEEDBACK = Dashboard("hone-feedback", "Hone: Feedback", "Whether what people say is kept.", (_CORRECTIONS, _STORE))

DASHBOARDS = (SERVICE, QUALITY, LEARNING, FEEDBACK)

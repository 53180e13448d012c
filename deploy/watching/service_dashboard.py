"""The dashboard Service: whether answers come, and how fast."""

from __future__ import annotations

from deploy.watching.panels import SCOPE, VERSION, Dashboard, Panel, Query, Row
from deploy.watching.promql import increase, last, mean, quantiles, rate

_OBJECTIVES = Row(
    "Objectives",
    (
        Panel(
            "Unavailable",
            "Share of prediction requests that ended in a server error, over an hour and over three days.",
            (
                Query('hone:unavailable:ratio_rate1h{deployment=~"$deployment"}', "1 h"),
                Query('hone:unavailable:ratio_rate3d{deployment=~"$deployment"}', "3 d"),
            ),
            "percentunit",
        ),
        Panel(
            "Slow",
            "Share of prediction requests that took longer than HONE_SLO_LATENCY_S.",
            (
                Query('hone:slow:ratio_rate1h{deployment=~"$deployment"}', "1 h"),
                Query('hone:slow:ratio_rate3d{deployment=~"$deployment"}', "3 d"),
            ),
            "percentunit",
        ),
        Panel("Up", "1 while Hone answers its scrapes.", (Query(f'up{{job="hone",{SCOPE}}}', "{{instance}}"),), now=True),
    ),
)
_TRAFFIC = Row(
    "Traffic",
    (
        Panel("Requests", "Requests answered, by route.", (Query(rate("hone_requests_total", "route"), "{{route}}"),), "reqps"),
        Panel(
            "Requests, by status",
            "499: the caller left.",
            (Query(rate("hone_requests_total", "status"), "{{status}}"),),
            "reqps",
        ),
        Panel(
            "Refused, by code",
            "docs/errors.md says what each means.",
            (Query(rate("hone_refused_total", "code"), "{{code}}"),),
            "reqps",
        ),
        Panel(
            "Texts answered",
            "By version, and by the speed of learning that answered.",
            (Query(rate("hone_predictions_total", "version, source", VERSION), "{{version}} {{source}}"),),
            "short",
            stacked=True,
        ),
        Panel(
            "Cut, abstained",
            "Texts of which a part was not read, and those whose best label was not probable enough for their caller.",
            (
                Query(rate("hone_truncated_total", "version", VERSION), "{{version}} cut"),
                Query(rate("hone_abstained_total", "version", VERSION), "{{version}} abstained"),
            ),
        ),
        Panel(
            "Engine failures",
            "Requests on which a version's engine failed; another version stands in where there is one.",
            (Query(rate("hone_version_failures_total", "version", VERSION), "{{version}}"),),
        ),
    ),
)
_LATENCY = Row(
    "Latency",
    (
        Panel(
            "Request, p95 by route",
            "From body read to answer.",
            quantiles("hone_request_seconds", "route", shares=(0.95,)),
            "s",
        ),
        Panel("Prediction", "Time a text took, queue included.", quantiles("hone_prediction_seconds", "", VERSION), "s"),
        Panel(
            "Where the time goes",
            "Mean seconds of a request in tokenizer, queue and engine.",
            (Query(mean("hone_stage_seconds", "stage", VERSION), "{{stage}}"),),
            "s",
            stacked=True,
        ),
        Panel(
            "Prediction, p95 by version and source",
            "Whether a new version, or another speed of learning, is slower.",
            quantiles("hone_prediction_seconds", "version, source", VERSION, shares=(0.95,)),
            "s",
        ),
        Panel("Engine", "Time the engine took for a batch.", quantiles("hone_engine_seconds"), "s"),
        Panel("Tokenizer", "Time the tokenizer took in one turn.", quantiles("hone_tokenize_seconds"), "s"),
    ),
)
_BATCHES = Row(
    "Batches",
    (
        Panel(
            "Batch size",
            "Texts in a batch.",
            (Query(mean("hone_batch_texts"), "mean"), *quantiles("hone_batch_texts", shares=(0.95,))),
        ),
        Panel(
            "Tokens",
            "What the engine read, by what it was.",
            (Query(rate("hone_tokens_total", "kind"), "{{kind}}"),),
            stacked=True,
        ),
        Panel(
            "Padding",
            "Share of the tokens that only fill batches up.",
            (Query('hone:padding:ratio_rate5m{deployment=~"$deployment"}', "{{deployment}}"),),
            "percentunit",
        ),
    ),
)
_MODELS = Row(
    "Versions and replicas",
    (
        Panel(
            "Champion",
            "1 for the version that serves.",
            (Query(last("hone_champion_info", "version", VERSION), "{{version}}"),),
        ),
        Panel("Replicas", "By the state of their model.", (Query(last("hone_replicas", "state"), "{{state}}"),), stacked=True),
        Panel("Swaps", "By what became of them.", (Query(increase("hone_swaps_total", "outcome"), "{{outcome}}"),)),
        Panel("Loading", "Time to load and verify a version.", (Query(mean("hone_load_seconds"), "mean"),), "s"),
        Panel(
            "Rollouts",
            "What became of versions in the replicas.",
            (Query(increase("hone_rollouts_total", "state"), "{{state}}"),),
        ),
    ),
)
_MACHINE = Row(
    "Processes and GPUs",
    (
        Panel(
            "Memory",
            "Resident bytes, all processes of a kind together.",
            (Query(last("hone_process_resident_bytes", "process", merge="sum"), "{{process}}"),),
            "bytes",
        ),
        Panel(
            "Processor",
            "Cores at work, by kind of process.",
            (Query(rate("hone_process_cpu_seconds_total", "process"), "{{process}}"),),
        ),
        Panel(
            "Open files",
            "How many, and the share of what it may have of the process that has most.",
            (
                Query(last("hone_process_open_files", "process", merge="sum"), "{{process}}"),
                Query(last("hone_process_open_files_ratio", "process"), "{{process}} share"),
            ),
        ),
        Panel(
            "Threads",
            "All processes of a kind together.",
            (Query(last("hone_process_threads", "process", merge="sum"), "{{process}}"),),
        ),
        Panel(
            "GPU memory",
            "What is taken, and what there is; empty where there is no GPU.",
            (
                Query(last("hone_gpu_used_bytes", "instance, gpu"), "{{instance}} {{gpu}} used"),
                Query(last("hone_gpu_size_bytes", "instance, gpu"), "{{instance}} {{gpu}} size"),
            ),
            "bytes",
        ),
        Panel(
            "GPU at work",
            "Share of the last moments; empty where there is no GPU.",
            (Query(last("hone_gpu_busy_ratio", "instance, gpu"), "{{instance}} {{gpu}}"),),
            "percentunit",
        ),
    ),
)
SERVICE = Dashboard(
    "hone-service",
    "Hone: Service",
    "Whether answers come, and how fast.",
    (_OBJECTIVES, _TRAFFIC, _LATENCY, _BATCHES, _MODELS, _MACHINE),
)

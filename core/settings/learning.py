"""When a run is started, how it learns, and what drift is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from core.finetuning import Preset
from core.memory import MemoryTrust
from core.schemas import RunSpeed
from core.settings.kinds import CONFIG, Ratio


class LearningSettings(BaseSettings):
    """Triggers, training, labels, memory, drift, model cards."""

    model_config = CONFIG

    learn_after_corrections: int = Field(
        50, ge=0, description="Corrections since the last run that start the next; 0: none do."
    )
    learn_every_s: float = Field(0.0, ge=0, description="Seconds between runs on a schedule; 0: no schedule.")
    learn_cron: str = Field(
        "", description="When runs start, as a cron expression such as `0 3 * * 1-5`; empty: no such schedule."
    )
    learn_quiet_hours: str = Field(
        "", description="Hours in which no run starts by itself, such as `08:00-18:00`, several with commas; empty: none."
    )
    learn_time_zone: str = Field("UTC", description="Time zone of the three: cron expression, quiet hours, and a day's budget.")
    learn_budget_per_day_s: float = Field(
        0.0, ge=0, description="Seconds of training a day; a run that would take more waits, or refits the head. 0: no limit."
    )
    learn_back_off_s: float = Field(
        60.0,
        ge=0,
        description="Seconds to wait after a run that failed or changed nothing, doubled by each further one; 0: none.",
    )
    learn_back_off_max_s: float = Field(21_600.0, ge=0, description="Most seconds of such a wait.")
    learn_speed: RunSpeed = Field(
        "auto",
        description="What a triggered run refits: `head`, `full` with the encoder, or `auto`, the encoder only where it pays.",
    )
    learn_preset: Preset = Field(
        "balanced", description="How full runs train the encoder, unless one asks for another preset: see docs/finetuning.md."
    )
    learn_finetune: str = Field(
        "", description="What differs from that preset, as `name=value` with commas, such as `epochs=5,layer_decay=0.9`."
    )
    learn_replay_ratio: Ratio = Field(
        1.0, description="Share of the rows learned before that each epoch of a full run sees again, beside all corrections."
    )
    learn_label_shift: bool = Field(
        True,
        description="Answers follow the mix of labels in traffic, where what the audit drew shows that it is not the mix of "
        "what was taught. `false`: labels that became frequent are still expected as seldom as they were.",
    )
    learn_checkpoint_every_s: float = Field(
        120.0, ge=0, description="Seconds between checkpoints of a full run; 0 writes one only when the run is stopped or ends."
    )
    learn_workers: int = Field(
        1, ge=1, le=1024, description="Ray Train workers that an encoder is trained over, each with a share of every batch."
    )
    learn_workers_min: int = Field(
        0,
        ge=0,
        le=1024,
        description="Workers with which training begins, or goes on, where there is no room for all of them. 0: with all only.",
    )
    learn_worker_cpus: float = Field(1.0, gt=0, description="Cores that Ray reserves for each of several workers.")
    learn_worker_gpus: float = Field(
        0.0, ge=0, description="GPUs that Ray reserves for each of several workers; 0 trains on the processor."
    )
    learn_worker_restarts: int = Field(
        3, ge=0, description="How often training goes on from its last checkpoint after one of several workers was lost."
    )
    learn_sharded: bool = Field(
        False, description="Workers share out the encoder's weights too (FSDP), for one that does not fit each of them."
    )
    learn_nice: int = Field(
        19,
        ge=0,
        le=19,
        description="Niceness of training, so that it gives way to serving; 19 takes only what nobody else wants. "
        "The seconds of a head have 10 at most.",
    )

    label_min_texts: int = Field(
        5, ge=0, description="Different texts that take a proposed label into the set; 0: only an operator does."
    )
    label_min_annotators: int = Field(
        2, ge=1, description="Different named annotators who must have said so of them; who gives no name backs nothing."
    )
    memory_entries: int = Field(
        10_000,
        ge=0,
        le=200_000,
        description="Corrected texts that each replica answers from memory until a version has learned them; beyond it the "
        "oldest leave. 0: no memory.",
    )
    memory_trust: MemoryTrust = Field(
        "at_once",
        description="Which corrections the memory answers with: `at_once` those that pass a first look, `screened` only those "
        "that the learner has looked at with all its rules.",
    )
    memory_poll_s: float = Field(
        0.25, gt=0, le=60, description="Seconds between looks for what other replicas and the learner have done to corrections."
    )
    correction_weight: float = Field(
        4.0,
        gt=0,
        description="Weight in training of a corrected text. A base text has 1, and so has what the audit drew.",
    )

    drift_window_rows: int = Field(
        500, ge=0, le=10_000, description="Predictions that make a window, which is compared for drift; 0: none are."
    )
    learn_on_drift: bool = Field(
        True, description="A drift alarm starts a run, once there are corrections that no run has seen."
    )
    drift_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance that a window without drift raises an alarm, all detectors together."
    )
    drift_estimator: Literal["cbpe", "doc", "atc"] = Field(
        "cbpe",
        description="How accuracy is guessed without labels: `cbpe` by mean confidence, `doc` by how far it fell, "
        "`atc` by the share above a threshold; docs/drift.md says how to choose.",
    )

    card_intended_use: str = Field(
        "", description="What model cards give as the intended use; empty: what holds of every version."
    )
    card_watts: float = Field(
        0.0, ge=0, description="Power drawn while a version is made, for the energy on model cards; 0: not told."
    )
    card_grams_per_kwh: float = Field(
        0.0, ge=0, description="CO2 equivalents of a kilowatt-hour here, for the carbon on model cards; 0: not told."
    )

"""How requests are taken, put into batches and refused, and how a version comes into service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from core.settings.kinds import CONFIG, Ratio


class ServingSettings(BaseSettings):
    """Limits of requests, the queue before the engine, rollouts."""

    model_config = CONFIG

    max_body_bytes: int = Field(2_000_000, ge=1_000, description="Largest request body; more is refused with 413.")
    max_texts: int = Field(1_000, ge=1, description="Most texts in one request; more is refused with 422.")
    max_text_chars: int = Field(20_000, ge=1, description="Longest text in characters; longer is refused with 422.")
    max_request_tokens: int = Field(
        300_000, ge=1, description="Most tokens of one request, after each text is cut; more is refused with 422."
    )
    max_header_bytes: int = Field(16_384, ge=1_024, description="Largest head of a request; more is refused with 431.")
    max_in_flight_per_key: int = Field(
        256, ge=0, description="Most requests of one API key that a replica works on at a time; more get 429. 0: no limit."
    )
    read_timeout_s: float = Field(
        10.0, gt=0, description="Seconds a request's head, and then its body, may take to arrive; slower ends with 408."
    )
    batch_max_texts: int = Field(32, ge=1, description="Most texts the engine takes at once.")
    batch_max_tokens: int = Field(4_096, ge=16, description="Most tokens, padding included, the engine takes at once.")
    explain_max_texts: int = Field(
        4, ge=1, description="Most texts of one request that are explained; more is refused with 422."
    )
    explain_budget_texts: int = Field(
        256, ge=1, le=10_000, description="Shortened texts that may be scored to explain one; more make estimates steadier."
    )
    queue_max_texts: int = Field(4_000, ge=1, description="Texts that may wait for the engine; more is refused with 429.")
    queue_max_wait_s: float = Field(
        2.0,
        gt=0,
        description="Seconds of waiting, by the engine's pace, that a request is let into; more is refused with 429.",
    )
    overload_wait_s: float = Field(
        0.0125, gt=0, description="Those seconds while arrivals outrun answers, so that overload does not make everybody wait."
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Seconds after which a request is given up with 504.")
    stream_timeout_s: float = Field(
        600.0, gt=0, description="Seconds that a bulk request or an export may take in all; longer ends it."
    )
    bulk_max_bytes: int = Field(
        1_000_000_000, ge=1_000, description="Largest body of a bulk request; a row has at most `HONE_MAX_BODY_BYTES`."
    )
    swap_poll_s: float = Field(0.5, gt=0, description="Seconds between looks at the champion alias; bounds a swap's delay.")
    load_timeout_s: float = Field(
        120.0, gt=0, description="Seconds a version may take to load, twice over for a new encoder; longer fails its rollout."
    )
    memory_reserve_bytes: int = Field(
        200_000_000, ge=0, description="Memory that must stay free when a version is loaded; one that needs it is not loaded."
    )
    probation_s: float = Field(
        600.0, ge=0, description="Seconds for which a promoted version is watched and may be rolled back by itself; 0: none."
    )
    probation_sample_ratio: Ratio = Field(
        0.2,
        description="Share of requests whose texts the version before answers too, in a process of its own, during probation.",
    )
    probation_min_texts: int = Field(
        30, ge=1, description="Fewest observations on which probation judges; failures are counted by request."
    )
    probation_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Chance that probation rolls a version back that keeps all limits."
    )
    probation_max_failure_ratio: Ratio = Field(0.01, description="Share of requests on which a version's engine may fail.")
    probation_max_slowdown: float = Field(
        2.0, ge=1, description="How many times as long as the version before the engine may take for the median text."
    )
    probation_slow_s: float = Field(0.02, ge=0, description="Seconds of engine time below which a text is never slow.")
    probation_max_less_sure_ratio: Ratio = Field(
        0.4, description="Share of texts on which the best score may fall by more than 0.3."
    )
    probation_max_disagreement_ratio: Ratio = Field(
        0.5, description="Share of texts that may get another label than from the version before."
    )
    canary_ratio: Ratio = Field(0.0, description="Share of requests that the challenger answers; 0: none.")
    shadow_ratio: Ratio = Field(
        0.0, description="Share of requests that the challenger answers too, silently, for comparison; 0: none."
    )

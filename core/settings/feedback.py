"""Where feedback is kept, what of it, whom it is believed, and what people are asked to review."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from core.schemas import TextKept
from core.settings.kinds import CONFIG, Ratio


class FeedbackSettings(BaseSettings):
    """Store, bundles, prediction log, redaction, quarantine, review."""

    model_config = CONFIG

    store_url: str = Field(
        "",
        repr=False,
        description="SQLAlchemy address of the feedback store; `{name}` in it stands for `HONE_NAME`. Empty is SQLite in the "
        "state folder.",
    )
    bundles_url: str = Field(
        "",
        description="Object store that all nodes share versions and aliases by, such as `s3://bucket/prefix`; takes the extra "
        "`s3`, and credentials from the environment. Empty: the state folder alone.",
    )
    bundles_endpoint: str = Field(
        "", description="Address of an S3-compatible store other than AWS's, such as `https://minio:9000`."
    )
    bundles_cache: str = Field(
        "",
        description="Folder of this node for the bundles it pulls from there, which each node may set for itself; empty is the "
        "state folder's.",
    )

    log_predictions: bool = Field(True, description="Keep predictions, so that corrections can name them.")
    log_sample_ratio: Ratio = Field(
        1.0, description="Share of predictions that are kept, chosen by chance; the others can be corrected by text alone."
    )
    log_text: TextKept = Field(
        "full",
        description="What is kept of a predicted text: all of it, what redaction leaves, its key alone (`hash`), or `none`. "
        "With the last two a correction by id has to bring the text.",
    )
    log_queue_rows: int = Field(20_000, ge=1, description="Predictions that may wait in memory for the store.")
    spool_max_bytes: int = Field(
        64_000_000, ge=0, description="Disk for predictions the store cannot take; beyond it they count as dropped."
    )

    redact_kinds: str = Field(
        "all",
        description="What is taken out of texts and metadata where `HONE_LOG_TEXT` is not `full`: `all`, or some of `email`, "
        "`ip`, `national_id`, `card`, `phone`, with commas.",
    )
    redact_patterns: str = Field(
        "", description='More to take out: a JSON object of names and regular expressions, `{"order": "ORD-[0-9]+"}`.'
    )
    redact_regions: str = Field(
        "CN,US,GB", description="Countries whose phone numbers are known without their prefix, with commas."
    )

    suspect_model_score: Ratio = Field(
        0.98,
        description="Confidence of a model from which what contradicts it is held back, unless two agree on it. 1: never.",
    )
    suspect_annotator_accuracy: Ratio = Field(
        0.5, description="An annotator who is certainly right less often than this has all corrections held back."
    )
    suspect_contrary_ratio: Ratio = Field(
        0.5,
        description="An annotator who certainly differs from the model on more than this share of what the audit drew, and "
        "more than all others do, has all corrections held back. 1: nobody.",
    )
    suspect_consensus_probability: Ratio = Field(
        0.6, description="Probability that a text's likeliest label needs to be learned, where annotators differ."
    )
    suspect_burst_corrections: int = Field(
        600, ge=0, description="Most corrections of one annotator within `HONE_SUSPECT_BURST_WINDOW_S`; 0: no limit."
    )
    suspect_burst_window_s: float = Field(60.0, gt=0, description="Seconds within which a burst of corrections is counted.")
    suspect_resemblance: float = Field(
        0.85, gt=0.0, le=1.0, description="Overlap of two texts from which different labels for them are held back."
    )

    audit_ratio: Ratio = Field(
        0.01, description="Share of predictions that chance puts into the review queue, to estimate live accuracy; 0: none."
    )
    review_audit_ratio: Ratio = Field(0.3, description="Share of the review queue that is the audit's, while it has any.")
    review_suspect_ratio: Ratio = Field(0.3, description="Share of the review queue that is suspicious corrections.")
    review_queue_items: int = Field(
        200, ge=0, description="Uncertain predictions that are kept ready for review; 0: none are looked for."
    )
    review_lease_s: float = Field(600.0, gt=0, description="Seconds for which a review item is kept for who asked for it.")

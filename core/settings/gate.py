"""What a candidate has to show before it is promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from core.settings.kinds import CONFIG, Ratio


class GateSettings(BaseSettings):
    """The rules of the gate, and who has the last word."""

    model_config = CONFIG

    gate_mode: Literal["auto", "approve"] = Field(
        "auto",
        description="Who promotes a candidate that passes: `auto` the gate itself, `approve` a person, who signs for it.",
    )
    gate_min_rows: int = Field(50, ge=1, description="Fewest holdout rows on which a candidate may be judged.")
    gate_min_gain_ratio: Ratio = Field(
        0.0,
        description="Least gain in accuracy that is worth a swap, on the holdout, recent traffic or new labels; 0: any that "
        "is certain.",
    )
    gate_min_new_class_ratio: Ratio = Field(
        0.5, description="Recall that a label the champion does not know must not surely fall short of, on its own rows."
    )
    gate_alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance that a candidate which is no better is promoted, over all looks at the same rows.",
    )
    gate_max_loss_ratio: Ratio = Field(0.005, description="Most accuracy a candidate may lose on the holdout.")
    gate_max_sure_loss_ratio: Ratio = Field(
        0.02,
        description="Loss that rows drawn by chance must rule out, with 99.9% certainty, where only corrections speak for it.",
    )
    gate_max_forgetting_ratio: Ratio = Field(
        0.05,
        description="Most it may lose there where recent traffic is 95% certain to gain more than the holdout may lose; and "
        "most that may be forgotten, with 95% certainty, of what the best version that served was right about.",
    )
    gate_max_class_loss_ratio: Ratio = Field(
        0.10, description="Most recall one class, or accuracy one slice, may lose when the loss is significant."
    )
    gate_max_negative_flip_ratio: Ratio = Field(
        0.05,
        description="Most holdout rows that may turn from right to wrong, or if that is more, half of what two unrelated "
        "models as good would turn; 0: none may.",
    )
    gate_min_parity_ratio: Ratio = Field(0.99, description="Least agreement of the exported engine with torch.")
    gate_max_calibration_loss_ratio: Ratio = Field(0.05, description="Most by which the expected calibration error may rise.")
    gate_max_growth: float = Field(2.0, ge=1, description="Most times the champion's size, and its time to answer.")

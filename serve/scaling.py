"""How many replicas the load calls for, as Ray Serve is told it.

The controller of Serve unpickles this module by its value, so it imports nothing of Hone.
"""

from __future__ import annotations

from typing import Any

METRIC = "ongoing_requests"
# Ray averages over this time; it must be longer than the 10 s that Ray's old collection interval still has as its default.
_LOOK_BACK_S = 12.0


def autoscaling_config(
    *, least: int, most: int, target_requests: float, up_delay_s: float, down_delay_s: float
) -> dict[str, Any]:
    """Return Ray Serve's settings for ``least`` to ``most`` replicas with ``target_requests`` at work in each.

    >>> autoscaling_config(least=1, most=4, target_requests=16, up_delay_s=5, down_delay_s=60)["max_replicas"]
    4
    """
    return {
        "min_replicas": least,
        "max_replicas": most,
        "target_ongoing_requests": target_requests,
        "upscale_delay_s": up_delay_s,
        "downscale_delay_s": down_delay_s,
        "look_back_period_s": _LOOK_BACK_S,
        "policy": {"policy_function": "serve.scaling:by_requests"},
    }


def by_requests(context: Any) -> tuple[float, dict[str, Any]]:
    """Return how many replicas would have the target number of requests each; Ray applies limits and delays.

    Requests that come straight into a replica are not in Ray's own count, and those that come by its proxy are not in
    the replicas'; so both are added.
    """
    direct: dict[Any, float] = (context.aggregated_metrics or {}).get(METRIC, {})
    ongoing = context.total_num_requests + sum(direct.values())
    return ongoing / context.config.get_target_ongoing_requests(), {}

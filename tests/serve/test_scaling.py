"""How many replicas the load calls for, by the policy that Ray Serve is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from core.settings import Settings
from serve.scaling import METRIC, autoscaling_config
from serve.service import _scale, _version

SCALED: dict[str, Any] = {"replicas": 1, "replicas_max": 4, "scale_target_requests": 8.0, "scale_down_delay_s": 30.0}


def context(config: AutoscalingConfig, by_ray: float, direct: dict[str, float]) -> AutoscalingContext:
    """Return what Serve's controller would hand to the policy."""
    rest: dict[str, Any] = dict.fromkeys(("last_scale_up_time", "last_scale_down_time", "current_time", "raw_metrics"))
    deployment = DeploymentID(name="Replica", app_name="hone")
    reports = {ReplicaID(unique_id=name, deployment_id=deployment): ongoing for name, ongoing in direct.items()}
    return AutoscalingContext(
        **rest,
        deployment_id=deployment,
        deployment_name="Replica",
        app_name="hone",
        current_num_replicas=max(1, len(direct)),
        target_num_replicas=max(1, len(direct)),
        running_replicas=[],
        total_num_requests=by_ray,
        total_queued_requests=0.0,
        aggregated_metrics={METRIC: reports} if reports else {},
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=4,
        policy_state={},
        config=config,
    )


@pytest.mark.parametrize(
    ("by_ray", "direct", "wanted"),
    [
        (0.0, {}, 0.0),
        (16.0, {}, 2.0),
        (0.0, {"a": 8.0}, 1.0),
        (0.0, {"a": 20.0, "b": 12.0}, 4.0),
        (8.0, {"a": 8.0}, 2.0),
    ],
)
def test_the_target_is_kept_whichever_way_requests_come(by_ray: float, direct: dict[str, float], wanted: float) -> None:
    made = autoscaling_config(least=1, most=4, target_requests=8.0, up_delay_s=5.0, down_delay_s=30.0)
    config = AutoscalingConfig(**made)
    policy = config.policy.get_policy()
    assert policy(context(config, by_ray, direct)) == (wanted, {})


def test_load_decides_only_where_it_is_let(tmp_path: Path) -> None:
    assert _scale(Settings.model_validate({"HONE_HOME": tmp_path, "replicas": 3})) == {"num_replicas": 3}
    config = _scale(Settings.model_validate({"HONE_HOME": tmp_path, **SCALED}))["autoscaling_config"]
    assert (config["min_replicas"], config["max_replicas"], config["downscale_delay_s"]) == (1, 4, 30.0)


def test_replicas_are_not_started_anew_for_another_number_of_them(tmp_path: Path) -> None:
    settings = Settings.model_validate({"HONE_HOME": tmp_path, **SCALED, "engine_threads": 1})
    same = settings.model_copy(update={"replicas": 2, "replicas_max": 6, "scale_up_delay_s": 1.0, "scale_target_requests": 2.0})
    other = settings.model_copy(update={"max_texts": 5})
    assert _version(settings, tmp_path) == _version(same, tmp_path)
    assert _version(settings, tmp_path) != _version(other, tmp_path)

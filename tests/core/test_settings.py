"""Settings: what each promises, where it is read from, what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from core.home import Home
from core.schemas import FitSpeed
from core.settings import Settings

_FIELDS = Settings.model_fields
# What a number counts or measures is the last word of its name; these are plain numbers.
_UNITS = ("_s", "_bytes", "_tokens", "_texts", "_chars", "_rows", "_ratio", "_watts", "_per_kwh")
_PLAIN = {
    "port",
    "replicas",
    "replicas_max",
    "scale_target_requests",
    "replica_cpus",
    "replica_gpus",
    "engine_threads",
    "max_in_flight_per_key",
    "memory_entries",
    "learn_after_corrections",
    "label_min_annotators",
    "review_queue_items",
    "suspect_annotator_accuracy",
    "suspect_burst_corrections",
    "suspect_consensus_probability",
    "suspect_model_score",
    "suspect_resemblance",
    "learn_nice",
    "learn_workers",
    "learn_workers_min",
    "learn_worker_cpus",
    "learn_worker_gpus",
    "learn_worker_restarts",
    "correction_weight",
    "drift_alpha",
    "gate_alpha",
    "gate_max_growth",
    "probation_alpha",
    "probation_max_slowdown",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Give an environment without any setting."""
    for name in [name for name in os.environ if name.startswith("HONE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def _variable(name: str) -> str:
    return "HONE_HOME" if name == "home_dir" else f"HONE_{name.upper()}"


def test_a_classifier_with_a_name_has_a_place_of_its_own_everywhere(tmp_path: Path) -> None:
    urls = {"store_url": "postgresql://hone@db/hone_{name}", "bundles_url": "s3://models/", "bundles_cache": "/cache"}
    made = Settings.model_validate({"HONE_HOME": tmp_path, "name": "intents", **urls})
    assert made.home.root == tmp_path.resolve() / "intents"
    assert made.sqlalchemy_url == "postgresql://hone@db/hone_intents"
    assert made.bundles_address == "s3://models/intents"
    assert (made.url, made.app_name) == ("http://127.0.0.1:8321/intents", "hone-intents")
    alone = Settings.model_validate({"HONE_HOME": tmp_path})
    assert (alone.home.root, alone.app_name, alone.route_prefix) == (tmp_path.resolve(), "hone", "")


@pytest.mark.parametrize("name", ["v1", "metrics", "a/b", "-a", "A", "ä", "a" * 33, "..", "a\n"])
def test_a_name_that_would_hide_a_route_or_be_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"name": name})


def test_classifiers_with_names_do_not_share_a_store_by_mistake() -> None:
    with pytest.raises(ValidationError, match="must hold"):
        Settings.model_validate({"name": "intents", "store_url": "postgresql://hone@db/hone"})


@pytest.mark.parametrize("name", _FIELDS)
def test_every_setting_says_what_it_means(name: str) -> None:
    description = _FIELDS[name].description
    assert description
    assert description[0].isupper()
    assert description.endswith(".")


@pytest.mark.parametrize("name", [name for name, field in _FIELDS.items() if field.annotation in (int, float)])
def test_every_number_names_its_unit_and_is_bounded(name: str) -> None:
    field = _FIELDS[name]
    assert (name in _PLAIN) != name.endswith(_UNITS)
    bounds = {key for entry in field.metadata for key in ("ge", "gt", "le", "lt") if getattr(entry, key, None) is not None}
    assert bounds & {"ge", "gt"}
    if name.endswith("_ratio"):
        assert bounds == {"ge", "le"}
    if name.endswith("_s"):
        assert field.annotation is float
        assert "econds" in (field.description or "")


@pytest.mark.parametrize("name", _FIELDS)
def test_every_setting_is_read_from_its_variable(name: str, environment: pytest.MonkeyPatch) -> None:
    others = {bool: "false", int: "19", float: "0.3", str: "given", Path: "/given"}
    kind = _FIELDS[name].annotation
    words: dict[str, str] = {"log_level": "ERROR", "learn_speed": "full", "max_body_bytes": "1900"}
    words |= {"auth": "on", "ingress": "proxy", "allow_unauthenticated": "true", "max_header_bytes": "1900"}
    words |= {"probation_max_slowdown": "3.5", "bulk_max_bytes": "1900", "log_text": "hash", "memory_trust": "screened"}
    words |= {"learn_cron": "0 3 * * 1-5", "learn_quiet_hours": "08:00-18:00", "learn_time_zone": "Europe/Berlin"}
    words |= {"gate_max_growth": "3.5", "gate_mode": "approve", "log_max_bytes": "190000", "learn_nice": "7"}
    words |= {"learn_preset": "fast", "learn_finetune": "epochs=5", "learn_sharded": "true"}
    # Not the defaults.
    words |= {"slo_latency_s": "0.1", "drift_estimator": "atc"}
    words |= {"review_audit_ratio": "0.4", "review_suspect_ratio": "0.4"}
    value = words.get(name) or others[kind]  # type: ignore[index] # every other annotation is one of these
    before = Settings().model_dump()
    environment.setenv(_variable(name), value)
    after = Settings().model_dump()
    assert str(after[name]).lower() == value.lower()
    assert {field for field in _FIELDS if after[field] != before[field]} == {name}


@pytest.mark.parametrize("name", _FIELDS)
def test_an_empty_variable_is_one_that_is_not_set(name: str, environment: pytest.MonkeyPatch) -> None:
    before = Settings()
    environment.setenv(_variable(name), "")
    assert Settings() == before


def test_other_variables_are_nobody_s_business(environment: pytest.MonkeyPatch) -> None:
    before = Settings()
    for name in ("PORT", "HOST", "HONE", "HONE_", "HONE_UNKNOWN", "HONE_HOME_DIR"):
        environment.setenv(name, "1")
    assert Settings() == before


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HONE_PORT", "0"),
        ("HONE_PORT", "65536"),
        ("HONE_PORT", "eighty"),
        ("HONE_REPLICAS", "0"),
        ("HONE_ENGINE_THREADS", "-1"),
        ("HONE_LOG_LEVEL", "LOUD"),
        ("HONE_MAX_TEXTS", "0"),
        ("HONE_MAX_TEXTS", "1.5"),
        ("HONE_MAX_BODY_BYTES", "999"),
        ("HONE_BATCH_MAX_TOKENS", "15"),
        ("HONE_REQUEST_TIMEOUT_S", "0"),
        ("HONE_REQUEST_TIMEOUT_S", "nan"),
        ("HONE_REQUEST_TIMEOUT_S", "inf"),
        ("HONE_SWAP_POLL_S", "-1"),
        ("HONE_LEARN_EVERY_S", "-0.1"),
        ("HONE_LEARN_SPEED", "memory"),
        ("HONE_LEARN_NICE", "20"),
        ("HONE_CORRECTION_WEIGHT", "0"),
        ("HONE_CORRECTION_WEIGHT", "inf"),
        ("HONE_LOG_PREDICTIONS", "perhaps"),
        ("HONE_GATE_ALPHA", "0.5"),
        ("HONE_GATE_ALPHA", "0"),
        ("HONE_GATE_ALPHA", "nan"),
        ("HONE_GATE_MAX_LOSS_RATIO", "1.01"),
        ("HONE_GATE_MIN_PARITY_RATIO", "-0.01"),
    ],
)
def test_values_out_of_bounds_are_refused(variable: str, value: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(variable, value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    (error,) = caught.value.errors()
    assert error["loc"] == (variable.removeprefix("HONE_").lower(),)


def test_the_store_s_address_is_never_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HONE_STORE_URL", "postgresql://hone:hunter2@db/hone")
    settings = Settings()
    for shown in (repr(settings), str(settings), f"{settings}", f"{settings!r}", repr([settings])):
        assert "hunter2" not in shown
        assert "store_url" not in shown
    environment.setenv("HONE_PORT", "none")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


def test_an_api_key_is_never_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HONE_API_KEY", "hone_hunter2")
    settings = Settings()
    assert settings.api_key == "hone_hunter2"
    assert "hunter2" not in f"{settings!r} {settings}"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("hone.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.7", False),
        ("127.0.0.1.example.org", False),
        ("localhost.example.org", False),
        ("notlocalhost", False),
    ],
)
def test_keys_are_asked_for_wherever_others_can_reach(host: str, loopback: bool) -> None:
    made = {auth: Settings.model_validate({"host": host, "auth": auth}) for auth in ("auto", "on", "off")}
    assert made["auto"].on_loopback is loopback
    assert {auth: settings.authenticated for auth, settings in made.items()} == {"auto": not loopback, "on": True, "off": False}


def test_the_store_is_in_the_state_folder_unless_it_is_elsewhere(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HONE_HOME", str(tmp_path / "state"))
    assert Settings().sqlalchemy_url == f"sqlite:///{tmp_path}/state/feedback.db"
    environment.setenv("HONE_STORE_URL", "postgresql://db/hone")
    assert Settings().sqlalchemy_url == "postgresql://db/hone"


def test_the_state_folder_is_absolute(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("HOME", str(tmp_path))
    for value, path in ((".hone", tmp_path / ".hone"), ("~/x/../hone", tmp_path / "hone"), ("/srv/hone", Path("/srv/hone"))):
        environment.setenv("HONE_HOME", value)
        assert Settings().home == Home(path.resolve())
    environment.delenv("HONE_HOME")
    assert Settings().home.root.is_absolute()
    assert Settings().home.root.name == "hone"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://127.0.0.1:9000"),
        ("::1", "http://[::1]:9000"),
        ("hone.example", "http://hone.example:9000"),
    ],
)
def test_the_url_is_one_that_can_be_asked(host: str, url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HONE_HOST", host)
    environment.setenv("HONE_PORT", "9000")
    assert Settings().url == url


def test_nobody_else_is_answered_unless_asked_for() -> None:
    assert Settings().host == "127.0.0.1"
    assert get_args(FitSpeed) == ("head", "full")


def test_settings_do_not_change_once_they_are_read() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]

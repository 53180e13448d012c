"""Hone for a Ray cluster that somebody else started: what ``serve deploy`` takes, made from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import InputError
from core.release import release
from core.settings import Settings

APPLICATION = "serve.service:application"
# What a cluster's processes find out by themselves, or must not read in a file: addresses with passwords, and keys.
_KEPT_OUT = frozenset({"home_dir", "ray_address", "ingress", "store_url", "api_key", "bundles_cache"})


def changed_settings(settings: Settings) -> dict[str, str]:
    """Return the variables of those settings that differ from their defaults, secrets left out.

    >>> changed_settings(Settings(HONE_HOME="/srv/hone", host="0.0.0.0", replicas=2, store_url="postgresql://a:b@c/d"))
    {'HONE_HOME': '/srv/hone', 'HONE_HOST': '0.0.0.0', 'HONE_REPLICAS': '2'}
    """
    values = settings.model_dump(mode="json", exclude=set(_KEPT_OUT))
    defaults = {name: Settings.model_fields[name].default for name in values}
    changed = {f"HONE_{name.upper()}": _text(value) for name, value in values.items() if value != defaults[name]}
    return {"HONE_HOME": str(settings.base_dir), **changed}


def serve_config(settings: Settings, *others: Settings, environment: bool = True) -> dict[str, Any]:
    """Return the configuration, in the schema of ``serve deploy`` and of KubeRay's ``serveConfigV2``.

    Each of several classifiers is an application of its own, with replicas of its own, below its name. How many replicas there
    are, and what each of them reserves, the application reads from its settings, as it does without a cluster. With
    ``environment`` they travel along; without, the nodes' own environment has what ``settings`` say, and only what others say
    otherwise travels.
    """
    common = {} if environment else changed_settings(settings)
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": settings.host, "port": settings.port},
        "logging_config": {"enable_access_log": False},
        "applications": [_application(one, common) for one in (settings, *others)],
    }


def classifiers(settings: Settings, given: Sequence[str]) -> list[Settings]:
    """Return the settings of each classifier in ``given`` (``NAME`` or ``NAME=FILE``), or ``settings`` alone where it is empty.

    Raises:
        InputError: a name is given twice, or a file or a value in it cannot be used.
    """
    named = [entry.partition("=")[::2] for entry in given]
    names = [name for name, _ in named]
    if len(set(names)) != len(names):
        raise InputError("a classifier is named twice; each needs a name of its own")
    return [_named(settings, name, Path(file) if file else None) for name, file in named] or [settings]


def _named(settings: Settings, name: str, file: Path | None) -> Settings:
    known = settings.model_dump(exclude={"home_dir"})
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
        own = dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))
        wrong = [key for key in own if key.removeprefix("HONE_").lower() not in known or not key.startswith("HONE_")]
        if wrong or {"HONE_HOST", "HONE_PORT"} & set(own):
            raise InputError(f"{file} holds {(wrong or ['HONE_HOST or HONE_PORT'])[0]}, which is no setting of one classifier")
        changed = {key.removeprefix("HONE_").lower(): value for key, value in own.items()}
        return Settings.model_validate({**known, "HONE_HOME": settings.base_dir, **changed, "name": name})
    except (OSError, ValueError) as error:
        why = (
            error.errors(include_url=False, include_input=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        )
        raise InputError(f"the classifier {name} cannot be made: {why}") from error


def _application(settings: Settings, common: Mapping[str, str]) -> dict[str, Any]:
    changed = {name: value for name, value in changed_settings(settings).items() if common.get(name) != value}
    application = {
        "name": settings.app_name,
        "route_prefix": settings.route_prefix or "/",
        "import_path": APPLICATION,
        # Ray builds an application anew only where its configuration differs: code that was replaced below it goes unnoticed.
        "args": {"release": release()},
    }
    return {**application, "runtime_env": {"env_vars": changed}} if changed else application


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""The error tree is the one its docstring draws, with codes that stay."""

from __future__ import annotations

import re

import pytest

from core import errors
from core.errors import HoneError

# Callers switch on these: one may be added, none may change.
_CODES = {
    "HoneError": "internal",
    "InputError": "invalid_input",
    "MalformedBody": "malformed_body",
    "UnsupportedMediaType": "unsupported_media_type",
    "BodyTooLarge": "body_too_large",
    "InvalidText": "invalid_text",
    "TextTooLong": "text_too_long",
    "TooManyTexts": "too_many_texts",
    "UnknownLabel": "unknown_label",
    "TooManyTokens": "too_many_tokens",
    "HeadersTooLarge": "headers_too_large",
    "BodyTooSlow": "body_too_slow",
    "Unauthenticated": "unauthenticated",
    "RoleMissing": "role_missing",
    "ForeignHost": "foreign_host",
    "NotFound": "not_found",
    "UnknownPrediction": "unknown_prediction",
    "UnknownVersion": "unknown_version",
    "UnknownRun": "unknown_run",
    "UnknownKey": "unknown_key",
    "UnknownRoute": "unknown_route",
    "Conflict": "conflict",
    "IdempotencyConflict": "idempotency_conflict",
    "NothingToRollBack": "nothing_to_roll_back",
    "GateRefused": "gate_refused",
    "RunNotActive": "run_not_active",
    "Unavailable": "unavailable",
    "NoModel": "no_model",
    "StoreUnavailable": "store_unavailable",
    "Overloaded": "overloaded",
    "KeyBusy": "key_busy",
    "DeadlineExceeded": "deadline_exceeded",
    "DataError": "bad_data",
    "BundleError": "bad_bundle",
    "EncoderError": "bad_encoder",
    "KeysDamaged": "keys_damaged",
    "LeaseHeld": "lease_held",
    "RunCancelled": "run_cancelled",
    "StackError": "stack",
    "PortInUse": "port_in_use",
    "HomeUnusable": "home_unusable",
    "HomeLocked": "home_locked",
    "Exposed": "exposed",
}


def _classes() -> list[type[HoneError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HoneError)]


def _drawn() -> dict[str, str | None]:
    """Return the parent of every class in the docstring's tree."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").split("::\n", 1)[1].splitlines():
        found = re.match(r"    ((?:[│ ] {3})*(?:[├└]── )?)([A-Z]\w+)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1] if depth else None
    return parents


def test_the_docstring_draws_every_class_at_its_place() -> None:
    built = {kind.__name__: kind.__base__.__name__ if kind is not HoneError else None for kind in _classes() if kind.__base__}
    assert _drawn() == built
    assert list(_drawn()) == list(built)


def test_codes_are_unique_and_stay() -> None:
    codes = {kind.__name__: kind.code for kind in _classes()}
    assert len(set(codes.values())) == len(codes)
    assert {name: codes[name] for name in _CODES} == _CODES
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes.values())


@pytest.mark.parametrize("kind", _classes())
def test_every_class_says_when_it_is_raised(kind: type[HoneError]) -> None:
    assert kind.__doc__
    assert "code" in vars(kind)
    error = kind("what was wrong", limit=5, got=[7])
    assert isinstance(error, HoneError)
    assert str(error) == error.message == "what was wrong"
    assert error.details == {"limit": 5, "got": [7]}
    assert kind("x").details == {}

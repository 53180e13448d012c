"""What pydantic found wrong, in Hone's words: the field, what it got, what is allowed, and never the value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from core.errors import MalformedBody

_SHOWN = 5
_MANY = 100
# A client that swaps keys and values must not find its text in an error.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_JSON_NAMES = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def malformed(complaints: Sequence[Mapping[str, Any]], allowed: Sequence[str]) -> MalformedBody:
    """Return pydantic's ``complaints`` as one error; ``allowed`` are the fields the body may have."""
    fields = [{"field": _field(item), "problem": _problem(item, allowed)} for item in complaints[:_SHOWN]]
    sentence = "; ".join(f"{item['field']}: {item['problem']}" if item["field"] else item["problem"] for item in fields)
    more = len(complaints) - len(fields)
    return MalformedBody(f"{sentence}; and {more} more" if more > 0 else sentence, fields=fields)


def malformed_body(error: ValidationError, allowed: Sequence[str]) -> MalformedBody:
    """Return what is wrong with a body that did not validate."""
    count = error.error_count()
    if count > _MANY:
        # Listing a hundred thousand complaints would hold up every other caller.
        return MalformedBody(f"{count} fields are wrong; allowed fields: {', '.join(allowed)}", allowed=list(allowed))
    return malformed(error.errors(include_url=False), allowed)


def _field(item: Mapping[str, Any]) -> str:
    parts: list[str] = []
    for part in item["loc"]:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif item["type"] == "extra_forbidden" and not _NAME.fullmatch(part):
            parts.append(".(unnamed)")
        else:
            parts.append(f".{part}" if _NAME.fullmatch(part) else ".(key)")
    return "".join(parts).removeprefix(".")


def _problem(item: Mapping[str, Any], allowed: Sequence[str]) -> str:
    kind, context = str(item["type"]), item.get("ctx", {})
    if kind == "json_invalid":
        return f"the body is not JSON: {context.get('error', 'it cannot be parsed')}"
    if kind == "extra_forbidden":
        return f"there is no such field; allowed: {', '.join(allowed)}"
    if kind == "missing":
        return "it is missing"
    if kind == "model_type":
        return f"the body must be a JSON object, got {_kind_of(item)}"
    if kind.endswith("_type"):
        return f"{_expected(item)}, got {_kind_of(item)}"
    return _expected(item)


def _expected(item: Mapping[str, Any]) -> str:
    # Pydantic's messages name limits and choices, not the input, except those of the kinds below.
    if str(item["type"]).endswith("_parsing"):
        return f"it must be {'an integer' if str(item['type']).startswith('int') else 'a value'} of the documented form"
    return (
        str(item["msg"]).replace("Input should be", "must be").replace("String should", "must").replace("List should", "must")
    )


def _kind_of(item: Mapping[str, Any]) -> str:
    return _JSON_NAMES.get(type(item.get("input")), "something else")

"""Which role each route takes, in one table; a test holds it equal to the routes there are.

A path that is not in the table takes the most powerful role, so that a route nobody thought of is shut, not open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.routing import compile_path

from core.keys import ROLES, Role

# Probes have no secrets to send, and answer nothing but whether there is a model. The pages hold no data; what they show, they
# ask for with the key that is typed into them.
OPEN = None

ROUTE_ROLES: Mapping[tuple[str, str], Role | None] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/console/{name:path}"): OPEN,
    ("POST", "/v1/predict"): "predict",
    ("GET", "/v1/status"): "predict",
    # Names versions, routes and counts, and no text; a scraper should not hold a key that can do more.
    ("GET", "/metrics"): "predict",
    ("GET", "/v1/metrics/targets"): "predict",
    ("GET", "/v1/model"): "predict",
    ("GET", "/v1/models"): "predict",
    ("GET", "/v1/models/{version}"): "predict",
    ("GET", "/v1/models/{version}/card"): "predict",
    ("GET", "/v1/models/{version}/card.md"): "predict",
    ("GET", "/v1/models/{version}/gate"): "predict",
    ("GET", "/v1/models/{version}/gate.html"): "predict",
    ("POST", "/v1/corrections"): "annotate",
    ("GET", "/v1/corrections"): "annotate",
    ("POST", "/v1/confirmations"): "annotate",
    ("POST", "/v1/corrections/bulk"): "annotate",
    ("GET", "/v1/corrections/{correction_id}"): "annotate",
    ("POST", "/v1/corrections/{correction_id}/withdraw"): "annotate",
    ("POST", "/v1/corrections/{correction_id}/change"): "annotate",
    ("GET", "/v1/labels"): "annotate",
    ("GET", "/v1/labels/events"): "annotate",
    # Holds every text that was ever corrected.
    ("GET", "/v1/corrections/export"): "operate",
    ("POST", "/v1/labels/events"): "operate",
    ("GET", "/v1/annotators"): "annotate",
    ("GET", "/v1/accuracy"): "annotate",
    # Names labels and numbers; why shows texts, as the review queue does.
    ("GET", "/v1/drift"): "annotate",
    ("GET", "/v1/drift/{window_id}/why"): "annotate",
    ("GET", "/v1/drift/{window_id}/why.html"): "annotate",
    ("POST", "/v1/drift/alarms/{alarm_id}"): "operate",
    ("POST", "/v1/drift/reference"): "operate",
    # Names versions and runs, with what people said of them.
    ("GET", "/v1/history"): "annotate",
    ("GET", "/v1/quarantine"): "annotate",
    ("GET", "/v1/review"): "annotate",
    ("POST", "/v1/review/{item_id}"): "annotate",
    ("GET", "/v1/runs"): "annotate",
    ("GET", "/v1/runs/{run_id}"): "annotate",
    ("POST", "/"): "predict",
    ("POST", "/hf"): "predict",
    ("POST", "/predict"): "predict",
    ("GET", "/info"): "predict",
    ("GET", "/health"): OPEN,
    ("GET", "/v2"): "predict",
    ("GET", "/v2/health/live"): OPEN,
    ("GET", "/v2/health/ready"): OPEN,
    ("GET", "/v2/models/{model}"): "predict",
    ("GET", "/v2/models/{model}/ready"): "predict",
    ("POST", "/v2/models/{model}/infer"): "predict",
    ("GET", "/v2/models/{model}/versions/{version}"): "predict",
    ("GET", "/v2/models/{model}/versions/{version}/ready"): "predict",
    ("POST", "/v2/models/{model}/versions/{version}/infer"): "predict",
    ("GET", "/label-studio/health"): OPEN,
    ("POST", "/label-studio/setup"): "annotate",
    ("POST", "/label-studio/predict"): "annotate",
    # START_TRAINING comes here too, with the annotators' key: it queues one run at most, as corrections do by themselves.
    ("POST", "/label-studio/webhook"): "annotate",
    ("POST", "/v1/erasures"): "operate",
    ("GET", "/v1/erasures"): "operate",
    ("GET", "/v1/erasures/{erasure_id}"): "operate",
    ("POST", "/v1/subjects/export"): "operate",
    ("GET", "/v1/trail"): "operate",
    ("GET", "/v1/trail/verify"): "operate",
    ("POST", "/v1/models/{version}/promote"): "operate",
    ("POST", "/v1/models/{version}/approve"): "operate",
    ("POST", "/v1/models/{version}/challenge"): "operate",
    ("POST", "/v1/quarantine"): "operate",
    ("POST", "/v1/quarantine/{correction_id}"): "operate",
    ("POST", "/v1/withdraw"): "operate",
    ("POST", "/v1/rollback"): "operate",
    ("POST", "/v1/runs"): "operate",
    ("DELETE", "/v1/runs/{run_id}"): "operate",
}


class RouteTable:
    """Finds the role that a request takes."""

    def __init__(self, roles: Mapping[tuple[str, str], Role | None] = ROUTE_ROLES) -> None:
        by_path: dict[str, dict[str, Role | None]] = {}
        for (method, path), role in roles.items():
            by_path.setdefault(path, {})[method] = role
        self._exact = {path: methods for path, methods in by_path.items() if "{" not in path}
        self._patterns = [(compile_path(path)[0], path, methods) for path, methods in by_path.items() if "{" in path]

    def find(self, method: str, path: str) -> tuple[str, Role | None]:
        """Return the route that answers, ``unmatched`` if none does, and the role it takes; None: anybody may."""
        methods = self._exact.get(path)
        if methods is not None:
            return path, _role(methods, method)
        for regex, pattern, methods in self._patterns:
            if regex.match(path):
                return pattern, _role(methods, method)
        return "unmatched", ROLES[-1]


def _role(methods: Mapping[str, Role | None], method: str) -> Role | None:
    if method in methods:
        return methods[method]
    # The router answers that there is no such method, to whom the path is open.
    return max(methods.values(), key=lambda role: -1 if role is None else ROLES.index(role))


def secure(document: dict[str, Any]) -> dict[str, Any]:
    """Return an OpenAPI document with what each operation takes, as generated clients and the reference page read it."""
    document["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, made with `hone keys create`."},
        "password": {"type": "http", "scheme": "basic", "description": "Any user name; the password is an API key."},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            role = ROUTE_ROLES.get((method.upper(), path), ROLES[-1])
            operation["security"] = [] if role is None else [{"key": []}, {"password": []}, {"header": []}]
            if role is not None:
                operation["x-role"] = role
    return document

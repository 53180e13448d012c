"""An answer that is ready before the body has arrived reaches the caller all the same."""

from __future__ import annotations

import httpx

from tests.serve.formats.conftest import Listen

ROUTES = ("/v1/predict", "/hf", "/predict", "/v2/models/hone/infer", "/label-studio/predict")


def test_a_refusal_is_never_lost_to_a_reset(listen: Listen) -> None:
    """A client sends head and body apart; closing between the two resets the connection, and the reason is not seen."""
    with listen(auth="on") as replica:
        for path in ROUTES * 20:
            with httpx.Client(trust_env=False) as client:
                answer = client.post(replica.url + path, json={"inputs": "a" * 5_000})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")

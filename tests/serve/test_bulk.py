"""``/v1/corrections/bulk``: a report for each row, and no row lost for another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import StoreUnavailable
from feedback.store import Store
from serve.bulk_rows import LineReader
from serve.streams import BULK_PATH
from tests.serve.conftest import Service, Start

_TYPE = {"content-type": "application/x-ndjson"}


def _body(rows: Iterable[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def _send(
    service: Service, content: bytes | AsyncIterator[bytes], query: str = "", **headers: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    response = await service.http.post(f"{BULK_PATH}{query}", content=content, headers={**_TYPE, **named})
    assert response.status_code == 200, response.text
    *reports, summary = [json.loads(line) for line in response.text.splitlines()]
    return reports, summary


async def _count(service: Service) -> int:
    return await service.parts.store.call(Store.correction_count, kind=None)


BAD: list[tuple[bytes, str, str]] = [
    (b"no json", "malformed_body", "not JSON"),
    (b"[]", "malformed_body", "must be a JSON object"),
    (b'{"text": "a", "label": "neutral", "who": "me"}', "malformed_body", "no such field"),
    (b'{"text": "a"}', "malformed_body", "label: it is missing"),
    (b'{"label": "neutral"}', "malformed_body", "prediction_id"),
    (b'{"text": "", "label": "neutral"}', "invalid_text", "text is empty"),
    (b'{"text": "a\\u0000", "label": "neutral"}', "invalid_text", "NUL"),
    (b'{"text": "a", "label": "neutral", "annotator": "a\\u0000"}', "malformed_body", "NUL"),
    (b'{"text": "\\ud800", "label": "neutral"}', "malformed_body", "not JSON"),
    (b'{"text": "\xff", "label": "neutral"}', "malformed_body", "not JSON"),
    (b'{"text": "a", "label": "Positiv"}', "unknown_label", "nearest: positive"),
    (b'{"prediction_id": "p_nowhere", "label": "neutral"}', "unknown_prediction", "no prediction"),
    (b'{"text": "a", "label": "neutral", "key": "a b"}', "malformed_body", "key"),
    (b'{"text": "' + b"a" * 20_000 + b'", "label": "neutral"}', "body_too_large", "20000 bytes"),
]


async def test_bad_rows_are_reported_and_lose_no_others(service: Service) -> None:
    good = [{"text": f"text {number}", "label": "neutral"} for number in range(len(BAD))]
    pairs = zip(_body(good).splitlines(), BAD, strict=True)
    reports, summary = await _send(service, b"\n".join(line for one, (other, _, _) in pairs for line in (one, other)))
    assert [report["row"] for report in reports] == list(range(1, 2 * len(BAD) + 1))
    assert {report["status"] for report in reports[::2]} == {"kept"}
    for report, (_, code, says) in zip(reports[1::2], BAD, strict=True):
        assert (report["status"], report["code"]) == ("refused", code)
        assert says in report["error"]
    assert summary == {"rows": 2 * len(BAD), "kept": len(BAD), "repeated": 0, "refused": len(BAD)}
    assert await _count(service) == len(BAD)
    assert service.value("hone_corrections_total", kind="correction") == len(BAD)


async def test_corrections_and_confirmations_of_fresh_predictions_come_in_bulk(service: Service) -> None:
    texts = ["so positive", "so negative"]
    answers = (await service.post("/v1/predict", {"texts": texts})).json()["predictions"]
    reports, _ = await _send(
        service, _body({"prediction_id": answer["prediction_id"], "label": "positive", "annotator": "a"} for answer in answers)
    )
    assert [report["kind"] for report in reports] == ["confirmation", "correction"]


async def test_one_request_sent_again_with_its_key_counts_once(service: Service) -> None:
    body = _body({"text": f"text {number}", "label": "neutral"} for number in range(3))
    first, _ = await _send(service, body, idempotency_key="k")
    again, summary = await _send(service, body, idempotency_key="k")
    assert [report["correction_id"] for report in first] == [report["correction_id"] for report in again]
    assert (summary["repeated"], await _count(service)) == (3, 3)
    other, _ = await _send(service, body.replace(b"text 1", b"text 9"), idempotency_key="k")
    assert [report.get("code") for report in other] == [None, "idempotency_conflict", None]


async def test_fifty_clients_that_send_the_same_rows_make_one_of_each(service: Service) -> None:
    rows = [{"text": f"text {number}", "label": "neutral", "key": f"row-{number}"} for number in range(10)]
    single = {name: rows[0][name] for name in ("text", "label")}
    bulks = [_send(service, _body(rows)) for _ in range(25)]
    singles = [service.post("/v1/corrections", single, idempotency_key="row-0") for _ in range(25)]
    answers, responses = await asyncio.gather(asyncio.gather(*bulks), asyncio.gather(*singles))
    ids = {tuple(report["correction_id"] for report in reports) for reports, _ in answers}
    assert len(ids) == 1
    assert {response.json()["correction_id"] for response in responses} == {next(iter(ids))[0]}
    assert sum(summary["kept"] for _, summary in answers) in (9, 10)
    assert await _count(service) == 10


async def test_a_body_in_pieces_is_kept_while_it_arrives(service: Service) -> None:
    body = _body({"text": f"text {number}", "label": "neutral"} for number in range(700))
    seen: list[int] = []

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1_000):
            yield body[start : start + 1_000]
            seen.append(await _count(service))

    reports, summary = await _send(service, pieces())
    assert (len(reports), summary["kept"]) == (700, 700)
    assert 0 in seen
    assert 500 in seen


async def test_a_store_that_goes_away_is_told_with_how_far_it_came(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    really = Store.add_corrections
    calls: list[int] = []

    def failing(store: Store, rows: Any) -> Any:
        calls.append(len(rows))
        if len(calls) == 2:
            raise StoreUnavailable("it went away")
        return really(store, rows)

    monkeypatch.setattr(Store, "add_corrections", failing)
    body = _body({"text": f"text {number}", "label": "neutral"} for number in range(1_200))
    headers = {**_TYPE, "idempotency-key": "k"}
    response = await service.http.post(BULK_PATH, content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (503, "store_unavailable")
    assert response.json()["details"]["kept"] == 500
    assert "retry-after" in response.headers
    _, summary = await _send(service, body, idempotency_key="k")
    assert (summary["kept"], summary["repeated"], await _count(service)) == (700, 500, 1_200)


async def test_proposals_come_in_bulk_and_enter_the_set_when_backed(service: Service) -> None:
    rows = [{"text": f"text {number}", "label": "mixed", "annotator": f"a{number % 2}"} for number in range(5)]
    refused, _ = await _send(service, _body(rows))
    assert {report["code"] for report in refused} == {"unknown_label"}
    kept, _ = await _send(service, _body(rows), "?new_labels=propose")
    assert {report["proposed"] for report in kept} == {True}
    later, _ = await _send(service, _body(rows[:1]))
    assert later[0]["proposed"] is False


@pytest.mark.parametrize(("kind", "status"), [("application/json", 415), ("", 415), ("application/x-ndjson; charset=gbk", 415)])
async def test_other_media_types_are_refused(service: Service, kind: str, status: int) -> None:
    response = await service.http.post(BULK_PATH, content=b"{}", headers={"content-type": kind})
    assert response.status_code == status


async def test_a_body_beyond_the_limit_is_refused(start: Start) -> None:
    async with start(changed={"bulk_max_bytes": 1_000}) as service:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b'{"text": "a", "label": "neutral"}\n' * 10

        response = await service.http.post(BULK_PATH, content=pieces(), headers=_TYPE)
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_an_empty_body_has_no_rows(service: Service) -> None:
    reports, summary = await _send(service, b"\n \r\n\n")
    assert (reports, summary["rows"]) == ([], 0)


@given(st.lists(st.binary(max_size=12)), st.integers(1, 10))
def test_lines_are_the_same_however_they_are_cut(pieces: list[bytes], most: int) -> None:
    whole, parts = LineReader(most), LineReader(most)
    expected = [*whole.feed(b"".join(pieces)), *whole.finish()]
    assert [*(line for piece in pieces for line in parts.feed(piece)), *parts.finish()] == expected
    lines = b"".join(pieces).split(b"\n")
    assert [line.number for line in expected if line.content is None] == [
        number for number, line in enumerate(lines, 1) if len(line) > most
    ]

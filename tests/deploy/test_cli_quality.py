"""`hone review`, `quarantine`, `annotators` and `accuracy`, on the state folder itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from core.quality_bodies import Reason
from core.registry import Registry
from core.schemas import CorrectionRequest, PredictionRecord
from core.settings import Settings
from core.text import text_key
from feedback.store import Store
from tests.deploy.conftest import RunHone


@pytest.fixture
def store(settings: Settings, registry: Registry) -> Iterator[Store]:
    """Give the store of the champion's state folder, with three predictions in the audit."""
    assert registry.aliases().champion == "v1"
    opened = Store.open(settings.sqlalchemy_url)
    texts = [f"text number {number}" for number in range(3)]
    opened.log_predictions(
        [
            PredictionRecord(
                prediction_id=f"p{place}",
                created_at=datetime.now(UTC),
                text=text,
                text_key=text_key(text),
                label="positive",
                score=0.8,
                model_version="v1",
                source="head",
            )
            for place, text in enumerate(texts)
        ]
    )
    opened.draw_audit(1.0, None)
    yield opened
    opened.close()


def test_a_review_asks_keeps_skips_and_undoes(hone: RunHone, store: Store) -> None:
    result = hone("review", "--annotator", "ada", stdin="negative\nu\npositive\nnowhere\ns\nnegative\nq\n")
    assert result.exit_code == 0, result.output
    assert "2 answered" in result.stderr
    assert "drawn by chance" in result.stdout
    kept = {(item.label, item.withdrawn) for item in store.corrections().corrections}
    assert kept == {("negative", True), ("positive", False), ("negative", False)}
    (version,) = json.loads(hone("accuracy", "--json").stdout)["versions"]
    assert (version["accuracy"], version["judged"], version["waiting"]) == (0.5, 2, 1)
    assert "v1" in hone("accuracy").stdout
    assert "nothing waits for ada" in hone("review", "--annotator", "ada").stdout


def test_items_are_listed_for_scripts(hone: RunHone, store: Store) -> None:
    lines = hone("review", "--annotator", "ada", "--json", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["stratum"] for line in lines] == ["audit", "audit"]
    assert store.audit_waiting() == {"v1": 3}


def test_what_is_held_back_is_listed_released_and_refused(hone: RunHone, store: Store) -> None:
    ids = []
    for number in range(3):
        request = CorrectionRequest(text=f"doubtful {number}", label="negative", annotator="eve" if number else None)
        ids.append(store.add_correction(request).correction_id)
        reason = Reason(rule="burst", value=9.0, limit=5.0, why="so many at once")
        store.keep_suspicions({store.last_sequence(): (reason,)}, {}, [store.last_sequence()])
    listed = hone("quarantine", "list").stdout
    assert "burst: so many at once" in listed
    assert "3 quarantined" in listed
    assert hone("quarantine", "release", ids[1]).exit_code == 0
    assert "1 corrections are refused for good" in hone("quarantine", "uphold", "--annotator", "eve").stderr
    assert "1 corrections are released" in hone("quarantine", "release", "--annotator", "").stderr
    assert json.loads(hone("quarantine", "list", "--state", "upheld", "--json").stdout)["total"] == 1
    for wrong in (
        ("quarantine", "list", "--state", "odd"),
        ("quarantine", "release"),
        ("quarantine", "release", "a", "--annotator", "b"),
    ):
        assert hone(*wrong).exit_code == 2
    assert hone("quarantine", "release", "c_nowhere").exit_code == 1


def test_annotators_are_listed(hone: RunHone, store: Store) -> None:
    for who, label in (("ann", "positive"), ("ben", "positive"), (None, "negative")):
        store.add_correction(CorrectionRequest(text="one text", label=label, annotator=who))
    shown = hone("annotators").stdout
    assert "(no name)" in shown
    assert "1 texts have several annotators" in shown
    assert len(json.loads(hone("annotators", "--json").stdout)["annotators"]) == 3

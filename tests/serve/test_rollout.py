"""Rollouts of a whole replica: bad candidates, probation, canary and shadow, with clients that notice nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from core.classifier import Classifier, Prepared
from core.errors import BundleError
from core.gate import GateDecision
from serve.beside import SideProcess
from serve.heap import give_back
from serve.split import is_challengers
from tests.bundles import LABELS, register_ngram_bundle
from tests.serve import candidates
from tests.serve.children import side_processes
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

TEXTS = [f"{label} number {place}" for place in range(40) for label in LABELS]


@asynccontextmanager
async def _clients(service: Service, count: int = 4) -> AsyncIterator[list[str]]:
    """Ask without a pause inside the block; gives the versions that answered. Any answer but 200 fails the test."""
    versions: list[str] = []
    stop = asyncio.Event()

    async def ask(place: int) -> None:
        while not stop.is_set():
            response = await service.post("/v1/predict", {"text": TEXTS[place % len(TEXTS)]})
            assert response.status_code == 200, response.text
            versions.append(response.json()["model_version"])
            place += 1

    tasks = [asyncio.create_task(ask(30 * place)) for place in range(count)]
    try:
        yield versions
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def _get(service: Service, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await service.http.get(path)).json()
    return answer


async def _states(service: Service, version: str, last: str) -> list[str]:
    """Return the states a version was in, newest first, once the last of them is written down."""
    async with asyncio.timeout(10):
        while True:
            rows = (await _get(service, f"/v1/models/{version}"))["rollouts"]
            states = [str(row["state"]) for row in rows]
            if states and states[0] == last:
                return states
            await asyncio.sleep(0.01)


def _promote(service: Service, version: str) -> None:
    service.parts.registry.promote(version, by="test", why="a test")
    service.parts.watcher.nudge()


async def _refused(service: Service, version: str) -> None:
    """Return when the replica would not take ``version``."""
    slot = service.parts.slot
    await until(lambda: slot.refusal is not None and slot.refusal.version == version)


def _break_engine(service: Service, version: str) -> None:
    """Have the engine of a version that is loaded fail from now on."""
    slot = service.parts.slot
    found = slot.require() if slot.require().version == version else slot.held(version)
    assert found is not None

    def fail(prepared: Sequence[Prepared]) -> np.ndarray[Any, Any]:
        raise RuntimeError("the engine is broken")

    found.classifier.score = fail  # type: ignore[method-assign]


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "other labels": (candidates.with_other_labels, "away from the recorded probability"),
    "too few labels": (candidates.with_too_few_labels, "shape"),
    "not a number": (candidates.that_gives_nan, "not finite numbers"),
    "parity": (candidates.that_fails_parity, "away from the recorded probability"),
}


async def test_a_bad_candidate_of_any_kind_is_told_everywhere_and_fails_nobody(start: Start) -> None:
    async with start() as service, _clients(service) as versions:
        registry = service.parts.registry
        for place, (write, said) in enumerate(BAD.values(), 1):
            version = candidates.register(registry, write)
            _promote(service, version)
            await _refused(service, version)
            failure = (await _get(service, "/v1/status"))["rollout_failure"]
            assert said in failure["reason"]
            model = await _get(service, f"/v1/models/{version}")
            assert [(row["state"], row["reason"], row["replica_id"]) for row in model["rollouts"]] == [
                ("failed", failure["reason"], "replica-1")
            ]
            assert service.value("hone_rollouts_total", state="failed") == place
            registry.rollback(by="test", why="it failed")
            service.parts.watcher.nudge()
            await until(lambda: service.parts.slot.refusal is None)
    assert set(versions) == {"v1"}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import time; time.sleep(60)", "did not finish within 1 s"),
        ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL, perhaps for want of memory"),
        ("raise SystemExit(3)", "ended with exit code 3"),
    ],
)
async def test_an_engine_that_hangs_or_kills_who_loads_it_does_so_elsewhere(
    start: Start, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    monkeypatch.setattr("serve.loading.SideProcess", partial(SideProcess, command=[sys.executable, "-c", program]))
    async with start(changed={"load_timeout_s": 1.0}) as service, _clients(service) as versions:
        _promote(service, candidates.register(service.parts.registry, candidates.with_an_encoder))
        await until(lambda: service.parts.slot.refusal is not None)
        assert service.parts.slot.refusal is not None
        assert said in service.parts.slot.refusal.reason
    assert set(versions) == {"v1"}
    assert not side_processes()


async def test_an_engine_that_was_proved_once_is_not_tried_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as service:
        _promote(service, candidates.register(service.parts.registry, candidates.with_an_encoder))
        await service.serves("v2")
    # From here on a trial would fail.
    monkeypatch.setattr("serve.loading.SideProcess", partial(SideProcess, command=["/bin/false"]))
    async with start(versions=0) as service:
        await service.serves("v2")


async def test_a_candidate_that_does_not_fit_in_memory_is_not_loaded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start() as service, _clients(service) as versions:
        monkeypatch.setattr("serve.heap.available_bytes", lambda: 1_000)
        _promote(service, register_ngram_bundle(service.parts.registry, seed=3))
        await until(lambda: service.parts.slot.refusal is not None)
        assert service.parts.slot.refusal is not None
        assert "does not fit in memory" in service.parts.slot.refusal.reason
    assert set(versions) == {"v1"}


async def test_what_a_failed_candidate_took_is_given_back(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Classifier]] = []

    def refuse(classifier: Classifier) -> None:
        seen.append(weakref.ref(classifier))
        # Something to notice when it stays: 20 of these are 160 MB.
        classifier.ballast = np.ones(1_000_000)  # type: ignore[attr-defined]
        raise BundleError("a test says no")

    async with start() as service:
        monkeypatch.setattr(Classifier, "check_probes", refuse)
        # Making the bundles takes memory as well, which is none of the candidates' doing.
        versions = [register_ngram_bundle(service.parts.registry, seed=seed) for seed in range(25)]
        for version in versions[:5]:
            _promote(service, version)
            await _refused(service, version)
        before = _held_bytes()
        for version in versions[5:]:
            _promote(service, version)
            await _refused(service, version)
        after = _held_bytes()
    assert len(seen) == 25
    assert [reference() for reference in seen] == [None] * 25
    assert after - before < 20_000_000


def _held_bytes() -> int:
    """Return what this process holds once garbage, of earlier tests too, is collected and freed memory is given back."""
    gc.collect()
    give_back()
    return psutil.Process().memory_info().rss


async def test_a_later_start_comes_up_on_the_last_version_that_loads(start: Start) -> None:
    async with start(versions=3) as service:
        registry = service.parts.registry
        candidates.damage(registry, "v3")
        candidates.lose(registry, "v2")
    async with start(versions=0) as service:
        await service.serves("v1")
        status = await _get(service, "/v1/status")
        assert status["rollout_failure"]["version"] == "v3"
        assert [(row["version"], row["state"]) for row in status["rollouts"][:2]] == [("v1", "fell_back"), ("v3", "failed")]


async def test_a_version_that_collapses_is_taken_back_by_itself(start: Start) -> None:
    async with start(changed={"probation_sample_ratio": 1.0}) as service, _clients(service) as versions:
        registry = service.parts.registry
        _promote(service, candidates.register(registry, candidates.that_collapsed))
        await service.serves("v2")
        await until(lambda: service.parts.slot.probation is not None)
        status = await _get(service, "/v1/status")
        assert (status["probation"]["version"], status["probation"]["replaced"]) == ("v2", "v1")
        await service.serves("v1")
        assert registry.aliases().model_dump() == {"champion": "v1", "previous": "v2", "challenger": None}
        # The alias moves first; what is told of it comes right after.
        await until(lambda: registry.history()[-1].action == "rollback")
        last = registry.history()[-1]
        assert (last.by, last.replaced) == ("probation", "v2")
        assert "texts" in last.why
        states = await _states(service, "v2", "rolled_back")
        assert states == ["rolled_back", "probation", "serving"]
        assert (service.value("hone_shadow_texts_total", outcome="differed") or 0) >= 20
        await until(lambda: service.parts.slot.probation is None)
        # A person may know better; then it stays.
        _promote(service, "v2")
        await service.serves("v2")
        assert service.parts.slot.probation is None
    assert {"v1", "v2"} == set(versions)


async def test_a_version_whose_engine_breaks_costs_no_request_and_is_taken_back(start: Start) -> None:
    async with start(changed={"probation_sample_ratio": 0.0}) as service:
        _promote(service, register_ngram_bundle(service.parts.registry, seed=3))
        await until(lambda: service.parts.slot.probation is not None)
        _break_engine(service, "v2")
        async with _clients(service) as versions:
            await service.serves("v1")
        assert set(versions) == {"v1"}
        assert (service.value("hone_version_failures_total", version="v2") or 0) >= 30
        # The alias moves first; what is told of it comes right after.
        await until(lambda: "its engine failed" in service.parts.registry.history()[-1].why)


async def test_a_sound_version_passes_and_lets_the_one_before_go(start: Start) -> None:
    async with start(changed={"probation_s": 0.3, "probation_sample_ratio": 0.0}) as service, _clients(service):
        before = weakref.ref(service.parts.slot.require().classifier)
        _promote(service, register_ngram_bundle(service.parts.registry, seed=3))
        await until(lambda: service.parts.slot.probation is not None)
        backup = service.parts.slot.backup
        assert backup is not None
        assert backup.classifier is before()
        del backup
        await until(lambda: service.parts.slot.probation is None and service.parts.slot.backup is None)
        assert service.value("hone_rollouts_total", state="passed") == 1.0
        assert service.parts.slot.require().version == "v2"
    gc.collect()
    assert before() is None


async def test_a_text_no_version_can_answer_is_nobody_s_failure(start: Start) -> None:
    async with start(changed={"probation_sample_ratio": 0.0}) as service:
        _promote(service, register_ngram_bundle(service.parts.registry, seed=3))
        await until(lambda: service.parts.slot.probation is not None)
        backup, probation = service.parts.slot.backup, service.parts.slot.probation
        assert backup is not None
        assert probation is not None
        for version in ("v1", "v2"):
            _break_engine(service, version)
        for _ in range(40):
            assert (await service.post("/v1/predict", {"text": "positive"})).status_code == 500
        assert probation.tally.failed == 0


async def test_a_canary_answers_its_share_and_says_so(start: Start) -> None:
    changed: dict[str, object] = {"canary_ratio": 0.3, "probation_s": 0.0}
    async with start(changed=changed) as service:
        service.parts.registry.challenge(register_ngram_bundle(service.parts.registry, seed=3), by="ann", why="a trial")
        await until(lambda: service.parts.slot.challenge is not None)
        said = [(await service.post("/v1/predict", {"text": text})).json()["model_version"] for text in TEXTS]
        assert said == ["v2" if is_challengers([text], 0.3) else "v1" for text in TEXTS]
        assert {"v1", "v2"} == set(said)
        challenger = (await _get(service, "/v1/status"))["challenger"]
        assert (challenger["version"], challenger["mode"], challenger["share_ratio"]) == ("v2", "canary", 0.3)
        assert service.value("hone_challenger_info", version="v2", mode="canary") == 1.0


async def test_a_canary_that_fails_is_taken_out_and_nobody_notices(start: Start) -> None:
    async with start(changed={"canary_ratio": 0.5, "probation_s": 0.0}) as service:
        registry = service.parts.registry
        registry.challenge(register_ngram_bundle(registry, seed=3), by="ann", why="a trial")
        await until(lambda: service.parts.slot.challenge is not None)
        _break_engine(service, "v2")
        async with _clients(service) as versions:
            await until(lambda: service.value("hone_rollouts_total", state="withdrawn") == 1.0)
        assert set(versions) == {"v1"}
        assert (registry.history()[-1].action, registry.history()[-1].by) == ("withdraw", "canary")
        assert (await _states(service, "v2", "withdrawn"))[0] == "withdrawn"


async def test_what_the_gate_refused_is_no_canary(start: Start) -> None:
    async with start(changed={"canary_ratio": 1.0, "probation_s": 0.0}) as service:
        refused = GateDecision(promote=False, summary="no evidence", champion="v1", rules=[])
        register_ngram_bundle(service.parts.registry, seed=3, decision=refused)
        async with _clients(service) as versions:
            await asyncio.sleep(0.2)
        assert set(versions) == {"v1"}
        service.parts.registry.challenge("v2", by="ann", why="all the same", override=True)
        await until(lambda: service.parts.slot.challenge is not None)
        assert (await service.post("/v1/predict", {"text": "positive"})).json()["model_version"] == "v2"


async def test_a_shadow_is_compared_and_never_heard(start: Start) -> None:
    async with start(changed={"shadow_ratio": 1.0, "probation_s": 0.0}) as service, _clients(service) as versions:
        registry = service.parts.registry
        candidates.register(registry, candidates.that_collapsed)
        await until(lambda: (service.value("hone_shadow_texts_total", outcome="differed") or 0) > 50)
        challenger = (await _get(service, "/v1/status"))["challenger"]
        assert (challenger["mode"], challenger["problem"]) == ("shadow", None)
        assert 0.2 < challenger["agreement_ratio"] < 0.5
        assert registry.aliases().challenger == "v2", "a shadow harms nobody, so it stays"
        registry.withdraw(by="ann", why="seen enough")
        await until(lambda: service.parts.slot.challenge is None)
    assert set(versions) == {"v1"}


async def test_without_memory_for_a_comparison_probation_goes_on_without_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.comparing.available_bytes", lambda: 1_000)
    async with start() as service:
        _promote(service, register_ngram_bundle(service.parts.registry, seed=3))
        await until(lambda: (found := service.parts.slot.probation) is not None and found.comparison is not None)
        probation = service.parts.slot.probation
        assert probation is not None
        comparison = probation.comparison
        assert comparison is not None
        await until(lambda: comparison.problem is not None)
        assert "MB are left" in (await _get(service, "/v1/status"))["probation"]["problem"]
        assert service.parts.slot.require().version == "v2"

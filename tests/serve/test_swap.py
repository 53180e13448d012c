"""Swapping: no answer mixes versions, no bad version reaches traffic, nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from core.bundle import HEAD
from core.classifier import Classifier
from core.errors import BundleError, NoModel
from core.metrics import Metrics
from core.registry import Registry
from core.rollouts import Rollouts
from serve.rollout_book import RolloutBook
from serve.slot import ModelSlot, Refusal
from serve.swap import ChampionWatcher, Pace
from tests.bundles import LABELS, register_ngram_bundle
from tests.serve.conftest import Service, Start
from tests.serve.fakes import until

SWAPS = 50


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def _promote(registry: Registry, version: str) -> None:
    registry.promote(version, by="test", why="a test")


def _register(registry: Registry, *, seed: int) -> str:
    version = register_ngram_bundle(registry, seed=seed)
    _promote(registry, version)
    return version


def _break(registry: Registry, version: str) -> None:
    """Damage a registered version behind the registry's back, as a failing disk would."""
    (registry.path(version) / HEAD).write_bytes(b"not what was registered")


def _watcher(
    registry: Registry, metrics: Metrics, load: Callable[[Path], Classifier] = Classifier.load, load_timeout_s: float = 60.0
) -> tuple[ModelSlot, ChampionWatcher]:
    slot = ModelSlot()
    book = RolloutBook(Rollouts(registry.root), "replica-1", metrics)
    return slot, ChampionWatcher(slot, registry, load, book, Pace(poll_s=0.01, load_timeout_s=load_timeout_s))


def _version(slot: ModelSlot) -> str:
    return slot.require().version


async def test_an_empty_registry_is_no_model(registry: Registry, metrics: Metrics) -> None:
    slot, watcher = _watcher(registry, metrics)
    await watcher.look()
    with pytest.raises(NoModel):
        slot.require()


async def test_the_champion_is_loaded_and_followed(registry: Registry, metrics: Metrics) -> None:
    slot, watcher = _watcher(registry, metrics)
    _register(registry, seed=1)
    await watcher.look()
    assert (_version(slot), slot.require().source) == ("v1", "head")
    _register(registry, seed=2)
    await watcher.look()
    assert _version(slot) == "v2"
    registry.rollback(by="test", why="a test")
    await watcher.look()
    assert _version(slot) == "v1"
    sample = metrics.registry.get_sample_value
    assert sample("hone_swaps_total", {"outcome": "swapped"}) == 2.0
    assert sample("hone_champion_info", {"version": "v1"}) == 1.0
    assert sample("hone_champion_info", {"version": "v2"}) == 0.0
    # The version before was still in memory, so going back to it read nothing.
    assert sample("hone_load_seconds_count") == 2.0


async def test_a_damaged_candidate_leaves_the_champion_where_it_is(registry: Registry, metrics: Metrics) -> None:
    slot, watcher = _watcher(registry, metrics)
    _register(registry, seed=1)
    await watcher.look()
    _break(registry, _register(registry, seed=2))
    await watcher.look()
    await watcher.look()
    assert _version(slot) == "v1"
    assert slot.refusal == Refusal("v2", f"v2 holds an altered {HEAD}: its SHA-256 is not the recorded one", attempts=1)
    assert metrics.registry.get_sample_value("hone_swaps_total", {"outcome": "failed"}) == 1.0
    registry.rollback(by="test", why="a test")
    await watcher.look()
    assert slot.refusal is None


async def test_a_version_that_failed_is_tried_again_after_a_while(
    registry: Registry, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.swap._FIRST_RETRY_S", 0.0)
    slot, watcher = _watcher(registry, metrics)
    version = _register(registry, seed=1)
    good = (registry.path(version) / HEAD).read_bytes()
    _break(registry, version)
    await watcher.look()
    await watcher.look()
    assert slot.refusal is not None
    assert slot.refusal.attempts == 2
    with pytest.raises(NoModel, match="altered"):
        slot.require()
    (registry.path(version) / HEAD).write_bytes(good)
    await watcher.look()
    assert _version(slot) == version
    assert slot.refusal is None


async def test_a_start_with_a_damaged_champion_falls_back_to_the_version_before(registry: Registry, metrics: Metrics) -> None:
    _register(registry, seed=1)
    _break(registry, _register(registry, seed=2))
    slot, watcher = _watcher(registry, metrics)
    await watcher.look()
    await watcher.look()
    assert _version(slot) == "v1"
    assert slot.refusal is not None
    assert slot.refusal.version == "v2"


async def test_a_start_without_any_good_version_names_both_reasons(registry: Registry, metrics: Metrics) -> None:
    for seed in (1, 2):
        _register(registry, seed=seed)
    for version in ("v1", "v2"):
        _break(registry, version)
    slot, watcher = _watcher(registry, metrics)
    await watcher.look()
    assert slot.current is None
    assert slot.refusal is not None
    assert slot.refusal.version == "v2"
    assert "v1 neither" in slot.refusal.reason


async def test_a_loader_that_fails_oddly_is_reported_without_its_words(registry: Registry, metrics: Metrics) -> None:
    def load(_: Path) -> Classifier:
        raise MemoryError("a text from the bundle")

    _register(registry, seed=1)
    slot, watcher = _watcher(registry, metrics, load)
    await watcher.look()
    assert slot.refusal is not None
    assert slot.refusal.reason == "MemoryError while loading"


async def test_a_version_that_loads_for_ever_is_given_up(registry: Registry, metrics: Metrics) -> None:
    end = threading.Event()

    def load(folder: Path) -> Classifier:
        if folder.name == "v2":
            end.wait(30)
        return Classifier.load(folder)

    slot, watcher = _watcher(registry, metrics, load, load_timeout_s=0.5)
    for seed in (1, 2):
        _register(registry, seed=seed)
        await watcher.look()
    end.set()
    assert _version(slot) == "v1"
    assert slot.refusal is not None
    assert "within 0.5 s" in slot.refusal.reason


async def test_a_version_rolled_back_while_it_loads_sees_no_traffic(registry: Registry, metrics: Metrics) -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load(folder: Path) -> Classifier:
        if folder.name == "v2":
            loading.set()
            go_on.wait(30)
        return Classifier.load(folder)

    slot, watcher = _watcher(registry, metrics, load)
    _register(registry, seed=1)
    await watcher.look()
    _register(registry, seed=2)
    looking = asyncio.create_task(watcher.look())
    await asyncio.to_thread(loading.wait, 30)
    assert slot.candidate == "v2"
    registry.rollback(by="test", why="a test")
    go_on.set()
    await looking
    assert _version(slot) == "v1"
    assert metrics.registry.get_sample_value("hone_swaps_total", {"outcome": "swapped"}) == 0.0


async def test_an_unreadable_registry_changes_nothing(registry: Registry, metrics: Metrics) -> None:
    slot, watcher = _watcher(registry, metrics)
    _register(registry, seed=1)
    await watcher.look()
    aliases = registry.root / "aliases.json"
    good = aliases.read_bytes()
    aliases.write_bytes(b"{")
    await watcher.look()
    assert _version(slot) == "v1"
    aliases.write_bytes(good)
    _register(registry, seed=2)
    await watcher.look()
    assert _version(slot) == "v2"


def test_a_promoted_version_must_verify(registry: Registry) -> None:
    version = register_ngram_bundle(registry, seed=1)
    _break(registry, version)
    with pytest.raises(BundleError):
        _promote(registry, version)


async def _ask(service: Service, scores: dict[str, list[float]], stop: asyncio.Event) -> int:
    """Ask until ``stop`` and return how many answers came, all of them whole: of one version, with that version's scores."""
    answers = 0
    while not stop.is_set():
        response = await service.post("/v1/predict", {"texts": [*LABELS, *LABELS]})
        assert response.status_code == 200, response.text
        body = response.json()
        assert {item["model_version"] for item in body["predictions"]} == {body["model_version"]}
        assert [item["score"] for item in body["predictions"]] == scores[body["model_version"]] * 2
        answers += 1
    return answers


def _scores(registry: Registry, version: str) -> list[float]:
    probes = registry.manifest(version).probes
    return [round(float(probe.score), 6) for probe in probes]


async def test_fifty_swaps_under_load_tear_no_answer_and_leave_nothing_behind(start: Start) -> None:
    async with start(versions=2) as service:
        registry = service.parts.registry
        scores = {version: _scores(registry, version) for version in registry.versions()}
        stop = asyncio.Event()
        clients = [asyncio.create_task(_ask(service, scores, stop)) for _ in range(8)]
        await _swap(service, 5)
        before = _resources()
        await _swap(service, SWAPS)
        after = _resources()
        stop.set()
        answers = await asyncio.gather(*clients)
        assert min(answers) > 0
        assert service.value("hone_swaps_total", outcome="swapped") == SWAPS + 5
        assert service.value("hone_swaps_total", outcome="failed") == 0.0
        assert all(now <= then + 4 for then, now in zip(before, after, strict=True)), (before, after)


async def _swap(service: Service, times: int) -> None:
    for _ in range(times):
        aliases = service.parts.registry.rollback(by="test", why="a test")
        await service.serves(str(aliases.champion))


def _resources() -> tuple[int, int, int]:
    """Return open files, threads and living classifiers; a few threads come and go with the clients."""
    gc.collect()
    process = psutil.Process()
    classifiers = sum(isinstance(found, Classifier) for found in gc.get_objects())
    return process.num_fds(), process.num_threads(), classifiers


async def test_a_bad_candidate_under_load_is_told_everywhere_and_fails_nobody(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk that takes its time over the record must not keep the failure from being seen.
    monkeypatch.setattr(Rollouts, "add", lambda *_: time.sleep(0.3))
    # Nobody looks at the alias before the test has damaged what it names.
    async with start(changed={"swap_poll_s": 600.0}) as service:
        registry = service.parts.registry
        stop = asyncio.Event()
        clients = [asyncio.create_task(_ask(service, {"v1": _scores(registry, "v1")}, stop)) for _ in range(4)]
        _break(registry, _register(registry, seed=9))
        service.parts.watcher.nudge()
        await until(lambda: service.parts.slot.refusal is not None)
        stop.set()
        await asyncio.gather(*clients)
        status = (await service.http.get("/v1/status")).json()
        assert status["model_version"] == "v1"
        assert status["rollout_failure"]["version"] == "v2"
        assert [(replica["state"], replica["candidate_version"]) for replica in status["replicas"]] == [("failed", "v2")]
        assert (await service.http.get("/readyz")).status_code == 200
        assert service.value("hone_swaps_total", outcome="failed") == 1.0

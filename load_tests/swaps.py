"""Fifty swaps under load: what 32 clients see of them, and what they leave behind.

::

    python -m load_tests.swaps --home FOLDER --data train.csv

FOLDER needs a champion with an encoder; where it has none, one is taught from the data. Two replicas serve copies of it
with other names for its labels, and three versions take turns: two heads over one encoder, and the same over an encoder file of
its own, so that both kinds of swap are seen. Each version calls every text by another name, so an answer that mixed two would
show. They contradict each other on every text, which is what probation is there to stop, so its comparison is off here. Prints
one JSON object; the exit code is 1 when a limit is passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import onnx
import psutil

from core.bundle import read_manifest, seal
from core.classifier import Classifier
from core.registry import Registry
from core.settings import Settings
from load_tests.http1 import render_request
from load_tests.servers import Server, ensure_champion, hone

CLIENTS = 32
SWAPS = 50
LIMITS = {"failed": 0, "torn": 0, "longest_gap_ms": 100.0, "head_swap_ms": 50.0, "growth_ratio": 0.05}
# Threads that are started on demand, and memory that is kept for the next load, are there after these.
_WARM_SWAPS = 12
_IDLE_SWAPS = 12
_CALM_S = 20.0
_SURE = 0.8
_TEXTS = 64


@dataclass
class Seen:
    """What the clients saw: when answers came, and what was wrong with some."""

    ends_s: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    torn: int = 0


def main() -> int:
    """Measure, print, and return 1 when a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--swaps", type=int, default=SWAPS)
    arguments = parser.parse_args()
    champion = ensure_champion(arguments.home, arguments.data)
    with tempfile.TemporaryDirectory(prefix="hone-swaps-") as folder:
        home = Path(folder) / "home"
        texts = _prepare(champion, home)
        settings = {"HONE_REPLICAS": "2", "HONE_PROBATION_SAMPLE_RATIO": "0", "HONE_LEARN_AFTER_CORRECTIONS": "0"}
        with hone(home, Path(folder), settings) as server:
            report = asyncio.run(_measure(server, home, texts, arguments.swaps))
    broken = [name for name, limit in LIMITS.items() if report[name] is None or report[name] > limit]
    print(json.dumps({**report, "limits": LIMITS, "broken": broken, "cores": os.cpu_count()}, indent=1))
    return 1 if broken else 0


def _prepare(champion: Path, home: Path) -> dict[str, dict[str, str]]:
    """Register three versions in ``home``; return texts with what each version calls them."""
    Settings.model_validate({"HONE_HOME": home}).home.prepare()
    registry = Registry(home / "registry")
    labels = read_manifest(champion).labels
    for turn in range(3):
        staged = registry.root / "staged"
        shutil.copytree(champion, staged)
        _rename(staged, turn)
        if turn == 2:
            _touch_engines(staged)
        seal(staged, read_manifest(staged))
        registry.register(staged, None, by="load test", why="a swap to measure")
    registry.promote("v1", by="load test", why="the first")
    classifier = Classifier.load(registry.path("v1"))
    candidates = [f"{name.replace('_', ' ')} {place}" for name in labels for place in range(3)]
    scores = classifier.predict(candidates)
    sure = [place for place in range(len(candidates)) if scores[place].max() > _SURE][:_TEXTS]
    if len(sure) < _TEXTS // 4:
        raise SystemExit("the champion is sure of too few texts to tell versions apart")
    best = {candidates[place]: int(scores[place].argmax()) for place in sure}
    return {text: {f"v{turn + 1}": f"{turn} {labels[label]}" for turn in range(3)} for text, label in best.items()}


def _rename(folder: Path, turn: int) -> None:
    manifest = read_manifest(folder)
    probes = [probe.model_copy(update={"label": f"{turn} {probe.label}"}) for probe in manifest.probes]
    changed = {"labels": [f"{turn} {name}" for name in manifest.labels], "probes": probes, "files": {}}
    (folder / "manifest.json").write_text(manifest.model_copy(update=changed).model_dump_json())


def _touch_engines(folder: Path) -> None:
    """Make the engine files others by their bytes, and the same by what they compute."""
    for path in folder.rglob("*.onnx"):
        model = onnx.load(path)
        model.doc_string = "the same once more"
        onnx.save(model, path)


async def _measure(server: Server, home: Path, texts: dict[str, dict[str, str]], swaps: int) -> dict[str, Any]:
    registry, log = Registry(home / "registry"), home / "logs" / "serve.jsonl"
    stop, seen = asyncio.Event(), Seen()
    clients = [asyncio.create_task(_ask(server, texts, place, seen, stop)) for place in range(CLIENTS)]
    await _swap(server, registry, _WARM_SWAPS)
    calm_from = time.perf_counter()
    await asyncio.sleep(_CALM_S)
    before, mark = _resources(server), len(_durations(log))
    began = time.perf_counter()
    await _swap(server, registry, swaps)
    took_s = time.perf_counter() - began
    loaded = _durations(log)[mark:]
    after = _resources(server)
    stop.set()
    await asyncio.gather(*clients)
    mark = len(_durations(log))
    await _swap(server, registry, _IDLE_SWAPS)
    idle = _durations(log)[mark:]
    growth = {name: (after[name] - before[name]) / before[name] for name in before}
    return {
        "swaps": swaps,
        "replicas": 2,
        "clients": CLIENTS,
        "swaps_took_s": round(took_s, 1),
        "answers": sum(seen.versions.values()),
        "answers_by_version": dict(sorted(seen.versions.items())),
        "failed": sum(seen.failed.values()),
        "failures": dict(seen.failed),
        "torn": seen.torn,
        "longest_gap_ms": _longest_gap_ms(seen, began, began + took_s),
        "longest_gap_without_swaps_ms": _longest_gap_ms(seen, calm_from, began),
        "longest_answer_ms": round(1000 * max(seen.latencies_s), 1),
        "head_swap_ms": _median_ms(idle, head=True),
        "head_swap_under_load_ms": _median_ms(loaded, head=True),
        "encoder_swap_ms": _median_ms(idle, head=False),
        "encoder_swap_under_load_ms": _median_ms(loaded, head=False),
        "before": before,
        "after": after,
        "growth_ratio": round(max(growth.values()), 4),
    }


async def _swap(server: Server, registry: Registry, times: int) -> None:
    for _ in range(times):
        champion = str(registry.aliases().champion)
        version = f"v{int(champion[1:]) % 3 + 1}"
        # Its checksums take half a second, for which the clients on this loop must not stop.
        await asyncio.to_thread(registry.promote, version, by="load test", why="a swap to measure")
        while not await asyncio.to_thread(_all_serve, server, version):  # noqa: ASYNC110 - replicas have no event to wait for
            await asyncio.sleep(0.1)


def _all_serve(server: Server, version: str) -> bool:
    with server.client() as http:
        replicas = http.get("/v1/status").raise_for_status().json()["replicas"]
    return {replica["model_version"] for replica in replicas} == {version}


async def _ask(server: Server, texts: dict[str, dict[str, str]], place: int, seen: Seen, stop: asyncio.Event) -> None:
    """Ask about one text, and now and then about three, over one connection until ``stop``."""
    parts, names = urlsplit(server.url), list(texts)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while not stop.is_set():
        place += 1
        asked = [names[(place * 7 + step) % len(names)] for step in range(1 if place % 8 else 3)]
        started = time.perf_counter()
        try:
            writer.write(render_request(server.url, json.dumps({"texts": asked, "top_k": 1}).encode(), server.headers))
            status, body = await _reply(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failed[type(error).__name__] += 1
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            continue
        seen.ends_s.append(time.perf_counter())
        seen.latencies_s.append(seen.ends_s[-1] - started)
        if status != 200:
            seen.failed[f"{status} {json.loads(body)['code']}"] += 1
            # A caller that is refused and asks again at once makes the overload it is refused for.
            await asyncio.sleep(0.1)
            continue
        answer = json.loads(body)
        version = answer["model_version"]
        seen.versions[version] += 1
        said = [(item["model_version"], item["label"]) for item in answer["predictions"]]
        seen.torn += said != [(version, texts[text][version]) for text in asked]
    writer.close()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return int(head[9:12]), await reader.readexactly(length)


def _longest_gap_ms(seen: Seen, from_s: float, to_s: float) -> float:
    """Return the longest time in which no client got an answer."""
    ends = [from_s, *sorted(end for end in seen.ends_s if from_s <= end <= to_s), to_s]
    return round(1000 * max(later - earlier for earlier, later in pairwise(ends)), 1)


def _durations(log: Path) -> list[tuple[str, str, float]]:
    """Return the swaps the replicas have logged: from which version, to which, and how long loading took."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "took_s" in entry and entry.get("replaced"):
            found.append((entry["replaced"], entry["message"].split()[-1], float(entry["took_s"])))
    return found


def _median_ms(swaps: list[tuple[str, str, float]], *, head: bool) -> float | None:
    # The third version has an encoder of its own; coming back from it, the encoder before is still kept by probation.
    taken = sorted(took_s for _, version, took_s in swaps if (version != "v3") == head)
    return round(1000 * taken[len(taken) // 2], 1) if taken else None


def _resources(server: Server) -> dict[str, int]:
    """Return descriptors, threads and memory of both replicas together."""
    found = [process for process in server.process.children(recursive=True) if _is_replica(process)]
    if len(found) != 2:
        raise SystemExit(f"found {len(found)} replicas, expected 2")
    return {
        "descriptors": sum(process.num_fds() for process in found),
        "threads": sum(process.num_threads() for process in found),
        "memory_bytes": sum(process.memory_info().rss for process in found),
    }


def _is_replica(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[:1] == ["ray::ServeReplica:hone:Replica"]
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.exit(main())

"""The speed scenarios: Hone, the raw engine and the baselines, in turns, each figure a ratio inside one round.

What slows the machine down slows all of a round down, so ratios hold where times do not; the median over rounds is what counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from load_tests.driving import Load, drive
from load_tests.servers import Server
from load_tests.traffic import read_texts, write_bodies

SINGLE_CONNECTIONS = 32
# Enough for the engine to have the next batch at hand when one is done.
BATCH_CONNECTIONS = 4
BATCH_TEXTS = 32
# An expert tries how many threads the engine should have, so the better of both servers is what counts.
BASELINES = {"singles_to_expert": ("expert", "expert_one_thread"), "singles_to_plain_ray": ("plain_ray",)}

Round = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workload:
    """What is sent, and for how long; one folder holds the bodies."""

    data: Path | None
    singles: Path
    batches: Path
    threads: int
    duration_s: float
    rounds: int

    @classmethod
    def write(cls, folder: Path, data: Path | None, *, threads: int, duration_s: float, rounds: int) -> Workload:
        """Write the bodies into ``folder`` and return the workload."""
        texts = read_texts(data)
        work = cls(data, folder / "singles.jsonl", folder / "batches.jsonl", threads, duration_s, rounds)
        write_bodies(work.singles, texts)
        write_bodies(work.batches, texts, texts_each=BATCH_TEXTS)
        return work


def run_rounds(bundle: Path, servers: Sequence[Server], work: Workload, say: Say) -> list[Round]:
    """Return what each round measured: the raw engine, and every server under all three loads, in an order that rotates."""
    rounds: list[Round] = []
    best: tuple[int, int] | None = None
    for number in range(work.rounds):
        found: Round = {"round": number, "load_average": os.getloadavg()[0], "began_at": time.time()}
        raw = run_raw_engine(bundle, work, best)
        best = best or (int(raw["best_lanes"]), int(raw["best_batch_texts"]))
        found["raw"] = raw
        shift = number % len(servers)
        for server in [*servers[shift:], *servers[:shift]]:
            found[server.name] = measure_server(server, work)
        rounds.append(found)
        say(f"round {number + 1} of {work.rounds}: {_in_short(found, servers)}")
    return rounds


def run_raw_engine(bundle: Path, work: Workload, best: tuple[int, int] | None) -> dict[str, Any]:
    """Return what :mod:`load_tests.raw_engine` prints with the ``best`` lanes and batch; None tries several of both."""
    command = [sys.executable, "-m", "load_tests.raw_engine", "--bundle", str(bundle), "--threads", str(work.threads)]
    command += ["--duration-s", str(work.duration_s if best else 2 * work.duration_s)]
    if work.data is not None:
        command += ["--data", str(work.data)]
    if best is not None:
        command += ["--lanes", str(best[0]), "--batch", str(best[1])]
    # The threads of the tokenizer are no part of the engine; its answer is made before the clock starts.
    environment = {**os.environ, "OMP_NUM_THREADS": str(work.threads), "TOKENIZERS_PARALLELISM": "false"}
    found: dict[str, Any] = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
    return found


def measure_server(server: Server, work: Workload) -> dict[str, Any]:
    """Return what the generator saw of ``server``: single texts, batches, and one connection alone."""
    before = token_counts(server)
    singles = drive(server.url, _load(work, work.singles, SINGLE_CONNECTIONS, server))
    batches = drive(server.url, _load(work, work.batches, BATCH_CONNECTIONS, server))
    after = token_counts(server)
    idle = drive(server.url, _load(work, work.singles, 1, server))
    spent = {kind: after[kind] - before.get(kind, 0.0) for kind in after}
    return {"singles": singles, "batches": batches, "idle": idle, "tokens": spent}


def token_counts(server: Server) -> dict[str, float]:
    """Return ``hone_tokens_total`` by kind; empty where the server has no such metric."""
    if server.name != "hone":
        return {}
    with server.client() as http:
        exposition = http.get("/metrics").raise_for_status().text
    return parse_tokens(exposition)


def parse_tokens(exposition: str) -> dict[str, float]:
    """Return the tokens by kind in Prometheus text.

    >>> parse_tokens('hone_tokens_total{kind="text"} 90.0')
    {'text': 90.0}
    """
    start = 'hone_tokens_total{kind="'
    lines = [line for line in exposition.splitlines() if line.startswith(start)]
    return {line[len(start) :].split('"', 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def ratios(found: Round) -> dict[str, float]:
    """Return a round's figures, by the names of the bars; those of servers that were not in it are left out."""
    figures: dict[str, float] = {}
    hone, raw = found.get("hone"), found.get("raw")
    if hone is None:
        return figures
    singles = hone["singles"]["answered_per_s"]
    if raw is not None:
        figures["batches_to_raw"] = BATCH_TEXTS * hone["batches"]["answered_per_s"] / raw["texts_per_s"]
        figures["singles_to_raw"] = singles / raw["texts_per_s"]
        figures["idle_overhead_ms"] = _p50(hone["idle"]) - raw["single_ms"]["p50"]
    for figure, baselines in BASELINES.items():
        rates = [found[name]["singles"]["answered_per_s"] for name in baselines if name in found]
        if rates:
            figures[figure] = singles / max(*rates, 1e-9)
    tokens = hone["tokens"]
    if sum(tokens.values()):
        figures["padding_ratio"] = tokens.get("padding", 0.0) / sum(tokens.values())
    return figures


def speed_figures(rounds: Sequence[Round]) -> dict[str, float]:
    """Return the median of each figure over the rounds that have it, and how many of Hone's requests failed in all."""
    by_round = [ratios(found) for found in rounds]
    names = dict.fromkeys(name for figures in by_round for name in figures)
    medians = {name: median(figures[name] for figures in by_round if name in figures) for name in names}
    failed = sum(_failed(found["hone"][load]) for found in rounds if "hone" in found for load in ("singles", "batches", "idle"))
    return {**medians, "failed_requests": float(failed)}


def _load(work: Workload, bodies: Path, connections: int, server: Server) -> Load:
    return Load(bodies, connections, work.duration_s, warmup_s=min(1.0, work.duration_s / 3), headers=server.headers)


def _p50(summary: Mapping[str, Any]) -> float:
    latency = summary["latency_ms"]
    return float(latency["p50"]) if latency is not None else float("inf")


def _failed(summary: Mapping[str, Any]) -> int:
    return sum(count for status, count in summary["by_status"].items() if status != "200")


def _in_short(found: Round, servers: Sequence[Server]) -> str:
    parts = [f"raw {found['raw']['texts_per_s']:.0f} texts/s, one {found['raw']['single_ms']['p50']:.1f} ms"]
    for server in servers:
        own = found[server.name]
        batches = BATCH_TEXTS * own["batches"]["answered_per_s"]
        parts.append(
            f"{server.name} {own['singles']['answered_per_s']:.0f}/s, {batches:.0f} texts/s, {_p50(own['idle']):.1f} ms"
        )
    return "; ".join(parts)

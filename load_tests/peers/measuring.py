"""Hone and one peer under the same traffic in turns, and whether the peer's answers are the bundle's."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from load_tests.bars import Bar
from load_tests.driving import Load, drive
from load_tests.peers.catalogue import Launch, Peer, variables
from load_tests.peers.environments import PeerEnvironment
from load_tests.peers.wires import HONE, Wire
from load_tests.servers import Server, process, wait
from load_tests.speed import BATCH_CONNECTIONS, BATCH_TEXTS, SINGLE_CONNECTIONS
from load_tests.traffic import write_bodies
from tests.ports import free_port

PEER_BARS = (
    Bar("singles_ratio", "single texts, 32 connections: Hone ÷ peer", "at least", 1.5),
    Bar("batches_ratio", "batches of 32 texts, 4 connections: Hone ÷ peer", "at least", 1.0),
    Bar("agreement_ratio", "share of the peer's labels that are Hone's", "at least", 0.98),
    Bar("failed_requests", "Hone's requests not answered with 200", "at most", 0.0),
)
_END_S = 15.0
_TRIAL_S = 3.0
# Two workers of Triton's look for each other's socket while it is made, and one of them may come too early.
_ATTEMPTS = 2
_WARMUP_S = 1.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is sent, for how long and how often; ``checked`` rows, texts with labels, are answered by both beforehand."""

    folder: Path
    rows: Sequence[tuple[str, str]]
    cores: int
    duration_s: float
    rounds: int
    checked: int = 320

    def bodies(self, wire: Wire, name: str, texts_each: int) -> Path:
        """Return a file of bodies in ``wire``'s format, the same texts in the same order for everybody."""
        path = self.folder / f"{name}-{texts_each}.jsonl"
        if not path.exists():
            write_bodies(path, [text for text, _ in self.rows], texts_each=texts_each, body=wire.body)
        return path


def measure_peer(
    ours: Server, peer: Peer, environment: PeerEnvironment, made: tuple[Path, Path], plan: Plan, out: Path, say: Say
) -> dict[str, Any]:
    """Return what came of ``peer`` beside ``ours``; ``made`` are the bundle and the model folder made of it.

    Raises:
        SystemExit: the peer did not come up; its log says why.
    """

    def at(workers: int, threads: int) -> Launch:
        return Launch(*made, free_port(), workers, threads, plan.folder / f"{peer.name}-{workers}")

    shapes = [(1, plan.cores), (plan.cores, 1)] if peer.tuned and plan.cores > 1 else [(1, plan.cores)]
    trials: dict[tuple[int, int], float] = {}
    for shape in shapes if len(shapes) > 1 else ():
        found = _trial(peer, environment, at(*shape), plan, out)
        told = "does not come up" if found is None else f"{found:.0f}/s"
        say(f"{peer.name}, {shape[0]} workers of {shape[1]} threads: {told}")
        if found is not None:
            trials[shape] = found
    workers, threads = max(trials, key=lambda shape: trials[shape]) if trials else shapes[0]
    with running(peer, environment, at(workers, threads), out) as server:
        accuracy = compare_answers(ours, server, peer.wire, plan.rows[: plan.checked])
        rounds = [_round(number, ours, server, peer, plan, say) for number in range(plan.rounds)]
    return {
        "peer": peer.name,
        "title": peer.title,
        "engine": peer.engine,
        "workers": workers,
        "threads": threads,
        "trials": {f"{shape[0]}x{shape[1]}": round(value, 1) for shape, value in trials.items()},
        "package": re.split(r"[^\w.-]", peer.requirements[0])[0] if peer.requirements else "ray",
        "versions": environment.versions,
        "accuracy": accuracy,
        "rounds": rounds,
        "figures": figures(rounds) | {"agreement_ratio": accuracy["agreement_ratio"]},
    }


def _trial(peer: Peer, environment: PeerEnvironment, launch: Launch, plan: Plan, out: Path) -> float | None:
    """Return the single texts a second of ``peer`` as ``launch`` says, None where it does not come up."""
    for _ in range(_ATTEMPTS):
        try:
            with running(peer, environment, launch, out) as server:
                return rate(drive(server.url, _singles(plan, peer.wire, peer.name, server, _TRIAL_S)))
        except SystemExit as error:
            if told_to_end(error):
                raise
    return None


def told_to_end(error: SystemExit) -> bool:
    """Return whether this process was told to end: what it says of a server has words and no number."""
    return not isinstance(error.code, str)


@contextmanager
def running(peer: Peer, environment: PeerEnvironment, launch: Launch, out: Path) -> Iterator[Server]:
    """Run ``peer`` until the block ends; it has answered when the block begins."""
    shutil.rmtree(launch.folder, ignore_errors=True)
    launch.folder.mkdir(parents=True)
    command = [str(environment.python), *peer.command(launch)]
    with process(command, variables(peer, launch), out / f"{peer.name}.log", end_s=_END_S) as started:
        probe = peer.wire.body(["Is anybody there?"])
        server = Server(peer.name, f"http://127.0.0.1:{launch.port}", peer.wire.path, started, probe=probe)
        wait(server)
        yield server


def compare_answers(ours: Server, theirs: Server, wire: Wire, rows: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the accuracy of both on ``rows``, and the share on which they say the same."""
    texts, right = [text for text, _ in rows], [label for _, label in rows]
    own, other = labels_of(ours, HONE, texts), labels_of(theirs, wire, texts)

    def share(first: Sequence[str], second: Sequence[str]) -> float:
        return sum(one == two for one, two in zip(first, second, strict=True)) / len(rows)

    return {
        "rows": len(rows),
        "hone": share(own, right),
        "peer": share(other, right),
        "agreement_ratio": share(own, other),
    }


def labels_of(server: Server, wire: Wire, texts: Sequence[str]) -> list[str]:
    """Return the label of each of ``texts``, asked in batches."""
    found: list[str] = []
    with server.client() as http:
        for start in range(0, len(texts), BATCH_TEXTS):
            answer = http.post(wire.path, json=wire.body(texts[start : start + BATCH_TEXTS])).raise_for_status()
            found += wire.labels(answer.json())
    return found


def figures(rounds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of the rounds' ratios, and how many of Hone's requests failed in all."""
    by_load = {f"{load}_ratio": median(ratio_of(found, load) for found in rounds) for load in ("singles", "batches")}
    failed = sum(
        count
        for found in rounds
        for load in ("singles", "batches")
        for status, count in found["hone"][load]["by_status"].items()
        if status != "200"
    )
    return {**by_load, "failed_requests": float(failed)}


def ratio_of(found: dict[str, Any], load: str) -> float:
    """Return how many times the peer's answers a second Hone gave in a round."""
    return rate(found["hone"][load]) / max(rate(found["peer"][load]), 1e-9)


def per_cpu_s(summary: dict[str, Any]) -> float | None:
    """Return answers per second of processor time, which other work on the machine changes little; None of older results."""
    return rate(summary) * summary["cpu_window_s"] / summary["cpu_s"] if summary.get("cpu_s") else None


def rate(summary: dict[str, Any]) -> float:
    """Return the answers per second that the generator saw."""
    return float(summary["answered_per_s"])


def _round(number: int, ours: Server, theirs: Server, peer: Peer, plan: Plan, say: Say) -> dict[str, Any]:
    found: dict[str, Any] = {"round": number, "load_average": os.getloadavg()[0], "began_at": time.time()}
    sides = [("hone", ours, HONE, "hone"), ("peer", theirs, peer.wire, peer.name)]
    # Who comes first changes, so that neither has always the other's leavings.
    for side, server, wire, name in sides[:: -1 if number % 2 else 1]:
        loads = {"singles": _singles(plan, wire, name, server, plan.duration_s), "batches": _batches(plan, wire, name, server)}
        found[side] = {kind: _driven(server, load) for kind, load in loads.items()}
    shown = []
    for side in ("hone", "peer"):
        batches = BATCH_TEXTS * rate(found[side]["batches"])
        shown.append(f"{side} {rate(found[side]['singles']):.0f}/s, {batches:.0f} texts/s")
    say(f"{peer.name}, round {number + 1} of {plan.rounds}: {'; '.join(shown)}")
    return found


def _driven(server: Server, load: Load) -> dict[str, Any]:
    """Return what the generator saw, and the processor time that the server's processes took for it, warm-up included."""
    before = server.cpu_s()
    summary = drive(server.url, load)
    return summary | {"cpu_s": server.cpu_s() - before, "cpu_window_s": load.duration_s + load.warmup_s}


def _batches(plan: Plan, wire: Wire, name: str, server: Server) -> Load:
    bodies = plan.bodies(wire, name, BATCH_TEXTS)
    return Load(bodies, BATCH_CONNECTIONS, plan.duration_s, warmup_s=_WARMUP_S, headers=server.headers)


def _singles(plan: Plan, wire: Wire, name: str, server: Server, duration_s: float) -> Load:
    bodies = plan.bodies(wire, name, 1)
    return Load(bodies, SINGLE_CONNECTIONS, duration_s, warmup_s=_WARMUP_S, headers=server.headers)

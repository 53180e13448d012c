"""A cluster on one machine, under load while its parts fail: what callers see of it, and whether anything is lost.

::

    python -m load_tests.cluster                     # about three minutes; prints one JSON object
    python -m load_tests.cluster --smoke             # the same with shorter pauses

Three nodes of Ray, two replicas, the store in PostgreSQL, bundles in S3 (moto's server). While callers predict and correct, one
after the other: a worker node with a replica loses its power; PostgreSQL restarts; a swap rolls out; a run trains on whichever
node has the learner; S3 is away. The exit code is 1 when an acknowledged correction is lost or counted twice, when a request
failed that was not in flight on the dead node, or when the service does not become whole again by itself.

Here a dead node's connections are reset at once. When a real machine's power goes, nobody says so, and Ray takes its health
checks' time to notice; what is in flight there waits for that long.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from core.settings import Settings
from feedback.store import Store
from load_tests.cluster_callers import Asked, Callers, Kept
from load_tests.cluster_nodes import Nodes
from tests.ports import free_port
from tests.postgresql import PostgreSQL, find_programs
from tests.s3 import S3

_REPLICAS = 2
_PATIENCE_S = 300.0
_LOOK_EVERY_S = 0.1
# Processes of one machine read one clock; between a signal and its effect a moment passes all the same.
_SLACK_S = 0.25
# What a caller is told when the store is away; it sends again with its key, and nothing is lost.
_STORE_AWAY = "store_unavailable"


@dataclass
class Phase:
    """One thing that happened, while callers went on: from when to when, and how long until all was whole again."""

    name: str
    began_s: float
    ended_s: float = 0.0
    whole_after_s: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Scene:
    """Everything that a test of this kind needs, started in order and ended in the opposite one."""

    def __init__(self, folder: Path, parts: ExitStack) -> None:
        programs = find_programs()
        if programs is None:
            raise SystemExit("PostgreSQL is not installed here (on Debian: apt-get install postgresql)")
        self.s3, self.postgresql = S3(), PostgreSQL(programs)
        parts.callback(self.s3.stop)
        parts.callback(self.postgresql.remove)
        self.s3.start()
        self.postgresql.start()
        url = parts.enter_context(self.postgresql.database())
        self.environment = {
            **self.s3.environment,
            "HONE_HOME": str(folder / "home"),
            "HONE_PORT": str(free_port()),
            "HONE_STORE_URL": url,
            "HONE_BUNDLES_URL": "s3://hone/reviews",
            "HONE_REPLICAS": str(_REPLICAS),
            "HONE_REPLICA_CPUS": "1",
            "HONE_SWAP_POLL_S": "0.2",
            # Runs begin when this test says so, and versions that differ by chance are not taken back.
            "HONE_LEARN_AFTER_CORRECTIONS": "0",
            "HONE_PROBATION_S": "0",
        }
        os.environ |= self.environment
        self.settings = Settings()
        self.settings.home.prepare()
        self.nodes = Nodes(self.environment, folder / "caches")
        parts.callback(self.nodes.stop)
        # The nodes' proxies share one port, and a connection is one proxy's, which need not be well: each look has its own.
        anew = httpx.Limits(max_keepalive_connections=0)
        self.http = parts.enter_context(httpx.Client(base_url=self.settings.url, trust_env=False, timeout=40, limits=anew))

    def teach(self) -> None:
        """Make two versions of n-grams alone, which takes seconds; the first serves."""
        for more in (["--seed", "0"], ["--seed", "1", "--no-promote"]):
            command = [sys.executable, "-c", "from deploy.cli import main; main()", "train", "--features", "ngrams", *more]
            done = subprocess.run(command, stdout=sys.stderr, check=False)
            if done.returncode:
                raise SystemExit(f"teaching ended with code {done.returncode}")

    def deploy(self) -> None:
        """Have the cluster serve, and the learner work in it, by the same configuration as any other."""
        from ray.job_submission import JobSubmissionClient

        from deploy.clusters.learner_job import ensure_learner
        from deploy.clusters.serve_config import serve_config

        self.nodes.start()
        self.nodes.deploy(serve_config(self.settings))
        self.until("the service answers", self.whole)
        ensure_learner(JobSubmissionClient(self.nodes.dashboard), self.settings)

    def whole(self) -> bool:
        """Return whether as many replicas as asked for run, and have a version that answers."""
        try:
            running = self.nodes.replicas()
            states = [replica for replica in self._status()["replicas"] if replica["replica_id"] in running]
        except (httpx.HTTPError, KeyError, ValueError):
            return False
        return len(running) == len(states) == _REPLICAS and all(replica["state"] == "serving" for replica in states)

    def versions(self) -> set[str]:
        """Return what the replicas that run have."""
        running = self.nodes.replicas()
        return {str(one["model_version"]) for one in self._status()["replicas"] if one["replica_id"] in running}

    def _status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/v1/status").raise_for_status().json()
        return found

    def until(self, what: str, true: Callable[[], bool]) -> None:
        """Return when ``true`` is.

        Raises:
            SystemExit: it did not become so; the cluster's own account of itself is in it.
        """
        end_s = time.monotonic() + _PATIENCE_S
        while not true():
            if time.monotonic() > end_s:
                account = json.dumps({"serve": self.nodes.account(), "status": self._account()}, indent=1)
                raise SystemExit(f"it did not happen within {_PATIENCE_S:.0f} s: {what}\n{account}")
            time.sleep(_LOOK_EVERY_S)

    def _account(self) -> object:
        try:
            status = self._status()
        except (httpx.HTTPError, ValueError) as error:
            return repr(error)
        return {name: status[name] for name in ("replicas", "store_up") if name in status}


def lose_a_node(scene: Scene, phase: Phase) -> None:
    """A worker with a replica goes; its replica is made anew elsewhere."""
    phase.facts["node"] = scene.nodes.kill_worker_with_replica()[:12]
    phase.facts["dead_s"] = time.monotonic()
    scene.until("the dead replica is noticed", lambda: not _safely(scene.whole))
    scene.until("two replicas serve again", scene.whole)


def restart_postgresql(scene: Scene, phase: Phase) -> None:
    """The store ends, stays away for a while, and comes back."""
    scene.postgresql.stop()
    time.sleep(phase.facts["away_s"])
    scene.postgresql.start()
    scene.until("corrections are taken again", lambda: _safely(lambda: scene.http.get("/v1/status").json()["store_up"]))


def roll_out(scene: Scene, _: Phase) -> None:
    """The second version is promoted, and pulled by the nodes that serve."""
    scene.http.post("/v1/models/v2/promote", json={"by": "load test", "override": True}).raise_for_status()
    scene.until("all replicas have swapped", lambda: _safely(lambda: scene.versions() == {"v2"}))


def train(scene: Scene, phase: Phase) -> None:
    """A run learns from the corrections, beside those who go on asking."""
    run = scene.http.post("/v1/runs", json={"speed": "head", "note": "under load"}).raise_for_status().json()
    ended: dict[str, Any] = {}

    def over() -> bool:
        ended.update(scene.http.get(f"/v1/runs/{run['run_id']}").raise_for_status().json())
        return ended["state"] not in ("queued", "running")

    scene.until("the run has ended", lambda: _safely(over))
    phase.facts |= {"state": ended["state"], "version": ended["version"], "promoted": ended["promoted"]}
    if ended["promoted"]:
        scene.until("all replicas have what was learned", lambda: _safely(lambda: scene.versions() == {ended["version"]}))


def lose_s3(scene: Scene, phase: Phase) -> None:
    """The store of bundles hangs: nothing moves, and everything else goes on."""
    with scene.s3.frozen():
        refused = scene.http.post("/v1/models/v1/promote", json={"by": "load test", "override": True})
        phase.facts |= {"status": refused.status_code, "code": refused.json()["code"]}
        time.sleep(phase.facts["away_s"])
    scene.until(
        "a version can be moved", lambda: _safely(lambda: scene.http.post("/v1/withdraw", json={"by": "load test"}).is_success)
    )


def _safely(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except (httpx.HTTPError, KeyError, ValueError):
        return False


def run(*, pause_s: float, away_s: float, predicting: int = 6, correcting: int = 3) -> dict[str, Any]:
    """Return what came of it; ``kept`` says whether everything was as promised."""
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="hone-cluster-")))
        scene = Scene(folder, parts)
        scene.teach()
        scene.deploy()
        callers = Callers(scene.settings.url, predicting=predicting, correcting=correcting)
        callers.start()
        phases = []
        try:
            for act in (None, lose_a_node, restart_postgresql, roll_out, train, lose_s3):
                phase = Phase(act.__name__ if act else "calm", time.monotonic(), facts={"away_s": away_s})
                phases.append(phase)
                if act is not None:
                    act(scene, phase)
                    phase.whole_after_s = round(time.monotonic() - phase.began_s, 2)
                time.sleep(pause_s)
                phase.ended_s = time.monotonic()
        finally:
            kept = callers.stop()
        return judged(kept, phases, _corrections(scene), {"pulled": scene.nodes.pulled()})


def _corrections(scene: Scene) -> list[str]:
    store = Store.of(scene.settings)
    try:
        page = store.corrections(1_000)
        found = [answer.correction_id for answer in page.corrections]
        while page.next_before is not None:
            page = store.corrections(1_000, page.next_before)
            found += [answer.correction_id for answer in page.corrections]
    finally:
        store.close()
    return found


def judged(kept: Kept, phases: list[Phase], stored: list[str], facts: dict[str, Any]) -> dict[str, Any]:
    """Return the counts, phase by phase, and whether all that was promised was kept."""
    dead_s = next((phase.facts["dead_s"] for phase in phases if "dead_s" in phase.facts), float("-inf"))
    # What had begun a moment before the store was ended belongs to the phase before, and is refused all the same.
    away = next((phase for phase in phases if phase.name == restart_postgresql.__name__), None)
    told = [_told(phase, [one for one in kept.asked if _belongs(one, phase, phases)], dead_s, away) for phase in phases]
    acknowledged = set(kept.acknowledged.values())
    counts = {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(stored)),
        "doubled": len(stored) - len(set(stored)) + len(kept.acknowledged) - len(acknowledged),
    }
    failed = sum(phase["failed_otherwise"] for phase in told)
    whole = all(phase.whole_after_s is not None for phase in phases[1:])
    good = not (counts["lost"] or counts["doubled"] or failed) and whole and counts["acknowledged"] > 0
    return {"kept": good, "corrections": counts, "phases": told, **facts}


def _belongs(one: Asked, phase: Phase, phases: list[Phase]) -> bool:
    last = phase is phases[-1]
    return phase.began_s <= one.began_s and (last or one.began_s < phase.ended_s)


def _refused_for(away: Phase, one: Asked) -> bool:
    meanwhile = one.ended_s >= away.began_s and one.began_s <= away.ended_s
    return one.kind == "correct" and one.code.startswith(_STORE_AWAY) and meanwhile


def _told(phase: Phase, asked: list[Asked], dead_s: float, away: Phase | None) -> dict[str, Any]:
    bad = [one for one in asked if not 200 <= one.status < 300]
    store_away = [one for one in bad if away is not None and _refused_for(away, one)]
    others = [one for one in bad if one not in store_away]
    in_flight = [one for one in others if one.began_s <= dead_s + _SLACK_S and one.ended_s >= dead_s]
    slowest_s = max((one.ended_s - one.began_s for one in asked), default=0.0)
    otherwise = [one for one in others if one not in in_flight]
    return {
        "phase": phase.name,
        "lasted_s": round(phase.ended_s - phase.began_s, 2),
        "whole_after_s": phase.whole_after_s,
        "requests": len(asked),
        "failed_in_flight_on_dead_node": len(in_flight),
        "failed_otherwise": len(otherwise),
        "corrections_to_send_again": len(store_away),
        "slowest_s": round(slowest_s, 2),
        "why": dict(Counter(f"{one.kind} {one.status} {one.code}" for one in bad)),
        # How long after the node's death what failed had begun: nothing later than this was affected.
        "last_failure_began_after_s": round(max((one.began_s - dead_s for one in otherwise), default=0.0), 2),
        **{name: value for name, value in phase.facts.items() if name not in ("dead_s", "away_s")},
    }


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="shorter pauses, fewer callers")
    parser.add_argument("--out", type=Path, help="where to leave the JSON as well")
    options = parser.parse_args()
    found = run(pause_s=1.0, away_s=1.5, predicting=3, correcting=2) if options.smoke else run(pause_s=8.0, away_s=5.0)
    text = json.dumps(found, indent=1)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 0 if found["kept"] else 1


if __name__ == "__main__":
    sys.exit(main())

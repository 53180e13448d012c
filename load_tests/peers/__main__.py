"""Hone against what users would pick instead: one bundle, one machine, the same traffic.

::

    python -m load_tests.peers --only litserve bentoml
    python -m load_tests.peers --list

The bundle has the encoder and a linear head, no n-grams, so that everybody computes the same: peers that take any Python run
its int8 file, the others its weights in a pipeline of transformers, and their labels are compared with Hone's before anything
is timed. Each peer gets an environment of its own in the cache folder, made the first time; one that cannot be installed or
does not come up is left out with the reason. Then Hone and the peer are asked in turns: single texts over 32 connections, and
batches of 32 texts over 4. Hone keeps keys, prediction log and metrics on; the peers have none of these.

Results are kept by peer, so a run with ``--only`` adds to those before; ``peers.md`` has all of them. Exit code 1 means that a
bar of :mod:`load_tests.peers.measuring` is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from core.encoder import thread_count
from load_tests.bars import judge
from load_tests.baselines.model_folder import write_model
from load_tests.peers.catalogue import Peer, peers
from load_tests.peers.environments import NotInstallable, PeerEnvironment, ensure_environment
from load_tests.peers.measuring import PEER_BARS, Plan, measure_peer, told_to_end
from load_tests.peers.report import missed, plot, read_results, table, write_rounds
from load_tests.report import table as verdict_table
from load_tests.servers import Server, ensure_champion, hone
from load_tests.serving import bench_data, machine, say
from load_tests.traffic import read_rows


def main() -> int:
    """Install, measure, write the results, and return 1 when a bar is missed."""
    known = peers()
    options = _options(list(known))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [known[name] for name in options.only]
    if options.list:
        for peer in chosen:
            print(f"{peer.name:<11}{peer.title:<34}{' '.join(peer.requirements) or 'the environment of Hone'}")
        return 0
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    ready: list[tuple[Peer, PeerEnvironment]] = []
    for peer in chosen:
        try:
            ready.append((peer, ensure_environment(options.cache, peer.name, peer.requirements)))
        except NotInstallable as error:
            _keep(out, _skipped(peer, f"it cannot be installed here: {error}"))
    if options.install_only:
        return 0
    if ready:
        _measure(ready, options, out)
    results = read_results(out, list(known))
    write_rounds(results, out / "peers.csv")
    plot(results, out / "peers.png")
    (out / "peers.md").write_text(table(results), encoding="utf-8")
    print(table(results))
    return 1 if any(missed(result) for result in results if result["peer"] in options.only) else 0


def _measure(ready: list[tuple[Peer, PeerEnvironment]], options: argparse.Namespace, out: Path) -> None:
    data = options.data or bench_data()
    home = (options.home or out / "home").resolve()
    bundle = ensure_champion(home, data, features="encoder")
    with tempfile.TemporaryDirectory(prefix="hone-peers-") as name:
        folder = Path(name)
        plan = Plan(folder, read_rows(data), thread_count(0), options.duration_s, options.rounds)
        made = (bundle, write_model(bundle, folder / "model"))
        with hone(home, out, {}) as ours:
            for peer, environment in ready:
                _keep(out, _one(ours, peer, environment, made, plan, out))


def _one(
    ours: Server, peer: Peer, environment: PeerEnvironment, made: tuple[Path, Path], plan: Plan, out: Path
) -> dict[str, Any]:
    try:
        result = measure_peer(ours, peer, environment, made, plan, out, say)
    except SystemExit as error:
        if told_to_end(error):
            raise
        return _skipped(peer, str(error))
    print(f"{peer.title}\n{verdict_table(judge(result['figures'], PEER_BARS))}")
    return result | {"machine": machine()}


def _skipped(peer: Peer, why: str) -> dict[str, Any]:
    say(f"{peer.name} is left out: {why}")
    return {"peer": peer.name, "title": peer.title, "skipped": why}


def _keep(out: Path, result: dict[str, Any]) -> None:
    (out / f"{result['peer']}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _options(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--list", action="store_true", help="say what each peer's environment has")
    parser.add_argument("--install-only", action="store_true", help="make the environments and measure nothing")
    parser.add_argument("--out", type=Path, default=Path("results/peers"), help="folder of the results")
    parser.add_argument("--home", type=Path, help="state folder; default: home in the folder of the results")
    parser.add_argument("--data", type=Path, help="labelled texts, CSV or Parquet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=5.0, help="of each load in each round")
    cache = Path(platformdirs.user_cache_dir("hone")) / "peers"
    parser.add_argument("--cache", type=Path, default=cache, help="folder of the peers' environments")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

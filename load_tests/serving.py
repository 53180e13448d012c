"""The serving benchmark: speed against the raw engine and two baselines, and behaviour under overload.

::

    python -m load_tests.serving --out results/serving
    python -m load_tests.serving --smoke

Everything is started here, on free ports and a state folder of its own, and ended again. Without --data, HONE_BENCH_DATA names
the folder that holds ``banking77/data.parquet`` (default ``../shared/data``); where there is none, the package's sample is
used. The state folder is kept, so only the first run teaches. Exit code 1 means that a bar of :mod:`load_tests.bars` is missed;
the short --smoke run shows that the benchmark works, and judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.encoder import thread_count
from load_tests.bars import judge
from load_tests.generator_cost import generator_cost
from load_tests.overload import OverloadPlan, overload_figures, run_overload
from load_tests.report import plot_overload, plot_ratios, plot_speed, rows, table
from load_tests.servers import Server, ensure_champion, expert, hone, plain_ray
from load_tests.speed import Round, Workload, measure_server, run_rounds, speed_figures
from load_tests.tables import write_csv


def main() -> int:
    """Measure, write the results, print the table, and return 1 when a bar is missed."""
    options = _options()
    # Ended like by Ctrl-C, so that the servers are ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data = options.data or bench_data()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    home = (options.home or out / "home").resolve()
    bundle = ensure_champion(home, data)
    results: dict[str, Any] = {"machine": machine(), "data": str(data.name if data else "sample"), "smoke": options.smoke}
    results["generator"] = generator_cost(1.0 if options.smoke else 3.0)
    with tempfile.TemporaryDirectory() as folder:
        short = options.smoke
        work = Workload.write(
            Path(folder),
            data,
            threads=thread_count(options.threads),
            duration_s=2.0 if short else options.duration_s,
            rounds=1 if short else options.rounds,
        )
        settings = dict(pair.split("=", 1) for pair in options.set)
        with hone(home, out, {"HONE_ENGINE_THREADS": str(options.threads), **settings}) as ours:
            figures = measure_all(ours, bundle, work, out, options, results)
    verdicts = judge(figures)
    results |= {"figures": figures, "verdicts": [{**asdict(verdict), "kept": verdict.kept} for verdict in verdicts]}
    (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if results.get("rounds"):
        plot_ratios(results["rounds"], verdicts, out / "ratios.png")
    text = table(verdicts)
    (out / "results.txt").write_text(f"{text}\n", encoding="utf-8")
    print(text)
    missed = any(verdict.kept is False for verdict in verdicts)
    return 1 if missed and not options.smoke else 0


def measure_all(
    ours: Server, bundle: Path, work: Workload, out: Path, options: argparse.Namespace, results: dict[str, Any]
) -> dict[str, float]:
    """Return the figures of the parts that were asked for; what they come from goes into ``results`` and ``out``."""
    figures: dict[str, float] = {}
    results["idle_cores"] = idle_cores(ours)
    if "speed" in options.parts:
        with expert(bundle, work.threads, out) as one, expert(bundle, 1, out, "expert_one_thread") as other:
            rounds = run_rounds(bundle, [ours, one, other], work, say)
        if not options.no_plain_ray:
            rounds += _against_plain_ray(ours, bundle, work, out)
        results["rounds"] = rounds
        figures |= speed_figures(rounds)
        plot_speed(rounds, out / "speed.png")
        write_csv(out / "rounds.csv", rows(rounds))
    if "overload" in options.parts:
        times = {"half_s": 3.0, "overload_s": 5.0, "after_s": 5.0} if options.smoke else {}
        found = run_overload(ours, OverloadPlan(work.singles, out, **times), say)
        results["overload"] = found
        figures |= overload_figures(found)
        plot_overload(found, out, out / "overload.png")
    return figures


def _against_plain_ray(ours: Server, bundle: Path, work: Workload, out: Path) -> list[Round]:
    # Apart from the others: a second Ray takes time from whoever is measured beside it, even while it is idle.
    found: list[Round] = []
    with plain_ray(bundle, out) as plain:
        for number in range(min(2, work.rounds)):
            own: Round = {"round": number, "load_average": os.getloadavg()[0], "began_at": time.time()}
            found.append(own | {server.name: measure_server(server, work) for server in (ours, plain)})
            say(f"plain Ray Serve: {found[-1]['plain_ray']['singles']['answered_per_s']:.1f}/s")
    return found


def idle_cores(server: Server, *, seconds: float = 3.0) -> float:
    """Return how many cores ``server`` takes while nobody asks; the raw engine and the expert's server do without them."""
    before = server.cpu_s()
    time.sleep(seconds)
    return round((server.cpu_s() - before) / seconds, 3)


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""
    model = platform.processor()
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.exists():
        lines = cpu_info.read_text(encoding="utf-8").splitlines()
        model = next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), model)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": model,
        "cores": thread_count(0),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def say(sentence: str) -> None:
    """Tell who waits how far it is."""
    print(sentence, file=sys.stderr, flush=True)


def bench_data() -> Path | None:
    """Return BANKING77 where HONE_BENCH_DATA, or the usual place, has it."""
    path = Path(os.environ.get("HONE_BENCH_DATA", "../shared/data")) / "banking77" / "data.parquet"
    return path if path.exists() else None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure serving against the raw engine, two baselines and overload.")
    parser.add_argument("--out", type=Path, default=Path("results/serving"), help="folder of the results; made if need be")
    parser.add_argument("--home", type=Path, help="state folder; default: home in the folder of the results")
    parser.add_argument("--data", type=Path, help="labelled texts, CSV or Parquet")
    parser.add_argument("--parts", nargs="+", choices=("speed", "overload"), default=["speed", "overload"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration-s", type=float, default=8.0, help="of each load in each round")
    parser.add_argument("--threads", type=int, default=0, help="of everybody's engine; 0: one per core")
    parser.add_argument("--no-plain-ray", action="store_true", help="leave out the second baseline")
    parser.add_argument("--set", action="append", default=[], metavar="HONE_NAME=VALUE", help="a setting of the service")
    parser.add_argument("--smoke", action="store_true", help="a short run that judges nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

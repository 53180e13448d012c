"""Runs scenarios of ``scenarios.toml`` against a running service, leaves a report, and ends with 1 when a limit was missed.

::

    python -m load_tests.scenarios steady --host http://127.0.0.1:8321
    python -m load_tests.scenarios steady burst overload --home FOLDER
    python -m load_tests.scenarios --list

With ``--home`` a service of its own is started on that state folder, for as long as the scenarios take. A folder without a
version gets one, taught from the sample data, and a second that answers alike, so that there is something to swap with.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.bundle import read_manifest, seal
from core.registry import Registry
from core.settings import Settings
from load_tests.scenario import Scenario, read_scenarios
from load_tests.servers import ensure_champion, hone

_ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where every limit of every scenario was kept, else 1."""
    scenarios = read_scenarios()
    asked = _options(arguments, scenarios)
    if asked.list:
        for name, scenario in scenarios.items():
            print(f"{name:<10}{scenario.duration_s:>6.0f} s  {scenario.meaning}")
        return 0
    out = asked.out.resolve()
    with _service(asked.home, asked.host, out) as (host, variables):
        codes = [_run(name, host, out / name, asked.time_scale, variables) for name in asked.scenario]
    return max(codes)


@contextmanager
def _service(home: Path | None, host: str, out: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Give the address to ask, and the variables that asking takes."""
    if home is None:
        yield host, {}
        return
    out.mkdir(parents=True, exist_ok=True)
    ensure_two_versions(home.resolve())
    with hone(home.resolve(), out, {}) as server:
        yield server.base, {"HONE_API_KEY": server.headers["authorization"].removeprefix("Bearer ")}


def ensure_two_versions(home: Path) -> None:
    """Have a champion and a version before it in ``home``; the second is the first once more, under another name."""
    champion = ensure_champion(home, None)
    registry = Registry(Settings.model_validate({"HONE_HOME": home}).home.registry)
    if registry.aliases().previous is not None:
        return
    staged = registry.root / "staged"
    shutil.copytree(champion, staged)
    seal(staged, read_manifest(staged))
    version = registry.register(staged, None, by="load test", why="a version to swap with")
    registry.promote(version, by="load test", why="a version to swap with")


def _run(name: str, host: str, folder: Path, time_scale: float, variables: Mapping[str, str]) -> int:
    """Return Locust's exit code: 0 where every limit was kept, 1 where one was not."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **variables,
        "HONE_LOAD_SCENARIO": name,
        "HONE_LOAD_OUT": str(folder),
        "HONE_LOAD_TIME_SCALE": str(time_scale),
    }
    command = [sys.executable, "-m", "locust", "-f", str(_ROOT / "load_tests" / "locustfile.py"), "--headless"]
    command += ["--only-summary", "--host", host, "--html", str(folder / "locust.html")]
    command += ["--csv", str(folder / "history"), "--csv-full-history"]
    return subprocess.run(command, env=environment, cwd=_ROOT, check=False).returncode


def _options(arguments: list[str] | None, scenarios: Mapping[str, Scenario]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.scenarios")
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=", ".join(scenarios))
    parser.add_argument("--host", default="http://127.0.0.1:8321")
    parser.add_argument("--home", type=Path, help="state folder on which a service is started for this")
    parser.add_argument("--out", type=Path, default=Path("results/load"))
    parser.add_argument("--time-scale", type=float, default=1.0, help="share of the time, for trying a scenario out")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    asked = parser.parse_args(arguments)
    asked.scenario = asked.scenario or ["steady"]
    unknown = [name for name in asked.scenario if name not in scenarios]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]}; there are {', '.join(scenarios)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())

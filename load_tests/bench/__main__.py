"""All figures that the README quotes, measured again.

::

    python -m load_tests.bench                      # everything, an hour or so on two cores
    python -m load_tests.bench --only head startup --runs 3
    python -m load_tests.bench --smoke              # on few rows, to see that it all still works; twenty minutes

``HONE_BENCH_DATA`` names the folder of public data sets (default ``../shared/data``); without it only what needs none is
measured. Each run has a folder of its own with everything that was printed. A run that was made at this commit is not made
again, so what was interrupted goes on where it stopped, and ``--runs 3`` adds two to one; ``--again`` begins anew.
``index.html`` has each number beside the quoted one, as a ratio. Exit code 1 means that something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from load_tests.bench.figures import FIGURES, Figure
from load_tests.bench.measuring import NotMeasured, Work
from load_tests.bench.page import as_page, as_text, lines
from load_tests.serving import machine, say

_RESULT = "run.json"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is asked for, write the summary, and return the exit code."""
    options = _options(arguments)
    out: Path = options.out.resolve()
    commit = current_commit()
    chosen = [figure for figure in FIGURES if figure.name in options.only]
    if options.list:
        for figure in chosen:
            print(f"{figure.name:<10}{figure.minutes:>3} min  {figure.title}")
        return 0
    for figure in chosen:
        for number in range(1, options.runs + 1):
            folder = out / figure.name / str(number)
            if not options.again and _made_at(folder, commit):
                say(f"{figure.name}, run {number}: made already")
                continue
            measure(figure, Work(options.data, folder, options.smoke), commit)
    if options.smoke:
        return _tell_trial({figure.name: _runs(out / figure.name) for figure in chosen})
    runs = {figure.name: _runs(out / figure.name) for figure in FIGURES}
    rows = lines(FIGURES, runs)
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "index.html").write_text(as_page(rows, runs), encoding="utf-8")
    print(as_text(rows))
    return 1 if any("why_not" in run for figure in chosen for run in runs[figure.name]) else 0


def measure(figure: Figure, work: Work, commit: str) -> None:
    """Make one run of ``figure`` in its folder; what kept it from being made is kept as well."""
    folder = work.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    result: dict[str, Any] = {"figure": figure.name, "commit": commit, "machine": machine()}
    say(f"{figure.name}: {figure.title}, {figure.minutes} minutes or so …")
    try:
        result["values"] = figure.measure(work)
    except NotMeasured as error:
        result["why_not"] = str(error)
        say(f"{figure.name} was not measured: {error}")
    result["took_s"] = round(time.monotonic() - began, 1)
    # Models and caches are no raw results, and large.
    shutil.rmtree(folder / "home", ignore_errors=True)
    (folder / _RESULT).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _tell_trial(runs: dict[str, list[dict[str, Any]]]) -> int:
    for name, made in runs.items():
        for run in made:
            print(f"{name:<10}{run['took_s']:>6.0f} s  {run.get('values', run.get('why_not'))}")
    print("a trial on few rows: nothing of this compares with what is quoted")
    return 1 if any("why_not" in run for made in runs.values() for run in made) else 0


def current_commit() -> str:
    """Return the commit that is checked out, marked where files were changed since; ``unknown`` without git."""
    try:
        head, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head} with changes" if changed else head


def _git(*arguments: str) -> str:
    program = shutil.which("git") or "git"
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _made_at(folder: Path, commit: str) -> bool:
    path = folder / _RESULT
    if not path.exists():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["commit"] == commit and "values" in found


def _runs(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob(f"*/{_RESULT}"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.bench", description="Measure what the README quotes.")
    names = [figure.name for figure in FIGURES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="FIGURE", help=", ".join(names))
    parser.add_argument("--list", action="store_true", help="say what there is, and how long it takes")
    parser.add_argument("--runs", type=int, default=1, help="of each figure; the median counts")
    parser.add_argument("--again", action="store_true", help="also make the runs that were made at this commit")
    parser.add_argument("--smoke", action="store_true", help="a trial on few rows; says nothing of the figures")
    parser.add_argument("--out", type=Path, help="folder of the results; default: results/bench, or results/bench-smoke")
    default = Path(os.environ.get("HONE_BENCH_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=default.resolve() if default.is_dir() else None)
    asked = parser.parse_args(arguments)
    asked.out = asked.out or Path("results/bench-smoke" if asked.smoke else "results/bench")
    return asked


if __name__ == "__main__":
    sys.exit(main())

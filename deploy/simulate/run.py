"""A simulation from beginning to end: taught, carried along the stream by each strategy, judged, written down."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import DataError, HomeLocked
from core.home import write_atomically
from deploy.simulate.bars import Bar, Records
from deploy.simulate.loop import Loop
from deploy.simulate.oracle import Oracle
from deploy.simulate.plan import Plan
from deploy.simulate.plots import draw
from deploy.simulate.records import StepRecord
from deploy.simulate.results import Summary, write_results
from deploy.simulate.stream import Stream
from deploy.simulate.workplace import Work
from train.progress import Progress, Report

_PLAN = "plan.json"
# Of these, more may be asked for when a simulation goes on.
_MAY_DIFFER = {"strategies"}


@dataclass(frozen=True)
class Outcome:
    """What came of a simulation."""

    records: Records
    bars: list[Bar]
    summaries: list[Summary]


@dataclass(frozen=True)
class Simulation:
    """What is simulated, and where it is kept. ``rivals`` are the same stream under other plans, by what is added to names."""

    stream: Stream
    plan: Plan
    out: Path
    judge: Callable[[Stream, Records], list[Bar]]
    command: Sequence[str] = ()
    rivals: dict[str, Plan] | None = None


def simulate(simulation: Simulation, progress: Report) -> Outcome:
    """Carry every strategy along the stream, going on where an earlier call was ended, and write what came of it.

    Raises:
        DataError: the folder holds another simulation, or nothing fit to serve could be taught.
        HomeLocked: another process is at it.
    """
    simulation.out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(simulation.out / "simulation.lock", timeout=0)
    try:
        with lock:
            return _simulate(simulation, progress)
    except Timeout as error:
        raise HomeLocked(f"another simulation is at work in {simulation.out}; wait for it, or name another --out") from error


def _simulate(simulation: Simulation, progress: Report) -> Outcome:
    stream, out = simulation.stream, simulation.out
    plans = {"": simulation.plan, **(simulation.rivals or {})}
    for added, plan in plans.items():
        claim(_folder(out, added), stream, plan)
    records: dict[str, list[StepRecord]] = {}
    jobs = [(added, plan, name) for added, plan in plans.items() for name in plan.strategies]
    for number, (added, plan, strategy) in enumerate(jobs):
        work = Work(_folder(out, added), plan)
        if not work.base_home.exists() and added and _folder(out, "").joinpath("base").exists():
            # Taught alike, whoever comes later.
            shutil.copytree(_folder(out, "") / "base", work.base_home)
        name = f"{strategy}{added}"
        shown = _Shown(progress, name, number, len(jobs), len(stream.steps))
        work.teach_base(stream, shown.during)
        kind = Oracle if strategy.startswith("oracle") else Loop
        records[name] = kind(work, stream, strategy, shown.after, shown.during).run()
    bars = simulation.judge(stream, records)
    summaries = write_results(out, stream, simulation.plan, records, bars, simulation.command)
    draw(out, stream.name, records)
    return Outcome(records, bars, summaries)


def claim(folder: Path, stream: Stream, plan: Plan) -> None:
    """Make ``folder`` that of this stream and plan.

    Raises:
        DataError: it is another's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = {**plan.model_dump(mode="json", exclude=_MAY_DIFFER), "stream": stream.fingerprint()}
    path = folder / _PLAN
    if path.exists():
        found = json.loads(path.read_bytes())
        differ = sorted(name for name in said.keys() | found.keys() if said.get(name) != found.get(name))
        if differ:
            raise DataError(
                f"{folder.parent} holds a simulation with another {', '.join(differ)}; "
                "name another --out, or start over with --fresh"
            )
    write_atomically(path, json.dumps(said, indent=1).encode())


def _folder(out: Path, added: str) -> Path:
    return out / ("work" + added.replace(", ", "-"))


@dataclass
class _Shown:
    """Says how far the whole simulation is: strategies one after another, and in each its steps."""

    progress: Report
    name: str
    number: int
    strategies: int
    steps: int
    done: int = 0

    def after(self, record: StepRecord) -> None:
        self.done = record.place + 1
        self._say(f"{self.name}, step {record.name}: {100 * record.accuracy:.1f} % right")

    def during(self, _: Progress) -> None:
        self._say(f"{self.name}, {self.done} of {self.steps} steps")

    def _say(self, what: str) -> None:
        self.progress(Progress(what, min(1.0, (self.number + self.done / self.steps) / self.strategies)))

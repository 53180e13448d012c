"""Where a replica's time goes: processor time per request, by thread and by function.

::

    python -m load_tests.profiling --home <state folder with a champion>
    python -m load_tests.profiling --home … --no-engine --functions 40
    python -m load_tests.profiling --home … --connections 1000 --rate 1600    # most of them refused
    python -m load_tests.profiling --home … --py-spy flame.svg

The replica runs in this process behind uvicorn, without Ray and its proxy: real bundle, store, prediction log and shared
counters. Processor time is what is counted, so that a busy machine disturbs little. With --no-engine a constant takes the place
of tokenizer and engine, which leaves what serving itself costs. The state folder is used as it is: what is predicted is logged
into its store.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import numpy as np
import uvicorn
from numpy.typing import NDArray

from load_tests.driving import Load, drive
from load_tests.traffic import read_texts, write_bodies

if TYPE_CHECKING:
    from core.classifier import Prepared
    from serve.parts import Parts
    from serve.swap import Loaded


class InstantEngine:
    """Answers every text with the same probabilities, in no time; takes the place of a loaded classifier."""

    def __init__(self, loaded: Loaded) -> None:
        from core.classifier import Prepared

        self.labels = loaded.classifier.labels
        self.manifest = loaded.classifier.manifest
        self._prepared = Prepared([1] * 16, None, truncated=False)
        row = np.arange(1, len(self.labels) + 1, dtype=np.float32)
        self._row = row / row.sum()

    def prepare(self, texts: Sequence[str], _reading: str = "right") -> list[Prepared]:
        """Return 16 tokens for each text."""
        return [self._prepared] * len(texts)

    def score(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return the constant probabilities (n, c)."""
        return np.tile(self._row, (len(prepared), 1))

    def logits(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Return their logarithms (n, c)."""
        return np.asarray(np.log(self.score(prepared)))


class Served(NamedTuple):
    """A replica of this process: its address, and how many requests it has begun."""

    url: str
    requests: Callable[[], int]


@contextmanager
def replica(home: Path, profile: cProfile.Profile | None, *, engine: bool) -> Iterator[Served]:
    """Serve the champion of ``home`` from a thread of this process inside the block."""
    from core.settings import Settings
    from serve.app import build_app
    from serve.parts import assemble

    settings = Settings.model_validate({"HONE_HOME": home})
    settings.home.prepare()
    parts = assemble(settings, settings.home.metrics, "profiled")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(build_app(parts), log_config=None, access_log=False, lifespan="on", loop="uvloop"))

    def work() -> None:
        import uvloop

        with profile or nullcontext():
            uvloop.run(server.serve([listener]))

    thread = threading.Thread(target=work, name="event loop")
    thread.start()
    try:
        _until_loaded(parts)
        if not engine:
            _replace_engine(parts)
        yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: server.server_state.total_requests)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


def _until_loaded(parts: Parts) -> None:
    deadline = time.monotonic() + 120
    while parts.slot.current is None:
        if time.monotonic() > deadline:
            raise SystemExit("the champion did not load within 120 s")
        time.sleep(0.1)


def _replace_engine(parts: Parts) -> None:
    from serve.swap import Loaded

    loaded = parts.slot.require()
    instant: Any = InstantEngine(loaded)
    parts.slot.current = Loaded(loaded.version, instant, loaded.source)


def thread_seconds() -> dict[str, float]:
    """Return the processor time each thread of this process has used; the engine's own threads have no names and are summed."""
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    used: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        name = names.get(int(task.name), "without a name (engine, libraries)")
        nanoseconds = int((task / "schedstat").read_text().split()[0])
        used[name] = used.get(name, 0.0) + nanoseconds / 1e9
    return used


def measure(url: str, load: Load, py_spy: Path | None) -> dict[str, Any]:
    """Return what the load generator saw of ``url``, and the processor time per request of each thread, in microseconds."""
    url = f"{url}/v1/predict"
    drive(url, replace(load, duration_s=1.0))
    watcher = _start_py_spy(py_spy, load.duration_s) if py_spy is not None else None
    before = thread_seconds()
    found = drive(url, load)
    after = thread_seconds()
    if watcher is not None:
        watcher.wait(60)
    requests = sum(found["by_status"].values())
    costs = {name: 1e6 * (seconds - before.get(name, 0.0)) / requests for name, seconds in after.items()}
    found["cpu_us_per_request"] = {
        name: round(cost, 1) for name, cost in sorted(costs.items(), key=lambda item: -item[1]) if cost > 1
    }
    return found


def _start_py_spy(target: Path, duration_s: float) -> subprocess.Popen[bytes]:
    program = str(Path(sys.executable).with_name("py-spy"))
    command = [program, "record", "--pid", str(os.getpid()), "--duration", str(int(duration_s)), "--threads"]
    return subprocess.Popen([*command, "--rate", "250", "--output", str(target)], stdout=subprocess.DEVNULL)


def main() -> None:
    """Print the profile the command line asks for."""
    options = _options()
    # Before prometheus_client is imported: as in a stack, counters are to live in files.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(options.home / "metrics")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    profile = cProfile.Profile() if options.functions else None
    with (
        tempfile.TemporaryDirectory() as folder,
        replica(options.home.resolve(), profile, engine=not options.no_engine) as served,
    ):
        bodies = Path(folder) / "bodies.jsonl"
        write_bodies(bodies, read_texts(options.data), texts_each=options.texts)
        httpx.get(f"{served.url}/readyz", trust_env=False).raise_for_status()
        load = Load(bodies, options.connections, options.duration_s, warmup_s=0.0, rate=options.rate)
        found = measure(served.url, load, options.py_spy)
    print(json.dumps(found, indent=1))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(options.functions)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Say where a replica's processor time goes.")
    parser.add_argument("--home", type=Path, required=True, help="state folder with a champion")
    parser.add_argument("--data", type=Path, help="CSV or Parquet file with a column text; default: the package's sample")
    parser.add_argument("--texts", type=int, default=1, help="texts per request")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--rate", type=float, help="requests per second, whether they are answered or not; default: one after another"
    )
    parser.add_argument("--duration-s", type=float, default=10.0)
    parser.add_argument("--no-engine", action="store_true", help="answer with a constant instead of tokenizing and inference")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="show N functions of the event loop by cProfile")
    parser.add_argument("--py-spy", type=Path, metavar="SVG", help="write a flame graph of all threads")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The peers: what each is made of, how it is started, and how it is asked."""

from __future__ import annotations

import sysconfig
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from load_tests.peers import wires
from load_tests.peers.wires import Wire
from load_tests.servers import ray_variables

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
_SERVERS = "load_tests.peers.servers"
# What keeps programs from telling their makers that they were started.
_QUIET = {"DO_NOT_TRACK": "1", "BENTOML_DO_NOT_TRACK": "True", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True)
class Launch:
    """What a peer is started with; ``workers`` processes share the cores, with ``threads`` threads of the engine each."""

    bundle: Path
    model: Path
    port: int
    workers: int
    threads: int
    folder: Path


Command = Callable[[Launch], list[str]]


@dataclass(frozen=True)
class Peer:
    """A server that people use.

    ``engine`` is what it runs: the bundle's own int8 file, where a peer takes any Python, or a pipeline of transformers on
    torch. ``tuned`` ones are tried with one worker that has all threads and with one per core, and the better counts.
    ``requirements`` empty means that Hone's own environment has it all.
    """

    name: str
    title: str
    engine: Literal["int8", "torch"]
    requirements: tuple[str, ...]
    wire: Wire
    command: Command
    environment: Callable[[Launch], Mapping[str, str]] = field(default=lambda _: {})
    tuned: bool = True


def requirement(name: str) -> str:
    """Return how ``pyproject.toml`` asks for ``name``, so that a peer gets what Hone would.

    >>> requirement("torch").startswith("torch>=")
    True
    """
    asked: list[str] = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    (found,) = [line for line in asked if line.partition(">")[0].partition("=")[0] == name]
    return found


def engine_requirement() -> str:
    """Return ONNX Runtime as it is installed here, in its build for CPUs: a peer is not to win or lose by its version."""
    for name in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return f"onnxruntime=={version(name)}"
        except PackageNotFoundError:
            continue
    return "onnxruntime"


def peers() -> dict[str, Peer]:
    """Return the peers by name."""
    torch = (requirement("torch"), requirement("transformers"))
    int8 = (engine_requirement(), "numpy", "safetensors", "tokenizers")
    web, lists = wires.PIPELINE, wires.LISTS
    listed = [
        Peer(
            "fastapi",
            "FastAPI, pipeline",
            "torch",
            ("fastapi", "uvicorn[standard]", *torch),
            web,
            _program("fastapi_pipeline"),
            tuned=False,
        ),
        Peer("plain_ray", "Ray Serve, FastAPI, pipeline", "torch", (), web, _plain_ray, lambda _: ray_variables(), tuned=False),
        Peer("litserve", "LitServe", "int8", ("litserve", *int8), lists, _program("litserve_int8")),
        Peer("bentoml", "BentoML", "int8", ("bentoml", *int8), lists, _bentoml, _bentoml_variables),
        # It calls what transformers has no more since 5.
        Peer(
            "infinity",
            "infinity",
            "torch",
            ("infinity-emb[server]", requirement("torch"), f"{requirement('transformers')},<5"),
            wires.INFINITY,
            _infinity,
            tuned=False,
        ),
        # Its workers ask for an event loop before there is one, which uvloop has not given since 0.22.
        Peer("mlserver", "MLServer", "int8", ("mlserver", "uvloop<0.22", *int8), wires.MLSERVER, _program("mlserver_int8")),
        Peer(
            "triton",
            "Triton (pytriton)",
            "int8",
            ("nvidia-pytriton", *int8),
            wires.TRITON,
            _program("triton_int8"),
            _triton_variables,
        ),
    ]
    return {peer.name: peer for peer in listed}


def variables(peer: Peer, launch: Launch) -> dict[str, str]:
    """Return the environment of a peer's process."""
    threads = str(launch.threads)
    own = {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(launch.folder / "huggingface")}
    return {**own, **_QUIET, **peer.environment(launch)}


def _program(name: str) -> Command:
    def command(launch: Launch) -> list[str]:
        words = ["-m", f"{_SERVERS}.{name}", "--bundle", str(launch.bundle), "--model", str(launch.model)]
        words += ["--port", str(launch.port), "--workers", str(launch.workers), "--threads", str(launch.threads)]
        return [*words, "--folder", str(launch.folder)]

    return command


def _plain_ray(launch: Launch) -> list[str]:
    return ["-m", "load_tests.baselines.plain_ray", "--bundle", str(launch.bundle), "--port", str(launch.port)]


def _bentoml(launch: Launch) -> list[str]:
    served = f"{_SERVERS}.bentoml_int8:Classifier"
    return ["-m", "bentoml", "serve", served, "--host", "127.0.0.1", "--port", str(launch.port)]


def _bentoml_variables(launch: Launch) -> dict[str, str]:
    own = {"PEER_BUNDLE": str(launch.bundle), "PEER_THREADS": str(launch.threads), "PEER_WORKERS": str(launch.workers)}
    return {**own, "BENTOML_HOME": str(launch.folder)}


def _triton_variables(_: Launch) -> dict[str, str]:
    # Triton's program for Python takes the first libpython that the system has, and the modules of the one that runs it.
    return {"LD_LIBRARY_PATH": str(sysconfig.get_config_var("LIBDIR"))}


def _infinity(launch: Launch) -> list[str]:
    command = ["-m", "infinity_emb.cli", "v2", "--model-id", str(launch.model), "--served-model-name", "hone"]
    command += ["--engine", "torch", "--device", "cpu", "--batch-size", "32", "--no-bettertransformer", "--no-compile"]
    return [*command, "--trust-remote-code", "--host", "127.0.0.1", "--port", str(launch.port)]

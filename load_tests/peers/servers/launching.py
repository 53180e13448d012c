"""What every peer's program is told on its command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Bundle, model made of it, where to listen, how many workers with how many threads, and a folder to write to."""

    bundle: Path
    model: Path
    port: int
    workers: int
    threads: int
    folder: Path


def options() -> Options:
    """Return what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    return Options(**vars(parser.parse_args()))

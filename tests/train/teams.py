"""Teams of processes on this machine, joined through gloo without Ray."""

from __future__ import annotations

import multiprocessing
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed


def in_team(size: int, folder: Path, work: Callable[[int], Any]) -> list[Any]:
    """Return what ``work`` gives in each of ``size`` joined processes, called with their ranks.

    They are forked, so that nothing has to be imported again; torch computes with one thread in all tests of this room.
    """
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_member, args=(rank, size, folder, work)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        if process.is_alive():
            process.kill()
    found = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(size)]  # noqa: S301 - our own
    for kind, value in found:
        assert kind == "value", value
    return [value for _, value in found]


def _member(rank: int, size: int, folder: Path, work: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)
    try:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
        found: tuple[str, Any] = ("value", work(rank))
    except Exception:
        found = ("error", traceback.format_exc())
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
    # Ending as usual would end what belongs to the process that was forked.
    import os

    os._exit(0)

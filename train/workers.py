"""Fine-tuning over the workers of a Ray Train job, from the caller's side; theirs is in ``train/team_task.py``."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from core.classifier import Head
from core.errors import WorkersFailed
from core.priority import give_way
from core.telemetry import configure_logging
from train.base import Base
from train.finetune import take_on
from train.request import CheckpointPlace, FinetuneSettings, Workers
from train.stepping import Step, TokenRows
from train.team import JoinedTeam
from train.team_task import KEPT, STEP, STOP, TeamTask, raise_refusal, take_part

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

log = logging.getLogger("hone.learner")

_LISTEN_EVERY_S = 0.3
# A step may be long, and workers that are just being started again have to come up before they hear of it.
_STOPS_WITHIN_S = 120.0


def finetune_over(
    workers: Workers,
    staging: Path,
    base: Base,
    head: Head,
    train: TokenRows,
    validation: TokenRows,
    settings: FinetuneSettings,
    *,
    train_embeddings: bool = False,
    checkpoint: CheckpointPlace | None = None,
    on_step: Callable[[Step], None] = lambda _: None,
    on_wait: Callable[[], None] = lambda: None,
) -> Head:
    """Do what :func:`train.finetune.finetune` does, over several workers.

    Args:
        workers: how many, and what each needs.
        staging: where a folder for all of them is made; they must see it too.
        on_wait: is called again and again, and may raise ``RunCancelled`` too.

    The others are those of ``finetune``. Without ``checkpoint`` one is kept all the same, for workers that die.

    Raises:
        CheckpointUnusable: when training cannot go on from the checkpoint it was given.
        InputError: the settings do not suit the encoder.
        WorkersFailed: there is no Ray, its cluster has no room for them, or they failed too often.
    """
    _check_room(workers)
    folder = Path(tempfile.mkdtemp(dir=staging, prefix="workers-"))
    try:
        base.save(folder / "base")
        place = checkpoint or CheckpointPlace(folder / "checkpoint.pt", workers.checkpoint_every_s)
        task = TeamTask(folder, base.name, head, train, validation, settings, train_embeddings, place, workers)
        _follow(_trainer(task).fit, task, on_step, on_wait)
        raise_refusal(folder)
        return take_on(base, torch.load(folder / KEPT, weights_only=True))
    finally:
        # The weights in it have learned from what people sent.
        shutil.rmtree(folder, ignore_errors=True)


def _trainer(task: TeamTask) -> TorchTrainer:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    workers = task.workers
    # Ray's annotation knows no range, its documentation and its code do.
    count: Any = (workers.fewest, workers.count) if workers.fewest < workers.count else workers.count
    return TorchTrainer(
        _work,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=count,
            use_gpu=workers.gpus > 0,
            resources_per_worker={"CPU": workers.cpus, **({"GPU": workers.gpus} if workers.gpus else {})},
        ),
        run_config=RunConfig(
            name="train", storage_path=str(task.folder / "ray"), failure_config=FailureConfig(max_failures=workers.restarts)
        ),
    )


def _check_room(workers: Workers) -> None:
    """Raise what an operator can act upon where Ray would wait for ever."""
    import ray

    if not ray.is_initialized():
        raise WorkersFailed("several workers take Ray, and this process is not connected to one; set HONE_LEARN_WORKERS=1")
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call] # Ray leaves it untyped
    for what, each in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if each * workers.fewest > there.get(what, 0.0):
            raise WorkersFailed(
                f"{workers.fewest} workers need {each * workers.fewest:g} {what} of Ray's, and the cluster has "
                f"{there.get(what, 0.0):g}; see HONE_LEARN_WORKERS, HONE_LEARN_WORKERS_MIN and HONE_LEARN_WORKER_{what}S"
            )


def _follow(fit: Callable[[], object], task: TeamTask, on_step: Callable[[Step], None], on_wait: Callable[[], None]) -> None:
    """Return when ``fit`` has; meanwhile hand on what the workers tell, and to them that they shall stop."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            failed.append(error)

    # Ray takes over Ctrl-C from a main thread that trains, and does not give it back.
    thread = threading.Thread(target=run, name="workers", daemon=True)
    thread.start()
    told = b""
    try:
        while thread.is_alive():
            thread.join(_LISTEN_EVERY_S)
            on_wait()
            latest = _read(task.folder / STEP)
            if latest not in (b"", told):
                told = latest
                on_step(Step(**json.loads(latest)))
    except BaseException:
        (task.folder / STOP).touch()
        thread.join(_STOPS_WITHIN_S)
        raise
    if failed:
        log.error("the workers failed", exc_info=failed[0])
        raise WorkersFailed(
            f"training over {task.workers.count} workers failed {task.workers.restarts + 1} times "
            f"({type(failed[0]).__name__}); {task.workers.log.name} has what each of them said"
        ) from failed[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _work(config: dict[str, TeamTask]) -> None:
    """What each worker runs, again from the last checkpoint after one of them was lost."""
    from ray import train
    from ray.train.torch import get_device

    task = config["task"]
    workers, here = task.workers, train.get_context()
    # Serving may have the same cores: training takes what it leaves.
    give_way(workers.niceness, alone=True)
    torch.set_num_threads(workers.threads or max(1, (os.cpu_count() or 1) // here.get_local_world_size()))
    configure_logging(workers.log_level, workers.log)
    take_part(task, _team(workers), get_device())
    train.report({"done": 1.0})


def _team(workers: Workers) -> JoinedTeam:
    if not workers.sharded:
        return JoinedTeam()
    from train.sharding import ShardingTeam

    return ShardingTeam()

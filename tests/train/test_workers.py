"""Fine-tuning over Ray Train workers gives the model of one, though a worker is killed and a node is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from core.classifier import Head, softmax
from core.errors import WorkersFailed
from core.finetuning import FinetuneSettings
from core.settings import Settings
from tests.train.toys import SIGNAL, toy_rows
from train.base import Base, load_base
from train.finetune import Step, TokenRows, finetune
from train.head import FeatureRows, logits
from train.request import Workers
from train.tensors import embed_ids
from train.workers import finetune_over

_EPOCHS = 80
_TUNING = FinetuneSettings(
    epochs=_EPOCHS, learning_rate=1e-3, batch_texts=10, seed=3, precision="fp32", patience_epochs=_EPOCHS
)
# As in test_team.py; at three times this rate so long a training amplifies the rounding of sums until nothing is alike.
_MOST_GAP = 1e-4
# Logical ones, of each node; all of them for one worker, so that each has a node of its own.
_CORES = 2


@pytest.fixture(scope="module")
def second_node() -> Iterator[Any]:
    """Start a Ray of this module's own, of two nodes; give the second, and end both by their handles."""
    with (
        pytest.MonkeyPatch.context() as patched,
        TemporaryDirectory(prefix="hone-", dir="/tmp", ignore_cleanup_errors=True) as at,
    ):
        patched.setenv("RAY_AUTH_MODE", "disabled")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's own 15 leaves its processes next to nothing of a machine that has other work, for minutes on end.
        patched.setenv("RAY_worker_niceness", "0")
        patched.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        # How long Ray tries to place workers on a node that is gone before it counts the nodes again.
        patched.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
        # Another process for each start; it looks for nodes that say that they will go.
        patched.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        patched.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        import ray

        ray.init(address="local", include_dashboard=False, num_cpus=_CORES, _temp_dir=at, log_to_driver=False)
        node = _add_node(str(ray.get_runtime_context().gcs_address))
        try:
            while len(ray.nodes()) < 2:  # type: ignore[no-untyped-call] # Ray leaves it untyped
                time.sleep(0.1)
            yield node
        finally:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
            ray.shutdown()


def _add_node(address: str) -> Any:
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    params = RayParams(
        gcs_address=address,
        num_cpus=_CORES,
        object_store_memory=80 * 1024**2,
        include_log_monitor=False,  # type: ignore[arg-type] # Ray's annotation says str, its code asks for truth
        node_manager_port=0,
        dashboard_agent_listen_port=0,
        min_worker_port=0,
        max_worker_port=0,
    )
    return Node(params, head=False, shutdown_at_exit=False, spawn_reaper=True)


def _tokens(base: Base, split: str) -> TokenRows:
    rows = [row for row in toy_rows(96) if row.split == split]
    ids = [encoding.ids for encoding in base.tokenizer.encode_batch([row.text for row in rows])]
    labels = np.array([list(SIGNAL).index(row.label) for row in rows], np.int64)
    return TokenRows(ids, labels, np.ones(len(rows), np.float32))


def _answers(
    folder: Path,
    tune: Callable[..., Head],
    on_step: Callable[[Step], None] = lambda _: None,
) -> Any:
    """Return the probabilities of the validation rows after fine-tuning by ``tune``."""
    base = load_base(str(folder))
    blank = Head(np.zeros((32, 3), np.float32), None, np.zeros(3, np.float32))
    parts = (_tokens(base, "train"), _tokens(base, "validation"))
    head = tune(base, blank, *parts, _TUNING, on_step=on_step)
    return softmax(logits(head, FeatureRows(embed_ids(base, parts[1].ids), None)))


def _over(workers: Workers, staging: Path) -> Callable[..., Head]:
    return lambda *parts, **more: finetune_over(workers, staging, *parts, **more)


def _begun(workers: Workers) -> list[dict[str, int]]:
    lines = [json.loads(line) for line in workers.log.read_text().splitlines()]
    return [line for line in lines if "begins" in str(line)]


@pytest.mark.integration
@pytest.mark.usefixtures("second_node")
def test_workers_for_whom_there_is_no_room_are_not_waited_for(tmp_path: Path, toy_folder: Path) -> None:
    with pytest.raises(WorkersFailed, match="HONE_LEARN_WORKER_CPUS"):
        _answers(toy_folder, _over(Workers(9, 9, tmp_path / "log"), tmp_path))
    with pytest.raises(WorkersFailed, match="HONE_LEARN_WORKER_GPUS"):
        _answers(toy_folder, _over(Workers(1, 1, tmp_path / "log", gpus=1.0), tmp_path))


@pytest.mark.integration
def test_a_killed_worker_and_a_lost_node_cost_nothing_but_time(tmp_path: Path, toy_folder: Path, second_node: Any) -> None:
    undisturbed = _answers(toy_folder, finetune)
    workers = Workers(2, 1, tmp_path / "train.log", cpus=_CORES, threads=1, checkpoint_every_s=1e-9)
    heard: list[Step] = []
    killed: list[int] = []

    def kill(step: Step) -> None:
        heard.append(step)
        begun = _begun(workers)
        if not killed:
            killed.append(next(line["pid"] for line in begun if line["worker"] == 1))
        elif len(killed) == 1 and len(begun) == 4:
            killed.append(second_node.all_processes["raylet"][0].process.pid)
        else:
            return
        os.kill(killed[-1], signal.SIGKILL)

    answers = _answers(toy_folder, _over(workers, tmp_path), on_step=kill)
    assert [line["workers"] for line in _begun(workers)] == [2, 2, 2, 2, 1], "two, two again, and the one that was left"
    assert float(np.abs(answers - undisturbed).max()) < _MOST_GAP
    assert (answers.argmax(axis=1) == undisturbed.argmax(axis=1)).all()
    assert heard[-1].steps == _EPOCHS * 5
    assert [step.number for step in heard] == sorted(step.number for step in heard), "each went on where the last had been"
    assert not list(tmp_path.glob("workers-*")), "nothing that was learned is left behind"


def test_the_settings_say_how_many_train(settings: Settings) -> None:
    assert Workers.of(settings) is None
    many = Workers.of(settings.model_copy(update={"learn_workers": 4, "learn_workers_min": 2, "learn_worker_cpus": 0.5}))
    assert many is not None
    assert (many.count, many.fewest, many.cpus, many.sharded) == (4, 2, 0.5, False)
    all_or_none = Workers.of(settings.model_copy(update={"learn_workers": 4}))
    assert all_or_none is not None
    assert all_or_none.fewest == 4
    assert Workers.of(settings.model_copy(update={"learn_worker_gpus": 1.0})) is not None

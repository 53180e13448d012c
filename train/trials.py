"""The trials of a search as Ray Tune runs them: each trains from the same start, and one that falls behind is given up."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import HoneError, SearchFailed
from core.labels import LabelSet
from core.settings import Settings
from core.telemetry import configure_logging
from core.text import TextSettings
from feedback.snapshot import Snapshot
from train.progress import Clock, Epoch, Stages, silent
from train.pruning import falls_behind
from train.request import STAGES, CheckpointPlace, FitRequest, Workplace
from train.rows import Rows
from train.search_book import SearchBook, Trial, TrialLine
from train.search_space import changed

log = logging.getLogger("hone.learner")

_LOOK_EVERY_S = 0.5
_STOP, _STOPS_WITHIN_S = "stop", 120.0
# Each goes on from its checkpoint.
_RESTARTS = 3


def run_trials(settings: Settings, book: SearchBook, budget_s: float, watch: Callable[[], None]) -> None:
    """Carry out what is left of the trials, at most ``budget_s`` seconds (0: as long as it takes); Ray is initialised.

    ``watch`` is called again and again, and may raise.

    Raises:
        SearchFailed: Ray Tune failed as a whole.
    """
    from ray import tune

    left = [trial.number for trial in book.trials if trial.ending is None]
    if not left:
        return
    storage = book.folder / "ray"
    # All that matters is in the records, and these go on.
    shutil.rmtree(storage, ignore_errors=True)
    (book.folder / _STOP).unlink(missing_ok=True)
    cpus = _cores_each(book.plan.parallel)
    # Records of its own beside ours, and a table on standard output, which is for ours.
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_AIR_NEW_OUTPUT": "0"}
    tuner = tune.Tuner(
        tune.with_resources(_trial, {"cpu": float(cpus)}),
        param_space={"number": tune.grid_search(left), "work": _Work(settings, book.folder, cpus)},
        # A process takes longer to load what it needs than a small trial to train, so it goes on with the next.
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(book),
            max_concurrent_trials=book.plan.parallel,
            time_budget_s=budget_s or None,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(storage),
            failure_config=tune.FailureConfig(max_failures=_RESTARTS),
            stop=_stopper(book.folder),
            verbose=0,
        ),
    )
    failed: list[BaseException] = []

    def run() -> None:
        try:
            results = tuner.fit()
            for place in range(len(results)):
                result = results[place]
                trial = book.trials[(result.config or {})["number"]]
                if result.error is not None and trial.ending is None:
                    trial.add(TrialLine(ending="failed", why=type(result.error).__name__))
        except BaseException as error:
            failed.append(error)

    # Ray Tune takes over Ctrl-C from a main thread, and so would go on.
    thread = threading.Thread(target=run, name="trials", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
            watch()
    except BaseException:
        (book.folder / _STOP).touch()
        thread.join(_STOPS_WITHIN_S)
        raise
    watch()
    shutil.rmtree(storage, ignore_errors=True)
    if failed:
        raise SearchFailed(f"Ray Tune failed ({type(failed[0]).__name__}); go on with: hone search --resume") from failed[0]


def _cores_each(parallel: int) -> int:
    """Return how many cores each of so many trials at a time is given; no more than the largest node has."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call] # Ray leaves it untyped
    cores = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return max(1, min(max(cores, default=1), sum(cores) // parallel))


@dataclass(frozen=True)
class _Work:
    """What all trials are given."""

    settings: Settings
    folder: Path
    cpus: int


def _stopper(folder: Path) -> Any:
    from ray.tune import Stopper

    class Wish(Stopper):
        """Ends all trials once somebody wants that."""

        def __call__(self, *_: object) -> bool:
            return False

        def stop_all(self) -> bool:
            return (folder / _STOP).exists()

    return Wish()


def _scheduler(book: SearchBook) -> Any:
    from ray.tune.schedulers import FIFOScheduler

    class Pruning(FIFOScheduler):
        """Gives up trials that fall behind, and writes down which."""

        def on_trial_result(self, tune_controller: object, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
            record = book.trials[trial.config["number"]]
            why = falls_behind(book, record) if record.ending is None else None
            if why is None:
                return str(self.CONTINUE)
            record.add(TrialLine(ending="pruned", why=why))
            return str(self.STOP)

    return Pruning()  # type: ignore[no-untyped-call] # Ray leaves it untyped


def _trial(config: dict[str, Any]) -> None:
    """What Ray Tune runs for each trial: train on from where its record ends."""
    # How long Ray Tune waits for a trial that was given up to leave the process to the next; else that one fails.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "60"
    work: _Work = config["work"]
    book = SearchBook.open(work.folder)
    trial = book.trials[config["number"]]
    configure_logging(work.settings.log_level, work.settings.home.logs / "train.log")
    log.info("a trial begins", extra={"trial": trial.number, "pid": os.getpid()})
    try:
        _train(work, book, trial)
    except HoneError as error:
        trial.add(TrialLine(ending="failed", why=error.message))
    else:
        trial.add(TrialLine(ending="done"))


def _train(work: _Work, book: SearchBook, trial: Trial) -> None:
    import torch
    from ray import tune

    from train.trial_fitter import TrialFitter

    # What Ray calls cores may be more than there are.
    torch.set_num_threads(min(work.cpus, os.cpu_count() or 1))
    home, plan = work.settings.home, book.plan
    snapshot = Snapshot.load(home.snapshots, plan.snapshot)
    rows = rows_of(snapshot)
    # Weights that are not on disk when a trial is given up are trained again; those of the one that wins are there.
    checkpoint = CheckpointPlace(trial.checkpoint, work.settings.learn_checkpoint_every_s, trial.checkpoint)
    place = Workplace(home.cache, book.folder, checkpoint)
    known = {epoch.number for epoch in trial.epochs}
    began = time.monotonic()

    def hear(epoch: Epoch) -> None:
        nonlocal began
        # One that was over before the process died, and after the last checkpoint, is trained again, to the same end.
        if epoch.number in known:
            return
        moment = time.monotonic()
        trial.add(TrialLine(epoch=epoch, spent_s=round(moment - began, 3)))
        began = moment
        # The record says it all; this is when Ray Tune looks there.
        tune.report({"log_loss": epoch.log_loss, "accuracy": epoch.accuracy})

    stages = Stages(STAGES["full"], silent)
    TrialFitter(rows, request_of(plan.request, plan.trials[trial.number]), place, stages, Clock(), None).judge_epochs(hear)


def rows_of(snapshot: Snapshot) -> Rows:
    """Return the rows that a fit of ``snapshot`` sees."""
    names = LabelSet.of(example.label for example in snapshot.of_split("train"))
    return Rows.of(snapshot.examples, names, TextSettings.model_validate({}))


def request_of(request: FitRequest, changes: dict[str, Any]) -> FitRequest:
    """Return the request with what a trial changes of its fine-tuning."""
    return replace(request, finetune=changed(request.finetune, changes))

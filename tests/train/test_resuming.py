"""A full run that was stopped is resumed, and any run repeated from its record, with the very same result."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.bundle import HEAD, Manifest, file_sha256
from core.classifier import Head
from core.errors import RunNotRepeatable, UnknownRun
from core.finetuning import FinetuneWish, recorded
from core.metrics import Metrics
from core.registry import Registry
from core.schemas import CorrectionRequest, RunAnswer
from core.settings import Settings
from feedback.snapshot import Snapshot
from feedback.store import Store
from train.execute import Executor, FitJob
from train.head import fit_head
from train.job import fit_here
from train.learn import Wish, learn_once
from train.progress import Progress
from train.resuming import clear_checkpoints, compare_repetition, record_of, snapshot_of
from train.teach import TeachReport


@pytest.fixture
def taught(taught_in_full: tuple[Settings, TeachReport], empty_store: Path, tmp_path: Path) -> Settings:
    """Give settings with a copy of a state folder in which the toy data was taught at speed ``full``."""
    root = tmp_path / "taught"
    shutil.copytree(taught_in_full[0].home.root, root)
    settings = taught_in_full[0].model_copy(update={"home_dir": root})
    shutil.copy(empty_store, settings.home.store)
    return settings


@pytest.fixture
def store(taught: Settings) -> Iterator[Store]:
    """Give the store of that folder."""
    opened = Store(taught.sqlalchemy_url)
    yield opened
    opened.close()


def _stop_at(stage: str, report: int) -> Callable[[FitJob], Path]:
    """Return a fit that is stopped at so many reports of ``stage``."""
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        if progress.stage == stage:
            heard.append(progress)

    return lambda job: fit_here(job, hear, lambda: len(heard) >= report)


def _carry_out(settings: Settings, store: Store, fit: Callable[[FitJob], Path]) -> RunAnswer:
    claimed = store.claim_run("test")
    assert claimed is not None
    return Executor(settings, store, Metrics()).execute(claimed, fit)


def _undisturbed(job: FitJob) -> Path:
    return fit_here(job, lambda _: None, lambda: False)


def _identity(settings: Settings, run: RunAnswer) -> tuple[Manifest, set[str], str]:
    """Return the manifest, the digests of all encoders that were ever tuned here, and the hash of the head."""
    assert run.state == "succeeded", run.error
    assert run.version is not None
    registry = Registry(settings.home.registry)
    manifest = registry.manifest(run.version)
    # On toy data n-grams alone may be what is served; the encoder that was tuned stays in the cache all the same.
    encoders = {path.name for path in (settings.home.cache / "encoders").iterdir()}
    return manifest, encoders, file_sha256(registry.path(run.version) / HEAD)


@pytest.mark.parametrize(("stage", "report"), [("finetune", 5), ("encode", 1)])
def test_stopped_then_resumed_is_as_if_never_stopped_and_so_is_a_repetition(
    taught: Settings, store: Store, stage: str, report: int
) -> None:
    store.add_correction(CorrectionRequest(text="a card that never came", label="card"))
    store.create_run("full")
    stopped = _carry_out(taught, store, _stop_at(stage, report))
    assert stopped.state == "cancelled"
    checkpoints = list(taught.home.checkpoints.iterdir())
    assert [path.stem for path in checkpoints] == ([stopped.run_id] if stage == "finetune" else [])

    # What is said meanwhile is for later runs.
    known = {path.name for path in (taught.home.cache / "encoders").iterdir()}
    store.add_correction(CorrectionRequest(text="another card", label="card"))
    store.continue_run(stopped.run_id, "resume", "on with it")
    resumed = _carry_out(taught, store, _undisturbed)
    assert (resumed.resumes, resumed.speed, resumed.note) == (stopped.run_id, "full", "on with it")
    assert not list(taught.home.checkpoints.iterdir()), "nobody goes on from a run that succeeded"
    assert store.correction_count(store.corrections_seen()) == 1

    manifest, encoders, head = _identity(taught, resumed)
    assert len(encoders - known) == 1, "training has changed the encoder"
    repeated = learn_once(taught, Wish(manner="repeat", earlier=resumed.run_id))
    assert repeated.repeats == resumed.run_id
    assert repeated.why == f"the same as {resumed.version} to the bit"
    again, same_encoders, same_head = _identity(taught, repeated)
    assert (same_encoders, same_head) == (encoders, head)
    assert manifest.temperature == again.temperature
    assert manifest.metrics == again.metrics
    assert resumed.snapshot == repeated.snapshot
    assert manifest.lineage.settings == again.lineage.settings
    assert manifest.lineage.settings["finetune_precision"] == "fp32"


def test_a_run_whose_learner_died_is_resumed(taught: Settings, store: Store) -> None:
    settings = taught.model_copy(update={"learn_checkpoint_every_s": 1e-9})
    steps: list[Progress] = []

    def hear(progress: Progress) -> None:
        steps.extend([progress] if progress.stage == "finetune" else [])
        if len(steps) == 6:
            raise SystemExit

    store.create_run("full")
    with pytest.raises(SystemExit):
        _carry_out(settings, store, lambda job: fit_here(job, hear, lambda: False))
    dead = store.last_run()
    assert dead is not None
    assert dead.state == "failed"
    store.continue_run(dead.run_id, "resume")
    after: list[Progress] = []
    resumed = _carry_out(settings, store, lambda job: fit_here(job, after.append, lambda: False))
    assert resumed.state == "succeeded", resumed.error
    paces = [moment.pace for moment in after if moment.stage == "finetune" and moment.pace is not None]
    assert paces[0].step == 6, "five steps were in the checkpoint"
    assert len(paces) == paces[-1].step - 5


def test_a_run_is_trained_as_it_was_asked_and_repeated_alike(taught: Settings, store: Store) -> None:
    settings = taught.model_copy(update={"learn_preset": "thorough"})
    store.create_run("full", wish=FinetuneWish("fast", {"layer_decay": 0.8, "l2_start": 0.1, "schedule": "cosine"}))
    first = _carry_out(settings, store, _undisturbed)
    asked = record_of(store, Registry(settings.home.registry), first.run_id).request.finetune
    assert str(asked) == "fast precision=fp32 schedule=cosine layer_decay=0.8 l2_start=0.1"
    assert recorded(_identity(settings, first)[0].lineage.settings) == asked
    store.continue_run(first.run_id, "repeat")
    again = _carry_out(taught, store, _undisturbed)
    assert (again.preset, again.why) == ("fast", f"the same as {first.version} to the bit")


def test_a_head_run_is_repeated_but_never_resumed(taught: Settings, store: Store) -> None:
    store.create_run("head")
    first = _carry_out(taught, store, _undisturbed)
    with pytest.raises(RunNotRepeatable, match="resumed"):
        store.continue_run(first.run_id, "resume")
    store.continue_run(first.run_id, "repeat")
    again = _carry_out(taught, store, _undisturbed)
    assert _identity(taught, first)[1:] == _identity(taught, again)[1:]


def test_a_repetition_that_differs_says_so(taught: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create_run("head")
    first = _carry_out(taught, store, _undisturbed)

    def otherwise(*arguments: Any, **named: Any) -> Head:
        return fit_head(*arguments, **{**named, "regularisation": 0.5})

    monkeypatch.setattr("train.select.fit_head", otherwise)
    store.continue_run(first.run_id, "repeat")
    again = _carry_out(taught, store, _undisturbed)
    assert again.why is not None
    assert again.why.startswith(f"{first.version}: the repetition differs in head.safetensors")
    assert "the same libraries" in again.why


def test_other_releases_are_named_where_a_repetition_differs(taught: Settings) -> None:
    registry = Registry(taught.home.registry)
    first = registry.manifest("v1")
    made = first.model_copy(
        update={
            "files": {**first.files, "head.safetensors": "0" * 64, "card.md": "1" * 64},
            "lineage": first.lineage.model_copy(update={"libraries": {**first.lineage.libraries, "torch": "9"}}),
        }
    )
    assert compare_repetition(made, first) == "the repetition differs in head.safetensors; made with other releases of torch"
    assert compare_repetition(first, first) is None


def test_only_an_ended_run_that_left_a_record_can_be_gone_on_from(taught: Settings, store: Store) -> None:
    waiting = store.create_run("full")
    with pytest.raises(RunNotRepeatable, match="queued"):
        store.continue_run(waiting.run_id, "resume")
    store.request_cancel(waiting.run_id)
    for manner in ("resume", "repeat"):
        with pytest.raises(RunNotRepeatable, match="no record"):
            store.continue_run(waiting.run_id, manner)
        with pytest.raises(UnknownRun):
            store.continue_run("r_unknown", manner)


def test_what_was_erased_meanwhile_is_not_learned_from_again(taught: Settings, store: Store) -> None:
    store.create_run("head")
    done = _carry_out(taught, store, _undisturbed)
    registry = Registry(taught.home.registry)
    record = record_of(store, registry, done.run_id)
    snapshot = Snapshot.load(taught.home.snapshots, record.snapshot)
    assert snapshot_of(record, taught.home).examples == snapshot.examples
    path = taught.home.snapshots / f"{record.snapshot}.parquet"
    less = Snapshot(snapshot.examples[1:], "")
    left = less.save(taught.home.snapshots)
    path.unlink()
    (taught.home.snapshots / f"{record.snapshot}.successor.json").write_text(f'{{"hash": "{left}"}}')
    with pytest.raises(RunNotRepeatable, match="erased"):
        snapshot_of(record, taught.home)
    (taught.home.snapshots / f"{left}.parquet").unlink()
    with pytest.raises(RunNotRepeatable, match="gone"):
        snapshot_of(record, taught.home)


def test_checkpoints_take_a_bounded_place(taught: Settings, store: Store) -> None:
    folder = taught.home.checkpoints
    folder.mkdir(exist_ok=True)
    for number in range(4):
        (folder / f"r_{number}.pt").write_bytes(b"weights")
    (folder / ".checkpoint-torn").write_bytes(b"half")
    run = store.create_run("full")
    clear_checkpoints(taught.home, run, done=False)
    assert len(list(folder.iterdir())) == 2

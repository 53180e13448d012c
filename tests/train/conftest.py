"""A toy encoder, state folders with a store in them, and folders in which a toy classifier was already taught."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it has no types

from core.metrics import Metrics
from core.settings import Settings
from feedback.store import Store
from tests.train.bench import Bench
from tests.train.toys import install_champion, toy_rows, write_csv, write_toy_base
from train.base import Base, load_base
from train.encode import ExportedEncoder
from train.execute import Executor
from train.export import export_encoder
from train.request import FinetuneSettings
from train.teach import TeachReport, TeachRequest, teach


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch and numpy use one thread: toy matrices are slower with more, and sums come out the same every time."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a toy encoder."""
    return write_toy_base(tmp_path_factory.mktemp("bases") / "toy")


@pytest.fixture
def base(toy_folder: Path) -> Base:
    """Give the toy encoder in torch, to do with as one likes."""
    return load_base(str(toy_folder))


@pytest.fixture(scope="session")
def exported(toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportedEncoder:
    """Give the toy encoder as files; only to be read."""
    return export_encoder(load_base(str(toy_folder)), tmp_path_factory.mktemp("exported"), ["the card is late", "why"], None)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a store that was made once, because making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("store") / "feedback.db"
    Store.open(f"sqlite:///{path}").close()
    return path


def _settings(root: Path) -> Settings:
    return Settings.model_validate({"HONE_HOME": root, "gate_min_rows": 20})


@pytest.fixture
def settings(tmp_path: Path, empty_store: Path) -> Settings:
    """Give settings with an empty state folder of this test's own."""
    made = _settings(tmp_path / "home")
    made.home.prepare()
    shutil.copy(empty_store, made.home.store)
    return made


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Give the store of ``settings``."""
    opened = Store(settings.sqlalchemy_url)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the toy data as CSV."""
    return write_csv(tmp_path_factory.mktemp("data") / "toy.csv", toy_rows())


@pytest.fixture(scope="session")
def taught_once(
    tmp_path_factory: pytest.TempPathFactory, toy_folder: Path, toy_file: Path, empty_store: Path
) -> tuple[Settings, TeachReport]:
    """Give a state folder in which the toy data was taught at speed ``head``; only to be read."""
    made = _settings(tmp_path_factory.mktemp("taught") / "home")
    made.home.prepare()
    shutil.copy(empty_store, made.home.store)
    return made, teach(made, TeachRequest(data=toy_file, base=str(toy_folder), features="both"))


@pytest.fixture(scope="session")
def taught_in_full(tmp_path_factory: pytest.TempPathFactory, toy_folder: Path, toy_file: Path) -> tuple[Settings, TeachReport]:
    """Give a state folder in which the toy data was taught at speed ``full``; only to be read."""
    made = _settings(tmp_path_factory.mktemp("full") / "home")
    tuning = FinetuneSettings(epochs=2, learning_rate=1e-3, batch_texts=16)
    request = TeachRequest(data=toy_file, base=str(toy_folder), features="both", speed="full", finetune=tuning)
    return made, teach(made, request)


@pytest.fixture
def taught(taught_once: tuple[Settings, TeachReport], tmp_path: Path) -> Settings:
    """Give settings with a copy of the folder in which the toy data was taught."""
    root = tmp_path / "taught"
    shutil.copytree(taught_once[0].home.root, root)
    return _settings(root)


@pytest.fixture
def bench(settings: Settings, store: Store) -> Bench:
    """Give a learner's parts with a mistaken champion in place."""
    registry = install_champion(settings, mistaken=True)
    metrics = Metrics()
    return Bench(settings, store, registry, metrics, Executor(settings, store, metrics))

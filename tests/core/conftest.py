"""One sealed bundle for all tests, and hypothesis without deadlines: how long an example takes says nothing about the code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from core.classifier import Classifier
from core.registry import Registry
from tests.core.encoders import write_encoder_bundle

settings.register_profile("hone", deadline=None)
settings.load_profile("hone")


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bundle with every kind of file; it is read by many tests."""
    folder = tmp_path_factory.mktemp("sealed") / "bundle"
    write_encoder_bundle(folder)
    return folder


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    """Give a copy of it that one test may spoil."""
    return Path(shutil.copytree(sealed, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def classifier(sealed: Path) -> Classifier:
    """Give the classifier of ``sealed``."""
    return Classifier.load(sealed, threads=1)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Give an empty registry."""
    return Registry(tmp_path / "registry")

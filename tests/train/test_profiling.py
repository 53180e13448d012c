"""The profile a fit leaves in its bundle: rows that were never trained on, answered as the served engine does."""

from __future__ import annotations

import numpy as np

from core.drift.profile import read_profile
from core.registry import Registry
from core.settings import Settings
from feedback.snapshot import Snapshot
from train.scoring import scores_of
from train.teach import TeachReport


def test_a_taught_version_keeps_how_it_answers_its_held_out_rows(taught_once: tuple[Settings, TeachReport]) -> None:
    settings, report = taught_once
    registry = Registry(settings.home.registry)
    folder, manifest = registry.path(report.version), registry.manifest(report.version)
    profile = read_profile(folder)
    assert profile is not None
    held_out = Snapshot.load(settings.home.snapshots, manifest.lineage.snapshot).of_split("test")
    scores = scores_of(folder, [example.text for example in held_out], settings.home.cache)
    labels = [manifest.labels[place] for place in scores.argmax(axis=1)]
    assert sorted(profile.sample.labels) == sorted(labels)
    # Other texts beside a text in its batch move its last digits.
    np.testing.assert_allclose(np.sort(profile.sample.confidences), np.sort(scores.max(axis=1)), rtol=0.0, atol=5e-7)
    right = [label == example.label for label, example in zip(labels, held_out, strict=True)]
    assert profile.right.sum() == sum(right)
    texts = profile.sample.texts
    assert texts is not None
    assert texts.embeddings is not None
    assert len(texts.embeddings) == len(held_out)
    assert "profile.safetensors" in manifest.files

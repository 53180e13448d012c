"""What the command line does when no service runs: the same things, on the state folder itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.classifier import Classifier
from core.errors import NoModel, StoreUnavailable
from core.labels import LabelSet
from core.registries import registry_of
from core.schemas import CorrectionAnswer, CorrectionRequest
from core.settings import Settings
from feedback.store import Store
from serve.parsing import check_text


def champion_of(settings: Settings) -> str:
    """Return the version that would serve.

    Raises:
        HomeUnusable: when the state folder cannot be written.
        NoModel: when there is none yet.
    """
    settings.home.prepare()
    champion = registry_of(settings).aliases().champion
    if champion is None:
        raise NoModel(f"there is no model in {settings.home.root} yet; hone up makes the default one, hone train one of yours")
    return champion


@dataclass(frozen=True)
class LocalModel:
    """The champion, loaded into this process. Its answers are not kept, so they have no ``prediction_id``."""

    version: str
    classifier: Classifier
    settings: Settings

    @classmethod
    def load(cls, settings: Settings) -> LocalModel:
        """Return the champion, verified.

        Raises:
            NoModel, BundleError: when there is nothing to load.
        """
        version = champion_of(settings)
        folder = registry_of(settings).path(version)
        return cls(version, Classifier.load(folder, threads=settings.engine_threads), settings)

    def predict(self, texts: Sequence[str], top_k: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the answer to each text, in order, shaped like the service's.

        Raises:
            InvalidText: when a text cannot be answered; nothing was yielded yet.
        """
        for place, text in enumerate(texts):
            check_text(text, f"texts[{place}]", self.settings)
        settings = self.settings
        prepared = self.classifier.prepare(texts)
        scores = self.classifier.predict(texts, batch_texts=settings.batch_max_texts, batch_tokens=settings.batch_max_tokens)
        labels = self.classifier.labels.names
        for item, row in zip(prepared, scores, strict=True):
            best = np.argsort(-row, kind="stable")[:top_k]
            ranked = [{"label": labels[place], "score": float(row[place])} for place in best]
            yield {
                **ranked[0],
                "scores": ranked,
                "model_version": self.version,
                "source": self.classifier.manifest.lineage.speed,
                "truncated": item.truncated,
                "abstained": False,
                "windows": 1,
                "explanation": None,
            }


def add_correction(settings: Settings, request: CorrectionRequest, idempotency_key: str | None) -> CorrectionAnswer:
    """Return the correction as the store keeps it, after the checks that the service makes.

    Raises:
        NoModel, UnknownLabel, InvalidText, UnknownPrediction, StoreUnavailable: and nothing was kept.
    """
    champion = champion_of(settings)
    LabelSet(tuple(registry_of(settings).manifest(champion).labels)).index(request.label)
    if request.text is not None:
        check_text(request.text, "text", settings)
    store = Store.of(settings)
    try:
        return store.add_correction(request, idempotency_key=idempotency_key)
    finally:
        store.close()


def status_of(settings: Settings) -> dict[str, Any]:
    """Return what can be said without a service, in the fields of ``GET /v1/status``."""
    settings.home.prepare()
    store = Store(settings.sqlalchemy_url)
    found: dict[str, Any] = {
        "model_version": registry_of(settings).aliases().champion,
        "store_up": True,
        "corrections": None,
        "confirmations": None,
        "last_run": None,
        "outlook": None,
    }
    try:
        run = store.last_run()
        found["corrections"] = store.correction_count()
        found["confirmations"] = store.correction_count(kind="confirmation")
        outlook = store.outlook()
        found["outlook"] = outlook.model_dump(mode="json") if outlook else None
        found["last_run"] = run.model_dump(mode="json") if run else None
    except StoreUnavailable:
        found["store_up"] = False
    finally:
        store.close()
    return found

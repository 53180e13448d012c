"""Following the prediction log: each window of the champion's answers is compared with its profile, off the serving path."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from core.bundle import Manifest
from core.drift.detector import MIN_ROWS, Detector, Score
from core.drift.errors import Outcome, rises, shortfall
from core.drift.estimating import METHODS, Estimate, calibrate, correct, estimate_without_labels
from core.drift.profile import Profile, read_profile
from core.drift.reading import known_words
from core.drift.samples import Sample, Texts, measure_texts
from core.drift.suite import ERRORS, SHORTFALL, WATCHES, compare, make_detectors
from core.drift.verdict import GROWTH, Finding, decide
from core.drift_bodies import DriftAlarm, DriftFinding, DriftState
from core.errors import HoneError, StoreUnavailable
from core.metrics import Metrics
from core.registries import registry_of
from core.schemas import PredictionRecord
from core.settings import Settings
from core.text import clean
from feedback.drift_references import readable, reference_of
from feedback.drift_windows import Found, Window
from feedback.live_accuracy import live_accuracy_of
from feedback.store import Store
from train.encode import ExportedEncoder

log = logging.getLogger("hone.learner")

LOOK_EVERY_S = 30.0
# ADWIN is shown these; the shortfall is that of the newest, so that what has passed is not held against a version for ever.
_OUTCOMES = 2_000
_RECENT_OUTCOMES = 200


@dataclass(frozen=True)
class _Watched:
    """A version with its profile and the detectors fitted on its reference: the profile's rows, or the window ``decided``.

    Without a profile there are none.
    """

    version: str
    manifest: Manifest
    profile: Profile | None
    decided: str | None
    sample: Sample | None
    detectors: Sequence[Detector]


class DriftWatcher:
    """Looks at one window at a time; remembers the fitted detectors of the version it looked at last."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._registry = registry_of(settings)
        self._watched: _Watched | None = None

    def run(self) -> NoReturn:
        """Look now and then, for as long as the process lives."""
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                self.look()
            except StoreUnavailable as error:
                log.warning("drift was not looked at: the store is away", extra={"reason": error.message})
            except HoneError as error:
                log.warning("drift was not looked at", extra={"reason": error.message})
            except Exception as error:
                # No traceback: an error's message may quote what was looked at.
                log.error("looking at drift failed: %s", type(error).__name__)  # noqa: TRY400 - no traceback, see above

    def look(self) -> bool:
        """Compare the champion's next window, if it is complete; return whether it was.

        Raises:
            BundleError: the champion's profile cannot be read.
            StoreUnavailable: the store does not answer.
        """
        champion = self._registry.aliases().champion
        if champion is None or not self._settings.drift_window_rows:
            return False
        self._show_accuracy()
        window = self._store.next_window(champion, self._settings.drift_window_rows)
        if window is None:
            return False
        found = self._examine(self._watch(champion), window)
        alarm = self._store.add_drift_window(found)
        self._show(found, alarm)
        return True

    def _watch(self, version: str) -> _Watched:
        decided = self._store.drift_reference(version)
        window_id = decided.window_id if decided is not None else None
        known = self._watched
        if known is None or (known.version, known.decided) != (version, window_id):
            folder, manifest = self._registry.path(version), self._registry.manifest(version)
            profile = read_profile(folder)
            sample = None if profile is None else self._chosen(folder, manifest, window_id) or profile.sample
            detectors = [] if sample is None else [detector.fit(sample) for detector in make_detectors()]
            self._watched = known = _Watched(version, manifest, profile, window_id, sample, detectors)
        return known

    def _chosen(self, folder: Path, manifest: Manifest, window_id: str | None) -> Sample | None:
        """Return the window that is to be the reference; None where there is none, or too little is left of it."""
        if window_id is None:
            return None
        _, records = self._store.window_records(window_id)
        found = reference_of(records, folder, manifest, self._embed(folder, manifest, readable(records)))
        if found is None:
            log.warning(
                "too little is left of the reference window; the held-out rows stand in", extra={"window_id": window_id}
            )
        return None if found is None else found.sample

    def _examine(self, watched: _Watched, window: Window) -> Found:
        profile, known = watched.profile, self._store.known_drift()
        if profile is None:
            why = f"{watched.version} was made by a release that kept no profile, or has too few held-out rows for one"
            return Found(watched.version, window, 0, "unknown", why, (), None, known)
        read = readable(window.records)
        comparable = watched.sample is not None and watched.sample.texts is not None
        texts = self._measure(watched, read) if len(read) >= MIN_ROWS and comparable else None
        scores = _scores(watched, window, texts)
        outcomes = self._store.audited_outcomes(watched.version, _OUTCOMES)
        reference = profile.sample.confidences.astype(float)
        recent = outcomes[-_RECENT_OUTCOMES:]
        expected, error = calibrate(reference, profile.right, np.array([outcome.confidence for outcome in recent]))
        scores[SHORTFALL] = shortfall(recent, expected.tolist(), error)
        findings = [*decide(scores, self._settings.drift_alpha, known), _rise(outcomes, known)]
        confidences = np.array([record.score for record in window.records])
        method = METHODS[self._settings.drift_estimator]
        estimate = estimate_without_labels(reference, profile.right, confidences, method)
        guess = _as_json(estimate)
        if guess is not None and estimate is not None:
            said = np.array([outcome.confidence for outcome in recent])
            of_audited = method(reference, profile.right, said) if len(said) else 0.0
            corrected = correct(estimate.accuracy, of_audited, np.array([outcome.right for outcome in recent]))
            guess |= {} if corrected is None else {"corrected": round(corrected, 6)}
        state = state_of(findings)
        left = {item.detector: known[item.detector] for item in findings if item.detector in known and item.verdict != "quiet"}
        shown = tuple(DriftFinding(watches=WATCHES[item.detector], **vars(item)) for item in findings)
        why = _why(findings, state, texts=texts is not None)
        return Found(watched.version, window, len(read), state, why, shown, guess, left)

    def _measure(self, watched: _Watched, records: Sequence[PredictionRecord]) -> Texts:
        manifest, folder = watched.manifest, self._registry.path(watched.version)
        cleaned = [clean(record.text, manifest.text) for record in records]
        return measure_texts(cleaned, known_words(folder, manifest), self._embed(folder, manifest, records))

    @staticmethod
    def _embed(folder: Path, manifest: Manifest, records: Sequence[PredictionRecord]) -> NDArray[np.float32] | None:
        encoder = ExportedEncoder.of_bundle(folder, manifest)
        if encoder is None or manifest.encoder is None or not records:
            return None
        # Past the cache of embeddings, which is for texts that are learned from and would grow with all traffic.
        cleaned = [clean(record.text, manifest.text) for record in records]
        ids = encoder.tokenize(cleaned, max_tokens=manifest.encoder.max_tokens)
        return encoder.embed_ids(ids, manifest.encoder.serving)

    def _show_accuracy(self) -> None:
        metrics = self._metrics
        for item in live_accuracy_of(self._store).versions:
            bounds = {"accuracy": item.accuracy, "low": item.low, "high": item.high}
            for bound, value in bounds.items():
                if value is not None:
                    metrics.set("hone_audited_accuracy_ratio", value, version=item.version, bound=bound)
            if item.gap is not None:
                metrics.set("hone_accuracy_gap_ratio", item.gap, version=item.version)
            # Not what people proposed: that is a text of theirs.
            taught = set(self._labels_of(item.version)) if item.classes else set()
            for one in item.classes:
                if one.label in taught:
                    metrics.set("hone_audited_class_accuracy_ratio", one.accuracy, version=item.version, class_name=one.label)

    def _labels_of(self, version: str) -> Sequence[str]:
        try:
            return self._registry.manifest(version).labels
        except HoneError:
            return ()

    def _show(self, found: Found, alarm: DriftAlarm | None) -> None:
        metrics, version = self._metrics, found.version
        metrics.count("hone_drift_windows_total", state=found.state)
        for item in found.findings:
            if item.size is not None:
                metrics.set("hone_drift_size", item.size, detector=item.detector)
            metrics.set("hone_drift_detected", float(item.verdict == "drift"), detector=item.detector)
        for bound in ("accuracy", "low", "high", "corrected"):
            if found.estimate is not None and bound in found.estimate:
                metrics.set("hone_estimated_accuracy_ratio", found.estimate[bound], version=version, bound=bound)
        if alarm is not None:
            for detector in alarm.detectors:
                metrics.count("hone_drift_alarms_total", detector=detector)
            facts = {"alarm_id": alarm.alarm_id, "detectors": sorted(alarm.detectors), "version": version}
            log.warning("drift: traffic is not what the model was measured on", extra=facts)


def state_of(findings: Sequence[Finding]) -> DriftState:
    """Return the state of a window: the gravest of its findings."""
    verdicts = {item.verdict for item in findings}
    order: tuple[DriftState, ...] = ("drift", "known", "quiet")
    return next((verdict for verdict in order if verdict in verdicts), "unknown")


def _scores(watched: _Watched, window: Window, texts: Texts | None) -> dict[str, Score | None]:
    records = window.records
    labels = tuple(record.label for record in records)
    answers = Sample(labels, np.array([record.score for record in records], dtype=np.float32), texts)
    return compare(watched.detectors, answers)


def _rise(outcomes: Sequence[Outcome], known: Mapping[str, float]) -> Finding:
    """Return what ADWIN says of the newest outcomes; it has a level of its own and no p-value."""
    if len(outcomes) < MIN_ROWS:
        return Finding(ERRORS, "unknown")
    recent = [size for place, size in rises(outcomes) if place >= len(outcomes) - _RECENT_OUTCOMES]
    if not recent:
        return Finding(ERRORS, "quiet", 0.0)
    new = ERRORS not in known or max(recent) > GROWTH * known[ERRORS]
    return Finding(ERRORS, "drift" if new else "known", max(recent))


def _why(findings: Sequence[Finding], state: DriftState, *, texts: bool) -> str:
    if state == "quiet":
        said = "no detector finds more than chance"
    elif state == "unknown":
        said = "there is too little to compare"
    else:
        moved = [item for item in findings if item.verdict == state]
        said = "; ".join(_said(item) for item in moved)
    return said if texts else f"{said} (only outputs are watched: the texts are not kept, or too few are)"


def _said(finding: Finding) -> str:
    chance = "" if finding.p_value is None else f" (p = {finding.p_value:.2g})"
    return f"{finding.detector} {finding.size or 0.0:.3g}{chance}"


def _as_json(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {name: round(value, 6) for name, value in vars(estimate).items()}

"""Folders of a simulation: the base version taught once, and a state folder of its own for each strategy."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.errors import DataError
from core.registries import registry_of
from core.settings import Settings
from deploy.simulate.plan import Plan, Strategy
from deploy.simulate.stream import Row, Stream
from feedback.store import Store
from train.progress import Report
from train.scoring import scores_of
from train.teach import TeachRequest, teach

# Files of a bundle that are worth sharing among state folders; smaller ones may be changed in place, as logs are.
_SHARED_BYTES = 1_000_000


@dataclass(frozen=True)
class Work:
    """Where a simulation keeps what it can go on from."""

    folder: Path
    plan: Plan

    @property
    def base_home(self) -> Path:
        """The state folder in which the base version was taught."""
        return self.folder / "base"

    @property
    def measuring(self) -> Path:
        """Embeddings of the fixed rows, kept apart so that no run of learning finds them."""
        return self.folder / "measuring"

    def home_of(self, strategy: Strategy) -> Path:
        """Return the state folder of a strategy."""
        return self.folder / strategy / "home"

    def journal_of(self, strategy: Strategy) -> Path:
        """Return the file of a strategy's records."""
        return self.folder / strategy / "journal.jsonl"

    def traffic_of(self, strategy: Strategy) -> Path:
        """Return the file of what a strategy answered in the step it is at."""
        return self.folder / strategy / "traffic.json"

    def settings(self, home: Path, strategy: Strategy | None = None) -> Settings:
        """Return the settings for a state folder: the environment's, but for what the plan decides.

        A step of days passes within seconds here, so what is counted by the wall's clock would mean something else: bursts are
        looked for within an instant, and there is no probation unless the plan has one. Nothing starts runs but the steps.
        """
        plan = self.plan
        changed: dict[str, object] = {
            "HONE_HOME": home,
            "bundles_url": "",
            "audit_ratio": plan.label_ratio,
            "review_queue_items": 0,
            "review_audit_ratio": 0.5,
            "review_suspect_ratio": 0.5,
            "suspect_burst_window_s": 0.001,
            "probation_s": plan.probation_s,
            "correction_weight": plan.correction_weight,
            "swap_poll_s": 0.02,
            # How fast it answers is not what is simulated; a machine that is busy with training may be slow.
            "request_timeout_s": 3_600.0,
            "queue_max_wait_s": 3_600.0,
            "overload_wait_s": 3_600.0,
            "load_timeout_s": 3_600.0,
            "log_queue_rows": 100_000,
            # Nobody is there to sign.
            "gate_mode": "auto",
            "learn_after_corrections": 0,
            "learn_every_s": 0.0,
            "log_text": "full",
            "log_sample_ratio": 1.0,
        }
        # Memory is a strategy of its own; the others are measured without it, but for auto, which has all there is.
        if "memory_entries" in Settings.model_fields and strategy not in ("memory", "auto"):
            changed["memory_entries"] = 0
        return Settings.model_validate(changed)

    def teach_base(self, stream: Stream, progress: Report) -> str:
        """Teach the base version unless that is done, and return its name.

        Raises:
            DataError: what was taught is not fit to serve.
        """
        settings = self.settings(self.base_home)
        settings.home.prepare()
        registry = registry_of(settings)
        champion = registry.aliases().champion
        if champion is not None:
            return champion
        file = self.folder / "base.parquet"
        splits = {"split": [row.split for row in stream.base]} if any(row.split for row in stream.base) else {}
        columns = {"text": [row.text for row in stream.base], "label": [row.label for row in stream.base]}
        pd.DataFrame({**columns, **splits}).to_parquet(file)
        plan = self.plan
        request = TeachRequest(file, base=plan.base_encoder, speed=plan.base_speed, features=plan.features, seed=plan.seed)
        report = teach(settings, request, progress)
        if not report.promoted:
            raise DataError(
                f"what was taught from the {len(stream.base)} first rows of {stream.name} was not let through: "
                f"{report.decision.summary}; teach from more (--base-until, --base-steps), or lower HONE_GATE_MIN_ROWS"
            )
        Store.of(settings).close()
        return report.version

    def open_home(self, strategy: Strategy) -> Settings:
        """Return the settings of a strategy's state folder, made from the base's unless it is there already."""
        home = self.home_of(strategy)
        if not home.exists():
            spare = home.with_suffix(".new")
            shutil.rmtree(spare, ignore_errors=True)
            shutil.copytree(self.base_home, spare, copy_function=_link_or_copy)
            # Whole or not at all.
            os.rename(spare, home)
        settings = self.settings(home, strategy)
        settings.home.prepare()
        return settings

    def measure(self, folder: Path, labels: Sequence[str], tests: Mapping[str, Sequence[Row]]) -> dict[str, float]:
        """Return the accuracy of the bundle in ``folder``, whose labels are ``labels``, on each set of fixed rows."""
        found: dict[str, float] = {}
        for name, rows in tests.items():
            best = scores_of(folder, [row.text for row in rows], self.measuring).argmax(axis=1)
            right = Counter(labels[int(place)] == row.label for place, row in zip(best, rows, strict=True))
            found[name] = round(right[True] / len(rows), 6)
        return found


def _link_or_copy(source: str, target: str) -> str:
    if os.path.getsize(source) >= _SHARED_BYTES and not source.endswith((".db", ".db-wal", ".jsonl")):
        try:
            os.link(source, target)
        except OSError:
            return str(shutil.copy2(source, target))
        return target
    return str(shutil.copy2(source, target))

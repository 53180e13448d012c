"""What a stopped fine-tuning needs in order to go on as if nothing had happened: one file, replaced as a whole.

It holds weights that have learned from corrections, so erasing somebody's data removes it (``feedback/erasing.py``).
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from core.errors import CheckpointUnusable
from train.request import CheckpointPlace

log = logging.getLogger("hone.learner")

# Raised when what a checkpoint holds changes: an older one is then refused rather than misread.
_FORM = 1


class Checkpoints:
    """The checkpoint of one fine-tuning; ``key`` names what is trained, so that no other training goes on from it."""

    def __init__(self, place: CheckpointPlace, key: str) -> None:
        self._place, self._key = place, key
        self._wrote = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the state to go on from, None for a run from the start, or where the run to go on from had not come so far.

        Raises:
            CheckpointUnusable: the file is damaged, or of a training on other data or with other settings.
        """
        path = self._place.resume
        if path is None or not path.exists():
            return None
        try:
            # Restricted to tensors and plain values: a file in the state folder must not be able to run code.
            found = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointUnusable(f"the checkpoint cannot be read ({type(error).__name__}); start a new run") from error
        if not isinstance(found, dict) or found.get("form") != _FORM or found.get("key") != self._key:
            raise CheckpointUnusable(
                "the checkpoint belongs to a training on other data, from another encoder, with other settings or by another "
                "release; start a new run"
            )
        state: dict[str, Any] = found["state"]
        return state

    def due(self) -> bool:
        """Return whether so much time has gone by since the last writing that the next is due."""
        every_s = self._place.every_s
        return every_s > 0 and time.monotonic() - self._wrote >= every_s

    def save(self, state: dict[str, Any]) -> None:
        """Put ``state`` in place of what was there; a disk that refuses it costs the checkpoint, not the training."""
        path = self._place.path
        temporary = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".checkpoint-")
            with os.fdopen(handle, "wb") as file:
                torch.save({"form": _FORM, "key": self._key, "state": state}, file)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except (OSError, RuntimeError) as error:
            # torch turns a full disk into a RuntimeError.
            log.warning("the checkpoint was not written", extra={"reason": type(error).__name__})
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
        self._wrote = time.monotonic()

"""A fit that ends with fine-tuning: a trial of a search is to show how good it gets, and needs no bundle."""

from __future__ import annotations

from collections.abc import Callable

from train.full import FullFitter
from train.progress import Epoch
from train.select import HeadRows, Option, fit_option


class TrialFitter(FullFitter):
    """A fit at full speed as far as its fine-tuning."""

    def judge_epochs(self, on_epoch: Callable[[Epoch], None]) -> None:
        """Fine-tune from the probe, and tell what validation rows say after each epoch."""
        start = self._start()
        self._finetune(start.base, start.probe, train_embeddings=start.vocabulary is not None, on_epoch=on_epoch)

    def _linear_options(self, heads: HeadRows) -> list[Option]:
        # The others are judged once, beside the trial that wins.
        return [fit_option(heads, "encoder", "encoder", self._beat)]

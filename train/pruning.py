"""Which trials of a search are given up: asynchronous successive halving (ASHA, Li et al. 2020, arXiv 1810.05934).

Computed from the records alone, so that a search that goes on after a stop compares with what there was before it. Ray Tune's
own scheduler knows only what it heard itself, and would have the trials of before run again.
"""

from __future__ import annotations

from statistics import median

from train.search_book import SearchBook, Trial

# Shares of a trial's own training at which it is compared. Shares rather than epochs: after two epochs of eight the rate is
# still high, and the loss with it.
_LOOKS = (0.3, 0.6)


def falls_behind(book: SearchBook, trial: Trial) -> str | None:
    """Return why ``trial`` is to be given up after the last epoch of its record, None where it goes on.

    It is compared where that epoch took it past a look, by the loss of the weights kept there, with the others that came so
    far: the better half goes on. So does trial 0 always, which the best is compared with.
    """
    ratios = [epoch.ratio for epoch in trial.epochs]
    if trial.number == 0 or not ratios or ratios[-1] >= 1.0:
        return None
    before = ratios[-2] if len(ratios) > 1 else 0.0
    look = max((share for share in _LOOKS if before < share <= ratios[-1]), default=None)
    if look is None:
        return None
    own = trial.loss_at(look)
    others = [loss for other in book.trials if other is not trial and (loss := other.loss_at(look)) is not None]
    # A loss that is no number is behind any.
    if own is None or not others or own <= median(others):
        return None
    return f"behind {sum(loss < own for loss in others)} of {len(others)} trials after {ratios[-1]:.0%} of its training"

"""Who is let into the queue: refusing at once is kinder than letting everyone wait.

Two limits bound the wait. The hard one holds always. The soft one holds while more arrives than is answered. Callers that wait
for their answers before they ask again may fill the queue to their number and leave it there: that is no overload. Callers that
do not wait would fill it without end, and everybody would wait with them.

Callers who are refused and ask again at once look like the second kind, though they may be few: their refusals count as
arrivals and keep the soft limit in force, which refuses them again. So now and then, ever more seldom, the limit is lifted for
a moment. A crowd that fits goes in and waits, and the overload is over; one that does not is refused as before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.errors import DeadlineExceeded, Overloaded

# Arrivals outrun answers when they are more by a tenth and by 16 requests, in two windows on end. Callers that wait for their
# answers cannot do that while they are 32 or fewer, since no more than that can be under way; more of them do when all start at
# once, but that fills one window only. Counted in texts this would not hold: of callers some of whom send 32 at a time, chance
# alone has 50 texts more arrive than are answered, again and again.
# Nor is an overload over while a fifth of those who come are refused, however few they seem: a process that does not get the
# processor reads no more requests than it answers, and would be flooded with those it has not read yet.
# A window is long enough for 48 arrivals, or a slow engine would never be outrun by 16. Two windows also tell that it is over:
# in one alone a batch may end that others had been waiting for.
_WINDOW_S = 0.15
_LONGEST_WINDOW_S = 1.0
_WINDOW_REQUESTS = 48
_OUTRUN_RATIO = 1.1
_OUTRUN_REQUESTS = 16
_REFUSED_RATIO = 0.2
_WINDOWS = 2
# A request waits for as much work as this many of its own size before a wait counts as long: callers who send much at a time
# measure in other units than those who send one text.
_OWN_SIZES = 4.0
# So many texts may wait while an overload is put to the test; a caller has one under way, so this is the crowd a test can find.
# The first test comes after forty times what they take the engine, the next after three times that and so on: a true overload
# spends a hundredth of its first minutes in tests, and less and less later. Seldomer ones leave callers who ask again at once
# refused for most of a minute after an overload is over.
_TEST_TEXTS = 64
_FIRST_TEST_AFTER = 40.0
_TEST_AFTER_FACTOR = 3.0
# What each batch leaves of those before it, in the sums of seconds and texts whose ratio is the pace. A mean of each batch's
# own seconds per text would be that of small batches, and have a crowd refused that one large batch answers.
_KEPT_RATIO = 0.9


@dataclass(frozen=True)
class QueueLimits:
    """What may wait: ``max_texts`` and ``max_wait_s`` in any case, ``overload_wait_s`` while arrivals outrun answers.

    As many as ``always_texts`` may wait however slow the engine: they keep it in batches, and with fewer a slow engine becomes
    slower still, so that what has passed for an overload never ends.
    """

    max_texts: int
    max_wait_s: float = math.inf
    overload_wait_s: float = math.inf
    always_texts: int = 1


class Admission:
    """Decides on arrivals, by what it is told of arrivals and answers; all times are of one clock."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._recent_s = 0.0
        self._recent_texts = 0.0
        self._window_start = -math.inf
        self._arrived = 0
        self._answered = 0.0
        self._refused = 0
        self._overloaded = False
        self._against = 0
        self._test_after = _FIRST_TEST_AFTER
        self._test_at = math.inf
        self._testing = False

    @property
    def overloaded(self) -> bool:
        """Whether arrivals have been outrunning answers."""
        return self._overloaded

    def wait_s(self, texts: int) -> float:
        """Return how long ``texts`` of them take the engine, by its recent pace."""
        return texts * self._recent_s / self._recent_texts if self._recent_texts else 0.0

    def check(self, texts: int, waiting: int, now: float, deadline: float = math.inf) -> None:
        """Count the arrival of a request of ``texts`` while ``waiting`` others wait, and return if they may join.

        What brings more than ``max_texts`` alone is let in when nothing waits: it would never be otherwise.

        Raises:
            Overloaded: the queue is full, or too long.
            DeadlineExceeded: their turn would come after ``deadline``.
        """
        self._roll(now)
        # Those who are refused come again. As long as there is no overload they would make one of a crowd that fits but for a
        # moment; once there is one, they tell that it goes on.
        if self._overloaded:
            self._arrived += 1
        if waiting:
            self._refuse_what_waits_too_long(texts, waiting, now, deadline)
        if not self._overloaded:
            self._arrived += 1

    def turned_away(self, now: float) -> None:
        """Count the arrival of a request that was refused before it came here, as one of a key with too many in flight.

        What holds a key's requests down holds the queue down with them, so that no more would join than are answered: without
        these, callers of one key who do not wait would never look like an overload, and everyone would wait for all of them.
        """
        self._roll(now)
        self._arrived += 1

    def answered(self, texts: int, elapsed_s: float, now: float, requests: float) -> None:
        """Take note that a batch of ``texts`` took ``elapsed_s``, from the end of the batch before where it had to wait.

        It answered ``requests``, of which each counts by the share of its texts that were in the batch.
        """
        self._roll(now)
        self._answered += requests
        self._recent_s = _KEPT_RATIO * self._recent_s + elapsed_s
        self._recent_texts = _KEPT_RATIO * self._recent_texts + texts

    def _refuse_what_waits_too_long(self, texts: int, waiting: int, now: float, deadline: float) -> None:
        if waiting + texts > self._limits.max_texts:
            raise Overloaded(
                f"{waiting} texts wait already and {self._limits.max_texts} may; send the request again later",
                waiting_texts=waiting,
                queue_max_texts=self._limits.max_texts,
            )
        wait_s = self.wait_s(waiting)
        if waiting + texts > self._limits.always_texts and wait_s > max(self._limit_s(now), _OWN_SIZES * self.wait_s(texts)):
            if self._testing:
                self._put_off(now)
            self._refused += 1
            raise Overloaded(
                f"{waiting} texts wait already, which takes about {wait_s:.2g} s; send the request again later",
                waiting_texts=waiting,
                wait_s=round(wait_s, 3),
            )
        if now + wait_s > deadline:
            raise DeadlineExceeded(
                f"{waiting} texts wait already, which takes about {wait_s:.2g} s, and the answer is wanted earlier",
                waiting_texts=waiting,
                wait_s=round(wait_s, 3),
            )

    def _limit_s(self, now: float) -> float:
        if not self._overloaded:
            return self._limits.max_wait_s
        if now < self._test_at:
            return self._limits.overload_wait_s
        self._testing = True
        return min(self._limits.max_wait_s, max(self._limits.overload_wait_s, self.wait_s(_TEST_TEXTS)))

    def _put_off(self, now: float) -> None:
        self._testing = False
        self._test_at = now + self._test_after * self.wait_s(_TEST_TEXTS)
        self._test_after *= _TEST_AFTER_FACTOR

    def _roll(self, now: float) -> None:
        age_s = now - self._window_start
        if age_s < _WINDOW_S or (age_s < _LONGEST_WINDOW_S and self._arrived < _WINDOW_REQUESTS):
            return
        outrun = self._arrived > max(_OUTRUN_RATIO * self._answered, self._answered + _OUTRUN_REQUESTS)
        # What was refused before a pause says nothing of what comes after it.
        paused = age_s >= _WINDOWS * _LONGEST_WINDOW_S
        outrun = outrun or (self._overloaded and not paused and self._refused > _REFUSED_RATIO * self._arrived)
        self._against = self._against + 1 if outrun != self._overloaded else 0
        if self._against >= _WINDOWS or (not outrun and paused):
            self._turn(outrun, now)
        self._window_start, self._arrived, self._answered, self._refused = now, 0, 0.0, 0

    def _turn(self, overloaded: bool, now: float) -> None:
        if overloaded:
            self._put_off(now)
        elif not self._testing:
            # It ended by itself: the next one is another.
            self._test_after = _FIRST_TEST_AFTER
        self._overloaded, self._against, self._testing = overloaded, 0, False

"""What the decisions about labels amount to: which name stands for which now, which may be said, and which wait.

Corrections keep the label they were given. A book is read from the events each time, so a decision counts for everything that
was ever said, and taking another one later undoes it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import Conflict, InputError, UnknownLabel
from core.label_bodies import LabelEvent, LabelEventRequest
from core.labels import LabelSet

_FEWEST_LABELS = 2
_REMEMBERED = 1_000


@dataclass(frozen=True)
class LabelBook:
    """Labels by the events so far.

    ``becomes`` names the label another one stands for, None where it was retired; ``added`` are in the set beside those of the
    base data; ``proposed`` wait; ``rejected`` were turned down.
    """

    becomes: Mapping[str, str | None] = field(default_factory=dict)
    added: frozenset[str] = frozenset()
    proposed: frozenset[str] = frozenset()
    rejected: frozenset[str] = frozenset()

    @classmethod
    def of(cls, events: Iterable[LabelEvent]) -> LabelBook:
        """Return the book of these events, oldest first."""
        draft = _Draft()
        for event in events:
            draft.apply(event)
        return cls(dict(draft.becomes), frozenset(draft.added), frozenset(draft.proposed), frozenset(draft.rejected))

    def now(self, label: str) -> str | None:
        """Return what ``label`` stands for now: itself unless it was merged, renamed or, None, retired."""
        return self.becomes.get(label, label)

    @property
    def silent(self) -> frozenset[str]:
        """Labels that teach nothing now: proposed, turned down or retired."""
        return self.proposed | self.rejected | {name for name, to in self.becomes.items() if to is None}

    def label_set(self, known: Iterable[str]) -> LabelSet:
        """Return the labels of the next run, where ``known`` are those of the champion."""
        found = {self.now(name) for name in known} | self.added
        return LabelSet.of(name for name in found if name is not None)

    def allowed(self, known: Iterable[str]) -> AllowedLabels:
        """Return which labels may be said, where ``known`` are those of the champion."""
        names = list(known)
        current = self.label_set(names)
        old = [name for name, to in self.becomes.items() if to is not None and to in current]
        return AllowedLabels(current, frozenset([*current, *old]), self.rejected | self.silent - self.proposed)


@dataclass(frozen=True)
class AllowedLabels:
    """The label set of the next run, ``current``; what may be said, old names included; and what must not be proposed again."""

    current: LabelSet
    names: frozenset[str]
    closed: frozenset[str]
    _refusals: dict[str, UnknownLabel] = field(default_factory=dict, repr=False, compare=False)

    def check(self, label: str, *, propose: bool = False) -> bool:
        """Return whether ``label`` is a proposal, which it can be only where ``propose`` says so; False for a known one.

        Raises:
            UnknownLabel: it is not known, with the nearest known ones; or it was turned down or retired.
            InputError: it is proposed and no name a label can have.
        """
        if label in self.names:
            return False
        if propose and label not in self.closed:
            check_label_name(label)
            return True
        raise self._refusal(label)

    def _refusal(self, label: str) -> UnknownLabel:
        # Looking for the nearest of a hundred labels takes a millisecond, and a file can hold one mistake in every row.
        found = self._refusals.get(label)
        if found is None:
            if len(self._refusals) >= _REMEMBERED:
                self._refusals.clear()
            found = self._refusals[label] = _unknown(label, self.current, closed=label in self.closed)
        return UnknownLabel(found.message, **found.details)


@dataclass
class _Draft:
    becomes: dict[str, str | None] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)
    proposed: set[str] = field(default_factory=set)
    rejected: set[str] = field(default_factory=set)

    def apply(self, event: LabelEvent) -> None:
        label = event.label
        match event.action:
            case "propose":
                self.proposed.add(label)
            case "reject":
                self.proposed.discard(label)
                self.rejected.add(label)
            case "accept":
                self._open(label)
                self.added.add(label)
            case "merge" | "rename" | "retire":
                self._move(label, event.into)

    def _open(self, label: str) -> None:
        self.proposed.discard(label)
        self.rejected.discard(label)
        self.becomes.pop(label, None)

    def _move(self, label: str, into: str | None) -> None:
        for name, to in self.becomes.items():
            if to == label:
                self.becomes[name] = into
        self.becomes[label] = into
        if into is not None:
            self._open(into)
        if label in self.added:
            self.added.discard(label)
            self.added |= {into} if into is not None else set()


def check_event(request: LabelEventRequest, book: LabelBook, known: Sequence[str]) -> None:
    """Raise unless the decision can be taken now, where ``known`` are the champion's labels.

    Raises:
        InputError: ``into`` is missing, needless or no name a label can have.
        UnknownLabel: a label it is about is not in the set.
        Conflict: it contradicts how the labels stand.
    """
    current = book.label_set(known)
    moves = request.action in ("merge", "rename")
    if moves != (request.into is not None):
        needs = "needs into" if moves else "takes no into"
        raise InputError(f"{request.action} {needs}; merge and rename need it, the others do not", field="into")
    match request.action:
        case "accept":
            check_label_name(request.label)
            _refuse_if(request.label in current, "the label is in the set already")
        case "reject":
            _refuse_if(request.label not in book.proposed, "the label is not proposed; retire takes one out of the set")
        case "rename":
            current.index(request.label)
            check_label_name(str(request.into))
            _refuse_if(request.into in current, "there is a label of the new name already; merge makes two labels one")
        case "merge":
            current.index(request.label)
            current.index(str(request.into))
            _refuse_if(request.label == request.into, "a label cannot be merged into itself")
            _refuse_if(len(current) <= _FEWEST_LABELS, f"at least {_FEWEST_LABELS} labels must remain")
        case "retire":
            current.index(request.label)
            _refuse_if(len(current) <= _FEWEST_LABELS, f"at least {_FEWEST_LABELS} labels must remain")


def check_label_name(name: str) -> None:
    """Raise InputError unless a label may be called ``name``: no space at its ends, no control character, at most 200 long.

    >>> check_label_name("refund, partial")
    """
    if not name or len(name) > 200 or name != name.strip():
        raise InputError("a new label must have 1 to 200 characters and no space at either end", field="label")
    if any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for sign in name):
        raise InputError("a new label must not hold control, invisible or unassigned characters", field="label")


def _unknown(label: str, current: LabelSet, *, closed: bool) -> UnknownLabel:
    nearest = current.nearest(label)
    hint = "it was turned down or retired" if closed else "new_labels=propose proposes it"
    return UnknownLabel(
        f"label is not one of the {len(current)} known labels; nearest: {', '.join(nearest)}; {hint}",
        nearest=nearest,
        known_count=len(current),
    )


def _refuse_if(wrong: bool, sentence: str) -> None:
    if wrong:
        raise Conflict(sentence)

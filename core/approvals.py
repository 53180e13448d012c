"""Signatures: where the gate only recommends, a person promotes a version or refuses it, and answers for it by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import ApprovalStale, BundleError, Conflict
from core.moves import Move, Standing, standing_of
from core.registry import Aliases, Registry
from core.schemas import now

# Whoever has more than so many candidates to look at has seen enough.
_LATEST = 50
_LINE_BREAKS = str.maketrans("\r\n", "  ")

Note = Callable[[Move], None]


@dataclass(frozen=True)
class Signing:
    """What a person says of a version.

    ``seen`` is the hash of the decision they looked at, where they tell; ``stale`` says that they know of a champion that the
    version was not compared with.
    """

    by: str
    reason: str
    seen: str | None = None
    stale: bool = False


class Approvals:
    """The signatures in ``registry``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def signatures(self, version: str) -> list[Move]:
        """Return who signed for a version, or overrode the gate for it, oldest first."""
        return [move for move in self._registry.moves_of(version) if move.signed]

    def waiting(self) -> list[str]:
        """Return the versions that wait for a signature and were compared with the present champion, oldest first."""
        champion = self._registry.aliases().champion
        found = []
        # What was compared with the champion came after it.
        for version in self._registry.versions()[-_LATEST:]:
            if champion is not None and int(version[1:]) < int(champion[1:]):
                continue
            try:
                decision = self._registry.decision(version)
            except BundleError:
                continue
            waits = decision is not None and decision.waits and decision.champion == champion
            found += [version] if waits and self._registry.standing(version) == "waiting" else []
        return found

    def approve(self, name: str, signing: Signing, note: Note) -> Aliases:
        """Promote a version the gate recommended, once ``note`` has put the signature on record; probation watches it.

        Whatever ``note`` raises, nothing has changed then.

        Raises:
            UnknownVersion, BundleError: there is none, or its files are not what they were.
            Conflict: it does not wait for a signature, is champion already, or its decision is not the one that was seen.
            ApprovalStale: it was compared with another champion than the present one.
        """
        with self._registry.alone():
            version = self._asked(name, signing)
            decision, champion = self._registry.decision(version), self._registry.aliases().champion
            compared = decision.champion if decision is not None else None
            if champion == version:
                raise Conflict(f"{version} is the champion already")
            stale = compared != champion
            if stale and not signing.stale:
                raise ApprovalStale(
                    f"{version} was compared with {compared or 'no champion'}, and {champion or 'none'} is champion now, so "
                    "nobody knows whether it is better; have it trained again, or say that you know (stale)",
                    compared_with=compared,
                    champion=champion,
                )
            self._registry.verify(version)
            self._sign("approve", version, signing, note, stale=stale)
            return self._registry.promote(version, by=signing.by, why=signing.reason)

    def refuse(self, name: str, signing: Signing, note: Note) -> Aliases:
        """Mark a version refused, once ``note`` has put the signature on record; it challenges nobody any more.

        Raises:
            UnknownVersion: there is none.
            Conflict: it is the champion, does not wait for a signature, or its decision is not the one that was seen.
        """
        with self._registry.alone():
            version = self._asked(name, signing)
            if self._registry.aliases().champion == version:
                raise Conflict(f"{version} is the champion; go back to the one before with a rollback")
            self._sign("refuse", version, signing, note, stale=False)
            return self._registry.withdraw(by=signing.by, why=signing.reason, only=version)

    def _asked(self, name: str, signing: Signing) -> str:
        """Return the version that is to be signed for."""
        version = self._registry.resolve(name)
        decision = self._registry.decision(version)
        if decision is None or not decision.waits:
            said = "the gate was not asked about it" if decision is None else f"the gate said: {decision.summary}"
            raise Conflict(f"{version} does not wait for a signature: {said}", mode=decision.mode if decision else None)
        seen = self._registry.decision_hash(version)
        if signing.seen is not None and signing.seen != seen:
            raise Conflict(
                f"the decision on {version} is another than the one that was seen; look at it again", decision_hash=seen
            )
        return version

    def _sign(self, action: str, version: str, signing: Signing, note: Note, *, stale: bool) -> None:
        move = Move.model_validate(
            {
                "at": now(),
                "action": action,
                "version": version,
                "replaced": self._registry.aliases().champion,
                "by": signing.by,
                "why": signing.reason.translate(_LINE_BREAKS),
                "seen": self._registry.decision_hash(version),
                "stale": stale,
            }
        )
        note(move)
        self._registry.record(move)


def standings(registry: Registry, versions: list[str]) -> dict[str, Standing]:
    """Return how each of ``versions`` stands, those left out that nobody has to sign for; reads the history once."""
    moves = [move for move in registry.history(limit=None) if move.signed]
    found: dict[str, Standing] = {}
    for version in versions:
        try:
            standing = standing_of(version, registry.decision(version), moves)
        except BundleError:
            continue
        if standing is not None:
            found[version] = standing
    return found

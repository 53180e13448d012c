"""The one error tree of Hone.

Every error a user can meet has a stable ``code`` and a message that says what was wrong, what was got and what is
allowed. Rooms raise these; only the HTTP layer and the command line translate them (to a status, to an exit code).
Messages and details never carry a user's text.

::

    HoneError
    ├── InputError                 what the caller sent cannot be used
    │   ├── MalformedBody          not JSON, or not the fields the route takes
    │   ├── UnsupportedMediaType   a content type the route does not read
    │   ├── BodyTooLarge           more bytes than the limit
    │   ├── InvalidText            empty, too long, NUL, lone surrogate
    │   ├── TextTooLong            more tokens than the encoder reads, and the caller wants all of them read
    │   ├── TextNotKept            a prediction is corrected whose text is not kept, and no text was sent
    │   ├── TooManyTexts           more texts than one request may carry
    │   ├── UnknownLabel           a label outside the set
    │   ├── TooManyTokens          more tokens than one request may carry
    │   ├── HeadersTooLarge        more bytes of headers than the limit
    │   ├── InvalidHeader          a header Hone reads holds something else than it may
    │   ├── BodyTooSlow            the body did not arrive in time
    │   ├── Unauthenticated        no API key, or one that is not valid
    │   ├── RoleMissing            the key's role does not reach so far
    │   └── ForeignHost            a domain's name, where loopback alone protects
    ├── NotFound
    │   ├── UnknownPrediction
    │   ├── UnknownVersion
    │   ├── UnknownRun
    │   ├── UnknownKey
    │   └── UnknownRoute           no such path, or another method
    ├── Conflict
    │   ├── IdempotencyConflict    one key, two bodies
    │   ├── NothingToRollBack
    │   ├── GateRefused            promoting what the gate refused, without saying so
    │   ├── ApprovalNeeded         promoting what a person has to sign for, without saying so
    │   ├── ApprovalStale          signing for what was compared with another champion, without saying so
    │   ├── RegistryChanged        another node moved something at the same moment
    │   ├── RunNotActive           stopping a run that has ended
    │   ├── RunNotRepeatable       a run whose record does not say enough to resume or repeat it
    │   └── CheckpointUnusable     going on from a checkpoint that is gone, damaged or of another training
    ├── Unavailable                try again later
    │   ├── NoModel                no version serves yet
    │   ├── StoreUnavailable       the feedback store does not answer
    │   ├── BundlesUnavailable     the store that nodes share bundles by does not answer
    │   ├── Overloaded             the queue is full
    │   │   └── KeyBusy            one key has too many requests in flight
    │   └── DeadlineExceeded       the answer did not come in time
    ├── DataError                  a training file is refused
    ├── BundleError                a bundle cannot be trusted or read
    ├── EncoderError               a base encoder cannot be found or read
    ├── KeysDamaged                the file of API keys cannot be read
    ├── SubjectsDamaged            the secret behind subjects is lost or wrong
    ├── TrailBroken                the audit trail was altered
    ├── BackupDamaged              a backup cannot be restored
    ├── LeaseHeld                  another learner is at work
    ├── RunCancelled               somebody stopped the run
    ├── WorkersFailed              the workers that were to train together found no room, or failed too often
    ├── SearchFailed               the trials of a search could not be carried out
    └── StackError                 the local stack cannot start
        ├── PortInUse
        ├── HomeUnusable
        ├── HomeLocked
        └── Exposed                other machines could ask without a key
"""

from __future__ import annotations

from typing import ClassVar


class HoneError(Exception):
    """Base of all errors Hone raises on purpose.

    ``details`` holds machine-readable facts (limits, counts, positions); values are JSON types and never user text.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = details


class InputError(HoneError):
    """The caller sent something that cannot be used; sending it again unchanged will fail again."""

    code = "invalid_input"


class MalformedBody(InputError):
    """The body is not JSON, or not the fields this route takes."""

    code = "malformed_body"


class UnsupportedMediaType(InputError):
    """The content type is one this route does not read."""

    code = "unsupported_media_type"


class BodyTooLarge(InputError):
    """The body has more bytes than ``HONE_MAX_BODY_BYTES`` allows."""

    code = "body_too_large"


class InvalidText(InputError):
    """A text is empty, too long, holds a NUL or a lone surrogate, or is not the one that was predicted."""

    code = "invalid_text"


class TextTooLong(InputError):
    """A text has more tokens than the encoder reads, and the request says not to cut it."""

    code = "text_too_long"


class TextNotKept(InputError):
    """The prediction's text is not kept (``HONE_LOG_TEXT``), so a correction of it has to bring the text."""

    code = "text_not_kept"


class TooManyTexts(InputError):
    """One request carries more texts than ``HONE_MAX_TEXTS`` allows."""

    code = "too_many_texts"


class UnknownLabel(InputError):
    """A label is not in the label set; ``details['nearest']`` names the closest known ones."""

    code = "unknown_label"


class TooManyTokens(InputError):
    """The texts of one request have more tokens than ``HONE_MAX_REQUEST_TOKENS`` allows."""

    code = "too_many_tokens"


class HeadersTooLarge(InputError):
    """The request's first line and headers have more bytes than ``HONE_MAX_HEADER_BYTES`` allows."""

    code = "headers_too_large"


class InvalidHeader(InputError):
    """A header that Hone reads holds something else than it may."""

    code = "invalid_header"


class BodyTooSlow(InputError):
    """The body did not arrive within ``HONE_READ_TIMEOUT_S``."""

    code = "body_too_slow"


class Unauthenticated(InputError):
    """The route takes an API key; there was none, or one that is unknown, expired or revoked."""

    code = "unauthenticated"


class RoleMissing(InputError):
    """The key is valid, and its role does not reach so far; ``details['role']`` names the one that does."""

    code = "role_missing"


class ForeignHost(InputError):
    """The request was sent to a domain's name; without keys the service answers requests to localhost only."""

    code = "foreign_host"


class NotFound(HoneError):
    """The named thing does not exist."""

    code = "not_found"


class UnknownPrediction(NotFound):
    """No prediction has this id."""

    code = "unknown_prediction"


class UnknownVersion(NotFound):
    """The registry has no such version or alias."""

    code = "unknown_version"


class UnknownRun(NotFound):
    """No run has this id."""

    code = "unknown_run"


class UnknownKey(NotFound):
    """No API key has this id or name."""

    code = "unknown_key"


class UnknownRoute(NotFound):
    """No route answers this path with this method."""

    code = "unknown_route"


class Conflict(HoneError):
    """The request contradicts what is already recorded."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The idempotency key was used before with another body."""

    code = "idempotency_conflict"


class NothingToRollBack(Conflict):
    """There is no previous champion to go back to."""

    code = "nothing_to_roll_back"


class GateRefused(Conflict):
    """The gate refused this version; promoting it takes an explicit override."""

    code = "gate_refused"


class ApprovalNeeded(Conflict):
    """A person has to sign for this version first; promoting it without takes an explicit override."""

    code = "approval_needed"


class ApprovalStale(Conflict):
    """The version was compared with another champion than the present one; signing for it takes saying that one knows."""

    code = "approval_stale"


class RegistryChanged(Conflict):
    """Another node changed the registry at the same moment; look at it and try again."""

    code = "registry_changed"


class RunNotActive(Conflict):
    """The run has ended already."""

    code = "run_not_active"


class RunNotRepeatable(Conflict):
    """The run cannot be resumed or repeated: it goes on still, or its record or its data are gone."""

    code = "run_not_repeatable"


class CheckpointUnusable(Conflict):
    """The checkpoint a run should go on from is gone, damaged, or belongs to another training."""

    code = "checkpoint_unusable"


class Unavailable(HoneError):
    """Hone cannot answer now; the same request may succeed later."""

    code = "unavailable"


class NoModel(Unavailable):
    """No version is loaded yet."""

    code = "no_model"


class StoreUnavailable(Unavailable):
    """The feedback store does not answer; nothing was written."""

    code = "store_unavailable"


class BundlesUnavailable(Unavailable):
    """The store of bundles (``HONE_BUNDLES_URL``) does not answer; what serves keeps serving, and no version can be moved."""

    code = "bundles_unavailable"


class Overloaded(Unavailable):
    """The queue of texts waiting for the engine is full."""

    code = "overloaded"


class KeyBusy(Overloaded):
    """The key has as many requests in flight as ``HONE_MAX_IN_FLIGHT_PER_KEY`` allows."""

    code = "key_busy"


class DeadlineExceeded(Unavailable):
    """The answer did not come within ``HONE_REQUEST_TIMEOUT_S``."""

    code = "deadline_exceeded"


class DataError(HoneError):
    """A training file is refused; the message names the file, the reason and the rows."""

    code = "bad_data"


class BundleError(HoneError):
    """A bundle is incomplete, altered or of a format this release does not read."""

    code = "bad_bundle"


class EncoderError(HoneError):
    """A base encoder cannot be found, fetched or read."""

    code = "bad_encoder"


class KeysDamaged(HoneError):
    """The file of API keys cannot be read; restore it, or remove it and make new keys."""

    code = "keys_damaged"


class SubjectsDamaged(HoneError):
    """The secret behind subjects' pseudonyms is lost, wrong or unreadable; restore it from a backup."""

    code = "subjects_damaged"


class TrailBroken(HoneError):
    """The audit trail was altered: an entry does not have the hash it was given, or is missing."""

    code = "trail_broken"


class BackupDamaged(HoneError):
    """A backup is incomplete, altered, or of a newer release."""

    code = "backup_damaged"


class LeaseHeld(HoneError):
    """Another learner holds the lease of this model."""

    code = "lease_held"


class RunCancelled(HoneError):
    """The run was stopped on request."""

    code = "run_cancelled"


class WorkersFailed(HoneError):
    """The workers that were to train an encoder together found no room in the cluster, or failed too often."""

    code = "workers_failed"


class SearchFailed(HoneError):
    """Ray Tune could not carry out the trials of a search; what they came to so far is kept."""

    code = "search_failed"


class StackError(HoneError):
    """The local stack cannot start."""

    code = "stack"


class PortInUse(StackError):
    """Another process listens on the port."""

    code = "port_in_use"


class HomeUnusable(StackError):
    """The state folder cannot be created or written."""

    code = "home_unusable"


class HomeLocked(StackError):
    """Another stack already runs on this state folder."""

    code = "home_locked"


class Exposed(StackError):
    """Other machines could use the service without a key, and nobody said that they may."""

    code = "exposed"

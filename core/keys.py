"""API keys: who may ask, who may correct, who may operate.

::

    keys.json     id, name, role, SHA-256 of the secret, when made, when it ends, when revoked; one file, replaced as a whole
    keys.lock     held while it is changed

Roles are steps, each with the rights of those below: ``predict`` < ``annotate`` < ``operate``. Who corrects has to see the
answer, and who operates has to try it; with sets instead, every key but the simplest would name several.

A secret is 32 random bytes, so its SHA-256 is kept without salt and without a slow hash: those make up for secrets that can be
guessed, and nobody guesses 256 bits. A slow hash would cost every request milliseconds, also those of strangers.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from core.errors import Conflict, InputError, KeysDamaged, UnknownKey
from core.home import write_atomically
from core.schemas import now

Role = Literal["predict", "annotate", "operate"]
ROLES: tuple[Role, ...] = ("predict", "annotate", "operate")
"""From the least to the most."""

_SECRET = re.compile(r"hone_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# Compared with where no key has the id, so that this takes as long as a wrong secret does.
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class Key(BaseModel):
    """One key as the file keeps it; the secret itself is nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=64)
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None

    def valid(self, at: datetime) -> bool:
        """Return whether it opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)

    def reaches(self, role: Role) -> bool:
        """Return whether its role has the rights of ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


class KeyFile(BaseModel):
    """What ``keys.json`` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    keys: list[Key] = []


@dataclass(frozen=True)
class KeySet:
    """Keys by id, for looking up."""

    by_id: Mapping[str, Key]

    def find(self, secret: str) -> Key | None:
        """Return the valid key with this secret, in a time that does not tell how near a wrong one comes."""
        form = _SECRET.fullmatch(secret)
        key = self.by_id.get(form[1]) if form else None
        same = hmac.compare_digest(_digest(secret), key.sha256 if key else _NOBODY)
        return key if key is not None and same and key.valid(now()) else None


def read_keys(path: Path) -> KeySet:
    """Return the keys in ``path``; none where there is no such file.

    Raises:
        KeysDamaged: it is there, and cannot be read.
    """
    return KeySet({key.key_id: key for key in _load(path)})


class KeyRing:
    """The keys of one state folder, for those who change them. Changes hold a lock shared by all processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"), timeout=30)

    def listed(self) -> list[Key]:
        """Return all keys, revoked ones too, oldest first.

        Raises:
            KeysDamaged: the file cannot be read.
        """
        return _load(self._path)

    def create(self, name: str, role: Role, *, expires_at: datetime | None = None) -> tuple[Key, str]:
        """Make a key and return it with its secret, which is shown here and kept nowhere.

        Raises:
            InputError: the name cannot be used.
            Conflict: a valid key has it already.
            KeysDamaged: the file cannot be read; it is left as it is.
        """
        if not _NAME.fullmatch(name):
            raise InputError("a key's name is 1 to 64 letters, digits, dots, dashes, underscores or @, the first no sign")
        key_id = secrets.token_hex(6)
        secret = f"hone_{key_id}_{secrets.token_urlsafe(32)}"
        key = Key(key_id=key_id, name=name, role=role, sha256=_digest(secret), created_at=now(), expires_at=expires_at)
        with self._lock:
            keys = self.listed()
            if any(other.name == name and other.valid(key.created_at) for other in keys):
                raise Conflict(f"a valid key is called {name} already; revoke it first, or choose another name")
            self._write([*keys, key])
        return key, secret

    def revoke(self, name: str) -> Key:
        """End the valid key with this name or id, and return it; it stays in the list.

        Raises:
            UnknownKey: no valid key has this name or id.
            KeysDamaged: the file cannot be read.
        """
        with self._lock:
            keys = self.listed()
            moment = now()
            place = next((at for at, key in enumerate(keys) if name in (key.name, key.key_id) and key.valid(moment)), None)
            if place is None:
                raise UnknownKey("no valid key has this name or id; hone keys list shows them all")
            keys[place] = keys[place].model_copy(update={"revoked_at": moment})
            self._write(keys)
        return keys[place]

    def forget(self, key_id: str) -> None:
        """Remove a key without a trace, if it is there; for keys that a program makes for itself."""
        with self._lock:
            self._write([key for key in self.listed() if key.key_id != key_id])

    def _write(self, keys: Sequence[Key]) -> None:
        # A temporary file is readable by its owner alone, and the new file stays so.
        write_atomically(self._path, KeyFile(keys=list(keys)).model_dump_json(indent=1).encode())


def _load(path: Path) -> list[Key]:
    try:
        return KeyFile.model_validate_json(path.read_bytes()).keys
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        # Not chained: pydantic's message quotes the file.
        raise KeysDamaged(f"{path} cannot be read; restore it, or remove it and make new keys") from None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

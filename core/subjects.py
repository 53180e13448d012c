"""Pseudonyms: what the store keeps of the key by which a caller names the person a text is about.

The key is often a customer's number, which a plain hash would not hide: all of them can be tried. So it is hashed with a secret
that lies beside the store and not in it, and whoever has the store alone can neither read nor guess whom a row is about. Lose
the secret, and nobody can find a person's rows any more; ``hone backup`` takes it along.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
from pathlib import Path

from core.errors import SubjectsDamaged
from core.home import sync_folder

_SECRET = re.compile("[0-9a-f]{64}")


class Subjects:
    """The secret in the file ``path``, which the first use makes; processes may share it, and so may threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._secret: bytes | None = None

    @property
    def fingerprint(self) -> str:
        """The secret's own mark, with which each of its pseudonyms begins."""
        return hashlib.sha256(b"hone subjects" + self._read()).hexdigest()[:8]

    def pseudonym(self, key: str) -> str:
        """Return what stands for ``key`` in the store: always the same, and no way back.

        Raises:
            SubjectsDamaged: the secret cannot be read, or made.
        """
        mac = hmac.new(self._read(), key.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{self.fingerprint}.{mac.hexdigest()}"

    def _read(self) -> bytes:
        if self._secret is None:
            try:
                found = self._text()
            except OSError as error:
                raise SubjectsDamaged(
                    f"{self._path} cannot be read or made ({error.strerror or type(error).__name__}); without it no person's "
                    "data can be told from others'"
                ) from error
            if not _SECRET.fullmatch(found):
                raise SubjectsDamaged(f"{self._path} holds no secret of 64 hexadecimal digits; restore it from a backup")
            self._secret = bytes.fromhex(found)
        return self._secret

    def _text(self) -> str:
        if not self._path.exists():
            self._make()
        return self._path.read_text(encoding="ascii", errors="replace").strip()

    def _make(self) -> None:
        # Linked into place, which fails where another process was quicker: then its secret is everybody's.
        handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".subjects")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, self._path)
        except FileExistsError:
            return
        finally:
            Path(temporary).unlink()
        sync_folder(self._path.parent)

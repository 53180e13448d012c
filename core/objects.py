"""An object store, S3 or one that speaks like it, as the registry needs it: small objects that are replaced only by who has
seen the last one, and large ones that are named by what they hold.

Obstore (the Rust crate ``object_store``) does the work. Of the libraries that could, it is the one that knows writes on a
condition, without which two nodes could promote at once; and it speaks to Google's and Azure's stores as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BundlesUnavailable, RegistryChanged
from core.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

# Whoever asks for the small ones may be about to answer somebody.
_QUICK: dict[str, Any] = {"connect_timeout": "2s", "timeout": "5s"}
# A large file may take long, as long as something of it comes.
_PATIENT: dict[str, Any] = {"connect_timeout": "5s", "timeout": "1h", "read_timeout": "30s"}
_PIECE_BYTES = 4 << 20


@dataclass(frozen=True)
class Tagged:
    """An object and the tag by which the store knows this very content; both empty where there is none."""

    data: bytes
    tag: str


class Objects:
    """What lies under one address; ``patient`` is for large objects, and each of the two has its own deadlines."""

    def __init__(self, quick: ObjectStore, patient: ObjectStore, where: str) -> None:
        self._quick = quick
        self._patient = patient
        self._where = where

    @classmethod
    def of(cls, settings: Settings) -> Objects:
        """Return what ``HONE_BUNDLES_URL`` names. Credentials come from the environment, as AWS's own programs read them.

        Raises:
            BundlesUnavailable: the extra is not installed, or the address is none.
        """
        try:
            from datetime import timedelta

            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise BundlesUnavailable("HONE_BUNDLES_URL takes the extra s3: pip install 'hone[s3]'") from error
        options: dict[str, Any] = {}
        if settings.bundles_endpoint and settings.bundles_url.startswith("s3"):
            options["endpoint"] = settings.bundles_endpoint
        plain: dict[str, Any] = {"allow_http": settings.bundles_endpoint.startswith("http://")}
        # Its overloads know each kind of store apart, and here the address decides which it is.
        make: Any = from_url
        once = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}
        try:
            quick = make(settings.bundles_address, client_options={**plain, **_QUICK}, retry_config=once, **options)
            patient = make(settings.bundles_address, client_options={**plain, **_PATIENT}, **options)
        except (BaseError, ValueError, TypeError) as error:
            raise BundlesUnavailable(
                f"HONE_BUNDLES_URL or HONE_BUNDLES_ENDPOINT cannot be used ({type(error).__name__}); an address is "
                "s3://BUCKET/PREFIX, an endpoint http(s)://HOST:PORT"
            ) from error
        return cls(quick, patient, settings.bundles_address)

    def read(self, key: str, *, unless: str = "") -> Tagged | None:
        """Return the object, or None while its tag is still ``unless``.

        Raises:
            BundlesUnavailable: the store does not answer.
        """
        import obstore
        from obstore.exceptions import NotModifiedError

        with self._told():
            try:
                found = obstore.get(self._quick, key, options={"if_none_match": unless} if unless else None)
            except NotModifiedError:
                return None
            except FileNotFoundError:
                return Tagged(b"", "")
            return Tagged(bytes(found.bytes()), found.meta["e_tag"] or "")

    def write(self, key: str, data: bytes, *, replacing: str) -> str:
        """Put ``data`` in the place of the object with the tag ``replacing`` (empty: of none) and return the new tag.

        Raises:
            RegistryChanged: another object is there by now.
            BundlesUnavailable: the store does not answer; whether it did as it was told is not known.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told():
            try:
                done = obstore.put(self._quick, key, data, mode={"e_tag": replacing} if replacing else "create")
            except (AlreadyExistsError, PreconditionError) as error:
                raise RegistryChanged("another node changed the registry at this moment; look at it and try again") from error
        return done["e_tag"] or ""

    def push(self, key: str, content: Path | bytes) -> None:
        """Put ``content`` there unless an object has this name already; the name says what it holds.

        Raises:
            BundlesUnavailable: the store does not take it.
        """
        import obstore

        with self._told():
            try:
                obstore.head(self._quick, key)
            except FileNotFoundError:
                obstore.put(self._patient, key, content)

    def fetch(self, key: str) -> bytes:
        """Return a small object.

        Raises:
            BundlesUnavailable: it is not there, or the store does not answer.
        """
        import obstore

        with self._told():
            return bytes(obstore.get(self._quick, key).bytes())

    def pull(self, key: str, path: Path) -> str:
        """Write an object into ``path`` and return the SHA-256 of what was written.

        Raises:
            BundlesUnavailable: it is not there, or the store stops answering.
        """
        import obstore

        digest = hashlib.sha256()
        with self._told(), path.open("wb") as file:
            for piece in obstore.get(self._patient, key).stream(min_chunk_size=_PIECE_BYTES):
                digest.update(piece)
                file.write(piece)
        return digest.hexdigest()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Let no error of the library's out: its messages are long, and name what belongs to nobody else."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise BundlesUnavailable(
                f"the store of bundles at {self._where} does not let this process in; AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or the node's role, decide"
            ) from error
        except FileNotFoundError as error:
            raise BundlesUnavailable(
                f"the store of bundles at {self._where} lacks the bucket, or an object it should hold"
            ) from error
        except (BaseError, OSError) as error:
            raise BundlesUnavailable(
                f"the store of bundles at {self._where} does not answer ({type(error).__name__})"
            ) from error

"""What a database's failure means to a caller: the single place where it becomes one of Hone's errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import Timeout
from sqlalchemy import exc as sql

from core.errors import InputError, StoreUnavailable


@contextmanager
def translated() -> Iterator[None]:
    """Let nothing of the database's out but integrity errors, which the caller has to foresee.

    Raises:
        InputError: a value cannot be kept.
        StoreUnavailable: the database does not answer, or cannot write.
    """
    try:
        yield
    except (sql.DataError, UnicodeEncodeError):
        # Not chained: the original names the value, and the value may be a user's text.
        raise InputError("a value holds a character the store cannot keep, such as NUL or half of a surrogate pair") from None
    except sql.IntegrityError:
        raise
    except (sql.DBAPIError, sql.TimeoutError, sqlite3.Error, Timeout, OSError) as error:
        reason = _reason(error)
        raise StoreUnavailable(
            f"the feedback store does not answer ({reason}); try again, with the same idempotency key where there is one",
            reason=reason,
        ) from error


def _reason(error: BaseException) -> str:
    cause = error.orig if isinstance(error, sql.DBAPIError) and error.orig is not None else error
    for name in ("sqlite_errorname", "sqlstate"):
        found = getattr(cause, name, None)
        if found:
            return str(found)
    return type(cause).__name__

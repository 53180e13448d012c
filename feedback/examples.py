"""Examples, the hash that names a set of them, and the immutable file that holds one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DataError
from core.home import write_atomically
from core.text import Split, split_of, text_key

Origin = Literal["base", "correction", "confirmation"]

_SUCCESSOR = ".successor.json"
# Kept with what came with a text, so that releases which do not know it read the same files.
_DRAWN = "hone.drawn"
_read_already: ContextVar[dict[Path, tuple[tuple[int, ...], tuple[Example, ...]]] | None] = ContextVar(
    "examples that were read", default=None
)

_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("text", "text_key", "label", "split", "origin")]
    + [("weight", pa.float64()), ("metadata", pa.string())]
)


@dataclass(frozen=True)
class Example:
    """One labelled text; ``weight`` counts it in training, against 1.0 for a base text.

    ``metadata`` holds JSON values: whatever else came with the text.
    """

    text: str
    text_key: str
    label: str
    split: Split
    origin: Origin = "base"
    weight: float = 1.0
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, text: str, label: str, *, split: Split | None = None, metadata: Mapping[str, Any] | None = None) -> Example:
        """Return a base example with its key, and with the split its key decides where none is given.

        >>> Example.of("Great phone", "positive") == Example.of("Great phone", "positive")
        True
        """
        key = text_key(text)
        return cls(text, key, label, split or split_of(key), metadata=dict(metadata or {}))

    def canonical(self) -> str:
        """Return the one line of ASCII that stands for this example in hashes and in sorting."""
        return self._line

    @property
    def drawn(self) -> bool:
        """Whether chance chose the text from traffic: a sample of how often its label occurs there."""
        return self.metadata.get(_DRAWN) is True

    def as_drawn(self) -> Example:
        """Return the example as one that chance chose from traffic."""
        return replace(self, metadata={**self.metadata, _DRAWN: True})

    @cached_property
    def _line(self) -> str:
        # A run sorts and hashes the same examples several times.
        fields = (self.text_key, self.text, self.label, self.split, self.origin, float(self.weight), dict(self.metadata))
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def in_order(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return the examples in the order in which files keep them, which does not depend on the one they came in."""
    return tuple(sorted(examples, key=Example.canonical))


def hash_of(examples: Iterable[Example]) -> str:
    """Return the SHA-256 that names this set of examples, whatever their order.

    >>> a, b = Example.of("a", "x"), Example.of("b", "y")
    >>> hash_of([a, b]) == hash_of([b, a])
    True
    """
    total = hashlib.sha256()
    for line in sorted(example.canonical() for example in examples):
        total.update(line.encode() + b"\n")
    return total.hexdigest()


def save_examples(folder: Path, examples: Sequence[Example]) -> str:
    """Write the examples as ``<hash>.parquet`` unless that file exists, and return the hash.

    Raises:
        DataError: a text or label holds half of a surrogate pair.
    """
    name = hash_of(examples)
    path = folder / f"{name}.parquet"
    if path.exists():
        return name
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _to_parquet(in_order(examples)))
    # Nobody changes it from here on; erasing a person's data removes it altogether.
    path.chmod(0o444)
    return name


def remove_examples(folder: Path, name: str, drop: Callable[[Example], bool]) -> list[Example]:
    """Return the examples that were dropped from the file of that name, which is then gone; a new one stands for it.

    Whoever asks for the old name is given what is left, so that a version's lineage still leads somewhere.

    Raises:
        DataError: the file is missing or altered.
    """
    examples = load_examples(folder, name)
    dropped = [example for example in examples if drop(example)]
    if dropped:
        left = save_examples(folder, [example for example in examples if not drop(example)])
        write_atomically(folder / f"{name}{_SUCCESSOR}", json.dumps({"hash": left}).encode())
        (folder / f"{name}.parquet").unlink(missing_ok=True)
    return dropped


def _successor(folder: Path, name: str) -> str:
    """Return the name of the file that stands for ``name``: itself, unless something was erased from it."""
    path = folder / f"{name}{_SUCCESSOR}"
    # A file that was saved anew under the old name, from data that hold it all again, counts before what is left of it.
    while not (folder / f"{name}.parquet").exists() and path.exists():
        name = str(json.loads(path.read_bytes())["hash"])
        path = folder / f"{name}{_SUCCESSOR}"
    return name


@contextmanager
def reading_once() -> Iterator[None]:
    """Read each file of examples once only until the block ends, since a run asks for the same ones several times.

    They are kept no longer, because they may be erased; and a file that has gone or changed meanwhile is not taken from here.
    """
    token = _read_already.set({})
    try:
        yield
    finally:
        _read_already.reset(token)


def load_examples(folder: Path, name: str) -> tuple[Example, ...]:
    """Return the examples of ``<name>.parquet``, in file order, after checking that they are the ones that were saved.

    Raises:
        DataError: the file is missing, unreadable or altered.
    """
    name = _successor(folder, name)
    path = folder / f"{name}.parquet"
    kept = _read_already.get()
    if kept is None or not path.exists():
        return _read_checked(path, name)
    found = path.stat()
    identity = (found.st_ino, found.st_size, found.st_mtime_ns)
    before, examples = kept.get(path, (None, ()))
    if before != identity:
        examples = _read_checked(path, name)
        kept[path] = identity, examples
    return examples


def _read_checked(path: Path, name: str) -> tuple[Example, ...]:
    try:
        examples = tuple(_example(row) for row in pq.read_table(path, schema=_SCHEMA, partitioning=None).to_pylist())
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing; train again from the original data", path=str(path)) from error
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        # Not chained: the original may quote a row.
        raise DataError(f"{path} is not a file of examples that this release reads", path=str(path)) from None
    if hash_of(examples) != name:
        raise DataError(f"{path} was altered: its examples do not have the hash it is named by", path=str(path))
    return examples


def _to_parquet(examples: Sequence[Example]) -> bytes:
    columns = {name: [getattr(example, name) for example in examples] for name in _SCHEMA.names}
    columns["metadata"] = [json.dumps(dict(value), sort_keys=True) for value in columns["metadata"]]
    try:
        table = pa.table(columns, schema=_SCHEMA)
    except UnicodeEncodeError:
        raise DataError("a text or label holds half of a surrogate pair, which no file of examples can keep") from None
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return cast("bytes", sink.getvalue().to_pybytes())


def _example(row: Mapping[str, Any]) -> Example:
    if row["split"] not in get_args(Split) or row["origin"] not in get_args(Origin):
        raise ValueError("unknown split or origin")
    return Example(**{**row, "metadata": json.loads(row["metadata"])})

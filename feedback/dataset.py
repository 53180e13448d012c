"""The base data set: what the first training saw, kept for replay in every later one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError
from core.home import write_atomically
from core.labels import LabelSet
from core.text import Split
from feedback.examples import Example, hash_of, in_order, load_examples, save_examples

_POINTER = "base.json"


@dataclass(frozen=True)
class BaseDataset:
    """Base examples in file order, and the hash that names them."""

    examples: tuple[Example, ...]
    hash: str

    @classmethod
    def of(cls, examples: Iterable[Example]) -> BaseDataset:
        """Return the data set of these examples, whatever order they come in."""
        rows = in_order(examples)
        return cls(rows, hash_of(rows))

    @property
    def labels(self) -> LabelSet:
        """The labels that occur, sorted."""
        return LabelSet.of(example.label for example in self.examples)

    def counts(self) -> dict[Split, int]:
        """Return how many examples each split has."""
        found = Counter(example.split for example in self.examples)
        return {split: found[split] for split in ("train", "validation", "test")}

    def save(self, folder: Path) -> str:
        """Write it into ``folder``, make it the current one, and return its hash.

        Raises:
            DataError: a text or label cannot be kept.
        """
        save_examples(folder, self.examples)
        write_atomically(folder / _POINTER, json.dumps({"hash": self.hash, "rows": len(self.examples)}).encode())
        return self.hash

    @classmethod
    def load(cls, folder: Path, name: str | None = None) -> BaseDataset:
        """Return the data set of that hash, or the current one.

        Raises:
            DataError: there is none, or it was altered.
        """
        name = name or cls.current(folder)
        if name is None:
            raise DataError(
                f"{folder} holds no base data set yet; train one first with hone train --data FILE", path=str(folder)
            )
        return cls(load_examples(folder, name), name)

    @staticmethod
    def current(folder: Path) -> str | None:
        """Return the hash of the current data set, None before the first.

        Raises:
            DataError: the pointer cannot be read.
        """
        path = folder / _POINTER
        try:
            return str(json.loads(path.read_bytes())["hash"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} does not name a base data set; train again from the original data", path=str(path)
            ) from error

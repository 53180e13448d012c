"""What turns out about a request while it is answered, for who tells of it afterwards: the access log, and traces."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

# An explanation scores many shortened texts; nobody reads more than so many parts of one request.
MOST_STAGES = 64


@dataclass(frozen=True, slots=True)
class Stage:
    """A turn of the tokenizer, or a batch of the engine, that some of a request's texts were in; times of ``perf_counter``."""

    name: Literal["tokenization", "engine"]
    started_s: float
    ended_s: float
    texts: int


@dataclass(slots=True)
class Facts:
    """One request's; ``stages`` is None where nobody wants to know them, ``arrived_s`` when its texts came to the batcher."""

    texts: int = 0
    version: str = ""
    source: str = ""
    stages: list[Stage] | None = None
    arrived_s: float = 0.0

    def arrive(self) -> list[Stage] | None:
        """Note that texts have come to the batcher, and return where it is to note what becomes of them."""
        if self.stages is not None and not self.arrived_s:
            self.arrived_s = perf_counter()
        return self.stages


# None where nobody tells of requests. A context variable, as the deadline is: formats between edge and batcher need not know.
FACTS: ContextVar[Facts | None] = ContextVar("hone_facts", default=None)

"""Which requests are the challenger's: a share of them, decided by their texts and by nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

_RANGE = 2**64


def is_challengers(texts: Sequence[str], share: float) -> bool:
    """Return whether a request with ``texts`` belongs to the ``share`` that the challenger answers.

    The same texts always fall on the same side, on every replica and on a second try; a larger share keeps all of a smaller.

    >>> is_challengers(["any"], 0.0), is_challengers(["any"], 1.0)
    (False, True)
    """
    if share <= 0.0:
        return False
    # The first text stands for the request, which must not be split; hashing a thousand would cost the hot path.
    digest = blake2b(texts[0].encode("utf-8", "surrogatepass"), digest_size=8, person=b"hone canary").digest()
    return int.from_bytes(digest, "big") < share * _RANGE

"""The keys that a listing covers, as workerd works them out (compile step of ``list``). Pure.

Keys are ordered by their UTF-8 bytes, so a range is two byte strings.
"""

from dataclasses import dataclass

from chatcache.errors import InvalidInputError, InvalidNameError

__all__ = ["KeyRange", "encode_key", "key_range", "prefix_range"]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from `start` on, and before `end` where there is one."""

    start: bytes
    end: bytes | None


def encode_key(key: str) -> bytes:
    """Return a key as the bytes it is ordered by.

    Raises:
        InvalidNameError: it is no str, or holds a lone surrogate.

    """
    if not isinstance(key, str):
        raise InvalidNameError(f"key {key!r:.200} is of type {type(key).__name__}: keys are str, and are not converted")
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise InvalidNameError(f"key {key!r:.200} holds a lone surrogate: use Unicode text") from None


def prefix_range(prefix: str) -> KeyRange:
    """Return the keys that begin with a prefix; every key begins with the empty one."""
    start = encode_key(prefix)
    return KeyRange(start, start[:-1] + bytes([start[-1] + 1]) if start else None)


def key_range(*, prefix: str, start: str | None, start_after: str | None, end: str | None) -> KeyRange | None:
    """Return the keys that a listing covers, or None where there can be none.

    `start` counts in, `end` does not, whatever the direction of the listing.

    Raises:
        InvalidInputError: both `start` and `start_after` are given.
        InvalidNameError: one of them is no key.

    """
    if start is not None and start_after is not None:
        raise InvalidInputError(f"list() got start={start!r} and start_after={start_after!r}: pass one of them")
    lower = encode_key(start_after) + b"\0" if start_after is not None else encode_key(start or "")
    upper = None if end is None else encode_key(end)
    within = prefix_range(prefix)
    if within.end is not None:
        lower = max(lower, within.start)
        upper = within.end if upper is None else min(upper, within.end)
        if lower >= within.end:
            return None
    return None if upper is not None and upper <= lower else KeyRange(lower, upper)

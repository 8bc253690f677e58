"""Keys, and the range of them that a listing covers, as workerd works it out (compile step of ``list``). Pure.

Keys are ordered by their UTF-8 bytes, so a range is two byte strings.
"""

from dataclasses import dataclass

from chatcache.codec import is_utf8
from chatcache.errors import InvalidInputError, InvalidNameError

__all__ = ["KeyRange", "check_key", "key_range", "prefix_range"]


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys from `start` on, and before `end` where there is one; none where `end` is not behind `start`."""

    start: bytes
    end: bytes | None

    def __contains__(self, key: str) -> bool:
        return self.start <= key.encode() and (self.end is None or key.encode() < self.end)


def check_key(key: str) -> str:
    """Return a key.

    Raises:
        InvalidNameError: it is no str, or holds a lone surrogate.
    """
    if not isinstance(key, str):
        raise InvalidNameError(f"key {key!r:.200} is of type {type(key).__name__}: keys are str, and are not converted")
    if not key.isascii() and not is_utf8(key):
        raise InvalidNameError(f"key {key!r:.200} holds a lone surrogate: use Unicode text")
    return key


def prefix_range(prefix: str) -> KeyRange:
    """Return the keys that begin with a prefix; every key begins with the empty one."""
    start = check_key(prefix).encode()
    return KeyRange(start, start[:-1] + bytes([start[-1] + 1]) if start else None)


def key_range(*, prefix: str, start: str | None, start_after: str | None, end: str | None) -> KeyRange:
    """Return the keys that a listing covers, which may be none.

    `start` counts in, `end` does not, whatever the direction of the listing.

    Raises:
        InvalidInputError: both `start` and `start_after` are given.
        InvalidNameError: one of them is no key.
    """
    if start is not None and start_after is not None:
        raise InvalidInputError(f"list() got start={start!r} and start_after={start_after!r}: pass one of them")
    lower = check_key(start or "").encode() if start_after is None else check_key(start_after).encode() + b"\0"
    upper = None if end is None else check_key(end).encode()
    within = prefix_range(prefix)
    if within.end is not None:
        lower = max(lower, within.start)
        upper = within.end if upper is None else min(upper, within.end)
    return KeyRange(lower, upper)

"""What JSON has a form for as it is: most of what is stored, and nearly every request. Pure."""

from collections.abc import Callable, Collection
from typing import Any

__all__ = ["fits_64_bits", "is_plain"]

_LEAST, _GREATEST = -(2**63), 2**64 - 1  # whole numbers that orjson writes
_LEVELS = 256  # of lists and dictionaries in one another, of which orjson writes 254


def is_plain(value: Any, scalars: Collection[object], fraction: Callable[[float], bool]) -> bool:  # noqa: C901 - a table
    """Return whether there is nothing in a value but lists, dictionaries with str keys, and some scalars and numbers.

    It goes by levels and not by recursion, which takes a call for each list and each dictionary.

    Args:
        value: any value.
        scalars: the types of the scalars, ``int`` and ``float`` not among them; of ints there may be those of 64 bits.
        fraction: whether there may be a float.

    Returns:
        False also where it nests so deeply that orjson would not write it, as one that contains itself.
    """
    level = [value]
    for _ in range(_LEVELS):
        below: list[Any] = []
        for each in level:
            kind = type(each)
            if kind is dict:
                for key, item in each.items():
                    if type(key) is not str:
                        return False
                    if type(item) not in scalars:
                        below.append(item)
            elif kind is list:
                below += [item for item in each if type(item) not in scalars]
            elif kind is int:
                if not _LEAST <= each <= _GREATEST:
                    return False
            elif kind not in scalars and not (kind is float and fraction(each)):
                return False
        if not below:
            return True
        level = below
    return False


def fits_64_bits(number: int) -> bool:
    """Return whether orjson writes a whole number."""
    return _LEAST <= number <= _GREATEST

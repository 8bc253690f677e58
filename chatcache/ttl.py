"""Times to live, and when they end.

The rules are those of Effect's persistence module: no TTL means forever, an entry is gone at exactly its last
millisecond, a fraction of a millisecond counts as a whole one, and a TTL that is not positive makes an entry that is
already expired.
"""

import math
import re
from datetime import timedelta

from chatcache.interrupts import raise_interrupt, suppress

from .errors import InvalidTTLError, shown

__all__ = ["TTL", "expires_at", "parse_duration", "parse_ttl"]

TTL = float | timedelta | str | None
"""Seconds, a timedelta, a text with a unit such as ``90d`` or ``12h``, or None for no limit.

Infinite seconds are no limit either.
"""

_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_FOR_EVER = 2**63  # milliseconds, from which on a time is as good as forever, and beyond what can be calculated with


def parse_ttl(ttl: TTL) -> int | None:
    """Return a TTL in whole milliseconds, rounded up, or None for no limit; 292 million years and more are no limit.

    Raises:
        InvalidTTLError: it is neither a number of seconds, nor a timedelta, nor a text with a unit, nor None.
    """
    duration = _milliseconds(ttl)
    return None if duration is None or duration >= _FOR_EVER else max(duration, -_FOR_EVER)


def parse_duration(text: str) -> float:
    """Return the seconds in a text of the environment, a file or a command line: ``90d``, ``12h``, or ``3600``.

    Raises:
        InvalidTTLError: it is neither a number of seconds nor a number with one of the units s, m, h, d, w.
    """
    seconds = _seconds(text)
    if seconds is None:
        try:
            seconds = float(text)
        except ValueError as error:
            raise_interrupt(error)
        if seconds is None or math.isnan(seconds):
            raise InvalidTTLError(
                f"{shown(text)} is no duration: write seconds, or a number and a unit, such as 45s, 30m, 12h, 90d or 4w"
            )
    return seconds


def _seconds(text: str) -> float | None:
    """Return the seconds in a text with a unit, or None if it has none."""
    match = _TEXT.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def _milliseconds(ttl: TTL) -> int | None:
    match ttl:
        case None | math.inf:
            return None
        case timedelta():
            return -(-(ttl // timedelta(microseconds=1)) // 1000)
        case str() if (seconds := _seconds(ttl)) is not None:
            return _milliseconds(seconds)
        case int() | float() if not isinstance(ttl, bool):
            with suppress(OverflowError, ValueError):  # beyond any number, or none
                # the rounding undoes 16.1 * 1000 == 16100.000000000002
                duration = math.ceil(round(ttl * 1000, 6))
                return 1 if ttl > 0 and duration == 0 else duration
    raise InvalidTTLError(
        f"a TTL of {shown(ttl)} is no time to live; pass seconds (int or float), a timedelta, a text with a unit "
        "such as '90d' or '12h', or None for no limit"
    )


def expires_at(ttl: TTL, now: int) -> int | None:
    """Return when an entry written now (milliseconds since the epoch) expires, in the same unit; None for never.

    Raises:
        InvalidTTLError: as `parse_ttl`.
    """
    duration = parse_ttl(ttl)
    return None if duration is None else now + duration

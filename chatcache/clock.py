"""What time it is: seconds since the epoch, from a callable that tests replace."""

from collections.abc import Callable

__all__ = ["Clock", "milliseconds"]

Clock = Callable[[], float]


def milliseconds(clock: Clock) -> int:
    """Return the clock's time in whole milliseconds since the epoch, rounded to the nearest."""
    return round(clock() * 1000)

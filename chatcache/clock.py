"""Clocks: the time that the program sees, the real time, and a monotonic clock.

Tests freeze or move the time by ``freezegun`` or ``time-machine``. Then three questions have three answers:

* `now`: does a record expire? By the program's time, which both libraries set.
* `real_time`: when was an answer recorded, how old is it, is a lease still valid? By the real time, which nothing sets:
  a record that was made a minute ago is a minute old.
* `monotonic`: how long does a wait last? By a clock that never stands still, or a wait under a frozen time has no end.

freezegun replaces functions in the modules that hold them, ``time`` itself included; time-machine replaces them inside
the interpreter, and keeps the real ones in its ``escape_hatch``.
"""

import datetime as dt
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from .interrupts import suppress

__all__ = ["Clock", "is_frozen", "milliseconds", "monotonic", "now", "real_time"]

Clock = Callable[[], float]
"""Returns seconds since the epoch."""


def _original(name: str) -> Callable[[], float]:
    """Return a function of `time` in a wrapper that freezegun does not find, the real one also under a frozen time."""
    frozen = sys.modules.get("freezegun.api")
    function: Callable[[], float] = getattr(frozen, f"real_{name}", getattr(time, name))
    return partial(function)


monotonic = _original("monotonic")
"""Return seconds that only grow, from any start: for timeouts and durations."""

_time = _original("time")


def now() -> float:
    """Return the program's time, in seconds since the epoch; a library that freezes or moves the time sets it."""
    if time.time is _time.func:  # type: ignore[attr-defined]  # a partial
        return _time()
    return dt.datetime.now(dt.UTC).timestamp()  # freezegun's time.time is real in some threads


def real_time() -> float:
    """Return the real time, in seconds since the epoch; no library that freezes or moves the time sets it."""
    machine: Any = sys.modules.get("time_machine")
    if machine is not None:
        with suppress(ValueError):  # nobody travels
            return float(machine.escape_hatch.time.time())
    return _time()


def is_frozen() -> bool:
    """Return whether freezegun or time-machine has replaced the monotonic clock."""
    return time.monotonic is not monotonic.func  # type: ignore[attr-defined]  # a partial


def milliseconds(clock: Clock) -> int:
    """Return the clock's time in whole milliseconds since the epoch, rounded to the nearest."""
    return round(clock() * 1000)

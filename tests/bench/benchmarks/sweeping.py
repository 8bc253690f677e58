"""How long a sweep of a hundred thousand expired records holds up the event loop of the program that it runs in."""

import asyncio
import hashlib
from tempfile import TemporaryDirectory
from threading import Event
from time import perf_counter

from chatcache import Alarm, DurableObject, DurableObjectPersistence, ObjectNamespace, sweep_expired

from .measure import Amount, Line

__all__ = ["ROWS"]

_EXPIRED = 100_000
_RECORD = "x" * 2_000
_TTL = 3600.0
_TICK = 0.001
_AT_A_TIME = 5_000


class _Sweep:
    """The handler, which notes when it ended; the clock goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.ended = Event()

    def clock(self) -> float:
        return self.now

    def __call__(self, thing: DurableObject, alarm: Alarm) -> None:
        sweep_expired(thing, alarm)
        self.ended.set()


def _latest() -> float:
    """Return by how many ms a task that sleeps 1 ms at a time comes late at most, while records are swept."""
    sweep = _Sweep()
    with TemporaryDirectory(prefix="chatcache-bench-") as folder:
        namespace = ObjectNamespace(folder, alarm=sweep, clock=sweep.clock)
        thing = namespace.get_by_name("swept")
        store = DurableObjectPersistence(thing.storage, sweeps=True).make("store")
        for start in range(0, _EXPIRED, _AT_A_TIME):
            keys = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(start, start + _AT_A_TIME)]
            store.set_many([(key, _RECORD, _TTL) for key in keys])
        late = asyncio.run(_ticks(sweep))
        assert thing.storage.list() == {}
        namespace.close()
    return max(late)


async def _ticks(sweep: _Sweep) -> list[float]:
    late = []
    sweep.now += 2 * _TTL  # the alarm goes off
    while not sweep.ended.is_set():
        due = perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        late.append((perf_counter() - due) * 1e3)
    return late


ROWS: list[Line] = [
    Amount("store, loop late while 100,000 expired are swept, longest", 20, "ms", _latest),
]

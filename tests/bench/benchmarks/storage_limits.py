"""What a storage may cost those beside it: how long it holds up the event loop, and how much memory a scan takes."""

import asyncio
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter

from chatcache.storage import Storage

from . import scanning
from .answers import Batches, answers, fill
from .measure import Amount, Line

__all__ = ["ROWS"]

_WRITERS = 8
_WHILE = 5.0  # seconds
_TICK = 0.001
_SCANNED = 1_000_000


def _percentile(*, writers: int) -> float:
    return quantiles(_stalls(writers), n=100)[-1]


def _longest(*, writers: int) -> float:
    return max(_stalls(writers))


@cache
def _stalls(writers: int) -> list[float]:
    """Return by how many ms a task that sleeps 1 ms at a time comes late, each time, while others write.

    A loop sleeps whole milliseconds and wakes after them, so that it is late even where nobody else does anything.
    """
    with answers() as thing:
        return asyncio.run(_ticks(thing.storage, writers))


async def _ticks(storage: Storage, writers: int) -> list[float]:
    late = []
    writing = [asyncio.create_task(_write(storage)) for _ in range(writers)]
    until = perf_counter() + _WHILE
    while perf_counter() < until:
        due = perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        late.append((perf_counter() - due) * 1e3)
    for task in writing:
        task.cancel()
    await asyncio.wait(writing) if writing else None
    return late


async def _write(storage: Storage) -> None:
    batches = Batches(1)
    while True:
        for key, value in batches.entries():
            await storage.aput(key, value)
            await storage.aflush()


def _scan(way: str) -> float:
    """Return by how many MB the peak of a process grows that goes through a million small values."""
    # On Linux a process begins with the peak of the one that starts it, so a shell does, which is small and stays.
    command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-I", scanning.__file__, _many(), way]
    scanned, grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert int(scanned) == _SCANNED
    return int(grown) / 1e6


@cache
def _folder() -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory(prefix="chatcache-bench-")  # deleted when the program ends
    fill(Path(folder.name), scanning.NAME, int, _SCANNED)
    return folder


def _many() -> str:
    return _folder().name


ROWS: list[Line] = [
    Amount("storage loop late, 8 tasks put durably, p99", 5, "ms", partial(_percentile, writers=_WRITERS)),
    Amount("storage loop late, 8 tasks put durably, longest", None, "ms", partial(_longest, writers=_WRITERS)),
    Amount("storage loop late, nobody writes, p99", None, "ms", partial(_percentile, writers=0)),
    Amount("storage scan of 1,000,000, peak above start", 32, "MB", partial(_scan, "scan")),
    Amount("storage ascan of 1,000,000, peak above start", 32, "MB", partial(_scan, "ascan")),
]

"""The slowest hits while eight processes write, of our cache and of ``diskcache``.

Both caches are read in turns, hit by hit, while each of the processes writes to both every ten milliseconds: whatever
slows the machine down meets both alike. What counts of a hit is the time in which it runs, or waits for a lock or the
disk. The time in which it waits for a free core is left out: with nine busy processes on two cores that is what the
slowest hits consist of, a hundred times what the caches take, and it says nothing of them.

Each commit by anybody empties our memory tier, since only SQLite's own counter tells what is still right. So nearly
every hit here is a search in SQLite, of pages that SQLite has to read again: the row shows what that costs, and not
what a hit in memory takes.

As a program, ``contention.py FOLDER FOLDER``, it is one of the processes that write until they are killed.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

from chatcache import ResponseCache, request_key

__all__ = ["hits"]

_WRITERS, _RECORDS, _WHILE = 8, 2_000, 2.0  # seconds
_EVERY = 0.01  # seconds between the writes of each process
_SAID = "The parcel left the depot on Monday evening. " * 42
_ANSWER = {"choices": [{"message": {"role": "assistant", "content": _SAID}}]}
_TEXT = "My order was to arrive on Tuesday, and its page still says that it is on its way. " * 17

Contender = tuple[Callable[[int], None], Callable[[int], Any]]
"""Writes the answer to the request of a number, and reads it."""


def _request(number: int) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": _TEXT}], "seed": number}


def _ours(folder: str) -> Contender:
    cache = ResponseCache("bench", path=folder, store_requests="digest")

    def read(number: int) -> Any:
        return cache.call(_request(number), _never)

    def write(number: int) -> None:
        cache.update(request_key(_request(number)), _ANSWER)

    return write, read


def _theirs(folder: str) -> Contender:
    from diskcache import Cache  # type: ignore[import-untyped]  # here, so that other rows need not wait for it

    cache = Cache(folder)

    def read(number: int) -> Any:
        return cache[request_key(_request(number))]

    def write(number: int) -> None:
        cache.set(request_key(_request(number)), _ANSWER)

    return write, read


def _never(_request: Any) -> Any:
    raise AssertionError("it is recorded")


_CONTENDERS = (_ours, _theirs)


@contextmanager
def hits() -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    with ExitStack() as stack:
        folders = [stack.enter_context(TemporaryDirectory(prefix="chatcache-bench-")) for _ in _CONTENDERS]
        contenders = [contender(folder) for contender, folder in zip(_CONTENDERS, folders, strict=True)]
        for write, _ in contenders:
            for number in range(_RECORDS):
                write(number)
        for _ in range(_WRITERS):
            writer = subprocess.Popen([sys.executable, __file__, *folders], stdout=subprocess.PIPE)
            stack.callback(writer.communicate)
            stack.callback(writer.kill)
            assert writer.stdout is not None
            writer.stdout.readline()  # it writes
        pending: list[dict[str, float]] = []  # figures of a round of both that only one of them took so far

        def figure(name: str) -> float:
            if pending:
                return pending.pop()[name]
            pending.append(_p99s([read for _, read in contenders]))
            return pending[0][name]

        yield lambda: figure("ours"), lambda: figure("theirs")


def _p99s(reads: list[Callable[[int], Any]]) -> dict[str, float]:
    """Return the µs that all but one in a hundred hits take at most, without the time that they wait for a core."""
    random = Random(2026)  # noqa: S311 - no secrets
    took: list[list[float]] = [[] for _ in reads]
    waited = _waited_for_a_core()
    until = perf_counter() + _WHILE
    while perf_counter() < until:
        for read, each in zip(reads, took, strict=True):
            number = random.randrange(_RECORDS)
            before, began = waited(), perf_counter()
            read(number)
            each.append((perf_counter() - began - (waited() - before)) * 1e6)
    return {name: quantiles(each, n=100)[-1] for name, each in zip(("ours", "theirs"), took, strict=True)}


def _waited_for_a_core() -> Callable[[], float]:
    """Return what tells for how many seconds this thread was ready to run, and did not."""
    try:
        counts = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    except OSError:  # another system than Linux, where that time is not left out
        return lambda: 0.0
    return lambda: int(os.pread(counts, 100, 0).split()[1]) / 1e9


def _write_until_killed(folders: list[str]) -> None:
    writes = [contender(folder)[0] for contender, folder in zip(_CONTENDERS, folders, strict=True)]
    for number in count(os.getpid() * 1_000_000):
        due = perf_counter() + _EVERY
        for write in writes:
            write(number)
        if number % 1_000_000 == 0:
            sys.stdout.write("writing\n")
            sys.stdout.flush()
        sleep(max(0.0, due - perf_counter()))


if __name__ == "__main__":
    _write_until_killed(sys.argv[1:])

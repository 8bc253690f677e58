"""The slowest hits while eight processes write, of our cache and of ``diskcache``.

As a program, ``contention.py ours|theirs FOLDER``, it is one of those processes: it writes until it is killed, a record
every ten milliseconds. Both caches are written to as often: else the one that is quicker to write is read beside more.
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


_CONTENDERS = {"ours": _ours, "theirs": _theirs}


@contextmanager
def hits() -> Iterator[tuple[Callable[[], float], Callable[[], float]]]:
    with ExitStack() as stack:
        rounds = []
        for name, contender in _CONTENDERS.items():
            folder = stack.enter_context(TemporaryDirectory(prefix="chatcache-bench-"))
            write, read = contender(folder)
            for number in range(_RECORDS):
                write(number)
            rounds.append(lambda name=name, folder=folder, read=read: _p99(name, folder, read))
        yield rounds[0], rounds[1]


def _p99(name: str, folder: str, read: Callable[[int], Any]) -> float:
    """Return the µs that all but one in a hundred hits take at most."""
    with ExitStack() as stack:
        for _ in range(_WRITERS):
            writer = subprocess.Popen([sys.executable, __file__, name, folder], stdout=subprocess.PIPE)
            stack.callback(writer.communicate)
            stack.callback(writer.kill)
            assert writer.stdout is not None
            writer.stdout.readline()  # it writes
        random = Random(2026)  # noqa: S311 - no secrets
        took = []
        until = perf_counter() + _WHILE
        while perf_counter() < until:
            number = random.randrange(_RECORDS)
            began = perf_counter()
            read(number)
            took.append((perf_counter() - began) * 1e6)
        return quantiles(took, n=100)[-1]


def _write_until_killed(name: str, folder: str) -> None:
    write, _ = _CONTENDERS[name](folder)
    numbers = count(os.getpid() * 1_000_000)
    write(next(numbers))
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    for number in numbers:
        due = perf_counter() + _EVERY
        write(number)
        sleep(max(0.0, due - perf_counter()))


if __name__ == "__main__":
    _write_until_killed(*sys.argv[1:])

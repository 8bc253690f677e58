"""An object's storage against those that do the same: ``diskcache``, and a Durable Object in workerd itself."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from chatcache.storage import Storage

from .answers import COUNT, Batches, Entry, answer, answers, key
from .measure import Line, Rounds, Row
from .repeat import aeach, each, turn
from .workerd import workerd

if TYPE_CHECKING:
    from diskcache import Cache  # type: ignore[import-untyped]

__all__ = ["ROWS"]

_GETS, _PUTS, _IN_A_TURN, _LISTS, _LISTED = 100, 50, 1_000, 20, 100


@contextmanager
def _diskcache_gets() -> Iterator[Rounds]:
    ours, theirs = Batches(_GETS), Batches(_GETS)
    with answers() as thing, closing(_diskcache()) as peer:
        yield lambda: each(thing.storage.get, ours.keys()), lambda: each(peer.get, theirs.keys())


@contextmanager
def _diskcache_puts() -> Iterator[Rounds]:
    ours, theirs = Batches(_PUTS), Batches(_PUTS)
    with answers(durability="normal") as thing, closing(_diskcache()) as peer:  # which has this one

        def put(entry: Entry) -> None:
            thing.storage.put(*entry)

        def put_there(entry: Entry) -> None:
            peer.set(*entry)

        yield lambda: each(put, ours.entries(), perf_counter), lambda: each(put_there, theirs.entries(), perf_counter)


def _diskcache() -> "Cache":
    """Return a cache with as many answers as the object, under its own settings."""
    from diskcache import Cache  # here, so that the other rows need not wait for it

    return Cache(_diskcache_folder().name)


@cache
def _diskcache_folder() -> "TemporaryDirectory[str]":
    from diskcache import Cache

    folder = TemporaryDirectory(prefix="chatcache-bench-")  # deleted when the program ends
    with Cache(folder.name) as filled, filled.transact():
        for number in range(COUNT):
            filled.set(key(number), answer(number))
    return folder


Operate = Callable[[Storage, Batches], Coroutine[None, None, float]]
"""Does an operation for the keys of a batch; returns the mean of the µs that one took."""


async def _gets(storage: Storage, batches: Batches) -> float:
    return await aeach(storage.aget, batches.keys(), perf_counter)


async def _lists(storage: Storage, batches: Batches) -> float:
    return await aeach(lambda start: storage.alist(start=start, limit=_LISTED), batches.keys(), perf_counter)


async def _turns(storage: Storage, batches: Batches) -> float:
    return await turn(storage, batches.entries())


async def _durable_puts(storage: Storage, batches: Batches) -> float:
    async def put(entry: Entry) -> None:
        await storage.aput(*entry)
        await storage.aflush()

    return await aeach(put, batches.entries(), perf_counter)


@contextmanager
def _workerd(operation: str, operate: Operate, size: int) -> Iterator[Rounds]:
    ours, theirs = Batches(size), Batches(size)
    peer = workerd()
    with answers() as thing, asyncio.Runner() as runner:
        yield lambda: runner.run(operate(thing.storage, ours)), lambda: peer.time(operation, theirs.keys())


ROWS: list[Line] = [
    Row("storage get : diskcache get", None, _diskcache_gets, rounds=60),
    Row("storage put, durability normal : diskcache set", None, _diskcache_puts, rounds=40),
    Row("storage aget : workerd get", None, partial(_workerd, "get", _gets, _GETS * 5), rounds=15),
    Row("storage aput, 1,000 in a turn : workerd put", None, partial(_workerd, "put", _turns, _IN_A_TURN), rounds=15),
    Row("storage aput + aflush : workerd put + sync", None, partial(_workerd, "put_sync", _durable_puts, _PUTS), 15),
    Row("storage alist of 100 : workerd list", None, partial(_workerd, "list100", _lists, _LISTS), rounds=15),
]

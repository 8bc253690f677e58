"""An object's storage against ``sqlite3`` used by hand: on the object's own file to read, on a copy of it to write.

Both sides have the same tables, pages and durability, and both encode and decode the same answers of 1.9 kB.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import orjson

from chatcache.codec import decode
from chatcache.storage import Storage

from . import storage_limits, storage_peers
from .answers import Batches, Entry, answers
from .measure import Line, Rounds, Row
from .repeat import aeach, each, turn

__all__ = ["ROWS"]

_GET = "SELECT value FROM _cf_KV WHERE key = ?"
_LIST = "SELECT key, value FROM _cf_KV ORDER BY key LIMIT ?"
_PUT = "INSERT INTO _cf_KV (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_GETS, _PUTS, _TASKS, _LISTED = 100, 100, 64, 10_000


@contextmanager
def _gets(*, awaited: bool) -> Iterator[Rounds]:
    ours, theirs = Batches(_GETS), Batches(_GETS)
    with answers() as thing, asyncio.Runner() as runner, closing(sqlite3.connect(thing.path)) as peer:
        storage = thing.storage

        def get(key: str) -> None:
            decode(peer.execute(_GET, (key,)).fetchone()[0])

        if awaited:
            yield lambda: runner.run(aeach(storage.aget, ours.keys())), lambda: each(get, theirs.keys())
        else:
            yield lambda: each(storage.get, ours.keys()), lambda: each(get, theirs.keys())


@contextmanager
def _lists(*, awaited: bool) -> Iterator[Rounds]:
    with answers() as thing, asyncio.Runner() as runner, closing(sqlite3.connect(thing.path)) as peer:
        storage = thing.storage

        def rows(limit: int) -> None:
            {key: decode(value) for key, value in peer.execute(_LIST, (limit,)).fetchall()}

        def listed(limit: int) -> None:
            storage.list(limit=limit)

        async def alisted(limit: int) -> None:
            await storage.alist(limit=limit)

        if awaited:
            yield lambda: runner.run(aeach(alisted, [_LISTED])), lambda: each(rows, [_LISTED])
        else:
            yield lambda: each(listed, [_LISTED]), lambda: each(rows, [_LISTED])


@contextmanager
def _turns() -> Iterator[Rounds]:
    ours, theirs = Batches(_PUTS), Batches(_PUTS)
    with answers() as thing, asyncio.Runner() as runner, _copy(thing.path) as peer:
        yield lambda: runner.run(turn(thing.storage, ours.entries())), lambda: _transaction(peer, theirs.entries())


def _transaction(peer: sqlite3.Connection, entries: list[Entry]) -> float:
    began = perf_counter()
    peer.execute("BEGIN")
    for key, value in entries:
        peer.execute(_PUT, (key, b"\x01" + orjson.dumps(value)))
    peer.execute("COMMIT")
    return (perf_counter() - began) / len(entries) * 1e6


@contextmanager
def _durable_puts(entries: Callable[[Batches], list[Entry]]) -> Iterator[Rounds]:
    ours, theirs = Batches(_TASKS), Batches(_TASKS)
    with answers() as thing, asyncio.Runner() as runner, _copy(thing.path) as peer:
        yield lambda: runner.run(_tasks(thing.storage, entries(ours))), lambda: _commits(peer, entries(theirs))


@contextmanager
def _least() -> Iterator[Rounds]:
    """Do with bare tasks and bare ``sqlite3`` what an object does: the least that 64 tasks and one commit take."""
    ours, theirs = Batches(_TASKS), Batches(_TASKS)
    with (
        answers() as thing,
        asyncio.Runner() as runner,
        ThreadPoolExecutor(1) as pool,
        _copy(thing.path) as bare,
        _copy(thing.path) as peer,
    ):
        yield (
            lambda: runner.run(_bare_tasks(bare, pool, ours.new_entries())),
            lambda: _commits(peer, theirs.new_entries()),
        )


async def _bare_tasks(bare: sqlite3.Connection, pool: Executor, entries: list[Entry]) -> float:
    loop = asyncio.get_running_loop()
    rows: list[tuple[str, bytes]] = []
    waiting: list[asyncio.Future[None]] = []

    def commit() -> None:
        bare.execute("BEGIN")
        bare.executemany(_PUT, rows)
        bare.execute("COMMIT")
        loop.call_soon_threadsafe(wake)

    def wake() -> None:
        for future in waiting:
            future.set_result(None)

    async def put(key: str, value: object) -> None:
        if not rows:
            loop.call_soon(pool.submit, commit)
        rows.append((key, b"\x01" + orjson.dumps(value)))
        waiting.append(loop.create_future())
        await waiting[-1]

    return await _together(put, entries)


async def _tasks(storage: Storage, entries: list[Entry]) -> float:
    async def put(key: str, value: object) -> None:
        await storage.aput(key, value)
        await storage.aflush()

    return await _together(put, entries)


async def _together(put: Callable[[str, object], Coroutine[None, None, None]], entries: list[Entry]) -> float:
    began = perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for key, value in entries:
            tasks.create_task(put(key, value))
    return (perf_counter() - began) * 1e6


def _commits(peer: sqlite3.Connection, entries: list[Entry]) -> float:
    began = perf_counter()
    for key, value in entries:
        peer.execute(_PUT, (key, b"\x01" + orjson.dumps(value)))
    return (perf_counter() - began) * 1e6


@contextmanager
def _copy(path: Path) -> Iterator[sqlite3.Connection]:
    """Give a connection to a copy of a closed file, with the durability that an object has unless told otherwise."""
    with TemporaryDirectory(prefix="chatcache-bench-") as folder:
        copy = shutil.copy(path, folder)
        with closing(sqlite3.connect(copy, isolation_level=None, check_same_thread=False)) as peer:
            peer.execute("PRAGMA synchronous = FULL")
            yield peer


ROWS: list[Line] = [
    Row("storage get : sqlite3 SELECT", 1.6, partial(_gets, awaited=False), rounds=150),
    Row("storage aget : sqlite3 SELECT", 1.6, partial(_gets, awaited=True), rounds=150),
    Row("storage aput, 100 in a turn : in a transaction", 3, _turns, rounds=40),
    # New keys: with 64 keys all over the file, one transaction of sqlite3's takes a sixth of its 64 commits already.
    # The row below says what is the least on this machine: if the disk is quick, the tasks themselves take most of it.
    Row("storage aput + aflush, 64 tasks : 64 commits", None, partial(_durable_puts, Batches.new_entries), rounds=40),
    Row("storage the same by bare tasks and sqlite3", None, _least, rounds=40),
    Row("storage the same, keys all over the file", None, partial(_durable_puts, Batches.entries), rounds=20),
    Row("storage list of 10,000 : SELECT", 1.5, partial(_lists, awaited=False), rounds=11),
    Row("storage alist of 10,000 : SELECT", None, partial(_lists, awaited=True), rounds=11),
    *storage_limits.ROWS,
    *storage_peers.ROWS,
]

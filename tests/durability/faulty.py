"""A program whose calls on the files of a folder are made to fail by `faults.c`; prints what broke the law.

The law: a call that fails raises a `StorageError` that says what to do, what was acknowledged is there, what failed is
absent or whole, and when the fault is gone everything works again, in the same process, in both colours.
"""

import asyncio
import logging
import mmap
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from chatcache import ObjectNamespace, SQLError, Storage, StorageError
from chatcache.storage import DurableObject, Transaction
from tests.waiting import until

ADVICE = ("make room", "use another folder", "pass a longer timeout")
KINDS = {"write": 1, "sync": 2, "truncate": 4, "read": 8, "lock": 16}
FOR_EVER = 1_000_000
MOST_CALLS = 400  # of one kind that one write or read makes
PAIR = ("a", "b")


class Faults:
    """The switch of `faults.c`."""

    def __init__(self, kind: str, error: int) -> None:
        self._kind, self._error = KINDS[kind], error
        with Path(os.environ["FAULTS_TOLD"]).open("r+b") as file:
            self._told = memoryview(mmap.mmap(file.fileno(), 20)).cast("i")

    def on(self, passing: int, times: int) -> None:
        """Let calls fail, after so many that pass."""
        self._told[4] = 0
        self._told[3] = times
        self._told[2] = passing
        self._told[1] = self._error
        self._told[0] = self._kind

    def off(self) -> int:
        """Let no more calls fail; return how many did."""
        self._told[0] = 0
        return self._told[4]


Write = Callable[[Storage, int], None]


def put(storage: Storage, number: int) -> None:
    storage.put("a", number)


def put_many(storage: Storage, number: int) -> None:
    storage.put_many(dict.fromkeys(PAIR, number))


def delete_many(storage: Storage, _number: int) -> None:
    storage.delete_many(PAIR)


def transaction(storage: Storage, number: int) -> None:
    def body(inner: Transaction) -> None:
        for key in PAIR:
            inner.get(key)
            inner.put(key, number)

    storage.transaction(body)


def nested(storage: Storage, number: int) -> None:
    def body(inner: Transaction) -> None:
        for key in PAIR:
            inner.transaction(lambda within: within.put(key, number))  # noqa: B023 - called at once

    storage.transaction(body)


def flush(storage: Storage, number: int) -> None:
    async def both() -> None:
        for key in PAIR:
            storage.kv.put(key, number)
        storage.flush()

    asyncio.run(both())


def aflush(storage: Storage, number: int) -> None:
    async def both() -> None:
        for key in PAIR:
            await storage.aput(key, number)
        await storage.aflush()

    asyncio.run(both())


def aput(storage: Storage, number: int) -> None:
    async def both() -> None:
        for key in PAIR:
            await storage.aput(key, number)

    asyncio.run(both())
    until(storage._turns.is_idle)


def atransaction(storage: Storage, number: int) -> None:
    async def body(inner: Transaction) -> None:
        for key in PAIR:
            await inner.aget(key)
            await inner.aput(key, number)

    asyncio.run(storage.atransaction(body))


def sql(storage: Storage, number: int) -> None:
    async def turn() -> None:
        try:
            storage.sql.exec("CREATE TABLE IF NOT EXISTS numbers (number)")
        except SQLError:
            with suppress(StorageError):  # where SQLite cannot go on, the turn is lost as well
                await storage.aflush()
            raise
        storage.kv.put("a", number)
        storage.sql.exec("INSERT INTO numbers VALUES (?)", number)
        storage.kv.put("b", number)
        await storage.aflush()

    asyncio.run(turn())


def close(storage: Storage, number: int) -> None:
    storage.put_many(dict.fromkeys(PAIR, number))
    storage._turns.close()


WRITES = (put, put_many, delete_many, transaction, nested, flush, aflush, aput, atransaction, sql, close)


def get(storage: Storage) -> object:
    return [storage.get(key) for key in PAIR]


def get_many(storage: Storage) -> object:
    return [*storage.get_many(PAIR).values()]


def listing(storage: Storage) -> object:
    return [*storage.list(start="a", end="c").values()]


def aget(storage: Storage) -> object:
    async def both() -> object:
        return [await storage.aget(key) for key in PAIR]

    return asyncio.run(both())


def alist(storage: Storage) -> object:
    async def both() -> object:
        return [*(await storage.alist(start="a", end="c")).values()]

    return asyncio.run(both())


READS = (get, get_many, listing, aget, alist)


def told(call: Callable[[], object]) -> bool:
    """Make a call; return whether it raised an error that says what to do."""
    try:
        call()
    except StorageError as error:
        advised = any(each in str(error) for each in ADVICE)
        said = repr(error)
    else:
        return False
    assert advised, said
    return True


def in_file(path: Path) -> dict[str, object]:
    """Return what another connection finds."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        return dict(connection.execute("SELECT key, value FROM _cf_KV")) if "_cf_KV" in tables else {}


def after(write: Write, thing: DurableObject, *, failed: bool) -> None:
    """Hold the law after a write."""
    storage = thing.storage
    lost = told(storage.flush) or told(lambda: storage.get("a"))
    # of a turn in which a statement failed, what else was written may be lost as well
    assert not (lost and failed) or write is sql, "told twice"
    keys = PAIR[:1] if write is put else PAIR
    state = storage.get_many(keys)
    new = {} if write is delete_many else dict.fromkeys(keys, 1)
    absent = ({}, dict.fromkeys(keys, 0)) if failed or lost else ()
    assert state in (new, *absent), f"{state}; failed: {failed}, lost: {lost}"
    if write is sql:
        made = storage.sql.exec("SELECT name FROM sqlite_master WHERE name = 'numbers'").raw()
        numbers = storage.sql.exec("SELECT number FROM numbers").raw() if made else []
        assert numbers == ([(1,)] if state == new else []), f"{numbers} beside {state}"

    async def again() -> None:
        await storage.aput("awaiting", 2)
        await storage.aflush()
        await storage.atransaction(lambda inner: inner.aput("in transaction", 2))

    storage.put("blocking", 2)
    asyncio.run(again())
    storage.put_many(dict.fromkeys(PAIR, 2))
    stored = in_file(thing.path)
    everything = ("awaiting", "in transaction", "blocking", *PAIR)
    assert {key: stored[key] for key in everything} == dict.fromkeys(everything, stored["a"])
    assert storage.list() == dict.fromkeys(sorted(everything), 2)


class Trials:
    """Every write and every read, with a fault at each call that it makes."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self._namespace = ObjectNamespace(folder, timeout=0.05)
        self._faults = faults
        self._made = 0
        self.hits = 0

    def end(self) -> None:
        self._faults.off()

    def thing(self, state: str) -> DurableObject:
        self._made += 1
        thing = self._namespace.get_by_name(f"{state} {self._made}")
        if state != "absent":
            thing.storage.put_many(dict.fromkeys(PAIR, 0))
        if state == "closed":
            thing.close()
        return thing

    def write(self, write: Write, state: str, times: int) -> None:
        for passing in range(MOST_CALLS):
            thing = self.thing(state)
            self._faults.on(passing, times)
            failed = told(lambda: write(thing.storage, 1))  # noqa: B023 - called at once
            hits = self._faults.off()
            self.hits += hits
            after(write, thing, failed=failed)
            thing.close()
            if not hits:
                return
        raise AssertionError("it never came to its end")

    def read(self, read: Callable[[Storage], object], state: str, times: int) -> None:
        for passing in range(MOST_CALLS):
            thing = self.thing(state)
            found: list[object] = []
            self._faults.on(passing, times)
            failed = told(lambda: found.append(read(thing.storage)))  # noqa: B023 - called at once
            hits = self._faults.off()
            self.hits += hits
            assert failed or found == [[0, 0]], f"{found}"
            assert read(thing.storage) == [0, 0], "afterwards"
            thing.close()
            if not hits:
                return
        raise AssertionError("it never came to its end")


def main(kind: str, error: str, folder: str) -> int:
    trials = Trials(Path(folder), Faults(kind, int(error)))
    broken = 0
    for state, times in (("open", 1), ("closed", 1), ("absent", 1), ("open", FOR_EVER)):
        writes = [(each.__name__, partial(trials.write, each, state, times)) for each in WRITES]
        reads = [(each.__name__, partial(trials.read, each, state, times)) for each in READS if state != "absent"]
        for name, run in [*writes, *reads]:
            try:
                run()
            except Exception:  # noqa: BLE001 - all of them are shown
                trials.end()
                broken += 1
                print(f"--- {name}, object {state}, {'once' if times == 1 else 'for ever'}")  # noqa: T201
                traceback.print_exc(file=sys.stdout)
    print(f"{trials.hits} faults")  # noqa: T201
    return broken


if __name__ == "__main__":
    logging.getLogger("chatcache").setLevel(logging.CRITICAL)  # losses are printed; what counts here is who is told
    sys.exit(main(*sys.argv[1:]))

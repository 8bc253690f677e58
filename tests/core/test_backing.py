"""How the storage of an object keeps the entries of backing stores; tests/conformance holds it to the contract."""

import asyncio
import math
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from zlib import crc32

import pytest

from chatcache import (
    BackingStore,
    CorruptRecordError,
    DurableObjectPersistence,
    ObjectNamespace,
    PersistenceError,
    Storage,
)
from chatcache.testing import ManualClock
from tests.waiting import HANG

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def persistence(storage: Storage, clock: ManualClock) -> DurableObjectPersistence:
    return DurableObjectPersistence(storage, clock=clock)


@pytest.fixture
def store(persistence: DurableObjectPersistence) -> BackingStore:
    return persistence.make("store")


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a store, or its awaiting twin."""

    async def either(store: BackingStore, name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(store, name)(*args, **options)
        return await getattr(store, f"a{name}")(*args, **options)

    return either


async def test_2_and_3_stores_are_isolated_whatever_their_ids_hold(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a%", "3Ab:c"), ("a*", "c"), ("a_", "c")]
    for number, (store_id, key) in enumerate(pairs):
        await call(persistence.make(store_id), "set", key, number)
    for number, (store_id, key) in enumerate(pairs):
        assert await call(persistence.make(store_id), "get", key) == number
    assert list(storage.list()) == ["a%253Ab:c", "a%25:3Ab:c", "a%3Ab:c", "a*:c", "a:b:c", "a_:c"]


def swept(storage: Storage) -> list[str]:
    """Return the keys of all rows when what is to be deleted beside the program was; each one's end is in the index."""
    storage._turns.worker.submit(int).result()
    rows = storage.list()
    index = [key for key in rows if key.startswith("%due:")]
    ends = {
        f"%due:store:{cell[1]}:{row.removeprefix('store:')}"
        for row, cell in rows.items()
        if row.startswith("store:") and cell[1] is not None
    }
    assert ends <= {*index}
    return [key for key in rows if key not in index]


async def test_12_an_expired_row_is_deleted_when_it_is_met(
    store: BackingStore, storage: Storage, clock: ManualClock, call: Call
) -> None:
    await call(store, "set_many", [("a", 1, 10), ("b", 2, 10), ("c", 3, None), ("d", 4, 10.001)])
    clock.now += 10
    await call(store, "get", "a")
    assert swept(storage) == ["store:b", "store:c", "store:d"]
    await call(store, "get_many", ["b", "c", "d"])
    assert swept(storage) == ["store:c", "store:d"]


async def test_12_the_expired_rows_of_one_call_are_deleted_together(
    store: BackingStore, storage: Storage, clock: ManualClock, call: Call
) -> None:
    keys = [f"{number}" for number in range(200)]
    await call(store, "set_many", [(key, 1, 10) for key in keys])
    storage.put("store:bad", 1)
    with storage._turns.writer() as connection:
        connection.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = 'store:bad'")
    clock.now += 10
    commits = storage._turns.commits
    assert await call(store, "get_many", [*keys, "bad"], "expired") == ["expired"] * 201
    storage._turns.worker.submit(int).result()
    assert storage._turns.commits == commits + 1
    storage.delete("store:bad")
    assert storage.list() == {}  # nor is anything left of the index


async def test_12_a_read_waits_for_no_transaction_to_delete_what_expired(
    store: BackingStore, storage: Storage, clock: ManualClock, call: Call
) -> None:
    await call(store, "set_many", [("a", 1, 10), ("b", 2, 10)])
    clock.now += 10
    begun, go_on = Event(), Event()

    def hold(_transaction: object) -> bool:
        begun.set()
        return go_on.wait(HANG)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(storage.transaction, hold)
        begun.wait()
        assert await call(store, "get", "a") is None
        assert await call(store, "get_many", ["a", "b"]) == [None, None]
        go_on.set()
        assert held.result() is True
    assert swept(storage) == ["store:a", "store:b"]
    await call(store, "get_many", ["a", "b"])
    assert swept(storage) == []


async def test_12_a_read_waits_for_no_other_process_to_delete_what_expired(
    store: BackingStore, storage: Storage, clock: ManualClock, tmp_path: Path, call: Call
) -> None:
    await call(store, "set", "a", 1, 10)
    clock.now += 10
    begun, go_on = Event(), Event()

    def hold(_transaction: object) -> bool:
        begun.set()
        return go_on.wait(HANG)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage.transaction, hold)
        begun.wait()
        assert await call(store, "get", "a") is None
        storage._turns.worker.submit(int).result()  # nor does the thread in which what others write is committed
        go_on.set()
        assert held.result() is True
    assert swept(storage) == ["store:a"]
    await call(store, "get", "a")
    assert swept(storage) == []


async def test_12_what_was_written_anew_meanwhile_is_not_deleted(
    store: BackingStore, storage: Storage, clock: ManualClock, tmp_path: Path, call: Call
) -> None:
    await call(store, "set_many", [("a", 1, 10), ("b", 1, 10), ("c", 1, 10)])
    clock.now += 10
    go_on = Event()
    storage._turns.worker.submit(lambda: go_on.wait(HANG))
    assert await call(store, "get_many", ["a", "b", "c"]) == [None, None, None]
    elsewhere = ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage
    DurableObjectPersistence(elsewhere, clock=clock).make("store").set("a", "new", 10)
    store.set("b", "new")
    go_on.set()
    assert swept(storage) == ["store:a", "store:b"]
    assert await call(store, "get_many", ["a", "b"]) == ["new", "new"]


async def test_12_where_the_object_was_deleted_meanwhile_it_is_not_made_anew(
    store: BackingStore, storage: Storage, clock: ManualClock, tmp_path: Path, call: Call
) -> None:
    await call(store, "set", "a", 1, 10)
    clock.now += 10
    go_on = Event()
    storage._turns.worker.submit(lambda: go_on.wait(HANG))
    assert await call(store, "get", "a") is None
    last = storage._turns.worker.submit(int)
    assert ObjectNamespace(tmp_path).delete("thing") is True
    go_on.set()
    last.result()
    assert [*tmp_path.glob("default/*")] == []


async def test_15_a_corrupt_value_fails_by_its_key_and_leaves_the_others(
    store: BackingStore, storage: Storage, tmp_path: Path, call: Call
) -> None:
    await call(store, "set_many", [("good", 1, None), ("bad", 2, None)])
    storage.put_many({"store:odd": {"no": "array"}, "store:long": [1, 2, 3], "store:soon": [1, "tomorrow"]})
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")))
    connection.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = 'store:bad'")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptRecordError, match="'store:bad'"):
        await call(store, "get", "bad")
    assert await call(store, "get_many", ["good", "bad", "odd", "long", "soon"]) == [1, None, None, None, None]
    assert await call(store, "get", "odd") is None


async def test_17_a_fault_of_the_backend_is_a_persistence_error(
    store: BackingStore, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "default").touch()
    for name, arguments in {
        "set": ("key", 1),
        "set_many": ([("key", 1, None)],),
        "clear": (),
        "remove": ("k",),
    }.items():
        with pytest.raises(PersistenceError) as caught:
            await call(store, name, *arguments)
        assert isinstance(caught.value.__cause__, OSError)


async def test_the_whole_row(store: BackingStore, storage: Storage, clock: ManualClock, call: Call) -> None:
    clock.now = 1_700_000_000.123
    await call(store, "set_many", [("a", {"x": 1}, None), ("b", "y", 16.1), ("c", "z", math.inf)])
    assert storage.list() == {
        "%due:store:1700000016223:b": None,
        "store:a": [{"x": 1}, None],
        "store:b": ["y", 1_700_000_016_223],
        "store:c": ["z", None],
    }


async def test_the_rows_of_notes(store: BackingStore, storage: Storage, clock: ManualClock, call: Call) -> None:
    clock.now = 1_700_000_000.123
    await call(store, "set", "a:b", 1, note={"x": 1})
    await call(store, "set", "c", 2, 16.1, note=None)
    assert storage.list() == {
        "%due:store:1700000016223:c": None,
        "%note:store:a:b": [{"x": 1}, None],
        "store:a:b": [1, None],
        "store:c": [2, 1_700_000_016_223],
    }


@pytest.fixture
def small(tmp_path: Path) -> Storage:
    """Give a storage whose rows are short."""
    return ObjectNamespace(tmp_path / "small", longest_row=60).get_by_name("thing").storage


async def test_the_rows_of_what_is_too_large_for_one(small: Storage, clock: ManualClock, call: Call) -> None:
    store = DurableObjectPersistence(small, clock=clock).make("s")
    await call(store, "set", "k:1", "x" * 50, 10, note="y" * 60)
    expires = round(clock.now * 1000) + 10_000
    rows = small.list()
    assert list(rows) == [
        f"%due:s:{expires}:k:1",
        "%note:s:k:1",
        *(f"%part:s:3:k:1:{part:05}" for part in range(2)),
        *(f"%part:s:3:k:1:note{part:05}" for part in range(3)),
        "s:k:1",
    ]
    value = rows["%part:s:3:k:1:00000"] + rows["%part:s:3:k:1:00001"]
    assert value == b'\x01["%b",%d]' % (b"x" * 50, expires)
    assert rows["s:k:1"] == [None, expires, 2, crc32(value)]
    assert rows["%note:s:k:1"][:3] == [None, expires, 3]


@pytest.mark.parametrize(
    "over",
    [("set", "key", 1), ("set_many", [("key", 1, None)]), ("set", "key", "x" * 50), ("remove", "key"), ("clear",)],
    ids=["set", "set_many", "set shorter", "remove", "clear"],
)
async def test_no_part_is_left_of_what_was_written_over(
    small: Storage, clock: ManualClock, call: Call, over: tuple[Any, ...]
) -> None:
    store = DurableObjectPersistence(small, clock=clock).make("s")
    await call(store, *over)
    small.flush()
    left = small.list()
    await call(store, "set", "key", "x" * 200, note="y" * 200)
    await call(store, *over)
    assert small.list() == left


async def test_12_an_expired_entry_is_deleted_with_its_note_and_its_parts(
    small: Storage, clock: ManualClock, call: Call
) -> None:
    store = DurableObjectPersistence(small, clock=clock).make("s")
    keys: dict[str, Any] = {"get": "a", "get_many": ["a"], "note": "a"}
    for name, key in keys.items():
        await call(store, "set", "a", "x" * 200, 10, note="y" * 200)
        clock.now += 10
        assert await call(store, name, key) in (None, [None])
        assert swept(small) == []


async def test_15_a_value_of_which_a_part_is_missing_fails_by_its_key(
    small: Storage, clock: ManualClock, call: Call
) -> None:
    store = DurableObjectPersistence(small, clock=clock).make("s")
    await call(store, "set", "key", "x" * 200)
    small.delete("%part:s:3:key:00001")
    with pytest.raises(CorruptRecordError, match="'s:key': not all of its"):
        await call(store, "get", "key")
    assert await call(store, "get_many", ["key"], "?") == ["?"]
    small.put("%part:s:3:key:00001", 5)
    with pytest.raises(CorruptRecordError, match="'s:key'"):
        await call(store, "get", "key")


async def test_fifty_megabytes_are_kept(store: BackingStore, storage: Storage, call: Call) -> None:
    value = {"images": ["x" * 10_000_000] * 5}
    await call(store, "set", "key", value)
    assert await call(store, "get", "key") == value
    assert max(len(part) for part in storage.scan() if part[0].startswith("%part:")) <= 1024 * 1024
    await call(store, "remove", "key")
    assert storage.list() == {}


async def test_readers_see_the_old_value_or_the_new_one_of_those_in_parts(store: BackingStore, tmp_path: Path) -> None:
    """Written by threads of this process, awaited and not, and by another connection, as another process has."""
    elsewhere = ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage
    stores = [store, DurableObjectPersistence(elsewhere).make("store")]
    values = {
        letter: [letter * length] for letter, length in zip("abcd", (2_200_000, 2_300_000, 3_500_000, 5), strict=True)
    }
    store.set("key", values["a"])

    def write(to: BackingStore) -> None:
        for value in [*values.values()] * 4:
            to.set("key", value)

    def read(of: BackingStore) -> None:
        while not all(writer.done() for writer in writers):
            value = of.get("key")
            assert value == values[value[0][0]]

    with ThreadPoolExecutor(5) as pool:
        writers = [pool.submit(write, each) for each in stores]
        readers = [pool.submit(read, each) for each in stores]
        for value in [*values.values()] * 4:
            await store.aset("key", value)
            assert (await store.aget("key"))[0][0] in values
        for each in (*writers, *readers):
            each.result()


async def test_a_loop_goes_on_while_something_large_is_written_and_read(store: BackingStore) -> None:
    """Its tasks are not asked to wait until all of it is encoded and decoded."""
    value = [[number] for number in range(500_000)]
    for work in (store.aset("key", value), store.aget("key")):
        task, steps = asyncio.create_task(work), 0
        while not task.done():
            await asyncio.sleep(0)
            steps += 1
        assert steps > 2  # else it stood still: one step would have been all of it
        assert task.result() in (None, value)

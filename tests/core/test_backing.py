"""How the storage of an object keeps the entries of backing stores; tests/conformance holds it to the contract."""

import math
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

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

    async def either(store: BackingStore, name: str, *args: Any) -> Any:
        if request.param == "blocking":
            return getattr(store, name)(*args)
        return await getattr(store, f"a{name}")(*args)

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
    """Return the keys of all rows when what is to be deleted beside the program was."""
    storage._turns.worker.submit(int).result()
    return [*storage.list()]


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
    assert storage.list() == {}


async def test_12_a_read_waits_for_no_transaction_to_delete_what_expired(
    store: BackingStore, storage: Storage, clock: ManualClock, call: Call
) -> None:
    await call(store, "set_many", [("a", 1, 10), ("b", 2, 10)])
    clock.now += 10
    begun, go_on = Event(), Event()

    def hold(_transaction: object) -> bool:
        begun.set()
        return go_on.wait(2)

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
        return go_on.wait(2)

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
    storage._turns.worker.submit(lambda: go_on.wait(5))
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
    storage._turns.worker.submit(lambda: go_on.wait(5))
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
        "store:a": [{"x": 1}, None],
        "store:b": ["y", 1_700_000_016_223],
        "store:c": ["z", None],
    }

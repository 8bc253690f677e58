"""A backing store over object storage: statements 1-18 of the persistence contract, in both colours."""

import math
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from chatcache import (
    BackingStore,
    CorruptRecordError,
    DurableObjectPersistence,
    InvalidNameError,
    InvalidTTLError,
    InvalidValueError,
    ObjectNamespace,
    PersistenceError,
    Storage,
)
from tests.conftest import ManualClock

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


async def test_1_two_stores_of_one_id_see_the_same_entries(persistence: DurableObjectPersistence, call: Call) -> None:
    await call(persistence.make("one"), "set", "key", 1)
    assert await call(persistence.make("one"), "get", "key") == 1


async def test_2_and_3_stores_are_isolated_whatever_their_ids_hold(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a%", "3Ab:c"), ("a*", "c"), ("a_", "c")]
    for number, (store_id, key) in enumerate(pairs):
        await call(persistence.make(store_id), "set", key, number)
    for number, (store_id, key) in enumerate(pairs):
        assert await call(persistence.make(store_id), "get", key) == number
    assert list(storage.list()) == ["a%253Ab:c", "a%25:3Ab:c", "a%3Ab:c", "a*:c", "a:b:c", "a_:c"]


async def test_4_clear_removes_the_entries_of_one_store(persistence: DurableObjectPersistence, call: Call) -> None:
    ids = ["a", "a:b", "a%", "a*", "aa", "A", "%"]
    for store_id in ids:
        await call(persistence.make(store_id), "set", "key", store_id)
    await call(persistence.make("a"), "clear")
    await call(persistence.make("%"), "clear")
    await call(persistence.make("never used"), "clear")
    left = [store_id for store_id in ids if await call(persistence.make(store_id), "get", "key") is not None]
    assert left == ["a:b", "a%", "a*", "aa", "A"]


async def test_5_a_missing_key_is_no_error(store: BackingStore, call: Call) -> None:
    assert await call(store, "get", "key") is None
    assert await call(store, "get", "key", "default") == "default"


async def test_6_get_many_fills_a_slot_for_each_key(store: BackingStore, call: Call) -> None:
    await call(store, "set_many", [("a", 1, None), ("b", None, None)])
    assert await call(store, "get_many", ["b", "x", "a", "a"], "?") == [None, "?", 1, 1]
    assert await call(store, "get_many", []) == []


async def test_7_set_replaces_the_value_and_its_expiry(store: BackingStore, clock: ManualClock, call: Call) -> None:
    await call(store, "set", "key", 1, 10)
    await call(store, "set", "key", 2)
    clock.now += 1_000_000_000
    assert await call(store, "get", "key") == 2


async def test_8_the_clock_is_read_when_it_is_written_and_when_it_is_read(
    store: BackingStore, clock: ManualClock, call: Call
) -> None:
    clock.now += 5
    await call(store, "set", "key", 1, timedelta(seconds=10))
    clock.now += 9.999
    assert await call(store, "get", "key") == 1
    clock.now += 0.001
    assert await call(store, "get", "key") is None


async def test_9_an_entry_is_gone_at_exactly_its_end(store: BackingStore, clock: ManualClock, call: Call) -> None:
    await call(store, "set_many", [("one", 1, 10), ("two", 2, 10.001)])
    clock.now += 10
    assert await call(store, "get_many", ["one", "two"]) == [None, 2]


@pytest.mark.parametrize("ttl", [0, -1, timedelta(seconds=-1)])
async def test_10_a_ttl_that_is_not_positive_hides_the_old_value(store: BackingStore, call: Call, ttl: Any) -> None:
    await call(store, "set", "key", "old")
    await call(store, "set", "key", "new", ttl)
    assert await call(store, "get", "key") is None


async def test_11_part_of_a_millisecond_counts_as_a_whole_one(
    store: BackingStore, clock: ManualClock, call: Call
) -> None:
    await call(
        store, "set_many", [("a", 1, 0.0001), ("b", 1, timedelta(microseconds=1)), ("c", 1, 0.0011), ("d", 1, 1e-10)]
    )
    assert await call(store, "get_many", ["a", "b", "c", "d"]) == [1, 1, 1, 1]
    clock.now += 0.001
    assert await call(store, "get_many", ["a", "b", "c", "d"]) == [None, None, 1, None]


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


async def test_14_set_many_writes_all_or_nothing(store: BackingStore, storage: Storage, call: Call) -> None:
    with pytest.raises(InvalidValueError):
        await call(store, "set_many", [("a", 1, None), ("b", object(), None)])
    with pytest.raises(InvalidTTLError):
        await call(store, "set_many", [("a", 1, None), ("b", 2, "soon")])
    assert storage.list() == {}


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


async def test_16_a_value_that_cannot_be_stored_fails_and_nothing_is_written(
    store: BackingStore, storage: Storage, call: Call
) -> None:
    with pytest.raises(PersistenceError, match="of type object"):
        await call(store, "set", "key", object())
    assert storage.list() == {}


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


async def test_17_to_remove_what_is_absent_succeeds(store: BackingStore, call: Call) -> None:
    await call(store, "set", "key", 1)
    await call(store, "remove", "key")
    await call(store, "remove", "key")
    assert await call(store, "get", "key") is None


async def test_18_a_key_is_data(store: BackingStore, call: Call) -> None:
    keys = ["'; DROP TABLE _cf_KV; --", "%", "_", "*", "a:b", "", "\0"]
    await call(store, "set_many", [(key, key, None) for key in keys])
    assert await call(store, "get_many", keys) == keys


async def test_the_whole_row(store: BackingStore, storage: Storage, clock: ManualClock, call: Call) -> None:
    clock.now = 1_700_000_000.123
    await call(store, "set_many", [("a", {"x": 1}, None), ("b", "y", 16.1), ("c", "z", math.inf)])
    assert storage.list() == {
        "store:a": [{"x": 1}, None],
        "store:b": ["y", 1_700_000_016_223],
        "store:c": ["z", None],
    }


@pytest.mark.parametrize("ttl", ["10", True, math.nan, -math.inf, 1e308, object()])
async def test_a_ttl_of_the_wrong_type_is_refused(store: BackingStore, call: Call, ttl: Any) -> None:
    with pytest.raises(InvalidTTLError, match="no time to live; pass seconds"):
        await call(store, "set", "key", 1, ttl)


@pytest.mark.parametrize("store_id", ["", "x" * 513, "é" * 257, None, 5, "\ud800"])
def test_a_store_id_that_is_none_is_refused(persistence: DurableObjectPersistence, store_id: Any) -> None:
    with pytest.raises(InvalidNameError):
        persistence.make(store_id)


@pytest.mark.parametrize("key", [None, 5, b"x"])
async def test_a_key_that_is_no_str_is_refused(store: BackingStore, call: Call, key: Any) -> None:
    with pytest.raises(InvalidNameError, match="keys are str"):
        await call(store, "get", key)
    with pytest.raises(InvalidNameError, match="keys are str"):
        await call(store, "remove", key)

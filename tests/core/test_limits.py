"""Stores that hold no more than they may: what is counted, by whomever, and what is taken away."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatcache import (
    BackingStore,
    DurableObjectPersistence,
    InvalidInputError,
    InvalidValueError,
    Limits,
    Storage,
    Transaction,
)
from chatcache.backing import ledger, rows
from chatcache.backing import store as stores
from chatcache.backing.limits import LimitedStore
from chatcache.testing import ManualClock
from tests.waiting import HANG

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def persistence(storage: Storage, clock: ManualClock) -> DurableObjectPersistence:
    return DurableObjectPersistence(storage, clock=clock)


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest) -> Call:
    async def either(store: BackingStore, name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(store, name)(*args, **options)
        return await getattr(store, f"a{name}")(*args, **options)

    return either


def keys_of(storage: Storage, store: str = "store") -> list[str]:
    return [key.removeprefix(f"{store}:") for key in storage.list(prefix=f"{store}:")]


def hold(storage: Storage, store: str = "store") -> list[int]:
    """Return what the store says that it holds, after it was compared with what it does hold."""
    sizes = dict.fromkeys(keys_of(storage, store), 0)
    for key in sizes:
        rows = [
            storage.sizes(prefix=f"{store}:{key}"),
            storage.sizes(prefix=f"%note:{store}:{key}"),
            storage.sizes(prefix=f"%part:{store}:{len(key)}:{key}:"),
        ]
        sizes[key] = len(key.encode()) + sum(
            size for each in rows for row, size in each.items() if row.startswith("%part") or row.endswith(f":{key}")
        )
    uses = {key: use[0] for key, use in storage.list(prefix=f"%use:{store}:").items()}
    assert uses == {f"%use:{store}:{key}": size for key, size in sizes.items()}
    total: list[int] = storage.get(f"%total:{store}")
    assert total == [len(sizes), sum(sizes.values())]
    return total


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "10"])
def test_limits_are_whole_numbers(limit: Any) -> None:
    for options in ({"max_entries": limit}, {"max_bytes": limit}):
        with pytest.raises(InvalidInputError, match="pass a whole number from 1 on"):
            Limits(**options)


def test_the_rows_of_a_store_with_limits(persistence: DurableObjectPersistence, storage: Storage) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10))
    store.set("key", "value", 10, note="note")
    assert storage.list() == {
        "%due:store:1700000010000:key": None,
        "%note:store:key": ["note", 1_700_000_010_000],
        "%total:store": [1, 50],
        "%use:store:key": [50, 1_700_000_000_000, 1_700_000_010_000],
        "store:key": ["value", 1_700_000_010_000],
    }


async def test_a_store_has_no_more_entries_than_it_may(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    told: list[int] = []
    store = persistence.make("store", limits=Limits(max_entries=3), evicted=told.append)
    for key in "abcde":
        clock.now += 1
        await call(store, "set", key, key)
    assert keys_of(storage) == ["c", "d", "e"]
    assert told == [1, 1]
    await call(store, "set_many", [(key, key, None) for key in "vwxyz"])
    assert len(keys_of(storage)) == 3
    assert set(keys_of(storage)) <= set("vwxyz")
    assert told == [1, 1, 5]
    assert hold(storage)[0] == 3


async def test_a_store_has_no_more_bytes_than_it_may(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    store = persistence.make("store", limits=Limits(max_bytes=4_000_000))
    for key in "abcde":
        clock.now += 1
        await call(store, "set", key, "x" * 1_000_000)
    assert keys_of(storage) == ["c", "d", "e"]
    clock.now += 1
    await call(store, "set", "f", "x" * 2_500_000, note="x" * 10_000)  # in parts
    assert keys_of(storage) == ["e", "f"]
    assert hold(storage)[1] > 3_510_000
    with pytest.raises(InvalidValueError, match=r"takes 4,000,0\d\d bytes: the store holds at most 4,000,000"):
        await call(store, "set", "g", "x" * 4_000_000)
    assert keys_of(storage) == ["e", "f"]


async def test_what_is_used_stays(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=4))
    await call(store, "set_many", [(key, key, None) for key in "abcd"])
    for number in range(20):
        clock.now += 1
        assert await call(store, "get", "a") == "a"
        assert await call(store, "get_many", ["c", "none"]) == ["c", None]
        clock.now += 1
        await call(store, "set", f"{number}", number)
    assert keys_of(storage) == ["18", "19", "a", "c"]


def test_of_many_those_that_were_used_lately_stay(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock
) -> None:
    """Nearly as where all of them were looked at for each that is taken away."""
    chance = random.Random(5)  # noqa: S311 - the same each time
    store = persistence.make("store", limits=Limits(max_entries=1000))
    used: dict[str, float] = {}
    names = [f"{chance.getrandbits(64):016x}" for _ in range(4000)]
    for at in range(0, 4000, 20):
        clock.now += 1
        store.set_many([(name, 1, None) for name in names[at : at + 20]])
        read = [name for name in chance.choices(names[: at + 20], k=10) if store.get(name) is not None]
        used |= dict.fromkeys([*names[at : at + 20], *read], clock.now)
    best = set(sorted(used, key=used.__getitem__)[-1000:])
    left = set(keys_of(storage))
    assert len(left) == 1000
    assert len(left & best) > 950


def test_uses_are_written_a_few_hundred_at_a_time(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=4))
    store.set("key", 1)
    clock.now += 1
    commits = storage._turns.commits
    for _ in range(255):
        store.get("key")
    storage._turns.worker.submit(int).result()
    assert storage._turns.commits == commits
    store.get("key")
    storage._turns.worker.submit(int).result()
    assert storage._turns.commits == commits + 1
    assert storage.get("%use:store:key")[1] == round(clock.now * 1000)


def test_uses_may_be_noted_while_they_are_written(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a thread that had begun to, and was not let go on in the meantime."""
    store = persistence.make("store", limits=Limits(max_entries=10))
    assert isinstance(store, LimitedStore)
    store.set_many([("a", 1, None), ("b", 1, None)])
    for key in "ab":
        assert store.get(key) == 1
    begun = store._uses
    named = rows.use_row

    def naming(row: str) -> str:
        begun[f"store:{len(begun)}"] = 0
        return named(row)

    monkeypatch.setattr(ledger, "use_row", naming)
    clock.now += 1
    store.set("c", 1)
    assert hold(storage)[0] == 3
    assert len(begun) > 2


def test_no_more_uses_are_noted_than_a_few_thousand_while_they_cannot_be_written(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10_000))
    assert isinstance(store, LimitedStore)
    store.set_many([(f"{number}", number, None) for number in range(5000)])
    clock.now += 1

    def read(_: object) -> None:
        for number in range(5000):
            store.get(f"{number}")

    storage.transaction(read)  # meanwhile nobody else writes
    assert len(store._uses) <= 2048
    clock.now += 1
    store.set("new", 1)
    assert storage.get("%use:store:4999")[1] == round((clock.now - 1) * 1000)


async def test_reads_of_a_store_that_is_not_tidied_leave_the_file_as_it_is(
    storage: Storage, clock: ManualClock, call: Call
) -> None:
    limits = Limits(max_entries=2)
    persistence = DurableObjectPersistence(storage, clock=clock)
    await call(persistence.make("store"), "set_many", [("a", 1, None), ("b", 2, None), ("c", 3, 10)])
    await call(persistence.make("store", limits=Limits(max_entries=5)), "set", "d", 4, note="note")
    before = storage.list()
    commits = storage._turns.commits
    clock.now += 10
    untidied = DurableObjectPersistence(storage, clock=clock, tidies=False)
    for store in (untidied.make("store"), untidied.make("store", limits=limits)):
        for _ in range(300):
            assert await call(store, "get", "a") == 1
        assert await call(store, "get", "c") is None
        assert await call(store, "get_many", ["a", "b", "c", "d"]) == [1, 2, None, 4]
        assert await call(store, "note", "c") is None
    storage._turns.worker.submit(int).result()
    assert storage._turns.commits == commits
    assert storage.list() == before


async def test_what_a_store_holds_is_right_whatever_is_done_to_it(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=100))
    long = "x" * 3_000_000
    await call(store, "set_many", [("a", 1, None), ("b", long, None), ("c", 3, 10), ("d", 4, 20)])
    assert hold(storage)[0] == 4
    await call(store, "set", "a", "longer", note="note")
    await call(store, "set", "b", "shorter")
    await call(store, "remove", "none")
    assert hold(storage)[0] == 4
    clock.now += 10
    await call(store, "get", "c")
    storage._turns.worker.submit(int).result()
    assert hold(storage)[0] == 3
    await call(store, "remove", "a")
    assert hold(storage)[0] == 2
    await call(store, "clear")
    assert [*storage.list()] == []
    await call(store, "set", "a", 1)
    assert hold(storage)[0] == 1


async def test_what_others_wrote_without_limits_is_counted(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    free, limited = persistence.make("store"), persistence.make("store", limits=Limits(max_entries=6))
    await call(free, "set_many", [(f"old {number}", "x" * 3_000_000, None) for number in range(3)])
    await call(free, "set", "noted", 1, note="x" * 3_000_000)
    clock.now += 1
    await call(limited, "set", "a", 1)
    assert hold(storage)[0] == 5
    clock.now += 1
    await call(limited, "get", "old 1")
    await call(free, "set", "old 2", "shorter")
    await call(free, "remove", "noted")
    await call(limited, "set", "b", 1)
    assert hold(storage)[0] == 5
    await call(limited, "set_many", [("c", 1, None), ("d", 1, None)])
    assert hold(storage)[0] == 6
    assert {"a", "old 1", "b", "c", "d"} < {*keys_of(storage)}


@pytest.mark.parametrize("options", [{"max_entries": 10}, {"max_bytes": 100}])
async def test_a_smaller_limit_is_reached_some_entries_at_a_time(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call, options: dict[str, int]
) -> None:
    before = persistence.make("store", limits=Limits(max_entries=500))
    await call(before, "set_many", [(f"{number:03}", number, None) for number in range(300)])
    told: list[int] = []
    store = persistence.make("store", limits=Limits(**options), evicted=told.append)
    for number in range(5):
        clock.now += 1
        await call(store, "set", f"new{number}", 1)
    assert told[:4] == [64] * 4
    assert hold(storage)[0] == 305 - sum(told)
    assert hold(storage)[0] <= 10
    assert {f"new{number}" for number in range(5)} <= {*keys_of(storage)}


def test_a_write_takes_as_much_away_as_it_needs_itself(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock
) -> None:
    store = persistence.make("store", limits=Limits(max_bytes=100_000))
    store.set_many([(f"{number:04}", number, None) for number in range(5000)])
    clock.now += 1
    store.set("large", "x" * 90_000)
    assert 90_000 < hold(storage)[1] <= 100_000
    clock.now += 1
    store.set_many([(f"new {number}", "x" * 100, None) for number in range(500)])
    assert hold(storage)[1] <= 100_000


async def test_what_expired_goes_before_anything_that_lives(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    told: list[int] = []
    store = persistence.make("store", limits=Limits(max_entries=200), evicted=told.append)
    await call(store, "set_many", [(f"old {number}", number, None) for number in range(100)])
    clock.now += 1
    await call(store, "set_many", [(f"short {number}", number, 10) for number in range(100)])
    await call(persistence.make("other"), "set", "short", 1, 10)
    clock.now += 10
    for number in range(100):
        await call(store, "set", f"new {number}", 1)
    assert told == []
    assert [key for key in keys_of(storage) if key.startswith("short")] == []
    assert hold(storage)[0] == 200
    assert keys_of(storage, "other") == ["short"]


async def test_an_entry_that_somebody_else_used_since_it_was_seen_stays(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call
) -> None:
    store, elsewhere = (persistence.make("store", limits=Limits(max_entries=200)) for _ in range(2))
    for number in range(200):
        clock.now += 1
        await call(elsewhere, "set", f"{number:03}", 1)
    await call(store, "set", "!", 1)  # which has the first and oldest ones looked at
    assert keys_of(storage)[:3] == ["!", "001", "002"]
    clock.now += 1
    assert await call(elsewhere, "get_many", ["001", "002"]) == [1, 1]
    await call(elsewhere, "set", "199", 2)  # writes that they were used
    await call(store, "set", "!!", 1)
    assert keys_of(storage)[:5] == ["!", "!!", "001", "002", "004"]


@pytest.mark.parametrize("limit", [100, 40])
async def test_what_was_just_written_goes_last_in_a_new_process_as_well(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call, limit: int
) -> None:
    limits = Limits(max_entries=limit)
    for number in range(limit):
        clock.now += 1
        await call(persistence.make("store", limits=limits), "set", f"a{number}", 1)
    clock.now += 1
    await call(persistence.make("store", limits=limits), "set_many", [(f"b{number}", 1, None) for number in range(60)])
    kinds = [key[0] for key in keys_of(storage)]
    assert kinds.count("b") == min(60, limit)
    assert kinds.count("a") == max(0, limit - 60)


async def test_an_entry_that_is_written_over_leaves_no_row_in_the_index(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10))
    await call(store, "set", "key", 1, 10)
    await call(store, "set", "key", 1, 10)
    assert [*storage.list(prefix="%due:")] == ["%due:store:1700000010000:key"]
    assert await call(store, "get", "key") == 1
    await call(store, "set", "other", 1, 10)  # notes the use
    await call(persistence.make("store"), "set", "key", 1, 20)  # without limits
    assert [*storage.list(prefix="%due:")] == ["%due:store:1700000010000:other", "%due:store:1700000020000:key"]
    await call(store, "set", "key", 1)
    await call(store, "set", "other", 1)
    assert storage.list(prefix="%due:") == {}


@pytest.mark.parametrize("name", ["%total:store", "%use:store:b", "%due:store:1700000010000:b", "store:b"])
async def test_a_row_that_cannot_be_read_stops_nothing(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call, name: str
) -> None:
    limits = Limits(max_entries=4)
    store = persistence.make("store", limits=limits)

    def damage() -> None:
        storage.flush()
        with storage._turns.writer() as connection:
            assert connection.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = ?", (name,)).rowcount == 1

    await call(store, "set_many", [(key, key, 10) for key in "abcd"])
    damage()
    clock.now += 1
    await call(store, "set", "e", 1)
    await call(store, "set", "f", 1)
    await call(store, "set_many", [("g", 1, None), ("h", 1, None)])
    assert keys_of(storage) == ["e", "f", "g", "h"]
    assert hold(storage)[0] == 4
    await call(store, "clear")
    await call(store, "set_many", [(key, key, 9) for key in "abcd"])
    damage()
    await call(store, "remove", "b")
    await call(store, "set", "a", 1)
    assert keys_of(storage) == ["a", "c", "d"]
    assert hold(storage)[0] == 3


async def test_a_total_that_is_too_much_is_counted_anew(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=5))
    await call(store, "set_many", [(key, 1, None) for key in "abc"])
    storage.put("%total:store", [1000, 1])
    await call(store, "set", "d", 1)
    await call(store, "set_many", [("e", 1, None), ("f", 1, None)])
    assert hold(storage)[0] <= 3
    await call(store, "set_many", [(key, 1, None) for key in "uvwxyz"])
    assert hold(storage)[0] == 5


async def test_to_write_nothing_takes_nothing_away_but_what_is_too_much(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    await call(persistence.make("store"), "set_many", [(key, 1, None) for key in "abc"])
    await call(persistence.make("store", limits=Limits(max_entries=3)), "set_many", [])
    assert hold(storage)[0] == 3
    await call(persistence.make("store", limits=Limits(max_entries=2)), "set_many", [])
    assert hold(storage)[0] == 2


@pytest.mark.parametrize("name", ["%total:store", "%use:store:b"])
async def test_a_sweep_gets_over_a_row_that_cannot_be_read(
    persistence: DurableObjectPersistence, storage: Storage, clock: ManualClock, call: Call, name: str
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=4))
    await call(store, "set_many", [("a", 1, None), ("b", 1, 10), ("c", 1, 10)])
    with storage._turns.writer() as connection:
        connection.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = ?", (name,))
    clock.now += 10
    assert await call(store, "get_many", ["b", "c"]) == [None, None]
    storage._turns.worker.submit(int).result()
    assert keys_of(storage) == ["a"]
    await call(store, "set", "d", 1)
    assert hold(storage)[0] == 2


async def test_who_writes_without_limits_counts_for_those_who_have_some(
    persistence: DurableObjectPersistence,
    storage: Storage,
    clock: ManualClock,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stores, "_LOOK", 0)
    free, limited = persistence.make("store"), persistence.make("store", limits=Limits(max_entries=100))
    await call(free, "set", "a", 1)
    assert storage.get("%total:store") is None
    await call(limited, "set", "b", 1)
    await call(free, "set", "c", "x" * 3_000_000, 10, note="note")
    assert hold(storage)[0] == 3
    await call(free, "set_many", [("c", 1, None), ("d", 1, 10)])
    assert hold(storage)[0] == 4
    await call(free, "remove", "a")
    await call(free, "remove", "none")
    assert hold(storage)[0] == 3
    clock.now += 10
    await call(free, "get", "d")
    storage._turns.worker.submit(int).result()
    assert hold(storage)[0] == 2


async def test_who_did_not_notice_yet_that_there_are_limits_has_the_store_counted_anew(
    persistence: DurableObjectPersistence, storage: Storage, call: Call
) -> None:
    free, limited = persistence.make("store"), persistence.make("store", limits=Limits(max_entries=3))
    await call(free, "set", "a", 1)
    await call(limited, "set", "b", 1)
    await call(free, "set", "c", 1)
    await call(free, "set", "d", 1)
    assert storage.get("%total:store") is None
    await call(limited, "set", "e", 1)
    assert hold(storage)[0] == 3
    assert limited.get("e") == 1


async def test_awaited_writes_are_committed_together(persistence: DurableObjectPersistence, storage: Storage) -> None:
    store = persistence.make("store", limits=Limits(max_entries=1000))
    await store.aset("first", 1)
    commits = storage._turns.commits
    await asyncio.gather(*(store.aset(f"{number}", number) for number in range(200)))
    assert storage._turns.commits - commits < 20
    assert hold(storage)[0] == 201


async def test_a_blocking_call_may_wait_for_awaited_ones_of_the_same_loop(
    persistence: DurableObjectPersistence, storage: Storage
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10))

    async def task(number: int) -> None:
        for each in range(20):
            await store.aset(f"{number} {each}", each)

    async def calls() -> None:
        for each in range(50):
            store.set(f"{each}", each)
            await asyncio.sleep(0)

    await asyncio.gather(calls(), *map(task, range(5)))
    assert hold(storage)[0] == 10


async def test_awaited_writes_may_be_part_of_a_transaction(
    persistence: DurableObjectPersistence, storage: Storage
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10))

    async def fails(_: Transaction) -> None:
        await store.aset("a", 1)
        await store.aremove("b")
        assert await store.aget_many(["a", "b"]) == [1, None]
        raise KeyError

    await store.aset("b", 1)
    with pytest.raises(KeyError):
        await storage.atransaction(fails)
    assert await store.aget_many(["a", "b"]) == [None, 1]


async def test_of_writes_that_are_committed_together_one_may_fail(
    persistence: DurableObjectPersistence, storage: Storage
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=10))
    await store.aset("first", 1)
    long = "x" * 3_000_000  # no key can be that long
    ends = await asyncio.gather(*(store.aset(key, 1) for key in ("a", long, "b")), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), InvalidValueError, type(None)]
    assert hold(storage)[0] == 3


def test_space_is_given_back_where_entries_are_taken_away(
    persistence: DurableObjectPersistence, storage: Storage
) -> None:
    path = storage._turns.path
    persistence.make("store").set_many([(f"{number}", "x" * 100_000, None) for number in range(400)])
    storage._turns.checkpoint()
    assert path.stat().st_size > 40_000_000
    store = persistence.make("store", limits=Limits(max_entries=10))
    for number in range(400):
        store.set(f"new {number}", 1)
    assert path.stat().st_size < 5_000_000


def test_limits_of_one_store_are_not_those_of_another(persistence: DurableObjectPersistence, storage: Storage) -> None:
    one, other = (persistence.make(name, limits=Limits(max_entries=2)) for name in ("a:", "a"))
    for number in range(5):
        one.set(f"{number}", 1)
        other.set(f":{number}", 1)
    assert hold(storage, "a%3A")[0] == 2
    assert hold(storage, "a")[0] == 2


async def test_what_a_store_holds_is_right_when_tasks_and_threads_write_at_once(
    persistence: DurableObjectPersistence, storage: Storage
) -> None:
    store = persistence.make("store", limits=Limits(max_entries=20))

    async def task(number: int) -> None:
        await store.aset(f"{number % 30}", number, note=number)
        await store.aget(f"{number % 7}")
        await store.aremove(f"{number % 11}")

    def thread() -> None:
        for number in range(60):
            store.set(f"{number % 25}", "x" * number)

    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(thread)
        await asyncio.gather(*map(task, range(60)))
        written.result()
    assert hold(storage)[0] <= 20


WRITER = """
import sys
from chatcache import DurableObjectPersistence, Limits, ObjectNamespace

folder, name = sys.argv[1:]
storage = ObjectNamespace(folder, durability="normal").get_by_name("thing").storage
store = DurableObjectPersistence(storage).make("store", limits=Limits(max_entries=50))
for number in range(300):
    store.set(f"{number % 70}", name * number)
    if number % 7 == 0:
        store.remove(f"{number % 40}")
"""


def test_what_a_store_holds_is_right_when_processes_write_at_once(storage: Storage, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    writers = [subprocess.Popen([*command, name], env=path) for name in ("a", "bb")]
    assert [writer.wait(HANG) for writer in writers] == [0, 0]
    assert 40 <= hold(storage)[0] <= 50

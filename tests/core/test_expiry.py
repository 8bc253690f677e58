"""What expired is deleted when the alarm of its object goes off, and the file gets smaller."""

import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chatcache import Alarm, BackingStore, DurableObject, DurableObjectPersistence, ObjectNamespace, sweep_expired
from chatcache.backing import expiry
from chatcache.storage import alarms
from chatcache.testing import ManualClock
from tests.waiting import until

Call = Callable[..., Awaitable[Any]]

NOW = Alarm(datetime.now(UTC), 0)


@pytest.fixture
def thing(tmp_path: Path, clock: ManualClock) -> Iterator[DurableObject]:
    """Give an object with a handler that is not called, because the clock stands still."""
    namespace = ObjectNamespace(tmp_path, alarm=sweep_expired, clock=clock)
    yield namespace.get_by_name("thing")
    namespace.close()


@pytest.fixture
def store(thing: DurableObject) -> BackingStore:
    return DurableObjectPersistence(thing.storage, sweeps=True).make("store")


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest) -> Call:
    async def either(store: BackingStore, name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(store, name)(*args, **options)
        return await getattr(store, f"a{name}")(*args, **options)

    return either


def test_what_expired_is_deleted_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real clocks, a real alarm, and a TTL that ends while the program goes on."""
    monkeypatch.setattr(alarms, "_LOOK", 0.01)
    monkeypatch.setattr(expiry, "_TOGETHER", 50)
    namespace = ObjectNamespace(tmp_path, alarm=sweep_expired)
    storage = namespace.get_by_name("thing").storage
    store = DurableObjectPersistence(storage, sweeps=True).make("store")
    store.set_many([("soon", 1, 0.2), ("later", 2, 0.4), ("never", 3, None), ("much later", 4, 3600)])
    until(lambda: "store:soon" not in storage.list())
    until(lambda: "store:later" not in storage.list())
    assert [key for key in storage.list() if not key.startswith("%")] == ["store:much later", "store:never"]
    until(lambda: storage.get_alarm() is not None)
    assert len(storage.list(prefix="%due:")) == 1
    namespace.close()


async def test_the_alarm_is_set_for_what_expires_first(
    thing: DurableObject, store: BackingStore, clock: ManualClock, call: Call
) -> None:
    def alarm() -> float | None:
        when = thing.storage.get_alarm()
        return None if when is None else when.timestamp()

    clock.now = 1_700_000_040  # a whole minute
    await call(store, "set", "never", 1)
    assert alarm() is None
    await call(store, "set", "a", 1, 600)
    assert alarm() == clock.now + 600
    await call(store, "set", "b", 1, 60.001)
    assert alarm() == clock.now + 120  # what expires in one minute is deleted at its end
    await call(store, "set_many", [("c", 1, 200), ("d", 1, None), ("e", 1, 30)])
    assert alarm() == clock.now + 60


async def test_a_write_sets_no_alarm_where_an_earlier_one_is_set(
    thing: DurableObject, store: BackingStore, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    await call(store, "set", "a", 1, 60)
    schedule = thing._turns.schedule
    assert schedule is not None
    noted: list[int] = []
    monkeypatch.setattr(schedule, "before", noted.append)
    for _ in range(3):
        await call(store, "set", "b", 1, 3600)
    assert noted == []


async def test_a_ttl_without_end_sets_no_alarm_that_cannot_be(
    thing: DurableObject, store: BackingStore, call: Call
) -> None:
    await call(store, "set", "a", 1, 1e12)
    assert await call(store, "get", "a") == 1
    assert thing.storage.get_alarm() is not None


async def test_a_sweep_deletes_what_expired_with_all_that_belongs_to_it(
    thing: DurableObject, store: BackingStore, clock: ManualClock, call: Call
) -> None:
    storage = thing.storage
    long = "x" * 3_000_000
    await call(store, "set", "kept", long, note=long)
    await call(store, "set", "later", 1, 7200)
    storage.flush()
    left = storage.list()
    for number in range(300):
        await call(store, "set", f"{number}", "value", 10 + number, note="note")
    await call(store, "set", "long", long, 1000, note=long)
    await call(store, "set", "later", 1, 60)  # and again, with a later end
    await call(store, "set", "later", 1, 7200)
    clock.now += 3600
    sweep_expired(thing, NOW)
    assert storage.list() == left
    assert storage.get_alarm() == datetime.fromtimestamp(-(-(clock.now + 3600) // 60) * 60, UTC)
    clock.now += 3660
    sweep_expired(thing, NOW)
    assert [key for key in storage.list() if not key.startswith("%")] == ["store:kept"]
    assert storage.get_alarm() is None
    assert storage.list(prefix="%due:") == {}


def test_a_sweep_goes_through_all_stores_and_says_when_the_next_entry_of_any_expires(
    thing: DurableObject, clock: ManualClock
) -> None:
    persistence = DurableObjectPersistence(thing.storage, sweeps=True)
    names = ["b", "a", "a:", "a-b", "%", "1"]
    for number, name in enumerate(names):
        persistence.make(name).set_many([("soon:", 1, 10), ("later", 1, 7200 - 60 * number)])
    clock.now += 3600
    sweep_expired(thing, NOW)
    assert [key for key in thing.storage.list() if "soon" in key] == []
    for name in names:
        assert persistence.make(name).get("later") == 1
    assert thing.storage.get_alarm() == datetime.fromtimestamp(-(-(clock.now + 3300) // 60) * 60, UTC)


def test_a_sweep_leaves_the_alarm_of_others_alone(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    mine = datetime.fromtimestamp(clock.now + 100, UTC)
    thing.storage.put("mine", 1)
    thing.storage.set_alarm(mine)
    commits = thing._turns.commits
    sweep_expired(thing, NOW)
    assert thing._turns.commits == commits
    store.set("key", 1, 10)
    store.set("later", 1, 7200)
    thing.storage.set_alarm(mine)
    clock.now += 20
    sweep_expired(thing, NOW)
    assert [*thing.storage.list()] == ["%due:store:1700007200000:later", "mine", "store:later"]
    assert thing.storage.get_alarm() == mine


async def test_a_write_sets_an_alarm_while_an_earlier_one_is_handled(
    thing: DurableObject, store: BackingStore, clock: ManualClock, call: Call
) -> None:
    thing.storage.set_alarm(clock.now)
    thing._turns.firing = round(clock.now * 1e9)
    await call(store, "set", "key", 1, 600)
    assert thing.storage.get_alarm() == datetime.fromtimestamp(-(-(clock.now + 600) // 60) * 60, UTC)


def test_a_sweep_deletes_rows_of_the_index_that_are_none(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    odd = ["%due:", "%due:0000x", "%due::0000000000001:key", "%due:store:0:key", "%due:store:16x", "%due:x:9"]
    store.set_many([("soon", 1, 10), ("later", 1, 7200)])
    thing.storage.put_many(dict.fromkeys(odd))
    clock.now += 60
    sweep_expired(thing, NOW)
    assert [*thing.storage.list()] == ["%due:store:1700007200000:later", "store:later"]
    assert thing.storage.get_alarm() == datetime.fromtimestamp(-(-(clock.now + 7140) // 60) * 60, UTC)


def test_a_sweep_takes_a_few_entries_at_a_time(thing: DurableObject, store: BackingStore, clock: ManualClock) -> None:
    store.set_many([(f"{number}", number, 10) for number in range(1000)])
    clock.now += 10
    commits = thing._turns.commits
    sweep_expired(thing, NOW)
    assert thing._turns.commits - commits > 10


def test_space_is_given_back_until_the_end_of_a_sweep(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    """Also where all that expired is deleted at once."""
    store.set_many([(f"{number}", os.urandom(500_000).hex(), 10) for number in range(10)])
    store.set("kept", "value")
    thing.storage._turns.checkpoint()
    assert thing.path.stat().st_size > 10_000_000
    clock.now += 10
    sweep_expired(thing, NOW)
    assert thing.path.stat().st_size < 2_000_000


async def test_a_store_that_is_cleared_gives_its_space_back_by_itself(tmp_path: Path, call: Call) -> None:
    namespace = ObjectNamespace(tmp_path, alarm=sweep_expired)
    thing = namespace.get_by_name("thing")
    persistence = DurableObjectPersistence(thing.storage, sweeps=True)
    cleared, other = persistence.make("store"), persistence.make("store-")
    cleared.set_many([(f"{number}", os.urandom(500_000).hex(), 3600) for number in range(10)])
    other.set("kept", "value", 3600)
    thing.storage._turns.checkpoint()
    assert thing.path.stat().st_size > 10_000_000
    await call(cleared, "clear")
    assert len(thing.storage.list()) == 2
    until(lambda: thing.path.stat().st_size < 2_000_000)
    assert other.get("kept") == "value"
    namespace.close()


def test_a_sweep_goes_on_beyond_a_row_that_cannot_be_read(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    store.set_many([(key, 1, 10) for key in "abcde"])
    with thing.storage._turns.writer() as connection:
        connection.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = 'store:c'")
    clock.now += 10
    sweep_expired(thing, NOW)
    with thing.storage._turns.writer() as connection:
        assert connection.execute("SELECT key FROM _cf_KV").fetchall() == [("store:c",)]


def test_the_file_shrinks_when_what_was_in_it_expired(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    store.set_many([(f"{number}", os.urandom(2000).hex(), 10) for number in range(2000)])
    store.set("kept", "value")
    thing.storage._turns.checkpoint()
    before = thing.path.stat().st_size
    clock.now += 10
    sweep_expired(thing, NOW)
    assert thing.path.stat().st_size < before / 4
    assert store.get("kept") == "value"


def test_the_alarm_that_is_handled_is_no_reason_not_to_set_the_next_one(
    thing: DurableObject, store: BackingStore, clock: ManualClock
) -> None:
    store.set("a", 1, 60)
    handled = thing.storage.get_alarm()
    assert handled is not None
    clock.now += 120
    thing._turns.firing = round(handled.timestamp() * 1e9)
    sweep_expired(thing, NOW)
    store.set("b", 1, 600)
    assert thing.storage.get_alarm() == datetime.fromtimestamp(-(-(clock.now + 600) // 60) * 60, UTC)

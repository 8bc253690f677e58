"""Alarms: one for each object, called at least once, again where it failed, and by one process."""

import asyncio
import gc
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from chatcache import Alarm, DurableObject, InvalidInputError, ObjectNamespace, Storage, StorageError, TransactionError
from chatcache.storage import Transaction, alarms
from chatcache.storage.alarms import AlarmIndex, Alarms, ObjectSchedule
from chatcache.storage.namespace import _Target
from chatcache.storage.rows import checksum
from chatcache.storage.turns import Turns
from chatcache.testing import ManualClock
from tests.waiting import HANG, PATIENT, auntil, until

Handler = Callable[[DurableObject, Alarm], Awaitable[None] | None]
Open = Callable[[Handler], ObjectNamespace]
Call = Callable[..., Awaitable[Any]]

NOW = datetime.fromtimestamp(1_700_000_000, UTC)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def due(index: AlarmIndex, now: int) -> Any:
        looked.append(threading.get_ident())
        return original(index, now)

    original = AlarmIndex.due
    monkeypatch.setattr(AlarmIndex, "due", due)
    monkeypatch.setattr(alarms, "_LOOK", 0.005)


looked: list[int] = []
"""The threads that looked at an index for due alarms, one for each look."""


def looks() -> None:
    """Wait until the alarms were looked at twice: the first look may have begun with the clock as it was before."""
    here = threading.get_ident()
    before = len(looked)
    until(lambda: sum(each != here for each in looked[before:]) >= 2)


@pytest.fixture
def opened(tmp_path: Path, clock: ManualClock) -> Iterator[Open]:
    namespaces: list[ObjectNamespace] = []

    def opened(handler: Handler) -> ObjectNamespace:
        namespaces.append(ObjectNamespace(tmp_path, alarm=handler, clock=clock))
        return namespaces[-1]

    yield opened
    for namespace in namespaces:
        namespace.close()


class Calls:
    """A handler that notes what it is called with, and does what it is told."""

    def __init__(self, *doing: Callable[[DurableObject], None]) -> None:
        self.names: list[str | None] = []
        self.alarms: list[Alarm] = []
        self._doing = [*doing]
        self._called = threading.Condition()

    def __call__(self, thing: DurableObject, alarm: Alarm) -> None:
        do = self._doing.pop(0) if self._doing else None
        try:
            if do is not None:
                do(thing)
        finally:
            with self._called:
                self.names.append(thing.name)
                self.alarms.append(alarm)
                self._called.notify_all()

    def wait_for(self, number: int) -> None:
        with self._called:
            assert self._called.wait_for(lambda: len(self.alarms) >= number, HANG), (
                f"{len(self.alarms)} of {number} calls"
            )


def alarms_of(thing: DurableObject) -> Alarms:
    schedule = thing._turns.schedule
    assert isinstance(schedule, ObjectSchedule)
    return schedule._alarms


def idle(thing: DurableObject) -> Callable[[], bool]:
    """Return whether the object has no alarm, neither in its file nor in the index."""
    with_alarm = alarms_of(thing)
    index = with_alarm.index
    return lambda: thing.storage.get_alarm() is None and index.due(2**62) == ([], None) and not with_alarm._running


def fail(_thing: DurableObject) -> None:
    raise RuntimeError("on purpose")


def ignore(_thing: DurableObject, _alarm: Alarm) -> None:
    pass


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest, opened: Open) -> Call:
    """Calls a method of the storage, or its awaiting twin."""
    storage = opened(ignore).get_by_name("thing").storage

    async def either(name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(storage, name)(*args, **options)
        return await getattr(storage, f"a{name}")(*args, **options)

    return either


async def test_an_alarm_is_set_got_and_deleted(call: Call) -> None:
    assert await call("get_alarm") is None
    await call("set_alarm", NOW + timedelta(hours=1))
    assert await call("get_alarm") == NOW + timedelta(hours=1)
    await call("flush")
    assert await call("get_alarm") == NOW + timedelta(hours=1)
    await call("set_alarm", 1_700_000_001.5)
    assert await call("get_alarm") == NOW + timedelta(seconds=1.5)
    assert (await call("get_alarm")).tzinfo is UTC
    await call("delete_alarm")
    assert await call("get_alarm") is None
    await call("delete_alarm")


async def test_a_step_sets_the_alarm_unless_an_earlier_one_is_set(call: Call) -> None:
    for when, expected in ((50, 50), (60, 50), (40, 40)):
        await call("change", {}, alarm=NOW + timedelta(hours=when))
        assert await call("get_alarm") == NOW + timedelta(hours=expected)
        await call("flush")
        assert await call("get_alarm") == NOW + timedelta(hours=expected)
    await call("change", {}, alarm=NOW + timedelta(hours=30))
    await call("delete_alarm")
    assert await call("get_alarm") is None
    await call("change", {}, alarm=NOW + timedelta(hours=70))
    assert await call("get_alarm") == NOW + timedelta(hours=70)
    await call("set_alarm", NOW + timedelta(hours=80))
    await call("change", {}, alarm=NOW + timedelta(hours=90))
    await call("flush")
    assert await call("get_alarm") == NOW + timedelta(hours=80)


def test_a_step_within_a_transaction_sets_the_alarm_unless_an_earlier_one_is_set(opened: Open) -> None:
    storage = opened(ignore).get_by_name("thing").storage

    def body(outer: Transaction) -> None:
        outer.change({}, alarm=NOW + timedelta(hours=2))
        outer.transaction(lambda inner: inner.change({}, alarm=NOW + timedelta(hours=3)))
        assert outer.get_alarm() == NOW + timedelta(hours=2)
        outer.transaction(lambda inner: inner.change({}, alarm=NOW + timedelta(hours=1)))
        assert outer.get_alarm() == NOW + timedelta(hours=1)

    storage.transaction(body)
    assert storage.get_alarm() == NOW + timedelta(hours=1)


async def test_of_steps_of_two_processes_the_earlier_alarm_counts(tmp_path: Path, clock: ManualClock) -> None:
    """Also where the one that writes last saw no alarm when it began."""
    one, other = (
        ObjectNamespace(tmp_path, alarm=ignore, clock=clock, timeout=timeout).get_by_name("thing") for timeout in (8, 9)
    )
    await one.storage.achange({}, alarm=NOW + timedelta(hours=2))
    other.storage.change({}, alarm=NOW + timedelta(hours=1))
    await one.storage.aflush()
    assert one.storage.get_alarm() == other.storage.get_alarm() == NOW + timedelta(hours=1)
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (NOW + timedelta(microseconds=123_999), NOW + timedelta(milliseconds=123)),
        (1_700_000_000.123, NOW + timedelta(milliseconds=123)),
        (1_700_000_000.1239, NOW + timedelta(milliseconds=123)),
        (1_700_000_001, NOW + timedelta(seconds=1)),
        ((NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=-7))), NOW + timedelta(days=1)),
        (
            datetime(2188, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
            datetime(2188, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        ),
        (NOW - timedelta(days=1), NOW),
        (0.001, NOW),
    ],
    ids=str,
)
async def test_times_are_kept_in_whole_milliseconds_and_not_before_now(
    tmp_path: Path, clock: ManualClock, when: Any, expected: datetime
) -> None:
    namespace = ObjectNamespace(tmp_path, alarm=ignore, clock=clock)
    storage = namespace.get_by_name("thing").storage
    await storage.aset_alarm(when)
    assert await storage.aget_alarm() == expected
    await storage.aset_alarm(await storage.aget_alarm() or 0)
    assert storage.get_alarm() == expected
    namespace.close()


@pytest.mark.parametrize(
    "when", [math.nan, "tomorrow", None, True, NOW.replace(tzinfo=None), timedelta(1), 1j], ids=repr
)
async def test_what_is_no_time_is_refused(call: Call, when: Any) -> None:
    await call("set_alarm", NOW + timedelta(hours=1))
    with pytest.raises(InvalidInputError, match="pass an aware datetime or seconds since 1970, of a time before 2189"):
        await call("set_alarm", when)
    assert await call("get_alarm") == NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    "when",
    [
        0,
        0.0,
        -5,
        math.inf,
        -math.inf,
        1e18,
        10**400,
        datetime(2189, 1, 1, tzinfo=UTC),
        datetime(1969, 1, 1, tzinfo=UTC),
    ],
    ids=lambda when: repr(when)[:20],
)
async def test_times_out_of_range_are_refused(call: Call, when: Any) -> None:
    with pytest.raises(InvalidInputError, match="seconds since 1970, of a time before 2189"):
        await call("set_alarm", when)
    assert await call("get_alarm") is None


def test_without_a_handler_no_alarm_is_set(storage: Storage) -> None:
    with pytest.raises(InvalidInputError, match=r"needs somebody to call: ObjectNamespace\(alarm=handler\)"):
        storage.set_alarm(NOW)
    assert storage.get_alarm() is None
    storage.delete_alarm()


def test_a_handler_is_called_when_the_time_has_come(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    clock.now += 4.999
    looks()
    assert calls.alarms == []
    clock.now += 0.001
    calls.wait_for(1)
    assert calls.names == ["thing"]
    assert calls.alarms == [Alarm(NOW + timedelta(seconds=5), 0)]
    assert not calls.alarms[0].is_retry
    until(idle(thing))
    assert thing.storage.get_alarm() is None


def test_a_time_that_has_passed_is_called_at_once(opened: Open) -> None:
    calls = Calls()
    opened(calls).get_by_name("thing").storage.set_alarm(1)
    calls.wait_for(1)
    assert calls.alarms == [Alarm(NOW, 0)]


async def test_a_coroutine_function_is_awaited_and_what_it_wrote_is_on_disk(
    opened: Open, clock: ManualClock, tmp_path: Path
) -> None:
    async def handler(thing: DurableObject, alarm: Alarm) -> None:
        await asyncio.sleep(0)
        await thing.storage.aput("called", alarm.scheduled_time)

    thing = opened(handler).get_by_name("thing")
    await thing.storage.aset_alarm(NOW)
    await thing.storage.aflush()
    until(idle(thing))
    assert ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage.get("called") == NOW
    assert thing.storage.get("called") == NOW


def test_the_last_alarm_that_was_set_counts(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")
    for seconds in (10, 30, 20):
        thing.storage.set_alarm(NOW + timedelta(seconds=seconds))
    clock.now += 19
    looks()
    assert calls.alarms == []
    clock.now += 100
    calls.wait_for(1)
    until(idle(thing))
    assert calls.alarms == [Alarm(NOW + timedelta(seconds=20), 0)]


def test_a_deleted_alarm_is_not_called(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    thing.storage.delete_alarm()
    clock.now += 10
    until(idle(thing))
    assert calls.alarms == []


def test_delete_all_deletes_the_alarm(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    thing.storage.delete_all()
    assert thing.storage.get_alarm() is None
    clock.now += 10
    until(idle(thing))
    assert calls.alarms == []


def test_a_deleted_object_has_no_alarm_and_is_not_made_anew(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    namespace = opened(calls)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    assert namespace.delete("thing")
    clock.now += 10
    until(idle(thing))
    assert calls.alarms == []
    assert not thing.path.exists()


class OddError(Exception):
    pass


def test_an_alarm_of_a_transaction_that_is_rolled_back_is_not_called(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")

    def sooner() -> None:
        thing.storage.transaction(lambda txn: each(lambda: txn.set_alarm(NOW + timedelta(seconds=1)), txn.rollback))

    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    sooner()
    assert thing.storage.get_alarm() == NOW + timedelta(seconds=5)
    clock.now += 2
    looks()
    assert calls.alarms == []
    clock.now += 4
    calls.wait_for(1)
    until(idle(thing))
    sooner()
    looks()
    assert calls.alarms == [Alarm(NOW + timedelta(seconds=5), 0)]


async def test_a_transaction_sees_and_sets_the_alarm(opened: Open) -> None:
    thing = opened(ignore).get_by_name("thing")
    later = NOW + timedelta(hours=1)

    def failing() -> None:
        thing.storage.sql.exec("CREATE TABLE own (x)")
        raise OddError

    thing.storage.set_alarm(later)
    with pytest.raises(OddError):
        thing.storage.transaction(lambda txn: each(txn.delete_alarm, lambda: equal(txn.get_alarm(), None), failing))
    assert thing.storage.get_alarm() == later
    thing.storage.transaction(
        lambda txn: each(
            lambda: txn.set_alarm(later + timedelta(1)), lambda: equal(txn.get_alarm(), later + timedelta(1))
        )
    )
    assert await thing.storage.aget_alarm() == later + timedelta(1)
    await thing.storage.atransaction(lambda txn: txn.adelete_alarm())
    assert thing.storage.get_alarm() is None


def each(*doing: Callable[[], object]) -> None:
    for do in doing:
        do()


def equal(one: object, other: object) -> None:
    assert one == other


def test_while_the_handler_runs_there_is_no_alarm_unless_it_sets_one(opened: Open, clock: ManualClock) -> None:
    seen: list[datetime | None] = []

    def handler(thing: DurableObject) -> None:
        seen.append(thing.storage.get_alarm())
        thing.storage.set_alarm(NOW + timedelta(seconds=30))
        seen.append(thing.storage.get_alarm())

    calls = Calls(handler)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    assert seen == [None, NOW + timedelta(seconds=30)]
    looks()
    assert len(calls.alarms) == 1
    assert thing.storage.get_alarm() == NOW + timedelta(seconds=30)
    clock.now += 30
    calls.wait_for(2)
    assert calls.alarms[1] == Alarm(NOW + timedelta(seconds=30), 0)


def test_a_handler_does_not_see_its_alarm_as_set_by_a_commit_that_is_not_over(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[datetime | None] = []
    begins = threading.Event()
    begin, commit = _Target.begin, Turns._commit

    def noted(target: _Target, when: int) -> None:
        begins.set()
        begin(target, when)

    def slow(*args: Any) -> None:
        commit(*args)
        if threading.current_thread() is threading.main_thread():
            begins.wait(0.5)  # or for good, where the index is just corrected, which waits for this commit
            time.sleep(0.05)  # in which a handler that waits for nobody would look

    monkeypatch.setattr(_Target, "begin", noted)
    monkeypatch.setattr(Turns, "_commit", slow)
    calls = Calls(lambda thing: seen.append(thing.storage.get_alarm()))
    opened(calls).get_by_name("thing").storage.set_alarm(NOW)
    calls.wait_for(1)
    assert seen == [None]


@pytest.mark.parametrize("raising", [False, True])
def test_a_handler_that_sets_an_alarm_for_now_is_called_again_as_for_a_new_one(opened: Open, *, raising: bool) -> None:
    async def handler(thing: DurableObject, alarm: Alarm) -> None:
        calls(thing, alarm)
        if len(calls.alarms) < 4:
            await thing.storage.aset_alarm(1)
            if raising:
                raise OddError

    calls = Calls()
    thing = opened(handler).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(4)
    until(idle(thing))
    assert calls.alarms == [Alarm(NOW, 0)] * 4


def test_a_new_alarm_before_raising_runs_instead_of_a_retry(opened: Open, clock: ManualClock) -> None:
    def handler(thing: DurableObject) -> None:
        thing.storage.set_alarm(NOW + timedelta(seconds=1))
        raise OddError

    calls = Calls(fail, handler)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(lambda: alarms_of(thing)._retries)
    clock.now += 2.5
    calls.wait_for(3)
    until(idle(thing))
    assert calls.alarms[:2] == [Alarm(NOW, 0), Alarm(NOW, 1)]
    assert (calls.alarms[2].retry_count, calls.alarms[2].is_retry) == (0, False)


def test_an_alarm_deleted_by_the_handler_is_not_retried(opened: Open, clock: ManualClock) -> None:
    def handler(thing: DurableObject) -> None:
        thing.storage.delete_alarm()
        raise OddError

    calls = Calls(handler)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(idle(thing))
    clock.now += 1000
    looks()
    assert len(calls.alarms) == 1


async def test_an_alarm_deleted_by_an_awaiting_handler_is_not_retried(opened: Open, clock: ManualClock) -> None:
    async def handler(thing: DurableObject, alarm: Alarm) -> None:
        calls(thing, alarm)
        await thing.storage.adelete_alarm()
        raise OddError

    calls = Calls()
    thing = opened(handler).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(idle(thing))
    clock.now += 1000
    looks()
    assert len(calls.alarms) == 1


def test_a_handler_whose_transaction_with_an_alarm_is_rolled_back_has_set_none(opened: Open) -> None:
    def handler(thing: DurableObject) -> None:
        thing.storage.transaction(lambda txn: each(lambda: txn.set_alarm(NOW + timedelta(1)), txn.rollback))
        equal(thing.storage.get_alarm(), None)

    calls = Calls(handler, fail)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(idle(thing))
    looks()
    assert calls.alarms == [Alarm(NOW, 0)]


def test_one_that_raises_is_called_again_six_times_ever_later_and_then_no_more(
    opened: Open, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls(*[fail] * 20)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    waiting = alarms_of(thing)
    assert waiting is not None
    for number, seconds in enumerate((2, 4, 8, 16, 32, 64), 1):
        calls.wait_for(number)
        until(lambda: waiting._retries and not waiting._running)
        (retry,) = waiting._retries.values()
        assert (retry.count, clock.now + seconds <= retry.after <= clock.now + seconds * 1.25) == (number, True)
        assert thing.storage.get_alarm() == NOW
        clock.now += seconds * 0.99
        looks()
        assert len(calls.alarms) == number
        clock.now = retry.after
    calls.wait_for(7)
    until(idle(thing))
    clock.now += 10_000
    looks()
    assert calls.alarms == [Alarm(NOW, count) for count in range(7)]
    assert [alarm.is_retry for alarm in calls.alarms] == [False, *[True] * 6]
    assert thing.storage.get_alarm() is None
    assert waiting._retries == {}
    assert all("on purpose" in str(record.exc_info) for record in caplog.records)
    assert len(caplog.records) == 7
    thing.storage.set_alarm(clock.now)
    calls.wait_for(8)
    assert calls.alarms[7].retry_count == 0


def test_what_the_handler_wrote_before_it_raised_stays(opened: Open) -> None:
    calls = Calls(lambda thing: each(lambda: thing.storage.put("written", 1), lambda: fail(thing)))
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    assert thing.storage.get("written") == 1


@pytest.mark.parametrize("change", ["set", "delete"])
def test_a_retry_ends_where_the_alarm_is_set_or_deleted(opened: Open, clock: ManualClock, change: str) -> None:
    calls = Calls(fail, fail)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(lambda: alarms_of(thing)._retries)
    if change == "delete":
        thing.storage.delete_alarm()
        clock.now += 100
        until(idle(thing))
        assert len(calls.alarms) == 1
    else:
        thing.storage.set_alarm(NOW + timedelta(seconds=1))
        clock.now += 1
        calls.wait_for(2)
        assert calls.alarms[1] == Alarm(NOW + timedelta(seconds=1), 0)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), ValueError()], ids=repr)
@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
def test_whatever_a_handler_raises_the_next_alarms_are_called(opened: Open, error: BaseException, colour: str) -> None:
    async def awaiting(thing: DurableObject, alarm: Alarm) -> None:
        blocking(thing, alarm)

    def blocking(thing: DurableObject, alarm: Alarm) -> None:
        calls(thing, alarm)
        if thing.name == "raising":
            raise error

    calls = Calls()
    namespace = opened(awaiting if colour == "awaiting" else blocking)
    raising, thing = namespace.get_by_name("raising"), namespace.get_by_name("thing")
    raising.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(lambda: alarms_of(raising)._retries)
    thing.storage.set_alarm(NOW)
    calls.wait_for(2)
    assert calls.names == ["raising", "thing"]


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
def test_handlers_that_run_hold_up_no_others(opened: Open, colour: str) -> None:
    go_on = threading.Event()
    running: list[str | None] = []
    done: list[str | None] = []

    async def awaiting(thing: DurableObject, _alarm: Alarm) -> None:
        running.append(thing.name)
        await auntil(lambda: thing.name == "last" or go_on.is_set())
        done.append(thing.name)

    def blocking(thing: DurableObject, _alarm: Alarm) -> None:
        running.append(thing.name)
        if thing.name != "last":
            go_on.wait(HANG)
        done.append(thing.name)

    namespace = opened(awaiting if colour == "awaiting" else blocking)
    things = [namespace.get_by_name(f"thing {number}") for number in range(20)]
    for thing in things:
        thing.storage.set_alarm(NOW)
    until(lambda: len(running) == 20)
    namespace.get_by_name("last").storage.set_alarm(NOW)
    until(lambda: done == ["last"])
    go_on.set()
    until(lambda: len(done) == 21)
    until(idle(things[0]))


def test_an_object_is_not_called_twice_at_a_time(opened: Open, clock: ManualClock) -> None:
    running: list[int] = []
    most: list[int] = []

    def slow(thing: DurableObject) -> None:
        running.append(1)
        most.append(len(running))
        thing.storage.set_alarm(NOW)
        looks()
        running.pop()

    calls = Calls(slow, slow, slow)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(4)
    until(idle(thing))
    assert most == [1, 1, 1]


def test_many_objects_are_called_each_once(opened: Open, clock: ManualClock) -> None:
    calls = Calls()
    namespace = opened(calls)
    things = [namespace.get_by_name(f"{number}") for number in range(70)]
    for number, thing in enumerate(things):
        thing.storage.set_alarm(NOW + timedelta(seconds=number % 7))
    clock.now += 10
    calls.wait_for(70)
    until(idle(things[0]))
    assert sorted(map(str, calls.names)) == sorted(str(number) for number in range(70))


def test_an_alarm_that_came_due_while_nobody_looked_is_called_at_the_next_start(
    tmp_path: Path, clock: ManualClock, opened: Open
) -> None:
    def later(thing: DurableObject, alarm: Alarm) -> None:
        raise AssertionError

    first = ObjectNamespace(tmp_path, alarm=later, clock=clock)
    first.get_by_name("by name").storage.set_alarm(NOW + timedelta(seconds=5))
    by_id = first.get(first.new_unique_id())
    by_id.storage.set_alarm(NOW + timedelta(seconds=6))
    first.close()
    clock.now += 60
    calls = Calls()
    opened(calls)
    calls.wait_for(2)
    assert {name: alarm.scheduled_time for name, alarm in zip(calls.names, calls.alarms, strict=True)} == {
        "by name": NOW + timedelta(seconds=5),
        None: NOW + timedelta(seconds=6),
    }


def another_is_called(folder: Path, clock: ManualClock) -> None:
    """Wait as long as it takes until the alarm of another namespace went off, and was looked for again."""
    calls = Calls()
    namespace = ObjectNamespace(folder / "another", alarm=calls, clock=clock)
    namespace.get_by_name("thing").storage.set_alarm(NOW)
    calls.wait_for(1)
    looks()
    namespace.close()


def test_closing_stops_and_opening_begins_again(opened: Open, clock: ManualClock, tmp_path: Path) -> None:
    calls = Calls()
    namespace = opened(calls)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    namespace.close()
    clock.now += 10
    another_is_called(tmp_path, clock)
    assert calls.alarms == []
    assert opened(calls).get_by_name("thing") is thing
    calls.wait_for(1)


def test_a_handler_may_close_its_namespace(opened: Open) -> None:
    async def handler(thing: DurableObject, alarm: Alarm) -> None:
        calls(thing, alarm)
        namespace.close()

    calls = Calls()
    namespace = opened(handler)
    namespace.get_by_name("thing").storage.set_alarm(NOW)
    calls.wait_for(1)
    namespace.close()


def test_closing_does_not_wait_for_a_handler_that_is_called_again_later(opened: Open, clock: ManualClock) -> None:
    async def hanging(thing: DurableObject, alarm: Alarm) -> None:
        calls(thing, alarm)
        await asyncio.Event().wait()

    calls = Calls()
    namespace = opened(hanging)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    namespace.close()
    assert thing.storage.get_alarm() == NOW
    again = Calls()
    opened(again)
    again.wait_for(1)
    assert again.alarms == [Alarm(NOW, 0)]


def test_two_namespaces_call_each_alarm_once_and_the_other_takes_over(tmp_path: Path, clock: ManualClock) -> None:
    """Two namespaces of different settings exclude each other as two processes do."""
    one, other = Calls(), Calls()
    first = ObjectNamespace(tmp_path, alarm=one, clock=clock)
    second = ObjectNamespace(tmp_path, alarm=other, clock=clock)
    things = [each.get_by_name(f"{number}") for number, each in enumerate([first, second] * 10)]
    for thing in things:
        thing.storage.set_alarm(NOW)
    until(lambda: len(one.alarms) + len(other.alarms) == 20)
    until(idle(things[0]))
    assert sorted([len(one.alarms), len(other.alarms)]) == [0, 20]
    closing_one, left, calls = (first, second, other) if one.alarms else (second, first, one)
    closing_one.close()
    left.get_by_name("again").storage.set_alarm(NOW)
    calls.wait_for(1)
    left.close()


def test_whoever_never_set_an_alarm_takes_over_too(tmp_path: Path, clock: ManualClock) -> None:
    calls, never = Calls(), Calls()
    waiting = ObjectNamespace(tmp_path, alarm=calls, clock=clock)
    setting = ObjectNamespace(tmp_path, alarm=never, clock=clock)
    setting.get_by_name("thing").storage.set_alarm(NOW + timedelta(seconds=5))
    setting.close()
    clock.now += 10
    calls.wait_for(1)
    waiting.close()


def test_a_retry_ends_where_another_process_sets_the_alarm(tmp_path: Path, clock: ManualClock, opened: Open) -> None:
    calls = Calls(fail, fail)
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW)
    calls.wait_for(1)
    until(lambda: alarms_of(thing)._retries)
    elsewhere = ObjectNamespace(tmp_path, alarm=ignore, clock=clock)
    elsewhere.get_by_name("thing").storage.set_alarm(NOW + timedelta(seconds=1))
    clock.now += 1
    calls.wait_for(2)
    assert calls.alarms[1] == Alarm(NOW + timedelta(seconds=1), 0)
    elsewhere.close()


def test_an_index_that_names_an_earlier_time_is_put_right(opened: Open, clock: ManualClock, tmp_path: Path) -> None:
    calls = Calls()
    thing = opened(calls).get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=50))
    with closing(sqlite3.connect(tmp_path / "default" / "metadata.sqlite")) as connection:
        with connection:
            connection.execute("UPDATE _cf_ALARM SET scheduled_time = 5")
        query = "SELECT scheduled_time FROM _cf_ALARM"
        until(lambda: connection.execute(query).fetchall() == [(1_700_000_050_000_000_000,)])
    assert calls.alarms == []
    clock.now += 50
    calls.wait_for(1)


def test_a_locked_object_is_called_later(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "_BROKEN", 0.0)
    calls = Calls()
    namespace = ObjectNamespace(tmp_path, alarm=calls, clock=ManualClock(), timeout=0.01)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    namespace.close()
    thing.path.rename(tmp_path / "away")
    thing.path.write_bytes(b"no database" * 100)
    again = ObjectNamespace(tmp_path, alarm=calls, clock=ManualClock(NOW.timestamp() + 5), timeout=0.01)
    looks()
    assert calls.alarms == []
    (tmp_path / "away").replace(thing.path)
    calls.wait_for(1)
    again.close()


def test_an_alarm_that_the_index_cannot_take_is_not_set(opened: Open, tmp_path: Path) -> None:
    thing = opened(ignore).get_by_name("thing")
    thing.storage.put("a", 1)
    (tmp_path / "garbage").write_bytes(b"no database" * 100)
    (tmp_path / "garbage").replace(tmp_path / "default" / "metadata.sqlite")  # in one step, while it is looked at
    with pytest.raises(StorageError, match=r"metadata\.sqlite is no SQLite database"):
        thing.storage.transaction(lambda txn: each(lambda: txn.put("a", 2), lambda: txn.set_alarm(NOW)))
    assert (thing.storage.get("a"), thing.storage.get_alarm()) == (1, None)


def test_the_rows_on_disk(opened: Open, tmp_path: Path) -> None:
    """The format of both files: a change of it shows here, and makes older files unreadable."""
    namespace = opened(ignore)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(milliseconds=1500))
    nameless = namespace.get(namespace.id_from_name("nameless"))
    nameless.storage.set_alarm(NOW + timedelta(hours=1))
    gone = namespace.get_by_name("gone")
    gone.storage.set_alarm(NOW + timedelta(hours=1))
    gone.storage.delete_alarm()
    assert dump(thing.path) == [
        "CREATE TABLE _cf_KV (key TEXT NOT NULL, checksum BLOB, value BLOB)",
        "CREATE TABLE _cf_METADATA (key INTEGER PRIMARY KEY, checksum BLOB, value BLOB)",
        f"_cf_METADATA {metadata(1, 1700000001500000000)}",
        f"_cf_METADATA {metadata(3, 'thing')}",
    ]
    assert dump(nameless.path)[2:] == [f"_cf_METADATA {metadata(1, 1700003600000000000)}"]
    assert dump(gone.path)[2:] == [f"_cf_METADATA {metadata(1, None)}", f"_cf_METADATA {metadata(3, 'gone')}"]
    assert dump(tmp_path / "default" / "metadata.sqlite") == [
        "CREATE TABLE _cf_ALARM (actor_id TEXT PRIMARY KEY, scheduled_time INTEGER, actor_name TEXT) WITHOUT ROWID",
        f"_cf_ALARM ('{thing.id}', 1700000001500000000, 'thing')",
        f"_cf_ALARM ('{nameless.id}', 1700003600000000000, None)",
        f"_cf_ALARM ('{gone.id}', 1700003600000000000, 'gone')",
    ]
    assert sorted(path.name for path in (tmp_path / "default").iterdir() if "-" not in path.name) == sorted(
        ["alarms.lock", "metadata.sqlite", *(f"{each.id}.sqlite" for each in (thing, nameless, gone))]
    )


def metadata(key: int, value: int | str | None) -> tuple[Any, ...]:
    return key, checksum(str(key), repr(value).encode()), value


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        rows = [
            f"{name} {row}"
            for name, _ in tables
            for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1")  # noqa: S608
        ]
    return [*(sql for _, sql in tables), *rows]


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", "-X", "dev", "-c", PATIENT + HEAD + text, str(tmp_path), *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        with process:
            pass


HEAD = """
import asyncio, logging, sys, threading, time
from chatcache import ObjectNamespace
from chatcache.storage import alarms
alarms._LOOK = 0.01
def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")  # in one piece, whatever thread it is
    sys.stdout.flush()
root, *arguments = sys.argv[1:]
"""


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


HANGING = """
def handler(thing, alarm):
    thing.storage.put("began", thing.storage.get("began", 0) + 1)
    say("called", thing.name, alarm.retry_count)
    threading.Event().wait()
namespace = ObjectNamespace(root, alarm=handler)
namespace.get_by_name("thing").storage.set_alarm(1)
threading.Event().wait()
"""


def test_a_handler_that_is_killed_runs_again(tmp_path: Path, program: Start) -> None:
    process = program(HANGING)
    assert line(process) == "called thing 0"
    process.kill()
    process.communicate()
    calls = Calls()
    namespace = ObjectNamespace(tmp_path, alarm=calls)
    calls.wait_for(1)
    assert (calls.names, calls.alarms[0].retry_count) == (["thing"], 0)
    assert namespace.get_by_name("thing").storage.get("began") == 1
    namespace.close()


TWO = """
from pathlib import Path
def handler(thing, alarm):
    say(arguments[0], thing.name)
def clock():
    return float(Path(root, "clock").read_text())
namespace = ObjectNamespace(root, alarm=handler, clock=clock)
for number in range(10):
    namespace.get_by_name(f"{arguments[0]} {number}").storage.set_alarm(1001)
namespace.get_by_name("later").storage.set_alarm(2001)
say("ready")
threading.Event().wait()
"""


def test_each_alarm_is_called_by_one_process_and_when_that_one_is_killed_by_the_other(
    tmp_path: Path, program: Start
) -> None:
    def set_clock(now: int) -> None:
        (tmp_path / "new").write_text(str(now))
        (tmp_path / "new").replace(tmp_path / "clock")

    set_clock(1000)
    first = program(TWO, "first")
    assert line(first) == "ready"
    second = program(TWO, "second")
    assert line(second) == "ready"
    set_clock(1002)
    called = sorted(line(first) for _ in range(20))
    assert called == sorted(f"first {each} {number}" for each in ("first", "second") for number in range(10))
    with closing(sqlite3.connect(tmp_path / "default" / "metadata.sqlite")) as index:
        until(lambda: index.execute("SELECT actor_name FROM _cf_ALARM").fetchall() == [("later",)])
    first.send_signal(signal.SIGKILL)
    set_clock(2002)
    assert line(second) == "second later"
    second.kill()
    assert [first.communicate(), second.communicate()] == [("", "")] * 2


ENDS = """
called, forever = threading.Event(), threading.Event()
async def awaiting(thing, alarm):
    say("called")
    called.set()
    await asyncio.Event().wait()
def blocking(thing, alarm):
    say("called")
    called.set()
    forever.wait()
handler = awaiting if arguments[0] == "awaiting" else blocking
namespace = ObjectNamespace(root, alarm=handler)
thing = namespace.get_by_name("thing")
thing.storage.set_alarm(time.time() + 3600)
if arguments[0] != "waiting":
    namespace.get_by_name("running").storage.set_alarm(1)
    called.wait()
"""


@pytest.mark.parametrize("kind", ["waiting", "awaiting", "blocking"])
def test_a_program_that_never_closes_ends_silently_and_at_once(program: Start, kind: str) -> None:
    process = program(ENDS, kind)
    assert process.communicate(timeout=HANG) == ("" if kind == "waiting" else "called\n", "")
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_call_what_its_parent_calls(opened: Open, clock: ManualClock, tmp_path: Path) -> None:
    def handler(thing: DurableObject, _alarm: Alarm) -> None:
        thing.storage.put("called by", [*thing.storage.get("called by", []), os.getpid()])

    thing = opened(handler).get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(seconds=5))
    child = os.fork()
    if child == 0:
        clock.now += 10
        time.sleep(0.3)  # nothing is to happen here: a child has no thread that could be waited for
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert thing.storage.get("called by") is None
    clock.now += 10
    until(lambda: thing.storage.get("called by") == [os.getpid()])
    until(idle(thing))


def test_an_alarm_within_a_rolled_back_transaction_cannot_be_asked_for(opened: Open) -> None:
    thing = opened(ignore).get_by_name("thing")

    def body(txn: Any) -> None:
        txn.rollback()
        with pytest.raises(TransactionError, match="rolled back"):
            txn.set_alarm(NOW)
        with pytest.raises(TransactionError, match="rolled back"):
            thing.storage.get_alarm()

    thing.storage.transaction(body)


class App:
    """A program that holds its namespace, whose handler is a method of the program: they hold each other."""

    def __init__(self, root: Path, clock: ManualClock) -> None:
        self.calls = Calls()
        self.namespace = ObjectNamespace(root, alarm=self.ring, clock=clock)

    def ring(self, thing: DurableObject, alarm: Alarm) -> None:
        self.calls(thing, alarm)


def test_a_namespace_that_nobody_holds_calls_no_more_and_another_one_goes_on(
    tmp_path: Path, clock: ManualClock
) -> None:
    forgotten, kept = App(tmp_path / "forgotten", clock), App(tmp_path / "kept", clock)
    for app in (forgotten, kept):
        app.namespace.get_by_name("thing").storage.set_alarm(NOW)
        app.calls.wait_for(1)
        app.namespace.get_by_name("thing").storage.set_alarm(NOW + timedelta(hours=1))
    calls, looking, known = forgotten.calls, forgotten.namespace._objects._alarms, ref(forgotten.namespace)
    assert looking is not None
    del app, forgotten
    until(lambda: gc.collect() is not None and known() is None)
    clock.now += 3600
    kept.calls.wait_for(2)
    until(lambda: looking._thread is None)
    assert len(calls.alarms) == 1
    again = App(tmp_path / "forgotten", clock)
    again.calls.wait_for(1)
    for app in (kept, again):
        app.namespace.close()


def test_a_namespace_that_was_forgotten_keeps_no_other_from_closing(tmp_path: Path, clock: ManualClock) -> None:
    calls = Calls()
    ObjectNamespace(tmp_path, alarm=calls, clock=clock)
    gc.collect()
    namespace = ObjectNamespace(tmp_path, alarm=calls, clock=clock)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(NOW + timedelta(hours=1))
    namespace.close()
    clock.now += 3600
    another_is_called(tmp_path, clock)
    assert calls.alarms == []
    assert thing.storage.get_alarm() == NOW + timedelta(hours=1)


def test_the_handler_is_called_as_long_as_an_object_is_held(tmp_path: Path, clock: ManualClock) -> None:
    calls = Calls()
    storage = ObjectNamespace(tmp_path, alarm=calls, clock=clock).get_by_name("thing").storage
    gc.collect()
    storage.set_alarm(NOW)
    calls.wait_for(1)

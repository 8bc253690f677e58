"""Leases: one leads over all processes, the others wait for what it stores, or leaves; whatever becomes of it.

What two processes do is done here by two namespaces over one folder. Real processes are in ``tests/durability``.
"""

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from chatcache import ObjectNamespace, PersistenceError, ResponseCache, Storage, request_key
from chatcache._bridge import RENEWALS, Colour, Flights, awaiting, blocking, drive
from chatcache.cache.leases import Following, Lease, Leases, Left
from chatcache.storage import Budget
from tests.waiting import HANG, auntil, until

LENGTH = 0.3
LONG = 2.0  # that is renewed in time on a busy machine
ROW = "%lease:shop:k"


class Process:
    """What one process has: a storage, and the leases of one store."""

    def __init__(self, folder: Path, length: float = 30.0, timeout: float = 5) -> None:
        self.timeout = timeout
        self.object = ObjectNamespace(folder, timeout=timeout).get_by_name("thing")
        self.storage: Storage = self.object.storage
        self.failures: list[PersistenceError] = []
        self.lookers: set[int] = set()  # threads; while another one leads, those that wait look
        self.leases = Leases(self.storage, "shop", failed=self.failed, length=length)

    def failed(self, _key: str, error: PersistenceError) -> None:
        self.failures.append(error)

    def end(self) -> None:
        RENEWALS.forget(self.leases.sweep._look)  # it waits for a whole length
        self.object.close()

    async def look(self) -> Any:
        self.lookers.add(threading.get_ident())
        return self.storage.get("answer")

    async def lead(self, colour: Colour, key: str = "k") -> Any:
        return await self.leases.lead(colour, key, self.look, Budget(self.timeout))

    async def call(self, colour: Colour, answer: Any, note: Any = None) -> Any:
        """Return what was found or left, or make the call: store an answer, or leave a note."""
        led = await self.lead(colour)
        if not isinstance(led, Lease):
            return led
        async with led:
            led.note = note
            if note is None:
                self.storage.put("answer", answer)
            return answer


Lock = Callable[[], AbstractContextManager[None]]
Run = Callable[[Coroutine[Any, Any, Any]], "Future[Any]"]


@pytest.fixture(autouse=True)
def _nothing_of_other_tests() -> None:
    """Have the thread of the process do nothing for tests that were run before, whose leases are longer."""
    for work in [*RENEWALS._work]:
        RENEWALS.forget(work)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.end()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    process.end()


@pytest.fixture(params=["blocking", "awaiting"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return blocking if request.param == "blocking" else awaiting


@pytest.fixture
def apart(colour: Colour) -> Iterator[Run]:
    """Run a coroutine of either colour in a thread, on a loop of its own where it is awaited."""
    with ThreadPoolExecutor(16) as threads:
        yield lambda coroutine: threads.submit(drive if colour is blocking else asyncio.run, coroutine)


def held(process: Process, key: str = "k") -> Lease:
    lease = drive(process.lead(blocking, key))
    assert isinstance(lease, Lease)
    return lease


def is_waited_for(process: Process) -> bool:
    return bool(process.storage.get(ROW)[2])


# ---- taking and releasing


def test_a_lease_is_a_row_as_long_as_it_is_held(one: Process, colour: Colour, apart: Run) -> None:
    async def call() -> tuple[Any, Any, str]:
        async with await one.lead(colour) as lease:
            during = one.storage.get(ROW)
            return lease.owner, during, one.leases.alive.mark()

    before = time.time() * 1000
    owner, row, mark = apart(call()).result(HANG)
    assert row == [owner, row[1], 0, mark]
    assert before + 29_000 < row[1] < before + 40_000
    assert one.storage.list() == {}


def test_another_process_waits_for_the_answer(one: Process, other: Process, colour: Colour, apart: Run) -> None:
    lease = held(one)
    calls = [apart(other.call(colour, "not called")) for _ in range(3)]
    until(lambda: len(other.lookers) == 3)
    assert not any(call.done() for call in calls)
    one.storage.put("answer", 42)
    drive(lease.release())
    assert [call.result(HANG) for call in calls] == [42, 42, 42]
    assert one.storage.list() == {"answer": 42}


def test_another_key_and_another_store_wait_for_nobody(one: Process, other: Process) -> None:
    held(one)
    second = held(other, "l")
    elsewhere = Leases(other.storage, "shop:", failed=other.failed)
    third = drive(elsewhere.lead(blocking, "k", other.look, Budget()))
    assert isinstance(third, Lease)
    assert {*one.storage.list()} == {ROW, "%lease:shop:l", "%lease:shop%3A:k"}
    drive(second.release())
    drive(third.release())


def test_what_was_stored_before_the_lease_was_taken_is_found(one: Process, colour: Colour, apart: Run) -> None:
    one.storage.put("answer", 42)
    assert apart(one.call(colour, "not called")).result(HANG) == 42
    assert one.storage.list() == {"answer": 42}


def test_what_a_look_raises_releases_the_lease(one: Process, colour: Colour, apart: Run) -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        apart(one.leases.lead(colour, "k", fail, Budget())).result(HANG)
    assert one.storage.list() == {}


def test_one_of_those_who_wait_leads_next_if_nothing_is_stored(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    lease = held(one)
    calls = [apart(other.call(colour, number)) for number in range(4)]
    until(lambda: len(other.lookers) == 4)
    drive(lease.release())
    assert len({call.result(HANG) for call in calls}) == 1
    assert {*one.storage.list()} == {"answer"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_leader_that_is_ended_releases(one: Process, error: type[BaseException]) -> None:
    async def call() -> None:
        async with await one.lead(blocking):
            raise error

    with pytest.raises(error):
        drive(call())
    assert one.storage.list() == {}


async def test_a_task_that_is_cancelled_releases_also_if_it_is_cancelled_again(one: Process) -> None:
    async def call() -> None:
        async with await one.lead(awaiting):
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await auntil(one.storage.list)
    for _ in range(20):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await auntil(lambda: one.storage.list() == {})


async def test_a_task_that_is_cancelled_while_it_takes_the_lease_holds_none(one: Process, other: Process) -> None:
    for steps in range(12):
        task = asyncio.create_task(one.call(awaiting, None, note="never"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        led = await other.lead(awaiting)
        assert isinstance(led, Lease)
        await led.release()


async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(one: Process, other: Process) -> None:
    lease = held(one)
    task = asyncio.create_task(other.lead(awaiting))
    await auntil(lambda: is_waited_for(one))
    before = one.storage.list()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one.storage.list() == before
    drive(lease.release())
    assert one.storage.list() == {}


# ---- notes


@pytest.mark.parametrize("note", ["refused", {"error": ["RateLimitError", None]}, False, 0, []])
def test_who_waited_is_told_the_note_and_who_comes_later_leads(
    one: Process, other: Process, colour: Colour, apart: Run, note: Any
) -> None:
    lease = held(one)
    calls = [apart(other.call(colour, "not called")) for _ in range(3)]
    until(lambda: len(other.lookers) == 3 and is_waited_for(one))
    lease.note = note
    drive(lease.release())
    assert [call.result(HANG) for call in calls] == [Left(note)] * 3
    assert apart(other.call(colour, "called")).result(HANG) == "called"
    assert one.storage.list() == {"answer": "called"}


@pytest.mark.parametrize("note", [object(), "x" * 3_000_000])
def test_a_note_that_cannot_be_stored_is_dropped(one: Process, other: Process, note: Any) -> None:
    lease = held(one)
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(drive, other.lead(blocking))
        until(lambda: is_waited_for(one))
        lease.note = note
        drive(lease.release())
        taken = waiter.result(HANG)
    assert isinstance(taken, Lease)
    drive(taken.release())
    assert one.storage.list() == {}


def test_a_note_is_never_on_disk_where_nobody_waits(one: Process) -> None:
    lease = held(one)
    lease.note = "secret"
    drive(lease.release())
    assert one.storage.list() == {}
    assert b"secret" not in b"".join(path.read_bytes() for path in one.object.path.parent.iterdir())


def left(one: Process, other: Process) -> None:
    """Leave a note, and what was said, to somebody who waits and somebody who follows."""
    lease = held(one)
    with ThreadPoolExecutor(2) as threads:
        waits = threads.submit(drive, other.lead(blocking))
        until(lambda: is_waited_for(one))
        follows = threads.submit(drive, follow(other, blocking, []))
        until(lambda: drive(lease.followed()))
        lease.say(["secret"])
        lease.note = "secret"
        drive(lease.release())
        assert [waits.result(HANG), follows.result(HANG)] == [Left("secret")] * 2


def test_what_was_left_and_said_is_deleted_when_nobody_waits_for_it_any_more(tmp_path: Path, other: Process) -> None:
    one = Process(tmp_path, LONG)
    left(one, other)
    assert len(one.storage.list()) == 3
    until(lambda: one.storage.list() == {})
    until(lambda: RENEWALS._thread is None)


def test_to_delete_what_was_left_makes_no_file_that_somebody_deleted(tmp_path: Path, other: Process) -> None:
    one = Process(tmp_path, LONG)
    left(one, other)
    one.object.close()
    for path in one.object.path.parent.iterdir():
        path.unlink()
    until(lambda: RENEWALS._thread is None)
    one.leases.clear()
    assert not one.object.path.exists()


def test_what_was_left_is_cleared_and_who_leads_goes_on(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    async def clear() -> None:
        await colour(one.leases.clear, one.leases.aclear)

    left(one, other)
    lease = held(one, "l")
    elsewhere = {"%lease:elsewhere:k": ["owner", 0, 1, "", "note"], "answer": 42}
    one.storage.put_many(elsewhere)
    apart(clear()).result(HANG)
    assert one.storage.list().keys() == {"%lease:shop:l", *elsewhere}
    drive(lease.release())


def test_an_answer_that_is_stored_counts_for_more_than_a_note(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    lease = held(one)
    call = apart(other.call(colour, "not called"))
    until(lambda: other.lookers and is_waited_for(one))
    lease.note = "refused"
    one.storage.put("answer", 42)
    drive(lease.release())
    assert call.result(HANG) == 42


# ---- those who died


def test_a_lease_that_is_held_for_long_is_renewed(tmp_path: Path, other: Process) -> None:
    one = Process(tmp_path, LENGTH)
    lease = held(one)
    first = one.storage.get(ROW)
    until(lambda: one.storage.get(ROW)[1] > first[1] + LENGTH * 1000)
    assert one.storage.get(ROW)[0] == lease.owner
    drive(lease.release())


def test_the_thread_ends_when_there_is_nothing_to_renew(tmp_path: Path) -> None:
    one = Process(tmp_path, LENGTH)
    drive(held(one).release())
    until(lambda: RENEWALS._thread is None)
    lease = held(one)
    assert RENEWALS._thread is not None
    drive(lease.release())


def test_the_lease_of_the_dead_is_taken_over_when_it_is_over(tmp_path: Path, colour: Colour, apart: Run) -> None:
    one = Process(tmp_path, LENGTH)
    ends = round(time.time() * 1000) + 200
    one.storage.put(ROW, ["dead", ends, False, ""])
    assert apart(one.call(colour, 1)).result(HANG) == 1
    assert time.time() * 1000 >= ends - 1


def test_a_clock_that_was_set_back_holds_nobody_up(tmp_path: Path, colour: Colour, apart: Run) -> None:
    one = Process(tmp_path, LENGTH)
    one.storage.put(ROW, ["dead", round(time.time() * 1000) + 3_600_000, False, ""])
    began = time.monotonic()
    calls = [apart(one.call(colour, number)) for number in range(3)]
    assert len({call.result(HANG) for call in calls}) == 1
    assert time.monotonic() - began > LENGTH * 0.9


@pytest.mark.parametrize(
    "row", [None, "nonsense", [], ["owner"], ["owner", "soon", False, ""], ["owner", 1, 0], [1, 2, 3, "", 5]]
)
def test_a_row_of_another_make_is_taken_over(one: Process, row: Any) -> None:
    one.storage.put(ROW, row)
    assert drive(one.call(blocking, 1)) == 1


def test_a_leader_whose_lease_is_anothers_leaves_that_one_alone(one: Process) -> None:
    lease = held(one)
    theirs = ["other", round(time.time() * 1000) + 60_000, False, ""]
    one.storage.put(ROW, theirs)
    one.storage.transaction(lease.renew)
    assert one.storage.get(ROW) == theirs
    drive(lease.release())
    assert one.storage.get(ROW) == theirs


def test_a_lease_that_was_deleted_with_everything_is_there_again_when_it_is_renewed(tmp_path: Path) -> None:
    one = Process(tmp_path, LENGTH)
    lease = held(one)
    one.storage.delete_all()
    until(lambda: one.storage.get(ROW) is not None)
    drive(lease.release())
    assert one.storage.list() == {}


def test_nobody_waits_for_a_loop_that_stopped(tmp_path: Path, other: Process, colour: Colour, apart: Run) -> None:
    one = Process(tmp_path, LENGTH)
    loop = asyncio.new_event_loop()
    lease = loop.run_until_complete(one.lead(awaiting))
    assert apart(other.call(colour, 1)).result(HANG) == 1
    loop.run_until_complete(lease.release())
    loop.close()
    assert one.storage.list() == {"answer": 1}


def test_a_stream_whose_reader_does_not_come_back_holds_nobody_up(
    tmp_path: Path, other: Process, colour: Colour, apart: Run
) -> None:
    one = Process(tmp_path, LENGTH)
    lease = held(one)
    with lease.parked():
        assert apart(other.call(colour, 1)).result(HANG) == 1
    lease.say(["goes on"])
    drive(lease.release())
    assert [*one.storage.list(prefix="%lease:")] == []
    assert one.storage.get("answer") == 1


def test_a_stream_whose_reader_comes_back_is_led_on(tmp_path: Path) -> None:
    one = Process(tmp_path, LENGTH)
    lease = held(one)
    with lease.parked():
        until(lambda: one.storage.get(ROW)[1] < time.time() * 1000)
    owner, ended, *_ = one.storage.get(ROW)
    assert owner == lease.owner
    until(lambda: one.storage.get(ROW)[1] > ended)
    drive(lease.release())
    assert one.storage.list() == {}


def test_nobody_waits_for_a_loop_of_its_own_process_that_stopped(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    loop = asyncio.new_event_loop()
    lease = loop.run_until_complete(one.lead(awaiting))
    assert apart(other.call(colour, 1)).result(HANG) == 1
    loop.run_until_complete(lease.release())
    loop.close()
    assert one.storage.list() == {"answer": 1}


async def test_nobody_waits_for_a_loop_that_waits_for_it(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    lease = await one.lead(awaiting)
    assert apart(other.call(colour, 1)).result(HANG) == 1  # the loop stands still
    await lease.release()
    assert one.storage.list() == {"answer": 1}


def test_the_lease_of_a_call_that_is_gone_holds_nobody_up(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    lease = held(one)
    del lease
    assert apart(other.call(colour, 1)).result(HANG) == 1


async def test_a_task_that_was_abandoned_gives_its_lease_back(one: Process) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)  # it says that it was pending

    holds = asyncio.Event()

    async def call() -> None:
        async with await one.lead(awaiting):
            holds.set()
            await asyncio.Future()

    task = asyncio.create_task(call())
    await holds.wait()
    del task
    gc.collect()
    until(lambda: one.storage.list() == {})


def test_a_lease_is_given_back_whose_finalizer_comes_after_the_thread_has_ended(one: Process) -> None:
    lease = held(one)
    RENEWALS.discard(lease)  # the collector clears weak references first
    for work in [*RENEWALS._work]:
        RENEWALS.forget(work)
    until(lambda: RENEWALS._thread is None)
    lease.let_go()
    until(lambda: one.storage.list() == {})


def test_a_lease_is_given_back_that_is_let_go_while_the_thread_ends(one: Process) -> None:
    lease = held(one)
    thread = RENEWALS._thread
    assert thread is not None
    with RENEWALS._lock:
        RENEWALS._gone.append(lease)  # it is not woken yet
        RENEWALS._end()
        assert RENEWALS._thread is thread
    thread.wake()
    until(lambda: one.storage.list() == {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_holds_no_lease_of_its_parent(tmp_path: Path) -> None:
    one = Process(tmp_path, LENGTH)
    lease = held(one)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads
        child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            drive(lease.release())  # nothing happens
            drive(held(one, "l").release())  # its own threads do this
            status = 0 if not RENEWALS._held and [*one.storage.list()] == [ROW] else 1
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    first = one.storage.get(ROW)
    until(lambda: one.storage.get(ROW)[1] > first[1])
    drive(lease.release())
    assert one.storage.list() == {}


def test_what_the_dead_left_is_deleted_by_who_takes_a_lease_later(one: Process) -> None:
    now = round(time.time() * 1000)
    rows = {
        "%lease:shop:dead": ["dead", now - 40_000, False, ""],
        "%lease:shop:left": ["left", now - 40_000, False, "note"],
        "%lease:shop:strange": "nonsense",
        "%lease:shop:just left": ["left", now + 20_000, False, "note"],
        "%lease:shop:alive": ["alive", now + 20_000, False, ""],
        "%lease:elsewhere:dead": ["dead", now - 40_000, False, ""],
    }
    one.storage.put_many(rows)
    drive(held(one).release())
    assert {*one.storage.list()} == {"%lease:shop:just left", "%lease:shop:alive", "%lease:elsewhere:dead"}


# ---- the threads


@pytest.fixture
def threads() -> Callable[[], int]:
    """Return how many threads there are of which there was none before."""
    until(lambda: RENEWALS._thread is None)
    before = {*threading.enumerate()}
    return lambda: len({*threading.enumerate()} - before)


def test_the_stores_of_an_object_have_one_thread_and_none_when_they_are_closed(
    one: Process, threads: Callable[[], int]
) -> None:
    stores = [Leases(one.storage, f"shop {number}", failed=one.failed) for number in range(20)]
    for leases in stores:
        lease = drive(leases.lead(blocking, "k", one.look, Budget()))
        assert isinstance(lease, Lease)
        drive(lease.release())
    assert threads() <= 2  # the other one renews
    for leases in stores:
        leases.close()
    until(lambda: threads() == 0)
    drive(held(one).release())


def test_a_thread_that_has_nothing_to_do_ends(one: Process, threads: Callable[[], int]) -> None:
    lease = held(one)
    until(lambda: threads() == 1)  # the one that renews
    drive(lease.release())
    assert one.storage.list() == {}
    until(lambda: threads() == 0)


# ---- nobody waits for itself


def test_who_holds_a_lease_waits_for_no_other_process(one: Process, other: Process, colour: Colour, apart: Run) -> None:
    lease = held(one)

    async def call() -> Any:
        async with await other.lead(colour, "outer"):
            in_vain = await other.lead(colour)
            async with await other.lead(colour, "free") as free:
                return in_vain, free

    in_vain, free = apart(call()).result(HANG)
    assert in_vain is None
    assert isinstance(free, Lease)
    drive(lease.release())


async def test_a_task_that_outlives_the_call_it_was_begun_in_waits_again(one: Process, other: Process) -> None:
    over = asyncio.Event()

    async def outlive() -> Any:
        await over.wait()
        return await other.lead(awaiting)

    async with await other.lead(awaiting, "outer"):
        task = asyncio.create_task(outlive())
    lease = held(one)
    over.set()
    await auntil(lambda: is_waited_for(other))
    assert not task.done()
    await one.storage.aput("answer", 42)
    drive(lease.release())
    assert await task == 42


def test_two_processes_whose_calls_ask_for_each_other_both_end(
    one: Process, other: Process, colour: Colour, apart: Run
) -> None:
    both = threading.Barrier(2)

    async def call(process: Process, outer: str, inner: str) -> Any:
        async with await process.lead(colour, outer):
            await asyncio.to_thread(both.wait) if colour is awaiting else both.wait()
            led = await process.lead(colour, inner)
            await asyncio.to_thread(both.wait) if colour is awaiting else both.wait()
            return led

    calls = [apart(call(one, "a", "b")), apart(call(other, "b", "a"))]
    assert [call.result(HANG) for call in calls] == [None, None]


async def test_nor_do_they_wait_for_each_other_by_way_of_calls_that_are_shared(one: Process, other: Process) -> None:
    """The call for a of the one process asks for b, which a task there waits to have from the other, and vice versa."""
    flights: dict[Process, Flights[Any]] = {one: Flights(), other: Flights()}
    began = asyncio.Event()

    async def call(process: Process, key: str, inner: str | None) -> Any:
        async def led() -> Any:
            lease = await process.lead(awaiting, key)
            if not isinstance(lease, Lease):
                return lease
            async with lease:
                await began.wait()
                return None if inner is None else await call(process, inner, None)

        return (await flights[process].arun(key, led))[0]

    holders = [asyncio.create_task(call(one, "a", "b")), asyncio.create_task(call(other, "b", "a"))]
    await auntil(lambda: len(one.storage.list(prefix="%lease:")) == 2)
    waiters = [asyncio.create_task(call(one, "b", None)), asyncio.create_task(call(other, "a", None))]
    await auntil(lambda: all(row[2] for row in one.storage.list(prefix="%lease:").values()))
    began.set()
    async with asyncio.timeout(HANG):
        await asyncio.gather(*holders, *waiters)


async def test_a_blocking_caller_does_not_wait_for_a_task_of_its_own_loop(one: Process, other: Process) -> None:
    lease = await one.lead(awaiting)
    assert drive(other.lead(blocking)) is None
    await lease.release()


async def test_a_blocking_caller_takes_a_lease_while_tasks_of_its_loop_write(one: Process) -> None:
    await one.storage.aput("other", 1)
    lease = drive(one.lead(blocking))
    assert isinstance(lease, Lease)
    drive(lease.release())
    assert one.failures == []


# ---- streams


CHUNKS = [{"delta": f"word {number} "} for number in range(12)]


async def stream(process: Process, colour: Colour, said: Queue[Any]) -> None:
    """Lead a stream: chunks come from a queue until there is None; the answer is stored if there is no note."""
    lease = await process.lead(colour)
    assert isinstance(lease, Lease)
    chunks: list[Any] = []

    def get() -> Any:
        return said.get()

    async def aget() -> Any:
        return await asyncio.to_thread(said.get)

    async with lease:
        while (chunk := await colour(get, aget)) is not None:
            if isinstance(chunk, str):
                lease.note = chunk
                return
            chunks.append(chunk)
            if await lease.followed():
                lease.say(chunks[lease.said :])
        process.storage.put("answer", chunks)


async def follow(process: Process, colour: Colour, heard: list[Any]) -> Any:
    """Hear what a leader says; return how it ended."""
    led = await process.leases.lead(colour, "k", process.look, Budget(), follow=True)
    if not isinstance(led, Following):
        return led
    while isinstance(more := await led.more(), list):
        heard += more
    return more


class Said(Queue[Any]):
    """What a leader is to say, chunk by chunk."""

    def __init__(self, leader: Process) -> None:
        super().__init__()
        self.leader = leader


@pytest.fixture
def said(one: Process, colour: Colour, apart: Run) -> Iterator[Said]:
    """What a leader says that runs apart."""
    chunks = Said(one)
    leading = apart(stream(one, colour, chunks))
    until(lambda: one.storage.get(ROW) is not None)
    yield chunks
    chunks.put(None)
    leading.result(HANG)


def say(said: Said, chunks: list[Any], ending: Any, *heard: list[Any]) -> None:
    """Say two chunks, the others when everybody heard something, and how it ends."""
    said.put(chunks[0])
    until(lambda: is_waited_for(said.leader))
    time.sleep(0.06)  # a leader looks for followers at such intervals, when there is a chunk to say
    said.put(chunks[1])
    until(lambda: all(heard))
    for chunk in [*chunks[2:], ending]:
        said.put(chunk)


def test_chunks_are_heard_in_order_from_the_beginning_while_they_come(
    other: Process, colour: Colour, apart: Run, said: Said
) -> None:
    heard: tuple[list[Any], ...] = ([], [], [])
    calls = [apart(follow(other, colour, each)) for each in heard]
    say(said, CHUNKS, None, *heard)
    assert [call.result(HANG) for call in calls] == [Left(None)] * 3
    assert other.storage.get("answer") == CHUNKS
    assert [CHUNKS[: len(each)] for each in heard] == [*heard]


def test_who_follows_is_told_the_note(other: Process, colour: Colour, apart: Run, said: Said) -> None:
    heard: list[Any] = []
    call = apart(follow(other, colour, heard))
    say(said, CHUNKS, "interrupted", heard)
    assert call.result(HANG) == Left("interrupted")
    assert heard == CHUNKS


def test_who_waits_beside_them_gets_the_answer(other: Process, colour: Colour, apart: Run, said: Said) -> None:
    heard: list[Any] = []
    calls = [apart(follow(other, colour, heard)), apart(other.lead(colour))]
    say(said, CHUNKS, None, heard)
    assert [call.result(HANG) for call in calls] == [Left(None), CHUNKS]


def test_nothing_is_said_where_nobody_follows(one: Process, said: Said) -> None:
    for chunk in CHUNKS:
        said.put(chunk)
    said.put(None)
    until(lambda: one.storage.get(ROW) is None)
    assert {*one.storage.list()} == {"answer"}


def test_who_follows_one_that_dies_is_told(tmp_path: Path, colour: Colour, apart: Run) -> None:
    one = Process(tmp_path, LENGTH)
    one.storage.put(ROW, ["dead", round(time.time() * 1000) + 3_600_000, False, ""])
    one.storage.put("%said:shop:dead:00000000", ["some", "chunks"])
    heard: list[Any] = []
    assert apart(follow(one, colour, heard)).result(HANG) is None
    assert heard == ["some", "chunks"]


async def test_a_leader_that_does_not_go_on_is_followed_once(tmp_path: Path, colour: Colour) -> None:
    one = Process(tmp_path, LENGTH)
    one.storage.put(ROW, ["gone", round(time.time() * 1000) + 3_600_000, 0, ""])  # by a clock that is an hour ahead

    async def lead(followed: Following | None = None) -> Any:
        return await one.leases.lead(colour, "k", one.look, Budget(), follow=True, followed=followed)

    first = await lead()
    assert await first.more() is None
    then = await lead(first)
    assert isinstance(then, Lease)
    await then.release()


async def items(chunks: list[str]) -> AsyncIterator[str]:
    for chunk in chunks:
        yield chunk


async def collect(chunks: AsyncIterable[str]) -> list[str]:
    return [chunk async for chunk in chunks]


@pytest.mark.parametrize("form", ["call", "stream", "acall", "astream"])
def test_a_call_goes_on_though_the_lease_of_a_leader_that_is_gone_ends_in_an_hour(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatcache.cache.responses.Leases", partial(Leases, length=LENGTH))
    cache = ResponseCache("shop", path=tmp_path)
    key = request_key({"q": 1}) + ("/stream" if "stream" in form else "")
    storage = ObjectNamespace(tmp_path, "calls").get_by_name("default").storage
    storage.put(f"%lease:shop:{key}", ["gone", round(time.time() * 1000) + 3_600_000, 0, ""])
    forms: dict[str, Callable[[], Any]] = {
        "call": lambda: cache.call({"q": 1}, lambda _: ["made"]),
        "stream": lambda: [*cache.stream({"q": 1}, lambda _: ["made"])],
        "acall": lambda: asyncio.run(cache.acall({"q": 1}, lambda _: asyncio.sleep(0, ["made"]))),
        "astream": lambda: asyncio.run(collect(cache.astream({"q": 1}, lambda _: items(["made"])))),
    }
    assert forms[form]() == ["made"]
    assert len([*cache.records()]) == 1
    cache.close()


def test_who_holds_a_lease_follows_nobody(one: Process, other: Process, colour: Colour, apart: Run) -> None:
    lease = held(one)

    async def call() -> Any:
        async with await other.lead(colour, "outer"):
            return await follow(other, colour, [])

    assert apart(call()).result(HANG) is None
    drive(lease.release())


def test_a_chunk_that_cannot_be_stored_is_left_out_with_those_behind_it(one: Process, other: Process) -> None:
    lease = held(one)
    with ThreadPoolExecutor(1) as threads:
        heard: list[Any] = []
        call = threads.submit(drive, follow(other, blocking, heard))
        until(lambda: drive(lease.followed()))
        lease.say([1, 2])
        lease.say([object()])
        lease.say([4])
        drive(lease.release())
        assert call.result(HANG) == Left(None)
    assert heard == [1, 2]


def test_what_was_said_is_deleted_by_who_takes_a_lease_later(one: Process) -> None:
    now = round(time.time() * 1000)
    rows = {
        "%lease:shop:alive": ["alive", now + 20_000, True, ""],
        "%said:shop:alive:00000000": [1],
        "%said:shop:ended:00000000": [1],
        "%said:shop:ended:end": [None, now - 40_000],
        "%said:shop:just ended:00000000": [1],
        "%said:shop:just ended:end": [None, now + 20_000],
        "%said:shop:dead:00000000": [1],
        "%said:shop:dead:00000001": [1],
        "%said:elsewhere:dead:00000001": [1],
    }
    one.storage.put_many(rows)
    drive(held(one).release())
    gone = {"%said:shop:ended:00000000", "%said:shop:ended:end", *(key for key in rows if "shop:dead" in key)}
    assert {*one.storage.list()} == rows.keys() - gone


# ---- the storage fails


def test_a_call_goes_on_without_a_lease_where_the_storage_fails(tmp_path: Path, colour: Colour, apart: Run) -> None:
    one = Process(tmp_path)
    one.object.path.parent.mkdir(parents=True, exist_ok=True)
    one.object.path.write_text("no database" * 1000)
    assert apart(one.lead(colour)).result(HANG) is None
    assert [type(failure).__name__ for failure in one.failures] == ["CorruptStorageError"]


@pytest.fixture
def locked(other: Process) -> Lock:
    """Hold the lock of the file in another process."""

    @contextmanager
    def lock() -> Iterator[None]:
        begun, end = threading.Event(), threading.Event()

        def wait(_transaction: object) -> None:
            begun.set()
            assert end.wait(HANG)

        with ThreadPoolExecutor(1) as threads:
            locking = threads.submit(other.storage.transaction, wait)
            assert begun.wait(HANG)
            try:
                yield
            finally:
                end.set()
                locking.result(HANG)

    return lock


def test_a_storage_that_is_locked_holds_a_call_up_for_its_own_timeout(
    tmp_path: Path, locked: Lock, colour: Colour, apart: Run
) -> None:
    one = Process(tmp_path, timeout=0.1)
    with locked():
        assert apart(one.lead(colour)).result(HANG) is None
    assert "locked" in str(one.failures)


def test_a_storage_that_stays_locked_is_waited_for_once(
    tmp_path: Path, locked: Lock, colour: Colour, apart: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Process(tmp_path, timeout=0.1)
    with locked():
        assert apart(one.lead(colour)).result(HANG) is None
        until(one.storage.is_stuck)
        monkeypatch.setattr("chatcache.storage.patience.time.sleep", lambda _: pytest.fail("it waits again"))
        calls = [apart(one.lead(colour, f"k{number}")) for number in range(8)]
        assert [call.result(HANG) for call in calls] == [None] * 8
    monkeypatch.undo()
    assert len(one.failures) == 9
    assert {"locked" in str(failure) for failure in one.failures} == {True}
    until(lambda: isinstance(apart(one.lead(colour)).result(HANG), Lease))  # a busy machine may take longer than 0.1 s


async def test_a_task_that_is_cancelled_while_the_storage_is_locked_waits_for_nothing(
    tmp_path: Path, locked: Lock
) -> None:
    one = Process(tmp_path, timeout=10 * HANG)

    async def hold() -> None:
        async with await one.lead(awaiting, "l"):
            holds.set()
            await asyncio.Future()

    holds = asyncio.Event()
    holding = asyncio.create_task(hold())
    await holds.wait()
    with locked():
        taking = asyncio.create_task(one.lead(awaiting))
        await asyncio.sleep(0.05)
        for task in (taking, holding):
            task.cancel()
        await asyncio.wait([taking, holding], timeout=HANG)
        assert [taking.cancelled(), holding.cancelled()] == [True, True]
    await auntil(lambda: one.storage.list() == {})
    assert isinstance(await one.lead(awaiting), Lease)


def test_a_release_raises_nothing_where_the_storage_fails(one: Process, colour: Colour, apart: Run) -> None:
    async def call() -> str:
        async with await one.lead(colour):
            one.object.close()
            one.object.path.write_text("no database" * 1000)
            return "answer"

    assert apart(call()).result(HANG) == "answer"


def test_a_step_that_fails_fails_for_its_caller_alone(one: Process) -> None:
    started, end = threading.Event(), threading.Event()

    def wait(_transaction: object) -> None:
        started.set()
        assert end.wait(HANG)

    def fail(_transaction: object) -> None:
        raise PersistenceError("no")

    batch = one.leases.batch
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(batch.run, wait)
        assert started.wait(HANG)
        together = [threads.submit(batch.run, step) for step in (lambda _: 1, fail, lambda _: 2)]
        until(lambda: len(batch._entries) == 3)
        end.set()
        assert first.result(HANG) is None
        assert [str(each.exception(HANG)) for each in together] == ["None", "no", "None"]
        assert [each.result(HANG) for each in together[::2]] == [1, 2]
    assert batch.run(lambda _: 3) == 3
    assert isinstance(drive(one.lead(blocking)), Lease)

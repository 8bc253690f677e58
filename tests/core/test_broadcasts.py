"""Shared streams: one leads, the others get all of it, whoever is slow, leaves or fails; threads and tasks alike."""

import asyncio
import gc
import os
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from random import Random
from typing import Any

import pytest

from chatcache import StreamInterruptedError
from chatcache._bridge import Broadcasts
from tests.core.loops import loops
from tests.waiting import HANG, auntil

ALL = list(range(5))


class Model:
    """Streams five items; each comes when it is let; says how often it was begun, and how it was closed.

    Attributes:
        closed: for each stream that did not come to its end, what ended it.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.closed: list[type[BaseException]] = []
        self._let = threading.Semaphore(0)

    def let(self, items: int = len(ALL)) -> "Model":
        for _ in range(items):
            self._let.release()
        return self

    def stream(self) -> Iterator[int]:
        with self._beginning():
            for item in ALL:
                assert self._let.acquire(timeout=HANG)
                yield item

    async def astream(self) -> AsyncIterator[int]:
        with self._beginning():
            for item in ALL:
                while not self._let.acquire(blocking=False):
                    await asyncio.sleep(0.001)
                yield item

    @contextmanager
    def _beginning(self) -> Iterator[None]:
        self.begun += 1
        try:
            yield
        except BaseException as error:
            self.closed.append(type(error))
            raise


@pytest.fixture
def broadcasts() -> Broadcasts[Any]:
    return Broadcasts()


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as threads:
        yield threads


def never() -> Any:
    raise AssertionError("a stream was begun that was to be followed")


async def items(stream: AsyncIterator[Any]) -> list[Any]:
    async with asyncio.timeout(HANG):
        return [item async for item in stream]


async def anext_(stream: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(HANG):
        return await anext(stream)


# ---- following


def test_a_lone_caller_reads_in_its_own_thread_with_its_own_context(broadcasts: Broadcasts[Any]) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("mine")

    def look() -> Iterator[tuple[int, str]]:
        yield threading.get_ident(), variable.get()

    stream, joined = broadcasts.run("k", look)
    assert (list(stream), joined) == ([(threading.get_ident(), "mine")], False)


async def test_a_task_reads_with_its_own_context(broadcasts: Broadcasts[Any]) -> None:
    variable: ContextVar[str] = ContextVar("variable")
    variable.set("mine")

    async def look() -> AsyncIterator[str]:
        yield variable.get()

    stream, joined = broadcasts.arun("k", look)
    assert (await items(stream), joined) == (["mine"], False)


async def test_threads_and_tasks_of_two_loops_follow_the_stream_of_a_task(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor
) -> None:
    leader, joined = broadcasts.arun("k", model.astream)
    assert not joined
    model.let(2)
    assert [await anext_(leader), await anext_(leader)] == [0, 1]
    tasks = [broadcasts.arun("k", never) for _ in range(3)]
    followers = [pool.submit(lambda: list(broadcasts.run("k", never)[0])) for _ in range(3)]
    elsewhere = pool.submit(lambda: asyncio.run(follow(broadcasts)))
    await auntil(lambda: readers(broadcasts) == 8)
    model.let()
    assert await items(leader) == ALL[2:]
    assert [(await items(stream), joined) for stream, joined in tasks] == [(ALL, True)] * 3
    assert [follower.result(HANG) for follower in [*followers, elsewhere]] == [ALL] * 4
    assert model.begun == 1


async def follow(broadcasts: Broadcasts[Any]) -> list[Any]:
    return await items(broadcasts.arun("k", never)[0])


def readers(broadcasts: Broadcasts[Any], key: str = "k") -> int:
    stream = broadcasts._streams.get(key)
    return 0 if stream is None else len(stream.readers)


async def test_threads_and_tasks_follow_the_stream_of_a_thread(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor
) -> None:
    leader = pool.submit(lambda: list(broadcasts.run("k", model.stream)[0]))
    await auntil(lambda: model.begun == 1)
    tasks = [asyncio.create_task(follow(broadcasts)) for _ in range(20)]
    threads = [pool.submit(lambda: list(broadcasts.run("k", never)[0])) for _ in range(3)]
    await auntil(lambda: readers(broadcasts) == 24)
    for _ in ALL:
        model.let(1)
        await asyncio.sleep(0.002)
    assert await asyncio.gather(*tasks) == [ALL] * 20
    assert [each.result(HANG) for each in [leader, *threads]] == [ALL] * 4
    assert model.begun == 1


def test_a_leader_that_does_not_read_on_holds_up_nobody(broadcasts: Broadcasts[Any], model: Model) -> None:
    leader, _ = broadcasts.run("k", model.let().stream)
    assert next(leader) == 0
    follower, joined = broadcasts.run("k", never)
    assert (list(follower), joined) == (ALL, True)
    assert list(leader) == ALL[1:]


async def test_a_task_follows_a_leader_that_does_not_read_on(broadcasts: Broadcasts[Any], model: Model) -> None:
    leader, _ = broadcasts.run("k", model.let().stream)
    follower, joined = broadcasts.arun("k", never)
    assert (await items(follower), joined) == (ALL, True)
    assert list(leader) == ALL


async def test_another_key_is_another_stream(broadcasts: Broadcasts[Any], model: Model) -> None:
    streams = [broadcasts.arun(key, model.astream) for key in ("a", ("a",), 1)]
    model.let(15)
    assert [(await items(stream), joined) for stream, joined in streams] == [(ALL, False)] * 3


def test_a_stream_that_is_over_is_not_followed(broadcasts: Broadcasts[Any], model: Model) -> None:
    model.let(15)
    first, _ = broadcasts.run("k", model.stream)
    assert [next(first) for _ in ALL] == ALL
    second, joined = broadcasts.run("k", never)
    assert joined
    assert list(second) == ALL
    third, joined = broadcasts.run("k", model.stream)
    assert not joined
    assert list(first) == []
    assert list(third) == ALL
    assert broadcasts._streams == {}


async def test_an_endless_stream_that_never_waits_leaves_the_loop_to_others(broadcasts: Broadcasts[Any]) -> None:
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    stream, _ = broadcasts.arun("k", endless)
    assert [await anext_(stream) for _ in range(200)] == [1] * 200
    await stream.aclose()
    assert broadcasts._streams == {}


# ---- errors


async def test_an_error_reaches_everybody_after_the_items_before_it(broadcasts: Broadcasts[Any], model: Model) -> None:
    problem = ValueError("no")

    async def fail() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        raise problem

    streams = [broadcasts.arun("k", fail), broadcasts.arun("k", never)]
    for stream, _ in streams:
        assert await anext_(stream) == 1
        with pytest.raises(ValueError, match="no") as raised:
            await anext_(stream)
        assert raised.value is problem
    assert broadcasts._streams == {}


def test_an_error_of_a_thread_reaches_everybody(broadcasts: Broadcasts[Any]) -> None:
    problem = ValueError("no")

    def fail() -> Iterator[int]:
        yield 1
        raise problem

    for stream, _ in [broadcasts.run("k", fail), broadcasts.run("k", never)]:
        assert next(stream) == 1
        with pytest.raises(ValueError, match="no") as raised:
            next(stream)
        assert raised.value is problem


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("error", [asyncio.CancelledError, ValueError])
def test_what_the_code_of_a_stream_held_goes_with_its_error(
    broadcasts: Broadcasts[Any],
    error: type[BaseException],
    awaited: bool,  # noqa: FBT001 - a parameter
) -> None:
    class Held:
        """What is freed only when the frame of the stream's code is."""

    held: list[weakref.ref[Held]] = []

    def begin() -> Iterator[int]:
        lease = Held()
        held.append(weakref.ref(lease))
        yield 1
        raise error

    async def abegin() -> AsyncIterator[int]:
        for item in begin():
            yield item

    async def read() -> None:
        with suppress(error):
            await items(broadcasts.arun("k", abegin)[0])

    gc.disable()
    try:
        with suppress(error):
            asyncio.run(read()) if awaited else list(broadcasts.run("k", begin)[0])
        assert [each() for each in held] == [None]
    finally:
        gc.enable()


def test_what_cannot_be_begun_fails_when_it_is_read(broadcasts: Broadcasts[Any]) -> None:
    def refuse() -> Iterator[int]:
        raise ConnectionError("no")

    stream, _ = broadcasts.run("k", refuse)
    with pytest.raises(ConnectionError, match="no"):
        next(stream)
    assert broadcasts._streams == {}


# ---- leaving


def leave_early(stream: Generator[Any, None, None]) -> None:
    for _ in stream:
        break


@pytest.mark.parametrize("leave", [Generator.close, leave_early])
def test_the_last_reader_closes_the_stream_of_a_thread(
    broadcasts: Broadcasts[Any], model: Model, leave: Callable[[Any], None]
) -> None:
    model.let()
    streams = [broadcasts.run("k", model.stream)[0], broadcasts.run("k", never)[0]]
    assert next(streams[1]) == 0
    while streams:
        assert model.closed == []
        leave(streams.pop(0))
    assert model.closed == [GeneratorExit]
    assert broadcasts._streams == {}


async def test_the_last_reader_closes_the_stream_of_a_task(broadcasts: Broadcasts[Any], model: Model) -> None:
    first, second = broadcasts.arun("k", model.let(1).astream)[0], broadcasts.arun("k", never)[0]
    assert await anext_(second) == 0
    await first.aclose()
    model.let(1)
    assert await anext_(second) == 1
    assert model.closed == []
    await second.aclose()
    assert model.closed == [asyncio.CancelledError]
    assert broadcasts._streams == {}


async def test_a_stream_of_a_task_is_closed_in_its_loop_when_a_thread_leaves_last(
    broadcasts: Broadcasts[Any], model: Model
) -> None:
    leader = broadcasts.arun("k", model.let(1).astream)[0]

    def read_one() -> None:
        stream, joined = broadcasts.run("k", never)
        assert (next(stream), joined) == (0, True)
        asyncio.run_coroutine_threadsafe(leader.aclose(), loop).result(HANG)
        stream.close()

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(read_one)
    await auntil(lambda: model.closed == [asyncio.CancelledError])


async def test_a_stream_of_a_thread_is_closed_when_a_task_leaves_last(
    broadcasts: Broadcasts[Any], model: Model
) -> None:
    follower = broadcasts.run("k", model.let(1).stream)[0], broadcasts.arun("k", never)[0]
    assert await anext_(follower[1]) == 0
    follower[0].close()
    assert model.closed == []
    await follower[1].aclose()
    assert model.closed == [GeneratorExit]


async def test_a_stream_that_makes_nothing_of_a_cancellation_is_closed(broadcasts: Broadcasts[Any]) -> None:
    closed: list[type[BaseException]] = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        except BaseException as error:
            closed.append(type(error))
            raise

    stream, _ = broadcasts.arun("k", stubborn)
    assert await anext_(stream) == 1
    await stream.aclose()
    assert closed == [GeneratorExit]


async def test_an_error_while_it_is_closed_is_raised_where_the_last_reader_leaves(broadcasts: Broadcasts[Any]) -> None:
    def stream() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("no")

    async def astream() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            raise ValueError("no")

    blocking, awaiting = broadcasts.run("a", stream)[0], broadcasts.arun("b", astream)[0]
    assert (next(blocking), await anext_(awaiting)) == (1, 1)
    with pytest.raises(ValueError, match="no"):
        blocking.close()
    with pytest.raises(ValueError, match="no"):
        await awaiting.aclose()
    assert broadcasts._streams == {}


async def test_a_reader_that_is_cancelled_leaves_alone(broadcasts: Broadcasts[Any], model: Model) -> None:
    streams = [broadcasts.arun("k", model.astream)[0], broadcasts.arun("k", never)[0]]
    tasks = [asyncio.create_task(items(stream)) for stream in streams]
    await auntil(lambda: model.begun)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    model.let()
    assert await tasks[1] == ALL
    assert model.closed == []


async def test_a_task_that_is_cancelled_while_it_takes_an_item_from_a_thread_closes_the_stream_afterwards(
    broadcasts: Broadcasts[Any], model: Model
) -> None:
    leader, follower = broadcasts.run("k", model.stream)[0], broadcasts.arun("k", never)[0]
    task = asyncio.create_task(items(follower))
    await auntil(lambda: model.begun)
    leader.close()
    task.cancel()
    await asyncio.wait([task])
    assert model.closed == []
    model.let(1)
    await auntil(lambda: model.closed == [GeneratorExit])


async def test_a_stream_that_is_never_read_is_left_all_the_same(broadcasts: Broadcasts[Any], model: Model) -> None:
    broadcasts.run("a", model.stream)
    broadcasts.run("b", model.stream)[0].close()
    broadcasts.arun("c", model.astream)
    await broadcasts.arun("d", model.astream)[0].aclose()
    await auntil(lambda: broadcasts._streams == {})
    assert model.begun == len(model.closed)


def test_items_are_dropped_when_the_last_reader_is_gone(broadcasts: Broadcasts[Any]) -> None:
    class Item:
        """Unlike an object, one that can be referred to weakly."""

    def begin() -> Iterator[Item]:
        yield Item()
        yield Item()

    leader, follower = broadcasts.run("k", begin)[0], broadcasts.run("k", never)[0]
    item = weakref.ref(next(leader))
    assert len(list(leader)) == 1
    assert item() is next(follower)
    follower.close()
    assert item() is None


def test_a_reader_that_its_closed_loop_left_behind_holds_no_stream(broadcasts: Broadcasts[Any], model: Model) -> None:
    leader = broadcasts.run("k", model.let().stream)[0]

    async def begin() -> Any:
        stream = broadcasts.arun("k", never)[0]
        assert await anext_(stream) == 0
        return stream

    loop = asyncio.new_event_loop()
    left = loop.run_until_complete(begin())
    loop.close()
    leader.close()
    assert model.closed == []
    del left
    assert model.closed == [GeneratorExit]
    assert broadcasts._streams == {}


# ---- leaders that break off


def interrupted(model: Model, broadcasts: Broadcasts[Any], pool: ThreadPoolExecutor, read: int) -> "Future[list[Any]]":
    """Begin a stream on a loop that stops; return what a thread gets that followed it, and had read so many items."""
    got: list[Any] = []

    def follow_it() -> list[Any]:
        for item in broadcasts.run("k", lambda: iter(["own"]))[0]:
            got.append(item)  # noqa: PERF402 - it is looked at while it grows
        return got

    async def main() -> "tuple[AsyncGenerator[Any, None], Future[list[Any]]]":
        leader = broadcasts.arun("k", model.let(read).astream)[0]
        follower = pool.submit(follow_it)
        await auntil(lambda: readers(broadcasts) == 2 and len(got) == read)
        return leader, follower

    return asyncio.run(main())[1]


def test_a_follower_goes_on_by_itself_when_the_leaders_loop_ends_before_any_item(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor
) -> None:
    assert interrupted(model, broadcasts, pool, 0).result(HANG) == ["own"]
    assert model.closed == [asyncio.CancelledError]


def test_a_follower_is_told_when_the_leaders_loop_ends_in_the_middle(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor
) -> None:
    with pytest.raises(StreamInterruptedError, match="broke off after 2 of its items"):
        interrupted(model, broadcasts, pool, 2).result(HANG)


@pytest.mark.parametrize("follower", ["thread", "task"])
@pytest.mark.parametrize("read", [0, 2])
def test_nobody_waits_for_a_loop_that_stands_still(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor, follower: str, read: int
) -> None:
    loop = asyncio.new_event_loop()
    got: list[Any] = []

    async def own() -> AsyncIterator[str]:
        yield "own"

    async def collect() -> None:
        async for item in broadcasts.arun("k", own)[0]:
            got.append(item)  # noqa: PERF401 - it is looked at while it grows

    def follow_it() -> None:
        if follower == "task":
            asyncio.run(collect())
        else:
            for item in broadcasts.run("k", lambda: iter(["own"]))[0]:
                got.append(item)  # noqa: PERF402

    async def main() -> "tuple[AsyncGenerator[Any, None], Future[None]]":
        leader = broadcasts.arun("k", model.let(read).astream)[0]
        following = pool.submit(follow_it)
        await auntil(lambda: readers(broadcasts) == 2 and len(got) == read)
        return leader, following

    leader, following = loop.run_until_complete(main())
    if read:
        with pytest.raises(StreamInterruptedError, match="its event loop stopped or is blocked; ask again"):
            following.result(HANG)
    else:
        following.result(HANG)
        assert got == ["own"]
    model.let()
    assert loop.run_until_complete(items(leader)) == ALL  # the leader itself goes on where it was
    loop.close()


@pytest.mark.parametrize("follower", ["thread", "task"])
@pytest.mark.parametrize("come", [0, 2])
async def test_a_follower_begins_its_own_when_the_leaders_loop_waits_for_it(
    broadcasts: Broadcasts[Any], model: Model, pool: ThreadPoolExecutor, follower: str, come: int
) -> None:
    async def own() -> AsyncIterator[str]:
        yield "own"

    async def follow() -> list[Any]:
        return await items(broadcasts.arun("k", own)[0])

    def follow_it() -> list[Any]:
        if follower == "task":
            return asyncio.run(follow())
        return [*broadcasts.run("k", lambda: iter(["own"]))[0]]

    leader = broadcasts.arun("k", model.let(come).astream)[0]
    assert [await anext(leader) for _ in range(come)] == ALL[:come]
    assert pool.submit(follow_it).result(HANG) == ["own"]  # the loop stands still
    model.let()
    assert [item async for item in leader] == ALL[come:]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_leaders_thread_is_no_error_of_a_follower(
    broadcasts: Broadcasts[Any], ending: type[BaseException]
) -> None:
    def end() -> Iterator[int]:
        yield 1
        raise ending

    leader, follower = broadcasts.run("k", end)[0], broadcasts.run("k", never)[0]
    assert [next(leader), next(follower)] == [1, 1]
    with pytest.raises(ending):
        next(leader)
    with pytest.raises(StreamInterruptedError, match=f"ended by {ending.__name__}"):
        next(follower)


# ---- nobody waits for itself


async def test_a_blocking_caller_on_the_thread_of_a_loop_begins_its_own(
    broadcasts: Broadcasts[Any], model: Model
) -> None:
    leader, _ = broadcasts.arun("k", model.astream)
    stream, joined = broadcasts.run("k", lambda: iter(["own"]))
    assert (list(stream), joined) == (["own"], False)
    follower, joined = broadcasts.arun("k", never)
    assert joined
    model.let()
    assert await items(follower) == await items(leader) == ALL


async def test_a_stream_that_asks_for_its_own_key_begins_another(broadcasts: Broadcasts[Any]) -> None:
    def inner() -> Iterator[str]:
        yield "inner"

    def outer() -> Iterator[Any]:
        stream, joined = broadcasts.run("k", inner)
        yield joined
        yield from stream

    async def ainner() -> AsyncIterator[str]:
        yield "inner"

    async def aouter() -> AsyncIterator[Any]:
        stream, joined = broadcasts.arun("k", ainner)
        yield joined
        async for item in stream:
            yield item
        yield await asyncio.to_thread(lambda: list(broadcasts.run("k", inner)[0]))

    assert list(broadcasts.run("k", outer)[0]) == [False, "inner"]
    assert await items(broadcasts.arun("k", aouter)[0]) == [False, "inner", ["inner"]]
    assert broadcasts._streams == {}


def test_two_streams_of_threads_that_ask_for_each_other_do_not_wait_for_each_other(
    broadcasts: Broadcasts[Any], pool: ThreadPoolExecutor
) -> None:
    both = threading.Barrier(2)

    def ask(key: str, other: str) -> Iterator[str]:
        both.wait(HANG)
        yield from broadcasts.run(other, lambda: iter([other]))[0]

    def lead(key: str, other: str) -> list[str]:
        return list(broadcasts.run(key, partial(ask, key, other))[0])

    got = [pool.submit(lead, *keys).result for keys in ("xy", "yx")]
    assert {item for each in got for item in each(10)} <= {"x", "y"}


async def test_two_streams_that_ask_for_each_other_do_not_wait_for_each_other(broadcasts: Broadcasts[Any]) -> None:
    both = asyncio.Barrier(2)

    async def own(key: str) -> AsyncIterator[str]:
        yield key

    async def ask(key: str, other: str) -> AsyncIterator[str]:
        await both.wait()
        yield key
        async for item in broadcasts.arun(other, partial(own, other))[0]:
            yield item

    streams = [broadcasts.arun(key, partial(ask, key, other))[0] for key, other in ("xy", "yx")]
    got = await asyncio.gather(*map(items, streams))
    assert sorted(map(set, got), key=len) == [{"x", "y"}, {"x", "y"}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_follows_no_stream_of_its_parent(broadcasts: Broadcasts[Any], model: Model) -> None:
    leader, _ = broadcasts.run("k", model.let().stream)
    assert next(leader) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads of other tests
        child = os.fork()
    if child == 0:
        stream, joined = broadcasts.run("k", lambda: iter([7]))
        os._exit(0 if (list(stream), joined) == ([7], False) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(leader) == ALL[1:]


# ---- all at once


class Streams:
    """Streams of ten items of a key, which take a moment; counts how they were begun and how they ended."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 - chance, no secret
        self.begun = self.ended = 0
        self._lock = threading.Lock()

    def stream(self, key: str) -> Iterator[tuple[str, int, int]]:
        with self._counted() as number:
            for item in range(10):
                if item % 3 == 0:
                    threading.Event().wait(0.001)
                yield key, number, item

    async def astream(self, key: str) -> AsyncIterator[tuple[str, int, int]]:
        with self._counted() as number:
            for item in range(10):
                if item % 3 == 0:
                    await asyncio.sleep(0.001)
                yield key, number, item

    @contextmanager
    def _counted(self) -> Iterator[int]:
        with self._lock:
            self.begun += 1
            number = self.begun
        try:
            yield number
        finally:
            with self._lock:
                self.ended += 1


@pytest.mark.parametrize("seed", range(5))
def test_chaos(broadcasts: Broadcasts[Any], pool: ThreadPoolExecutor, seed: int) -> None:
    """Threads and tasks of three loops, few keys, early leaving, cancellations: who reads on gets all, in order."""
    streams = Streams(seed)
    random = streams.random
    joins: list[bool] = []

    def read(key: str, most: int) -> list[Any]:
        stream, joined = broadcasts.run(key, partial(streams.stream, key))
        joins.append(joined)
        return [item for item, _ in zip(stream, range(most), strict=False)]

    async def aread(key: str, most: int) -> list[Any]:
        stream, joined = broadcasts.arun(key, partial(streams.astream, key))
        joins.append(joined)
        got: list[Any] = []
        async for item in stream:
            got.append(item)
            if len(got) == most:
                break
        return got

    asked: list[tuple[str, int, Future[list[Any]]]] = []
    with loops(3) as running:
        for _ in range(400):
            key, most = random.choice("abc"), random.choice([1, 5, 99, 99])
            if random.random() < 0.4:
                asked.append((key, most, pool.submit(read, key, most)))
            else:
                asked.append((key, most, asyncio.run_coroutine_threadsafe(aread(key, most), random.choice(running))))
            if random.random() < 0.2:
                random.choice(asked)[2].cancel()
        whole = 0
        for key, most, future in asked:
            with suppress(CancelledError):
                got = future.result(HANG)
                assert got == [(key, got[0][1], item) for item in range(min(most, 10))]
                whole += most == 99
        assert whole > 50
        assert sum(joins) > 50
        gc.collect()
        asyncio.run(auntil(lambda: broadcasts._streams == {} and streams.begun == streams.ended))

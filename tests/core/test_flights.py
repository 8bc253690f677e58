"""Shared calls: one leads, the others join, whatever becomes of the leader; threads and tasks alike."""

import asyncio
import os
import threading
import warnings
from collections.abc import Awaitable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pytest

from chatcache._bridge import Flights
from chatcache._bridge.loops import Outcome
from tests.core.loops import loops
from tests.waiting import HANG, auntil

Joined = tuple[Any, bool]


class Provider:
    """Counts its calls; each goes on until it is told to end."""

    def __init__(self) -> None:
        self.calls = 0
        self.called = threading.Event()
        self.end = threading.Event()

    def call(self) -> int:
        self.calls += 1
        self.called.set()
        assert self.end.wait(HANG)
        return self.calls

    async def acall(self) -> int:
        self.calls += 1
        self.called.set()
        while not self.end.is_set():
            await asyncio.sleep(0.001)
        return self.calls


@pytest.fixture
def flights() -> Flights[Any]:
    return Flights()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def never(*_: object) -> Any:
    raise AssertionError("a call was made that was to be joined")


def waits(flights: Flights[Any], key: str = "k") -> int:
    """Return how many wait for the flight of a key: tasks and threads."""
    flight = flights._flights.get(key)
    if flight is None:
        return 0
    return sum(map(len, flight.over._waiting.values())) + len(flight.over._bells)


async def gather(*calls: Awaitable[Any]) -> list[Any]:
    async with asyncio.timeout(HANG):
        return await asyncio.gather(*calls)


# ---- joining


async def test_threads_and_tasks_of_two_loops_share_one_call(flights: Flights[Any], provider: Provider) -> None:
    threads = [asyncio.to_thread(flights.run, "k", provider.call) for _ in range(4)]
    tasks = [flights.arun("k", provider.acall) for _ in range(20)]
    elsewhere = [asyncio.to_thread(lambda: asyncio.run(gather(*(flights.arun("k", provider.acall) for _ in range(5)))))]
    everybody = asyncio.ensure_future(gather(*threads, *tasks, *elsewhere))
    await auntil(lambda: provider.called.is_set() and waits(flights) >= 28)
    provider.end.set()
    *results, others = await everybody
    results += others
    assert provider.calls == 1
    assert sorted(results) == [(1, False)] + [(1, True)] * 28


async def test_another_key_is_another_call(flights: Flights[Any], provider: Provider) -> None:
    provider.end.set()
    results = await gather(*(flights.arun(key, provider.acall) for key in ("a", "b", ("a",), 1)))
    assert (provider.calls, {joined for _, joined in results}) == (4, {False})


async def test_nothing_is_kept_when_the_call_is_over(flights: Flights[Any], provider: Provider) -> None:
    provider.end.set()
    assert flights.run("k", provider.call) == (1, False)
    assert await flights.arun("k", provider.acall) == (2, False)
    assert flights._flights == {}


async def test_a_result_may_be_none(flights: Flights[Any], provider: Provider) -> None:
    async def nothing() -> None:
        await provider.acall()

    both = asyncio.ensure_future(gather(flights.arun("k", nothing), flights.arun("k", never)))
    await auntil(lambda: waits(flights) == 1)
    provider.end.set()
    assert await both == [(None, False), (None, True)]


async def test_a_call_sees_the_context_variables_of_the_first_caller(flights: Flights[Any]) -> None:
    variable = ContextVar("variable", default="")
    first, second = asyncio.Event(), asyncio.Event()

    async def look() -> str:
        first.set()
        await second.wait()
        return variable.get()

    async def caller(name: str) -> Joined:
        variable.set(name)
        return await flights.arun("k", look)

    one = asyncio.create_task(caller("one"))
    await first.wait()
    two = asyncio.create_task(caller("two"))
    await auntil(lambda: waits(flights) == 1)
    second.set()
    assert (await one, await two) == (("one", False), ("one", True))


# ---- errors


async def test_an_error_is_that_of_everybody_who_was_there(flights: Flights[Any], provider: Provider) -> None:
    problem = ValueError("no")

    def fail() -> None:
        provider.call()
        raise problem

    async def afail() -> None:
        await provider.acall()
        raise problem

    calls = [flights.arun("k", afail) for _ in range(3)] + [asyncio.to_thread(flights.run, "k", fail) for _ in range(3)]
    everybody = asyncio.ensure_future(asyncio.gather(*calls, return_exceptions=True))
    await auntil(lambda: provider.called.is_set() and waits(flights) == 5)
    provider.end.set()
    assert await everybody == [problem] * 6
    assert provider.calls == 1
    assert await flights.arun("k", provider.acall) == (2, False)


async def test_an_error_that_nobody_waits_for_any_more_is_not_warned_of(
    flights: Flights[Any], provider: Provider
) -> None:
    async def fail() -> None:
        await provider.acall()
        raise ValueError("no")

    leader, waiter = asyncio.create_task(flights.arun("k", fail)), asyncio.create_task(flights.arun("k", never))
    await auntil(lambda: waits(flights) == 1)
    waiter.cancel()
    provider.end.set()
    with pytest.raises(ValueError, match="no"):
        await leader
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: said.append(context))
    del leader, waiter
    await asyncio.sleep(0)
    assert said == []


# ---- cancellation


async def test_a_waiter_is_cancelled_alone(flights: Flights[Any], provider: Provider) -> None:
    leader = asyncio.create_task(flights.arun("k", provider.acall))
    waiters = [asyncio.create_task(flights.arun("k", never)) for _ in range(3)]
    await auntil(lambda: waits(flights) == 3)
    waiters[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[1]
    provider.end.set()
    assert await gather(leader, waiters[0], waiters[2]) == [(1, False), (1, True), (1, True)]


async def test_a_cancelled_leader_hands_over_to_one_of_the_tasks(flights: Flights[Any], provider: Provider) -> None:
    tasks = [asyncio.create_task(flights.arun("k", provider.acall)) for _ in range(10)]
    await auntil(lambda: waits(flights) == 9)
    tasks[0].cancel()
    await auntil(lambda: provider.calls == 2 and waits(flights) == 8)
    provider.end.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert sorted(result for result in results[1:] if isinstance(result, tuple)) == [(2, False)] + [(2, True)] * 8


async def test_a_cancelled_leader_hands_over_to_a_thread(flights: Flights[Any], provider: Provider) -> None:
    leader = asyncio.create_task(flights.arun("k", provider.acall))
    await auntil(provider.called.is_set)
    thread = asyncio.create_task(asyncio.to_thread(flights.run, "k", provider.call))
    await auntil(lambda: waits(flights) == 1)
    leader.cancel()
    await auntil(lambda: provider.calls == 2)
    provider.end.set()
    assert await thread == (2, False)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
async def test_a_leader_that_is_ended_in_a_thread_hands_over_to_a_task(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor, ending: type[BaseException]
) -> None:
    def interrupted() -> None:
        provider.call()
        raise ending

    thread = pool.submit(flights.run, "k", interrupted)
    await auntil(provider.called.is_set)
    task = asyncio.create_task(flights.arun("k", provider.acall))
    await auntil(lambda: waits(flights) == 1)
    provider.end.set()
    assert await task == (2, False)
    assert isinstance(thread.exception(HANG), ending)


async def test_all_leaders_cancelled_one_after_another(flights: Flights[Any], provider: Provider) -> None:
    tasks = [asyncio.create_task(flights.arun("k", provider.acall)) for _ in range(20)]
    for number in range(19):
        await auntil(lambda number=number: provider.calls == number + 1)  # type: ignore[misc]
        tasks[number].cancel()
    await auntil(lambda: provider.calls == 20)
    provider.end.set()
    assert await tasks[19] == (20, False)
    assert flights._flights == {}


# ---- nobody waits for itself


async def test_a_blocking_caller_does_not_wait_for_a_task_of_its_own_loop(
    flights: Flights[Any], provider: Provider
) -> None:
    leader = asyncio.create_task(flights.arun("k", provider.acall))
    await auntil(provider.called.is_set)
    assert flights.run("k", lambda: "own") == ("own", False)
    provider.end.set()
    assert await leader == (1, False)


async def test_a_blocking_caller_within_a_loop_waits_for_a_thread(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor
) -> None:
    thread = pool.submit(flights.run, "k", provider.call)
    await auntil(provider.called.is_set)
    threading.Timer(0.05, provider.end.set).start()
    assert flights.run("k", never) == (1, True)
    assert thread.result(HANG) == (1, False)


async def test_a_call_that_asks_for_its_own_key_does_not_wait_for_itself(
    flights: Flights[Any], pool: ThreadPoolExecutor
) -> None:
    assert flights.run("k", lambda: flights.run("k", lambda: "inner")) == (("inner", False), False)

    async def inner() -> str:
        return "inner"

    async def by_a_task() -> Joined:
        return await asyncio.create_task(flights.arun("k", inner))

    assert await flights.arun("k", lambda: flights.arun("k", inner)) == (("inner", False), False)
    assert await flights.arun("k", by_a_task) == (("inner", False), False)
    by_a_thread = asyncio.to_thread(flights.run, "k", lambda: "inner")
    assert await flights.arun("k", lambda: by_a_thread) == (("inner", False), False)


def test_nobody_waits_for_a_loop_that_stopped(flights: Flights[Any], provider: Provider) -> None:
    loop = asyncio.new_event_loop()
    leader = loop.create_task(flights.arun("k", provider.acall))
    loop.run_until_complete(auntil(provider.called.is_set))
    assert flights.run("k", lambda: "own") == ("own", False)
    provider.end.set()
    assert loop.run_until_complete(leader) == (1, False)
    loop.close()
    assert flights._flights == {}


@pytest.mark.parametrize("waiter", ["thread", "task"])
def test_who_waits_goes_on_when_the_leaders_loop_stops(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor, waiter: str
) -> None:
    loop = asyncio.new_event_loop()
    leader = loop.create_task(flights.arun("k", provider.acall))
    waiting: list[Future[Any]] = []

    async def own() -> str:
        return "own"

    def wait() -> Joined:
        return flights.run("k", lambda: "own") if waiter == "thread" else asyncio.run(flights.arun("k", own))

    async def main() -> None:
        await auntil(provider.called.is_set)
        waiting.append(pool.submit(wait))
        await auntil(lambda: waits(flights) == 1)

    loop.run_until_complete(main())
    assert waiting[0].result(HANG) == ("own", False)
    leader.cancel()
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(leader)
    loop.close()


@pytest.mark.parametrize("waiter", ["thread", "task"])
async def test_who_waits_goes_on_when_the_leaders_loop_waits_for_it(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor, waiter: str
) -> None:
    async def own() -> str:
        return "own"

    def wait() -> list[Joined]:
        if waiter == "thread":
            return [each.result(HANG) for each in [pool.submit(flights.run, "k", lambda: "own") for _ in range(3)]]
        return asyncio.run(gather(*(flights.arun("k", own) for _ in range(3))))

    leader = asyncio.create_task(flights.arun("k", provider.acall))
    await auntil(provider.called.is_set)
    assert {answer for answer, _ in pool.submit(wait).result(HANG)} == {"own"}  # the loop stands still
    provider.end.set()
    assert await leader == (1, False)
    assert flights._flights == {}


async def test_a_loop_that_is_busy_for_a_moment_is_waited_for(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor
) -> None:
    leader = asyncio.create_task(flights.arun("k", provider.acall))
    await auntil(provider.called.is_set)
    waiting = pool.submit(flights.run, "k", never)
    await auntil(lambda: waits(flights) == 1)
    threading.Event().wait(0.3)  # less than the second after which a loop counts as blocked
    provider.end.set()
    assert await gather(leader, asyncio.wrap_future(waiting)) == [(1, False), (1, True)]


def test_a_task_that_was_abandoned_leaves_no_flight(flights: Flights[Any]) -> None:
    async def suspended() -> None:
        await asyncio.Future()

    abandoned = flights.arun("k", suspended)
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        abandoned.send(None)

    loop.run_until_complete(begin())
    loop.close()
    copy_context().run(abandoned.close)
    assert flights._flights == {}
    assert flights.run("k", lambda: 1) == (1, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_does_not_wait_for_a_thread_of_its_parent(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor
) -> None:
    thread = pool.submit(flights.run, "k", provider.call)
    assert provider.called.wait(HANG)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the threads; it is what is tested
        child = os.fork()
    if child == 0:
        os._exit(0 if flights.run("k", lambda: "own") == ("own", False) else 1)
    provider.end.set()
    assert os.waitpid(child, 0)[1] == 0
    assert thread.result(HANG) == (1, False)


# ---- forgetting


async def test_nobody_joins_what_was_forgotten(flights: Flights[Any], provider: Provider) -> None:
    leader = asyncio.create_task(flights.arun("k", provider.acall))
    waiter = asyncio.create_task(flights.arun("k", never))
    await auntil(lambda: waits(flights) == 1)
    flights.forget("k")
    flights.forget("never there")
    assert await flights.arun("k", lambda: asyncio.sleep(0, "new")) == ("new", False)
    provider.end.set()
    assert await gather(leader, waiter) == [(1, False), (1, True)]


# ---- all at once


class Calls:
    """Makes calls that end when they may, and knows what each gave; every fifth one fails."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.made: list[tuple[str, int]] = []
        self._numbers = count()

    def call(self, key: str) -> tuple[str, int]:
        assert self.may_end.wait(HANG)
        return self._outcome(key)

    async def acall(self, key: str) -> tuple[str, int]:
        await auntil(self.may_end.is_set)
        return self._outcome(key)

    def joined(self, key: str, asked: Future[Joined]) -> bool:
        """Wait for an answer, which must be one that was given for its key; return whether it was another's call."""
        try:
            answer, joined = asked.result(HANG)
        except LookupError as error:
            assert error.args == (key,)  # noqa: PT017 - it is one of the outcomes
            return False
        except CancelledError:
            return False
        assert answer[0] == key
        assert answer in self.made
        return joined

    def _outcome(self, key: str) -> tuple[str, int]:
        answer = (key, next(self._numbers))
        self.made.append(answer)
        if answer[1] % 5 == 0:
            raise LookupError(key)
        return answer


@pytest.mark.parametrize("seed", range(5))
def test_chaos(flights: Flights[Any], pool: ThreadPoolExecutor, seed: int) -> None:
    """Threads and tasks of three loops, few keys, errors and cancellations: nobody is left behind, nobody misled."""
    random, calls = Random(seed), Calls()  # noqa: S311 - chance, no secret
    asked: list[tuple[str, Future[Joined]]] = []
    with loops(3) as running:
        for number in range(600):
            if number % 50 == 0:
                calls.may_end.clear()
            if number % 50 == 40:
                calls.may_end.set()
            key = random.choice("abc")
            if random.random() < 0.3:
                asked.append((key, pool.submit(flights.run, key, partial(calls.call, key))))
            else:
                coroutine = flights.arun(key, partial(calls.acall, key))
                asked.append((key, asyncio.run_coroutine_threadsafe(coroutine, random.choice(running))))
            if random.random() < 0.2:
                random.choice(asked)[1].cancel()
        assert sum(calls.joined(key, future) for key, future in asked) > 100
        assert len(calls.made) < 500
        asyncio.run(auntil(lambda: flights._flights == {}))


async def test_two_calls_that_ask_for_each_other_do_not_wait_for_each_other() -> None:
    flights: Flights[str] = Flights()
    both = asyncio.Barrier(2)

    async def ask(key: str, other: str) -> str:
        await both.wait()
        return key + (await flights.arun(other, lambda: asyncio.sleep(0, other)))[0]

    asked = asyncio.gather(*(flights.arun(a, lambda a=a, b=b: ask(a, b)) for a, b in ("xy", "yx")))  # type: ignore[misc]
    assert len(await asyncio.wait_for(asked, HANG)) == 2


async def test_a_follower_goes_on_though_the_leader_was_kept_from_telling_it(
    flights: Flights[Any], provider: Provider, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(outcome: Outcome, error: Exception | None = None) -> bool:
        outcome.done, outcome.error = True, error
        outcome._bells.clear()
        raise KeyboardInterrupt

    leader = pool.submit(flights.run, "k", provider.call)
    assert provider.called.wait(HANG)
    follower = pool.submit(flights.run, "k", never)
    await auntil(lambda: waits(flights) == 1)
    monkeypatch.setattr(Outcome, "end", interrupted)
    provider.end.set()
    assert follower.result(HANG) == (1, True)
    with pytest.raises(KeyboardInterrupt):
        leader.result(HANG)

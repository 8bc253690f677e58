"""`recording` as a context and as a decorator, of functions of every kind, one at a time and many."""

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from chatcache import InvalidInputError, ReplayMiss, ResponseCache
from chatcache.recording import Bundle, Policy, RecordMode, recording

REPLAY = Policy(mode=RecordMode.REPLAY)


class Program:
    """A program that asks a provider, and counts its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = ResponseCache("app", path=folder / "store")
        self.asked: list[str] = []

    def ask(self, prompt: str) -> str:
        def call(request: Any) -> str:
            self.asked.append(request["prompt"])
            return f"answer to {request['prompt']}"

        return self.cache.call({"prompt": prompt}, call)

    def path(self, name: str = "x") -> Path:
        return self.folder / f"{name}.chatcache"

    def recorded(self, name: str = "x") -> list[str]:
        return sorted(each.request["prompt"] for each in Bundle(self.path(name)).read())


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def plain(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        @over
        def function(*prompts: str) -> list[str]:
            return [program.ask(each) for each in prompts]

        return lambda: function("a", "b")

    return decorate


def coroutine(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        @over
        async def function(*prompts: str) -> list[str]:
            await asyncio.sleep(0)
            return [program.ask(each) for each in prompts]

        assert inspect.iscoroutinefunction(function)
        return lambda: asyncio.run(function("a", "b"))

    return decorate


def generator(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        @over
        def function(*prompts: str) -> Generator[str, None, None]:
            for each in prompts:
                yield program.ask(each)

        assert inspect.isgeneratorfunction(function)
        return lambda: [*function("a", "b")]

    return decorate


def async_generator(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        @over
        async def function(*prompts: str) -> AsyncGenerator[str, None]:
            for each in prompts:
                await asyncio.sleep(0)
                yield program.ask(each)

        async def read() -> list[str]:
            return [each async for each in function("a", "b")]

        assert inspect.isasyncgenfunction(function)
        return lambda: asyncio.run(read())

    return decorate


def method(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        class Agent:
            @over
            async def one(self, prompt: str) -> str:
                return program.ask(prompt)

            @staticmethod
            @over
            def two(prompt: str) -> str:
                return program.ask(prompt)

        return lambda: [asyncio.run(Agent().one("a")), Agent.two("b")]

    return decorate


def callables(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Callable[..., Any]) -> Callable[[], list[str]]:
        class Asks:
            async def __call__(self, prompt: str) -> str:
                return program.ask(prompt)

        one, two = over(Asks()), over(functools.partial(program.ask, "b"))
        return lambda: [asyncio.run(one("a")), two()]

    return decorate


def contexts(program: Program) -> Callable[[Callable[..., Any]], Callable[[], list[str]]]:
    def decorate(over: Any) -> Callable[[], list[str]]:
        def blocking() -> str:
            with over:
                return program.ask("a")

        async def awaited() -> str:
            async with over:
                await asyncio.sleep(0)
                return program.ask("b")

        return lambda: [blocking(), asyncio.run(awaited())]

    return decorate


KINDS = [plain, coroutine, generator, async_generator, method, callables, contexts]


@pytest.mark.parametrize("kind", KINDS)
def test_it_records_and_replays_what_is_called_in_it(program: Program, kind: Callable[[Program], Any]) -> None:
    for policy in (None, REPLAY, REPLAY):
        run = kind(program)(recording(program.path(), policy))
        assert run() == ["answer to a", "answer to b"]
    assert program.asked == ["a", "b"]
    assert program.recorded() == ["a", "b"]
    assert program.ask("a") == "answer to a"
    assert program.asked == ["a", "b", "a"], "a cache has its own store again"


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_what_raises_records_nothing(program: Program, kind: Callable[[Program], Any]) -> None:
    run = kind(program)(recording(program.path(), Policy(mode=RecordMode.REPLAY)))
    with pytest.raises(ReplayMiss):
        run()
    assert not program.path().exists()


def test_the_steps_of_a_generator_are_recorded_and_what_its_caller_does_is_not(program: Program) -> None:
    @recording(program.path())
    def talk() -> Generator[str, str, str]:
        prompt = "first"
        while prompt:
            try:
                prompt = yield program.ask(prompt)
            except KeyError as error:
                prompt = f"{error.args[0]} again"
        return program.ask("end")

    talking = talk()
    assert next(talking) == "answer to first"
    program.ask("outside")
    assert talking.send("second") == "answer to second"
    assert talking.throw(KeyError("third")) == "answer to third again"
    with pytest.raises(StopIteration, match="answer to end"):
        talking.send("")
    assert program.recorded() == ["end", "first", "second", "third again"]


@pytest.mark.parametrize("how", ["close", "break"])
def test_a_generator_that_is_not_read_to_its_end_is_recorded_so_far(program: Program, how: str) -> None:
    closed = []

    @recording(program.path())
    def talk() -> Generator[str, None, None]:
        try:
            yield program.ask("a")
            yield program.ask("b")
        finally:
            closed.append(program.ask("c"))

    talking = talk()
    next(talking)
    if how == "close":
        talking.close()
    del talking
    assert closed == ["answer to c"]
    assert program.recorded() == ["a", "c"]


async def test_an_async_generator_gets_what_is_sent_and_thrown_and_is_closed(program: Program) -> None:
    @recording(program.path())
    async def talk() -> AsyncGenerator[str, str]:
        prompt = "first"
        while True:
            try:
                prompt = yield program.ask(prompt)
            except KeyError as error:
                prompt = error.args[0]

    talking = talk()
    assert await anext(talking) == "answer to first"
    program.ask("outside")
    assert await talking.asend("second") == "answer to second"
    assert await talking.athrow(KeyError("third")) == "answer to third"
    await talking.aclose()
    assert program.recorded() == ["first", "second", "third"]


async def test_tasks_that_call_one_decorated_function_record_each_their_own(program: Program) -> None:
    barrier = asyncio.Barrier(4)

    @recording(program.path())
    async def ask(prompt: str) -> list[str]:
        await barrier.wait()
        first = program.ask(prompt)
        await asyncio.sleep(0)
        return [first, await asyncio.to_thread(program.ask, f"{prompt} in a thread")]

    for asked in (8, 8):
        answers = await asyncio.gather(*map(ask, "abcd"))
        assert answers == [[f"answer to {each}", f"answer to {each} in a thread"] for each in "abcd"]
        assert len(program.asked) == asked
    assert len(program.recorded()) == 8


async def test_tasks_with_recordings_of_their_own_keep_them_apart(program: Program) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with recording(program.path("first")):
            begun.set()
            await ended.wait()
            program.ask("first")

    async def second() -> None:
        await begun.wait()
        async with recording(program.path("second"), REPLAY):
            with pytest.raises(ReplayMiss):
                program.ask("second")
            with pytest.raises(ReplayMiss):
                program.cache.call({"prompt": {1}}, lambda _: "no key")
        ended.set()

    await asyncio.gather(first(), second())
    assert program.recorded("first") == ["first"]
    assert program.asked == ["first"]


def test_threads_that_call_one_decorated_function_record_each_their_own(program: Program) -> None:
    barrier = Barrier(4)

    @recording(program.path())
    def ask(prompt: str) -> str:
        barrier.wait()
        return program.ask(prompt)

    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(ask, "abcd")] == [f"answer to {each}" for each in "abcd"]
    assert program.recorded() == ["a", "b", "c", "d"]


def test_a_recording_within_another_one_has_its_own_calls(program: Program) -> None:
    with recording(program.path("outer")):
        program.ask("a")
        with recording(program.path("inner")), ThreadPoolExecutor(1) as pool:
            program.ask("b")
            pool.submit(program.ask, "c").result()
        program.ask("d")
    assert program.recorded("outer") == ["a", "d"]
    assert program.recorded("inner") == ["b", "c"]


def test_recordings_may_end_in_any_order(program: Program) -> None:
    first, second = recording(program.path("first")), recording(program.path("second"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    program.ask("a")
    second.__exit__(None, None, None)
    program.ask("b")
    assert program.recorded("second") == ["a"]
    assert not program.path("first").exists()


def test_a_recording_is_used_again_but_not_twice_at_a_time(program: Program) -> None:
    again = recording(program.path())
    for prompt in "ab":
        with again:
            program.ask(prompt)
            with pytest.raises(InvalidInputError, match="has begun already"), again:
                pass
    assert program.recorded() == ["a", "b"]


@pytest.mark.parametrize("wrong", [Program, 1, staticmethod(len), classmethod(lambda cls: cls), property(len)])
def test_what_is_no_function_is_not_decorated(program: Program, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="decorate a function or a method"):
        recording(program.path())(wrong)


def test_a_function_that_returns_what_has_yet_to_run_is_told(program: Program) -> None:
    async def later() -> str:
        return program.ask("a")

    for returns in (later, lambda: (program.ask(each) for each in "ab")):
        with pytest.raises(InvalidInputError, match="that runs after the recording has ended"):
            recording(program.path())(lambda: returns())()  # noqa: PLW0108, B023 - it is no coroutine function itself
    assert program.asked == []


async def test_what_is_cancelled_records_nothing(program: Program) -> None:
    @recording(program.path())
    async def ask() -> None:
        program.ask("a")
        await asyncio.Event().wait()

    task = asyncio.create_task(ask())
    while not program.asked:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not program.path().exists()

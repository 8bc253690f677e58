"""Rounds of hits: one question asked again and again, of our cache and of another."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .measure import Rounds
from .provider import ANSWER, Provider

__all__ = ["Ask", "Contender", "at_once", "awaiting", "blocking", "proven"]

_AT_A_TIME = 10  # hits in a round: short rounds, and many, leave the least of the machine's drift in a ratio

Ask = Callable[[int], tuple[Any, float]]
"""Asks the question so many times; returns the last answer, and how many µs one answer took."""


@dataclass(frozen=True)
class Contender:
    """A cache: how it is put to use, how the question is asked then, and how often in a round."""

    use: Callable[[], object]
    ask: Ask
    at_a_time: int = _AT_A_TIME

    def round(self) -> float:
        self.use()
        self.ask(1)  # off the clock: the collector ran just now, and drove all code out of the processor's caches
        return self.ask(self.at_a_time)[1]


def _done() -> None: ...


async def _adone() -> None: ...


def blocking(ask: Callable[[], Any], settle: Callable[[], object] = _done) -> Ask:
    """Ask with a call that returns the answer; then let what it left to threads settle, off the clock."""

    def repeat(times: int) -> tuple[Any, float]:
        answer = None
        began = perf_counter()
        for _ in range(times):
            answer = ask()
        took = perf_counter() - began
        settle()
        return answer, took / times * 1e6

    return repeat


def awaiting(
    runner: asyncio.Runner, ask: Callable[[], Awaitable[Any]], settle: Callable[[], Awaitable[None]] = _adone
) -> Ask:
    """Ask by awaiting, each answer before the next, in one loop; then let the loop settle, off the clock."""

    async def repeat(times: int) -> tuple[Any, float]:
        answer = None
        began = perf_counter()
        for _ in range(times):
            answer = await ask()
        took = perf_counter() - began
        await settle()
        return answer, took / times * 1e6

    return lambda times: runner.run(repeat(times))


def at_once(
    runner: asyncio.Runner, ask: Callable[[], Awaitable[Any]], settle: Callable[[], Awaitable[None]] = _adone
) -> Ask:
    """Ask by awaiting, as `awaiting` does, but all at once."""

    async def repeat(times: int) -> tuple[Any, float]:
        began = perf_counter()
        answers = await asyncio.gather(*(ask() for _ in range(times)))
        took = perf_counter() - began
        await settle()
        return answers[-1], took / times * 1e6

    return lambda times: runner.run(repeat(times))


def _itself(answer: Any) -> Any:
    return answer


def proven(
    server: Provider,
    ours: Contender,
    theirs: Contender,
    *,
    holds: Callable[[Any], Any] = _itself,
    expected: Any = ANSWER,
) -> Rounds:
    """Return the rounds of two contenders, after each has asked the provider once, and no more.

    Args:
        server: the provider.
        ours: our cache.
        theirs: the other one.
        holds: returns what both answers are to hold alike.
        expected: what that is.
    """
    for contender in (ours, theirs):
        contender.use()
        before = server.calls
        for _ in range(5):
            answer, _ = contender.ask(1)
            assert holds(answer) == expected
            assert server.calls == before + 1
    return ours.round, theirs.round

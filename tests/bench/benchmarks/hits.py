"""Rounds of hits: one question asked again and again, of our cache and of another."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from .measure import Rounds
from .provider import ANSWER, Provider

__all__ = ["Ask", "Contender", "awaiting", "blocking", "proven"]

_AT_A_TIME = 10  # hits in a round: short rounds, and many, leave the least of the machine's drift in a ratio

Ask = Callable[[int], tuple[str, float]]
"""Asks the question so many times; returns the last answer's text, and how many µs one answer took."""


@dataclass(frozen=True)
class Contender:
    """A cache: how it is put to use, and how the question is asked then."""

    use: Callable[[], object]
    ask: Ask

    def round(self) -> float:
        self.use()
        return self.ask(_AT_A_TIME)[1]


def blocking(ask: Callable[[], str]) -> Ask:
    """Ask with a call that returns the answer."""

    def repeat(times: int) -> tuple[str, float]:
        answer = ""
        began = perf_counter()
        for _ in range(times):
            answer = ask()
        return answer, (perf_counter() - began) / times * 1e6

    return repeat


async def _nothing() -> None: ...


def awaiting(
    runner: asyncio.Runner, ask: Callable[[], Awaitable[str]], settle: Callable[[], Awaitable[None]] = _nothing
) -> Ask:
    """Ask by awaiting, each answer before the next, in one loop; then let the loop settle, off the clock."""

    async def repeat(times: int) -> tuple[str, float]:
        answer = ""
        began = perf_counter()
        for _ in range(times):
            answer = await ask()
        took = perf_counter() - began
        await settle()
        return answer, took / times * 1e6

    return lambda times: runner.run(repeat(times))


def proven(server: Provider, ours: Contender, theirs: Contender) -> Rounds:
    """Return the rounds of two contenders, after each has asked the provider once, and no more."""
    for contender in (ours, theirs):
        contender.use()
        before = server.calls
        for _ in range(5):
            answer, _ = contender.ask(1)
            assert answer == ANSWER
            assert server.calls == before + 1
    return ours.round, theirs.round

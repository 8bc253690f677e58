"""Calls that are shared: whoever asks for what somebody is already asking for waits for that one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from .forks import anew_in_children
from .loops import Loop, running_loop

__all__ = ["Flights"]

R = TypeVar("R")

_LOOK = 0.05  # seconds between looks at whether the leader's loop still runs


@dataclass(slots=True)
class _Landing(Generic[R]):
    """How a flight ended: with an error, or else with a value."""

    value: R | None = None
    error: Exception | None = None

    def unpack(self) -> R:
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only where R has it


class _Flight(Generic[R]):
    """A call that somebody makes, and others may wait for.

    Attributes:
        landed: how it ended; None where the leader was cancelled, so that somebody else has to lead.
        awaits: the flights that somebody within this one waits for just now.
    """

    def __init__(self, loop: Loop | None) -> None:
        self.loop = loop  # the leader's, or None for a thread
        self.awaits: list[_Flight[Any]] = []
        self.landed: Future[_Landing[R] | None] = Future()
        self.landed.set_running_or_notify_cancel()  # so that a waiter who is cancelled does not cancel it for all

    def stalled(self) -> bool:
        """Return whether the leader cannot go on, because its loop stopped."""
        return self.loop is not None and not self.loop.is_running()

    def wait(self) -> _Landing[R] | None:
        while not self.landed.done() and not self.stalled():
            with suppress(TimeoutError):
                self.landed.result(_LOOK)
        return self.landed.result() if self.landed.done() else None

    async def await_(self) -> _Landing[R] | None:
        landed = asyncio.wrap_future(self.landed)
        look = None if self.loop is running_loop() else _LOOK
        while not self.landed.done() and not self.stalled():
            await asyncio.wait([landed], timeout=look)
        return self.landed.result() if self.landed.done() else None


_within: ContextVar[frozenset[_Flight[Any]]] = ContextVar("chatcache_flights", default=frozenset())


class _Waits:
    """Who waits for whom, over all flights of the process, so that no two wait for each other."""

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        self._lock = Lock()

    @contextmanager
    def on(self, flight: _Flight[Any]) -> Iterator[bool]:
        """Wait for a flight in the body, if that gives True; else it waits for what the caller is part of."""
        mine = _within.get()
        with self._lock:
            may = not self._leads_to(flight, mine)
            for each in mine if may else ():
                each.awaits.append(flight)
        try:
            yield may
        finally:
            with self._lock:
                for each in mine if may else ():
                    each.awaits.remove(flight)

    def _leads_to(self, flight: _Flight[Any], ends: frozenset[_Flight[Any]]) -> bool:
        return flight in ends or any(self._leads_to(each, ends) for each in flight.awaits)


_WAITS = _Waits()


class Flights(Generic[R]):
    """One call for all threads and tasks that ask for the same key at the same time.

    The first one who asks leads: it makes its own call, in its own thread or task and with its own context variables.
    Those who ask before that call is over join it, and get the very same result, or the very same exception.

    * Somebody who waits can be cancelled alone; the call goes on.
    * A leader who is cancelled (or ended by `KeyboardInterrupt`, or any other `BaseException` that is no `Exception`)
      hands over: one of those who wait makes its own call, and the others join that one. So it is, within 50 ms,
      where the leader's loop stopped.
    * Nobody waits for itself. A blocking caller on the thread of a loop does not wait for a task of that loop, and a
      call does not wait for the flight it is part of, nor for one that waits for that: each makes its own call,
      beside the shared one.

    Results are not kept: whoever asks after the call is over makes a new one.
    """

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no flights: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()
        self._flights: dict[Hashable, _Flight[R]] = {}

    def run(self, key: Hashable, call: Callable[[], R]) -> tuple[R, bool]:
        """Return the result of a call for this key, and whether it was another one's call that was joined.

        Raises:
            Exception: whatever the call raised, one's own or that which was joined.
        """
        while True:
            flight, leads = self._board(key, None)
            if flight is None:
                return call(), False
            if leads:
                with self._leading(key, flight) as landing:
                    landing.value = call()
                return landing.unpack(), False
            with _WAITS.on(flight) as may:
                if not may:
                    return call(), False
                joined = flight.wait()
            if joined is not None:
                return joined.unpack(), True

    async def arun(self, key: Hashable, acall: Callable[[], Awaitable[R]]) -> tuple[R, bool]:
        """Awaiting twin of `run`."""
        while True:
            flight, leads = self._board(key, running_loop())
            if flight is None:
                return await acall(), False
            if leads:
                with self._leading(key, flight) as landing:
                    landing.value = await acall()
                return landing.unpack(), False
            with _WAITS.on(flight) as may:
                if not may:
                    return await acall(), False
                joined = await flight.await_()
            if joined is not None:
                return joined.unpack(), True

    def forget(self, key: Hashable) -> None:
        """Let nobody join the call that is going on for a key; those who did still get its result."""
        with self._lock:
            self._flights.pop(key, None)

    def _board(self, key: Hashable, loop: Loop | None) -> tuple[_Flight[R] | None, bool]:
        """Return the flight of a key and whether the caller leads it, or no flight for who would wait for itself.

        Args:
            key: what is asked for.
            loop: that of the caller, or None where it blocks.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.stalled():
                flight = self._flights[key] = _Flight(loop)
                return flight, True
        blocks_it = loop is None and flight.loop is not None and flight.loop is running_loop()
        return (None if blocks_it else flight), False

    @contextmanager
    def _leading(self, key: Hashable, flight: _Flight[R]) -> Iterator[_Landing[R]]:
        """Lead from the first line of the body to its end; the body fills in the value."""
        landing: _Landing[R] = _Landing()
        ended: _Landing[R] | None = landing
        before = _within.set(_within.get() | {flight})
        try:
            yield landing
        except BaseException as error:
            ended = _Landing(error=error) if isinstance(error, Exception) else None
            raise
        finally:
            with suppress(ValueError):  # a task that was abandoned is ended in the context of whoever collects it
                _within.reset(before)
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]
            flight.landed.set_result(ended)

"""Calls that are shared: whoever asks for what somebody is already asking for waits for that one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from .forks import anew_in_children
from .loops import Loop, Outcome, running_loop
from .pings import stalled

__all__ = ["Flights", "awaited_within"]

R = TypeVar("R")

_LOOK = 0.05  # seconds between looks at whether the leader's loop goes on


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
        over: whether it ended.
        landing: how it did; None where the leader was cancelled, so that somebody else has to lead.
        awaits: the flights that somebody within this one waits for just now.
        awaited_within: how many wait for this one who are within another.
    """

    def __init__(self, loop: Loop | None) -> None:
        self.loop = loop  # the leader's, or None for a thread
        self.awaits: list[_Flight[Any]] = []
        self.awaited_within = 0
        self.over = Outcome()
        self.landing: _Landing[R] | None = None

    def stalled(self) -> bool:
        """Return whether the leader cannot go on, because its loop stopped, or is blocked."""
        return stalled(self.loop)

    def wait(self) -> _Landing[R] | None:
        bell = self.over.bell()
        while not (self.over.rung(bell, _LOOK) or self.stalled()):
            pass
        return self.landing

    async def await_(self) -> _Landing[R] | None:
        if self.loop is running_loop():
            await self.over.wait()
        while not (self.over.done or self.stalled()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self.over.wait()
        return self.landing


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
                flight.awaited_within += 1
        try:
            yield may
        finally:
            with self._lock:
                for each in mine if may else ():
                    each.awaits.remove(flight)
                    flight.awaited_within -= 1

    def _leads_to(self, flight: _Flight[Any], ends: frozenset[_Flight[Any]]) -> bool:
        return flight in ends or any(self._leads_to(each, ends) for each in flight.awaits)


_WAITS = _Waits()


def awaited_within() -> bool:
    """Return whether a call that somebody makes waits for one that the caller is part of."""
    return any(flight.awaited_within for flight in _within.get())


class Flights(Generic[R]):
    """One call for all threads and tasks that ask for the same key at the same time.

    The first one who asks leads: it makes its own call, in its own thread or task and with its own context variables.
    Those who ask before that call is over join it, and get the very same result, or the very same exception.

    * Somebody who waits can be cancelled alone; the call goes on.
    * A leader who is cancelled (or ended by `KeyboardInterrupt`, or any other `BaseException` that is no `Exception`)
      hands over: one of those who wait makes its own call, and the others join that one. So it is, within 50 ms,
      where the leader's loop stopped, and after a second in which something blocks that loop: it may be waiting for
      one of those who wait.
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
            own: _Flight[R] = _Flight(None)
            try:  # before it is known to anybody, so that it lands whenever a Ctrl-C comes
                flight = self._board(key, own)
                if flight is None:
                    return call(), False
                if flight is own:
                    with self._leading(own) as landing:
                        landing.value = call()
                    return landing.unpack(), False
            finally:
                try:
                    self._land(key, own)
                finally:  # a Ctrl-C may come within that, too
                    self._land(key, own)
            with _WAITS.on(flight) as may:
                if not may:
                    return call(), False
                joined = flight.wait()
            if joined is not None:
                return joined.unpack(), True

    async def arun(self, key: Hashable, acall: Callable[[], Awaitable[R]]) -> tuple[R, bool]:
        """Awaiting twin of `run`."""
        while True:
            own: _Flight[R] = _Flight(running_loop())
            try:
                flight = self._board(key, own)
                if flight is None:
                    return await acall(), False
                if flight is own:
                    with self._leading(own) as landing:
                        landing.value = await acall()
                    return landing.unpack(), False
            finally:
                try:
                    self._land(key, own)
                finally:  # a Ctrl-C may come within that, too
                    self._land(key, own)
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

    def _board(self, key: Hashable, own: _Flight[R]) -> _Flight[R] | None:
        """Return the flight of a key, one's own where there was none, or None for who would wait for itself."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.stalled():
                self._flights[key] = own
                return own
        blocks_it = own.loop is None and flight.loop is not None and flight.loop is running_loop()
        return None if blocks_it else flight

    @contextmanager
    def _leading(self, own: _Flight[R]) -> Iterator[_Landing[R]]:
        """Lead from the first line of the body to its end; the body fills in the value."""
        landing: _Landing[R] = _Landing()
        before = _within.set(_within.get() | {own})
        try:
            yield landing
        except Exception as error:
            own.landing = _Landing(error=error)
            raise
        else:
            own.landing = landing
        finally:
            with suppress(ValueError):  # a task that was abandoned is ended in the context of whoever collects it
                _within.reset(before)

    def _land(self, key: Hashable, own: _Flight[R]) -> None:
        """End one's own flight, if it is one; to do so again changes nothing."""
        with self._lock:
            if self._flights.get(key) is own:
                del self._flights[key]
        own.over.end()

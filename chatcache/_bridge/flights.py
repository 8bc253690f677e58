"""Calls that are shared: whoever asks for what somebody is already asking for waits for that one answer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, TypeVar

from chatcache.interrupts import is_interrupt, suppress

from .forks import anew_in_children
from .greenlets import Caller
from .loops import Loop, Outcome, current_loop, running_loop
from .pings import stalled

__all__ = ["Flight", "Flights", "Landing", "awaited_within"]

R = TypeVar("R")

_LOOK = 0.05  # seconds between looks at whether the leader's loop goes on


@dataclass(slots=True)
class Landing(Generic[R]):
    """How a flight ended: with an error, or else with a value."""

    value: R | None = None
    error: Exception | None = None

    def unpack(self) -> R:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only where R has it


class Flight(Generic[R]):
    """A call that somebody makes, and others may wait for.

    Attributes:
        over: whether it ended.
        landing: how it did; None where the leader was cancelled, so that somebody else has to lead.
        awaits: the flights that somebody within this one waits for just now.
        awaited_within: how many wait for this one who are within another, or the parent, in a child forked within it.
        forsaken: whether its leader is gone, and nobody will say how it ended.
    """

    def __init__(self, loop: Loop | None, *, held: bool = False) -> None:
        self.loop = loop  # the leader's, or None for a thread
        self.held = held  # by an object, which may be dropped at any time
        self._leader = Caller()
        self.forsaken = False
        self.awaits: list[Flight[Any]] = []
        self.awaited_within = 0
        self.over = Outcome()
        self.landing: Landing[R] | None = None

    def stalled(self) -> bool:
        """Return whether the leader cannot go on: its loop stopped, or is blocked, or it is gone."""
        return self.forsaken or stalled(self.loop)

    def forsake(self) -> None:
        """Have somebody else lead. This takes no lock: it may be called by the collector."""
        self.forsaken = True

    def wait(self) -> Landing[R] | None:
        """Wait for the end; return None where somebody else is to lead.

        Raises:
            UnsupportedLibraryError: the leader is another greenlet of this thread.
        """
        if self.loop is None and not self.over.done:
            self._leader.check_wait()
        bell = self.over.bell()
        while not (self.over.rung(bell, _LOOK) or self.stalled()):
            pass
        return self.landing

    async def await_(self) -> Landing[R] | None:
        """Awaiting twin of `wait`."""
        if self.loop is running_loop() and not self.held:
            await self.over.wait()
        while not (self.over.done or self.stalled()):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self.over.wait()
        return self.landing


_within: ContextVar[frozenset[Flight[Any]]] = ContextVar("chatcache_flights", default=frozenset())


class _Waits:
    """Who waits for whom, over all flights of the process, so that no two wait for each other."""

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        self._lock = RLock()  # who waits may be collected wherever somebody holds it

    @contextmanager
    def on(self, flight: Flight[Any]) -> Iterator[bool]:
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

    def _leads_to(self, flight: Flight[Any], ends: frozenset[Flight[Any]]) -> bool:
        return flight in ends or any(self._leads_to(each, ends) for each in [*flight.awaits])


_WAITS = _Waits()


def awaited_within() -> bool:
    """Return whether a call that somebody makes waits for one that the caller is part of."""
    return any(flight.awaited_within for flight in _within.get())


class Flights(Generic[R]):
    """One call for all threads and tasks that ask for the same key at the same time.

    The first one who asks leads: it makes its own call, in its own thread or task and with its own context variables.
    Those who ask before that call is over join it, and get the very same result, or the very same exception.

    * Somebody who waits can be cancelled alone; the call goes on.
    * A leader who is cancelled (or stopped by `KeyboardInterrupt`, a signal handler's exception, or any other
      `BaseException` that is no `Exception`) hands over: one of those who wait makes its own call, and the others join
      that one. So it is, within 50 ms, where the leader's loop stopped, and after a second in which something blocks
      that loop: it may be waiting for one of those who wait.
    * Nobody waits for itself. A blocking caller on the thread of a loop does not wait for a task of that loop, and a
      call does not wait for the flight it is part of, nor for one that waits for that: each makes its own call,
      beside the shared one.

    Results are not kept: whoever asks after the call is over makes a new one.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[R]] = {}
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no flights: for a child process, which has none of its parent's other threads."""
        for flight in self._flights.values():
            flight.awaited_within += 1  # for good: its leader is the parent, which may wait for its child
        self._lock = RLock()  # who leads may be collected wherever somebody holds it
        self._flights = {}

    def run(self, key: Hashable, call: Callable[[], R]) -> tuple[R, bool]:
        """Return the result of a call for this key, and whether it was another one's call that was joined.

        Raises:
            Exception: whatever the call raised, one's own or that which was joined.
        """
        while True:
            own: Flight[R] = Flight(None)
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
            own: Flight[R] = Flight(current_loop())
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

    def begin(self, key: Hashable) -> Flight[R] | Landing[R] | None:
        """Begin a flight that does not end in the same function, for who has no function to pass to `run`.

        Returns:
            A flight: the caller leads, and is to `end` it, or to have it forsaken. How another one's ended, that was
            waited for. None for who would wait for itself: it makes its own call.
        """
        while True:
            own: Flight[R] = Flight(None, held=True)
            try:
                flight = self._board(key, own)
                if flight is None:
                    return None
                if flight is own:
                    return self._led(own)
                with _WAITS.on(flight) as may:
                    if not may:
                        return None
                    joined = flight.wait()
            except BaseException:
                own.forsake()
                raise
            if joined is not None:
                return joined

    async def abegin(self, key: Hashable) -> Flight[R] | Landing[R] | None:
        """Awaiting twin of `begin`."""
        while True:
            own: Flight[R] = Flight(current_loop(), held=True)
            try:
                flight = self._board(key, own)
                if flight is None:
                    return None
                if flight is own:
                    return self._led(own)
                with _WAITS.on(flight) as may:
                    if not may:
                        return None
                    joined = await flight.await_()
            except BaseException:
                own.forsake()
                raise
            if joined is not None:
                return joined

    def end(self, key: Hashable, own: Flight[R], landing: Landing[R] | None) -> None:
        """End a flight that was begun; None where somebody else is to lead. To do so again changes nothing."""
        if not own.over.done:
            own.landing = landing
        self._land(key, own)

    def forget(self, key: Hashable) -> None:
        """Let nobody join the call that is going on for a key; those who did still get its result."""
        with self._lock:
            self._flights.pop(key, None)

    def _board(self, key: Hashable, own: Flight[R]) -> Flight[R] | None:
        """Return the flight of a key, one's own where there was none, or None for who would wait for itself."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None or flight.stalled():
                self._flights[key] = own
                return own
        blocks_it = own.loop is None and flight.loop is not None and flight.loop is running_loop()
        return None if blocks_it else flight

    def _led(self, own: Flight[R]) -> Flight[R]:
        """Have the caller, and whatever it begins, be within its flight."""
        _within.set(frozenset(each for each in _within.get() if not (each.over.done or each.forsaken)) | {own})
        return own

    @contextmanager
    def _leading(self, own: Flight[R]) -> Iterator[Landing[R]]:
        """Lead from the first line of the body to its end; the body fills in the value."""
        landing: Landing[R] = Landing()
        _within.set(_within.get() | {own})
        try:
            yield landing
        except Exception as error:
            if not is_interrupt(error):
                own.landing = Landing(error=error)
            raise
        else:
            own.landing = landing
        finally:
            if own in _within.get():  # else a call that was abandoned is ended in the context of whoever collects it
                _within.set(_within.get() - {own})

    def _land(self, key: Hashable, own: Flight[R]) -> None:
        """End one's own flight, if it is one; to do so again changes nothing."""
        with self._lock:
            if self._flights.get(key) is own:
                del self._flights[key]
        own.over.end()

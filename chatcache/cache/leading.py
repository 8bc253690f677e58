"""Who makes the call of a request, for hooks: between a lookup that misses, and the answer, there is no function.

What `chatcache._bridge.Flights` and `chatcache.cache.leases` do for a call that is a function, a `Leader` does for one
that is not: it is an object, which whoever leads holds until there is an end to be told. Where it is dropped without
that, somebody else leads, within 50 ms in this process, and within ten seconds in another one.

An answer that is not recorded is passed to waiters in other processes as a note, ``{"record": [key, record]}``. A
function's call leaves another form (`chatcache.cache.calls`), though both may lead the same key. A waiter that finds
the other form makes its own call.
"""

from collections.abc import Callable, Coroutine, Hashable
from typing import Any
from weakref import finalize

from chatcache._bridge import RENEWALS, Colour, Flight, Flights, Landing
from chatcache.clock import Clock
from chatcache.errors import DecodeError
from chatcache.exit import Failure
from chatcache.interrupts import is_interrupt, raise_interrupt, suppress
from chatcache.storage import Budget

from .calls import Answer
from .leases import Lease, Leases, Left
from .outcomes import Outcomes
from .records import Hit

__all__ = ["Leader", "Leading"]

Look = Callable[[Colour], Coroutine[Any, Any, Hit | None]]


class Leader:
    """That the caller makes the call of a request, which others wait for. It is held until one of these is called.

    Attributes:
        budget: how long the cache may still hold up the call.
    """

    __slots__ = ("__weakref__", "_dropped", "_flight", "_flights", "_key", "_lease", "_outcomes", "budget")

    def __init__(
        self, flights: Flights[Any], key: Hashable, flight: Flight[Any], outcomes: Outcomes, budget: Budget
    ) -> None:
        self.budget = budget
        self._flights = flights
        self._key = key
        self._flight = flight
        self._outcomes = outcomes
        self._lease: Lease | None = None
        self._dropped: list[finalize[..., Leader]] = []  # what is done where none of the methods is called
        self._when_dropped(flight.forsake)

    def recorded(self) -> None:
        """Have those who wait look up what was recorded."""
        self._end(Landing())

    def answered(self, key: str, record: dict[str, Any]) -> None:
        """Have those who wait get an answer that was not recorded.

        Args:
            key: under which it would have been recorded.
            record: what would have been recorded.
        """
        answer = Answer([key, record])
        self._end(Landing(value=answer), note=lambda: {"record": answer.original})

    def failed(self, error: Exception) -> None:
        """Have the error raised for those who wait; if it only stopped the caller, have one of them lead."""
        if is_interrupt(error):
            self.give_up()
            return
        self._end(Landing(error=error), note=lambda: self._outcomes.written(Failure(error)))

    def give_up(self) -> None:
        """Have somebody else lead."""
        self._end(None)

    @property
    def lease(self) -> Lease | None:
        """The lease by which it leads the other processes."""
        return self._lease

    def hold(self, lease: Lease) -> None:
        """Lead the other processes, too."""
        self._lease = lease
        self._when_dropped(RENEWALS.let_go, lease)

    def _when_dropped(self, function: Callable[..., object], *args: Any) -> None:
        dropped = finalize(self, function, *args)
        dropped.atexit = False
        self._dropped.append(dropped)

    def _end(self, landing: Landing[Any] | None, note: Callable[[], Any] = lambda: None) -> None:
        lease, self._lease = self._lease, None
        if lease is not None and not lease.over:
            with suppress(Exception):  # then it runs out by itself
                lease.note = note()
                lease.drop()
        self._flights.end(self._key, self._flight, landing)
        for each in self._dropped:
            each.detach()  # a signal handler's exception would end in a finalizer


class Leading:
    """Finds out who makes the calls of one store.

    Args:
        flights: those of this process.
        leases: those of all processes.
        outcomes: how ends are told to other processes.
        joined: is told of a call that another one made.
        clock: gives the time in seconds since the epoch.
        timeout: how many seconds the cache may hold up one call.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one place makes it
        self,
        flights: Flights[Any],
        leases: Leases,
        outcomes: Outcomes,
        joined: Callable[[], None],
        clock: Clock,
        timeout: float,
    ) -> None:
        self._flights = flights
        self._leases = leases
        self._outcomes = outcomes
        self._joined = joined
        self._clock = clock
        self._timeout = timeout

    async def lead(self, colour: Colour, key: str, look: Look, *, tape: object = None) -> Hit | Leader | None:
        """Return what was found meanwhile, or that the caller leads, or None where it makes its call for itself alone.

        Args:
            colour: that of the caller.
            key: the key of the request.
            look: looks its records up; None where there is none.
            tape: the tape that is in; other tapes and other processes have no part in its calls.

        Raises:
            Exception: what the call of another one raised, which was waited for.
        """
        flight = ("hook", tape, key)
        while True:
            begun = await colour(self._flights.begin, self._flights.abegin, flight)
            if begun is None:
                return None
            if isinstance(begun, Landing):
                self._joined()
                answer = begun.unpack()
                if answer is not None:
                    answered, record = answer.copy()
                    return Hit(answered, record, self._clock)
                found = await look(colour)
                if found is not None:
                    return found
            else:
                leader = Leader(self._flights, flight, begun, self._outcomes, Budget(self._timeout))
                if tape is not None:
                    return await self._led_alone(colour, look, leader)
                return await self._led(colour, key, look, leader)

    @staticmethod
    async def _led_alone(colour: Colour, look: Look, leader: Leader) -> Hit | Leader:
        """Lead this process, unless there is a record by now."""
        found = await look(colour)
        if found is None:
            return leader
        leader.recorded()
        return found

    async def _led(self, colour: Colour, key: str, look: Look, leader: Leader) -> Hit | Leader:
        """Lead the other processes, too, or wait for the one of them that does."""
        try:
            led = await self._leases.lead(colour, key, lambda: look(colour), leader.budget)
            if isinstance(led, Lease):
                leader.hold(led)
            elif isinstance(led, Hit):
                self._joined()
                leader.recorded()
                return led
            elif isinstance(led, Left):
                return self._left(leader, led)
        except BaseException:
            leader.give_up()
            raise
        return leader

    def _left(self, leader: Leader, left: Left) -> Hit | Leader:
        """Return the answer that another process left, or raise its error; an unknown form counts as nothing."""
        match left.note:
            case {"record": [str() as key, record]}:
                try:
                    hit = Hit.of(key, record, self._clock)
                except ValueError as error:
                    raise_interrupt(error)
                    return leader
                self._joined()
                leader.answered(key, record)
                return hit
        try:
            exit_ = self._outcomes.read(left.note)
        except DecodeError:
            return leader
        if isinstance(exit_, Failure):
            self._joined()
            leader.failed(exit_.error)
            raise exit_.error
        return leader

"""Work that is to be done at least once: Effect's ``PersistedQueue``, statement 45 of its contract.

What is stored, and what becomes of it, stands in `chatcache.queues.elements`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from inspect import iscoroutinefunction
from math import inf
from typing import Any, Generic, TypeVar
from uuid import uuid4

from chatcache._bridge import CANCELLATIONS, Colour, Worker, anew_in_children, apause, awaiting, blocking, drive, pause
from chatcache.clock import monotonic
from chatcache.codec import encode
from chatcache.errors import (
    DecodeError,
    InvalidInputError,
    InvalidValueError,
    PersistenceError,
    QueueEmptyError,
    StorageError,
    TransactionError,
    shown,
)
from chatcache.interrupts import raise_interrupt, suppress
from chatcache.memory_storage import Rows, RowStorage, awaited
from chatcache.schema import PLAIN, Schema
from chatcache.storage.ranges import check_key
from chatcache.ttl import parse_ttl

from .elements import Claim, Elements
from .renewed import Renewed

__all__ = ["Attempt", "PersistedQueue", "backoff"]

T = TypeVar("T")
R = TypeVar("R")

Duration = float | timedelta
"""Seconds, or a timedelta."""

_Call = Callable[[T, "Attempt"], Awaitable[R]]
_LONGEST_BACKOFF = 300  # seconds
_FOR_EVER = 10**13  # milliseconds
_RENEWED = 3  # times in one lease


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a handler is told of the element that it is given.

    Attributes:
        id: its id.
        attempts: how often it was taken, this time counted: 1 for the first time.
    """

    id: str
    attempts: int


def backoff(attempts: int) -> float:
    """Return how many seconds to wait after so many attempts: 1, 2, 4 and so on, 5 minutes at most."""
    return float(min(2 ** min(attempts - 1, _LONGEST_BACKOFF.bit_length()), _LONGEST_BACKOFF))


class PersistedQueue(Generic[T]):
    """Work to be done, for any number of threads, tasks and processes, each of which may offer and take.

    Each element is handled at least once: twice where a process is killed, or loses its storage, before it is noted
    that the handler came to its end. So handlers have to bear that.

    Every method raises `PersistenceError` where the storage fails.

    Args:
        storage: that of an object, or `chatcache.MemoryStorage`; its clock says what is due.
        name: that of the queue: 1 to 512 bytes of UTF-8. Two of one name have the same elements.
        schema: stores the values; what is stored and cannot be read by it fails for good when it is taken.
        max_attempts: how often an element is taken before it fails for good.
        retry: how long to wait after a handler failed, in seconds or as a timedelta, given how many attempts there
            were. Nothing else is remembered between them.
        lease: how long after its last sign of life an element is taken again whose process was killed. While its
            handler goes on, there is one every third of that.
        poll: seconds between two looks for an element that is due.

    Raises:
        InvalidNameError: the name is none.
        InvalidTTLError: the lease is no duration.
        InvalidInputError: `max_attempts` is no whole number from 1 on, or the lease not longer than nothing.
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        storage: RowStorage,
        name: str,
        *,
        schema: Schema[T] = PLAIN,
        max_attempts: int = 10,
        retry: Callable[[int], Duration] = backoff,
        lease: Duration = 120.0,
        poll: float = 0.1,
    ) -> None:
        if type(max_attempts) is not int or max_attempts < 1:
            raise InvalidInputError(f"max_attempts={max_attempts!r:.200}: pass a whole number from 1 on")
        self._lease = _milliseconds(lease)
        if self._lease < 1:
            raise InvalidInputError(f"lease={lease!r}: pass more than nothing, in seconds or as a timedelta")
        self._storage = storage
        self._elements = Elements(name, storage.clock)
        self._name = name
        self._schema = schema
        self._most = max_attempts
        self._retry = retry
        self._poll = poll
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no thread that renews claims: for a child process."""
        self._worker = Worker()

    def offer(self, value: T, *, id: str | None = None, delay: Duration = 0) -> str:  # noqa: A002 - Effect's name of it
        """Add an element, and return its id.

        Args:
            value: what is to be handled.
            id: its id, which may be any text; by default a new one. Where the queue has had an element of this id, and
                `cleanup` has not removed it, nothing is added.
            delay: how long it is not to be taken. For ever means that nothing is stored.

        Raises:
            InvalidValueError: the schema refuses the value, or it cannot be stored.
            InvalidNameError: the id is no text.
            InvalidTTLError: the delay is none.
        """
        return drive(self._offer(blocking, value, id, delay))

    async def aoffer(self, value: T, *, id: str | None = None, delay: Duration = 0) -> str:  # noqa: A002 - as above
        """Awaiting twin of `offer`."""
        return await self._offer(awaiting, value, id, delay)

    def take(self, handle: Callable[[T, Attempt], R], *, timeout: float | None = None) -> R:
        """Wait for the first element that is due, have it handled, and return what the handler returns.

        An element is completed when its handler returns. Where the handler raises, that is raised here, and the
        element is due again after a while, or failed for good if this was the last attempt. Where the handler is
        interrupted (`KeyboardInterrupt`, a cancellation), the attempt is not counted, and it is due at once.

        Args:
            handle: is called with the value and the `Attempt`.
            timeout: how many seconds to wait for an element; 0 for not at all, None for no limit.

        Raises:
            QueueEmptyError: there was none in that time.
            InvalidInputError: the handler is a coroutine function.
        """
        if iscoroutinefunction(handle):
            raise InvalidInputError("take() got a coroutine function: pass it to atake()")

        async def call(value: T, attempt: Attempt) -> R:
            return handle(value, attempt)

        return drive(self._take(blocking, call, timeout))

    async def atake(self, handle: Callable[[T, Attempt], Awaitable[R]], *, timeout: float | None = None) -> R:  # noqa: ASYNC109 - as `take`
        """Awaiting twin of `take`; the handler is awaited."""
        return await self._take(awaiting, handle, timeout)

    def failed(self) -> dict[str, str]:
        """Return why elements failed for good, by their ids, in the order in which they failed."""
        return self._failures(self._storage.list(prefix=self._elements.ended("failed")))

    async def afailed(self) -> dict[str, str]:
        """Awaiting twin of `failed`."""
        return self._failures(await self._storage.alist(prefix=self._elements.ended("failed")))

    def cleanup(self, *, completed: Duration = timedelta(days=30), failed: Duration | None = None) -> int:
        """Forget elements, so that their ids can be offered again. Call it now and then.

        Args:
            completed: how long ago they were completed, at least.
            failed: how long ago they failed for good, at least; None keeps these forever.

        Returns:
            How many were forgotten.

        Raises:
            InvalidTTLError: one of them is no duration.
        """
        return drive(self._cleanup(blocking, completed, failed))

    async def acleanup(self, *, completed: Duration = timedelta(days=30), failed: Duration | None = None) -> int:
        """Awaiting twin of `cleanup`."""
        return await self._cleanup(awaiting, completed, failed)

    async def _offer(self, colour: Colour, value: T, id_: str | None, delay: Duration) -> str:
        id_ = str(uuid4()) if id_ is None else id_
        wait = parse_ttl(delay or 0)
        if wait is not None:
            await self._step(colour, partial(self._elements.offer, id_, self._encoded(value), max(0, wait)))
        return check_key(id_)

    async def _take(self, colour: Colour, call: _Call[T, R], wait: float | None) -> R:
        longest = parse_ttl(wait)
        end = inf if longest is None else monotonic() + longest / 1000
        while True:
            claim = await self._claim(colour)
            if claim is not None:
                try:
                    value = await self._value(colour, claim)
                except DecodeError as error:
                    await self._step(colour, partial(self._elements.fail, claim, str(error)))
                else:
                    return await self._handled(colour, claim, value, call)
            elif (left := end - monotonic()) > 0:
                await colour(pause, apause, min(self._poll, left))
            else:
                raise QueueEmptyError(
                    f"nothing in the queue {self._name!r:.60} was due within {wait} seconds: wait longer, or go on"
                )

    async def _claim(self, colour: Colour) -> Claim | None:
        listing = {"prefix": self._elements.due, "end": self._elements.due_end()}
        if not await colour(self._storage.list, self._storage.alist, **listing, limit=1):
            return None  # nobody who writes waits for one who only looks
        return await self._step(colour, partial(self._elements.claim, self._most, self._lease))

    async def _value(self, colour: Colour, claim: Claim) -> T:
        row = self._elements.value_row(claim.id)
        try:
            return self._schema.decode(await colour(self._storage.get, self._storage.aget, row))
        except (StorageError, TransactionError):
            raise
        except Exception as error:
            raise_interrupt(error)
            raise DecodeError(f"what is stored of it is no value of this queue: {error}") from error

    async def _handled(self, colour: Colour, claim: Claim, value: T, call: _Call[T, R]) -> R:
        renew = partial(self._worker.submit, partial(self._renew, claim))
        try:
            with Renewed(colour, claim.owner, self._lease / 1000 / _RENEWED, renew):
                result = await call(value, Attempt(claim.id, claim.attempts))
        except GeneratorExit:
            raise  # nothing may be awaited where a task is collected: the lease ends by itself
        except BaseException as error:
            with suppress(Exception):  # then the lease ends by itself, too
                await self._step(colour, self._after(claim, error))
            raise
        await self._step(colour, partial(self._elements.complete, claim))
        return result

    def _renew(self, claim: Claim) -> None:
        with suppress(PersistenceError):  # there are more to come, before it ends
            self._storage.transaction(partial(self._elements.renew, claim, self._lease))

    def _after(self, claim: Claim, error: BaseException) -> Callable[[Rows], None]:
        """Return the step of an element whose handler raised."""
        if not isinstance(error, Exception) or isinstance(error, CANCELLATIONS):
            return partial(self._elements.release, claim)
        if claim.attempts >= self._most:
            return partial(self._elements.fail, claim, shown(error))
        return partial(self._elements.retry, claim, _milliseconds(self._retry(claim.attempts)))

    async def _cleanup(self, colour: Colour, completed: Duration, failed: Duration | None) -> int:
        forgotten = 0
        for state, age in (("completed", completed), ("failed", inf if failed is None else failed)):
            while some := await self._step(colour, partial(self._elements.forget, state, _milliseconds(age))):
                forgotten += some
        return forgotten

    async def _step(self, colour: Colour, step: Callable[[Rows], R]) -> R:
        return await colour(lambda: self._storage.transaction(step), lambda: self._storage.atransaction(awaited(step)))

    def _failures(self, rows: dict[str, Any]) -> dict[str, str]:
        return {self._elements.id_of(row, "failed"): why for row, why in rows.items()}

    def _encoded(self, value: T) -> bytes:
        try:
            return encode(self._schema.encode(value))
        except InvalidValueError:
            raise
        except Exception as error:
            raise_interrupt(error)
            raise InvalidValueError(
                f"{shown(value)} is refused by the schema of the queue {self._name!r:.60}: {error}; offer what it takes"
            ) from error


def _milliseconds(duration: Duration) -> int:
    milliseconds = parse_ttl(duration)
    return _FOR_EVER if milliseconds is None else milliseconds

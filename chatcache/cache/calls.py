"""Calls and streams that are not recorded: who makes them, and what becomes of them.

Within a process, whoever asks first leads, and the others join (`chatcache._bridge.Flights` and ``Broadcasts``). Of the
leaders of all processes the one that has the lease makes the call, and the others wait for what it records, or, where
there is no record, for what it leaves beside its lease (`chatcache.cache.leases`).
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Hashable, Iterable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from chatcache._bridge import Colour, awaiting, blocking, each
from chatcache.clock import monotonic
from chatcache.codec import decode, encode
from chatcache.errors import DecodeError, InvalidInputError, InvalidValueError, StreamInterruptedError, shown
from chatcache.exit import Exit, Failure, Success, outcome
from chatcache.interrupts import is_interrupt, suppress
from chatcache.mode import Mode, Refusal
from chatcache.storage import Budget
from chatcache.ttl import TTL

from .leases import Following, Lease, Leases, Left
from .outcomes import Outcomes
from .records import Hit, is_read

__all__ = ["Answer", "Call", "Calls", "items_of"]

_BROKE_OFF = (
    "the stream of another process that was followed broke off after {:,} of its chunks: the process ended, or nobody "
    "read on in it; ask again to begin a new one"
)

Look = Callable[[Colour, str], Coroutine[Any, Any, Hit | None]]


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for, and how.

    Attributes:
        key: the key of the record.
        request: the request.
        canonical: the canonical form of the request, as it was when it was asked for.
        refuse: says why an answer, or a list of chunks, is not worth keeping, or None.
        accept: is asked whether to keep the answer, or the list of chunks; None accepts all.
        ttl: how long it is kept.
        mode: a mode that calls.
        on_hit: is called with the record that answers it, if one does.
        reads: makes what is asked for of a record, or raises: then it is a miss.
        budget: how long the cache may hold up the call.
        tape: the tape that is in, if one is; other tapes and other processes have no part in the call.
    """

    key: str
    request: Any
    canonical: bytes
    refuse: Callable[[Any], Refusal | None]
    accept: Callable[[Any], object] | None
    ttl: TTL
    mode: Mode
    on_hit: Callable[[Hit], object]
    reads: Callable[[Hit], object]
    budget: Budget
    tape: object = None

    @property
    def flight(self) -> Hashable:
        """What calls have in common that share one answer."""
        return self.key, self.mode, self.tape


class Answer:
    """An answer, or a chunk of a stream, of which everybody who gets it has an object of its own.

    One that cannot be stored is passed on as it is, to everybody the same.

    Attributes:
        original: the answer itself, for who made the call.
        data: the answer as it is stored, or None where it cannot be.
    """

    __slots__ = ("data", "original")

    def __init__(self, original: Any) -> None:
        self.original = original
        self.data: bytes | None = None
        with suppress(InvalidValueError):
            self.data = encode(original)

    @property
    def size(self) -> int:
        """How many bytes it takes, or 0 where it cannot be stored."""
        return 0 if self.data is None else len(self.data)

    def copy(self) -> Any:
        """Return the answer as it was at first, a new object each time."""
        return self.original if self.data is None else decode(self.data)


class Keep(Protocol):
    """Keeps the record of an answer, or of a stream."""

    async def __call__(  # noqa: PLR0913, PLR0917 - two places call it
        self,
        colour: Colour,
        call: Call,
        lease: Lease | None,
        made: "Answer | list[Answer]",
        took: float,
        offsets: list[float] | None,
    ) -> bool:
        """Return whether it was kept.

        Args:
            colour: that of the caller.
            call: what was asked for.
            lease: that of the call, which is released if it was kept.
            made: the answer, or the chunks.
            took: how many seconds that took.
            offsets: when each chunk came, of a stream.

        Raises:
            NotStoredError: the store failed, and that is to be an error.
        """
        ...


class Calls:
    """Makes the calls and streams of one cache.

    Args:
        look: gives the record under a key, or None.
        keep: see `Keep`.
        failed: is told of a call that failed, or a stream.
        joined: is told of a call or a stream that another process made.
        interrupted: is told of a stream that nobody read to its end.
        leases: the leases of the store.
        outcomes: how ends are told to other processes.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one place makes it
        self,
        look: Look,
        keep: Keep,
        failed: Callable[[Call, Exception], None],
        joined: Callable[[], None],
        interrupted: Callable[[], None],
        leases: Leases,
        outcomes: Outcomes,
    ) -> None:
        self._look = look
        self._keep = keep
        self._failed = failed
        self._joined = joined
        self._interrupted = interrupted
        self._leases = leases
        self._outcomes = outcomes

    async def lead(self, colour: Colour, call: Call, fn: Callable[[Any], Any]) -> Answer:
        """Answer a call: from what was recorded since, by another process, or by making it.

        Raises:
            Exception: whatever the call raised.
            NotStoredError: see `Keep`.
        """
        led = await self._leads(colour, call)
        if isinstance(led, Hit):
            call.on_hit(led)
            return Answer(led.answer)
        if isinstance(led, Left):
            return Answer(led.note)
        lease = None if isinstance(led, Following) else led  # only a stream follows
        try:
            return await self._called(colour, call, fn, lease)
        except BaseException:
            if lease is not None:
                lease.let_go()
            raise

    async def lead_stream(self, colour: Colour, call: Call, fn: Callable[[Any], Any]) -> AsyncGenerator[Answer, None]:
        """Yield the chunks of a stream, from where `lead` would take an answer.

        Raises:
            Exception: whatever the stream raised.
            NotStoredError: see `Keep`; all chunks were given before.
            StreamInterruptedError: the stream of another process broke off.
        """
        led: Hit | Left | Following | Lease | None = None
        while True:
            followed = led if isinstance(led, Following) else None  # it broke off
            led = await self._leads(colour, call, follow=True, followed=followed)
            given = 0
            try:
                async with aclosing(self._source(colour, call, fn, led)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                        given += 1
            except _BrokeOffError:
                if given:
                    raise StreamInterruptedError(_BROKE_OFF.format(given)) from None
            except BaseException:
                if isinstance(led, Lease):
                    led.let_go()
                raise
            else:
                return

    def _source(
        self, colour: Colour, call: Call, fn: Callable[[Any], Any], led: Hit | Left | Following | Lease | None
    ) -> AsyncGenerator[Answer, None]:
        if isinstance(led, Hit):
            call.on_hit(led)
            return _given(led.chunks)
        if isinstance(led, Left):
            return _given(led.note)
        if isinstance(led, Following):
            return self._followed(colour, call, led)
        return self._made(colour, call, fn, led)

    async def _leads(
        self, colour: Colour, call: Call, *, follow: bool = False, followed: Following | None = None
    ) -> Hit | Left | Following | Lease | None:
        """Return who leads; of what another process left, the answer, or raise the error.

        What that left in a form that is not known here is as good as nothing.
        """
        look = partial(self._recorded, colour, call)
        if call.tape is not None or not (call.mode.reads and call.mode.writes):  # there will be no record for others
            return await look() if call.mode.reads else None
        led = await self._leases.lead(colour, call.key, look, call.budget, follow=follow, followed=followed)
        if isinstance(led, Left):
            try:
                exit_ = self._outcomes.read(led.note)
            except DecodeError:
                return None
            self._joined()
            return Left(outcome(exit_))
        if isinstance(led, Hit | Following):
            self._joined()
        return led

    async def _called(self, colour: Colour, call: Call, fn: Callable[[Any], Any], lease: Lease | None) -> Answer:
        """Make a call, and keep its answer."""
        async with lease or nullcontext():
            began = monotonic()
            try:
                answer = Answer(await _value_of(colour, fn, call.request))
            except Exception as error:
                if not is_interrupt(error):
                    self._fail(call, lease, error)
                raise
            await self._kept(colour, call, lease, answer, monotonic() - began, None)
            return answer

    async def _kept(  # noqa: PLR0913, PLR0917 - what `Keep` takes
        self,
        colour: Colour,
        call: Call,
        lease: Lease | None,
        made: Answer | list[Answer],
        took: float,
        offsets: list[float] | None,
    ) -> None:
        """Keep what was made, or leave it to those in other processes who wait, where there is no record."""
        kept = False
        try:
            kept = await self._keep(colour, call, lease, made, took, offsets)
        finally:
            if lease is not None and not kept:
                whole = made.copy() if isinstance(made, Answer) else [each.copy() for each in made]
                self._leave(lease, Success(whole))

    def _fail(self, call: Call, lease: Lease | None, error: Exception) -> None:
        self._failed(call, error)
        self._leave(lease, Failure(error))

    def _leave(self, lease: Lease | None, exit_: Exit[Any]) -> None:
        """Have those in other processes told how it ended, where no record tells them."""
        if lease is not None:
            lease.note = self._outcomes.written(exit_)

    async def _followed(self, colour: Colour, call: Call, following: Following) -> AsyncGenerator[Answer, None]:
        """Yield the chunks that another process gets, as they come."""
        given, ended = 0, False
        while not ended:
            more = await following.more()
            if isinstance(more, list):
                rest = more
            else:
                rest, ended = (await self._rest(colour, call, more))[given:], True
            for chunk in rest:
                yield Answer(chunk)
                given += 1

    async def _recorded(self, colour: Colour, call: Call) -> Hit | None:
        hit = await self._look(colour, call.key)
        return hit if hit is not None and is_read(hit, call.reads) else None

    async def _rest(self, colour: Colour, call: Call, left: Left | None) -> list[Any]:
        """Return all chunks of a stream that another process left.

        Raises:
            _BrokeOffError: there is no telling what they are.
        """
        if left is not None and left.note is not None:
            with suppress(DecodeError):
                chunks: list[Any] = outcome(self._outcomes.read(left.note))
                return chunks
        hit = await self._recorded(colour, call)  # also where the leader is gone: what it said may be deleted by now
        if hit is None:
            raise _BrokeOffError
        return hit.chunks

    async def _made(
        self, colour: Colour, call: Call, fn: Callable[[Any], Any], lease: Lease | None
    ) -> AsyncGenerator[Answer, None]:
        """Yield the chunks of a stream that is made here, and keep it when it ended."""
        chunks: list[Answer] = []
        offsets: list[float] = []
        async with lease or nullcontext():
            began = monotonic()
            try:
                async with aclosing(items_of(colour, fn, call.request)) as items:
                    async for item in items:
                        chunks.append(Answer(item))
                        offsets.append(monotonic() - began)
                        if lease is not None and await lease.followed():
                            _say(lease, chunks)
                        if lease is not None and colour is blocking:
                            with lease.parked():  # on the thread of the reader, who may never come back
                                yield chunks[-1]
                        else:
                            yield chunks[-1]
            except BaseException as error:
                if isinstance(error, Exception) and not is_interrupt(error):
                    self._fail(call, lease, error)
                else:
                    self._interrupted()
                raise
            await self._kept(colour, call, lease, chunks, monotonic() - began, offsets)


def _say(lease: Lease, chunks: list[Answer]) -> None:
    """Let those who follow hear the chunks that they did not hear so far, up to the first that cannot be stored."""
    new = chunks[lease.said :]
    lease.say([each.copy() for each in takewhile(lambda each: each.data is not None, new)])


async def _given(chunks: Iterable[Any]) -> AsyncGenerator[Answer, None]:
    for chunk in chunks:
        yield Answer(chunk)


class _BrokeOffError(Exception):
    """What another process streamed has no end."""


async def _value_of(colour: Colour, fn: Callable[[Any], Any], request: Any) -> Any:
    """Return what `fn` returns, awaited where it is to be.

    Raises:
        InvalidInputError: it is to be, and the caller blocks.
    """
    made = fn(request)
    if not inspect.isawaitable(made):
        return made
    if colour is awaiting:
        return await made
    if inspect.iscoroutine(made):
        made.close()
    raise InvalidInputError(f"the function to be called returned {shown(made)}, which is to be awaited: use acall()")


async def items_of(colour: Colour, fn: Callable[[Any], Any], request: Any) -> AsyncGenerator[Any, None]:
    """Yield what `fn` gives: an iterable, or in awaiting colour an async one, or one that is awaited.

    Raises:
        InvalidInputError: it is none of these.
    """
    made = fn(request)
    if colour is awaiting and inspect.isawaitable(made):
        made = await made
    if not isinstance(made, Iterable) and not (colour is awaiting and isinstance(made, AsyncIterable)):
        raise InvalidInputError(
            f"the function to be streamed returned {shown(made)}, which is no iterable of chunks"
            + ("" if colour is awaiting else "; an async one is for astream()")
        )
    async with aclosing(each(colour, made)) as items:
        async for item in items:
            yield item

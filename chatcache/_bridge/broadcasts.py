"""Streams that are shared: whoever asks for one that is under way gets all of it, from its first item."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Hashable, Iterator
from functools import partial
from threading import RLock
from typing import Any, Generic, TypeVar
from weakref import finalize

from chatcache.errors import StreamInterruptedError
from chatcache.interrupts import is_interrupt, suppress

from .forks import anew_in_children
from .loops import current_loop
from .streams import PulledStream, PushedStream, Stream, within

__all__ = ["Broadcasts"]

C = TypeVar("C")

_STARTED: Any = None  # what a generator yields first, so that it is left even if nothing is ever read


class _Seat(Generic[C]):
    """The place of one reader at a stream; it is left at the latest when it is collected.

    No ``__del__`` does that: Python would call it even of a seat that was left, and a signal handler's exception ends
    there.

    Attributes:
        leads: whether the reader began the stream.
    """

    def __init__(self, stream: Stream[C], leave: Callable[[int], bool], *, leads: bool) -> None:
        self.stream = stream
        self.leads = leads
        self._leave = partial(leave, id(self))
        self._end = finalize(self, _close_unless_read, stream, self._leave)
        self._end.atexit = False
        stream.readers[id(self)] = within.get()

    def leave(self) -> bool:
        """Stop reading; return whether the stream is now to be closed."""
        to_be_closed = self._leave()
        self._end.detach()
        return to_be_closed

    def ended(self) -> bool:
        """Return whether a stream that is over came to its end, or else broke off; raise the error that it has."""
        stream = self.stream  # and no name for the error here, in a frame that its traceback leads to
        if stream.error is not None and (not is_interrupt(stream.error) or (self.leads and stream.stops_its_leader)):
            raise stream.error
        return stream.error is None

    def check_unread(self, read: int) -> None:
        """Raise `StreamInterruptedError` where the stream broke off after something was read."""
        if read:
            error = self.stream.error
            why = "its event loop stopped or is blocked" if error is None else f"it was ended by {type(error).__name__}"
            raise StreamInterruptedError(
                f"the stream of another caller that was followed broke off after {read:,} of its items: {why}; ask "
                "again to begin a new one"
            ) from error


def _close_unless_read(stream: Stream[Any], leave: Callable[[], bool]) -> None:
    if leave():
        stream.close()


class Broadcasts(Generic[C]):
    """One stream for all threads and tasks that ask for the same key while it is under way.

    The first one who asks leads: its stream is begun, with a copy of its context variables. Those who ask before that
    stream is over follow it, and get the very same items, and the very same exception at their end.

    * Nobody is held up by a reader who is slow, or leaves; when the last one leaves before the end, the stream is
      closed. Items are kept until then.
    * A follower whose stream breaks off (the leader's loop stopped, or something blocks it for a second, or the stream
      was cancelled, or stopped by a signal handler's exception or another `BaseException` that is no `Exception`)
      begins its own where it has been given no item yet. It is given none before the leader's loop shows that it goes
      on.
    * Nobody waits for itself. A blocking caller on the thread of a loop does not follow a stream of that loop, and the
      code of a stream follows neither that stream, nor one whose code reads it: each begins its own, which is not
      shared.
    """

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no streams: for a child process, which has none of its parent's other threads."""
        self._lock = RLock()  # a seat may be collected, and so left, wherever somebody holds it
        self._streams: dict[Hashable, Stream[C]] = {}

    def run(self, key: Hashable, begin: Callable[[], Iterator[C]]) -> tuple[Generator[C, None, None], bool]:
        """Return the stream of a key, and whether it was another one's that is followed.

        Args:
            key: what is asked for.
            begin: returns the stream; is called when the first item is read, if this caller leads. The leader's thread
                takes the items, and any other's that needs one sooner.

        Raises:
            StreamInterruptedError: while it is read: a stream that is followed broke off in the middle.
        """
        make = partial(PulledStream, begin)
        seat = self._seat(key, make, blocks=True)
        stream = self._read(key, make, seat)
        next(stream)
        return stream, not seat.leads

    def arun(self, key: Hashable, begin: Callable[[], AsyncIterator[C]]) -> tuple[AsyncGenerator[C, None], bool]:
        """Twin of `run` for a stream that is awaited; itself it is not awaited.

        A task of the running loop begins the stream at once, and takes the items as fast as they come.
        """
        make = partial(PushedStream, begin, current_loop())
        seat = self._seat(key, make, blocks=False)
        stream = self._aread(key, make, seat)
        with suppress(StopIteration):
            stream.__anext__().__await__().send(None)
        return stream, not seat.leads

    def _read(self, key: Hashable, make: Callable[[], Stream[C]], seat: _Seat[C]) -> Generator[C, None, None]:
        read = 0
        try:
            yield _STARTED
            if not (seat.leads or seat.stream.answers()):
                seat = self._seat(key, make, blocks=True)
            while True:
                stream, items, over = seat.stream, seat.stream.items, seat.stream.over
                while read < len(items):
                    yield items[read]
                    read += 1
                if over and seat.ended():
                    return
                if over or not stream.wait(read):
                    seat.check_unread(read)
                    seat = self._seat(key, make, blocks=True)
        finally:
            if seat.leave():
                seat.stream.close()

    async def _aread(self, key: Hashable, make: Callable[[], Stream[C]], seat: _Seat[C]) -> AsyncGenerator[C, None]:
        read = 0
        try:
            yield _STARTED
            if not (seat.leads or await seat.stream.aanswers()):
                seat = self._seat(key, make, blocks=False)
            while True:
                stream, items, over = seat.stream, seat.stream.items, seat.stream.over
                while read < len(items):
                    yield items[read]
                    read += 1
                if over and seat.ended():
                    return
                if over or not await stream.await_(read):
                    seat.check_unread(read)
                    seat = self._seat(key, make, blocks=False)
        finally:
            if seat.leave():
                await seat.stream.aclose()

    def _seat(self, key: Hashable, make: Callable[[], Stream[C]], *, blocks: bool) -> _Seat[C]:
        """Take a seat at the stream of a key, or at one that is begun."""
        with self._lock:
            stream = self._streams.get(key)
            under_way = stream is not None and not stream.over and not stream.stalled()
            if stream is not None and under_way and not (blocks and stream.blocks_itself()) and not _awaits_me(stream):
                seat = _Seat(stream, partial(self._leave, key, stream), leads=False)
                if not stream.over:  # else its last reader was collected just now
                    return seat
                under_way = False
            stream = make()
            seat = _Seat(stream, partial(self._leave, key, stream), leads=True)
            if not under_way:
                self._streams[key] = stream
        stream.start()
        return seat

    def _leave(self, key: Hashable, stream: Stream[C], reader: int) -> bool:
        with self._lock:
            stream.readers.pop(reader, None)
            if stream.readers:
                return False
            if self._streams.get(key) is stream:
                del self._streams[key]
            was_over, stream.over = stream.over, True
            stream.items.clear()
            stream.error = None  # whose traceback leads to all that its code held, and back to here
            return not was_over


def _awaits_me(stream: Stream[Any]) -> bool:
    """Return whether a stream waits for the code that asks for it: it is that code's own, or reads what that is of."""
    seen = set(within.get())
    unseen = list(seen)
    while unseen:
        outer = frozenset[Stream[Any]]().union(*list(unseen.pop().readers.values())) - seen
        seen |= outer
        unseen += outer
    return stream in seen

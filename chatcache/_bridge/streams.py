"""One stream that many read: all of its items from the first, each reader at its own speed.

A blocking stream is *pulled*: a reader who needs an item that is not there yet takes it from the iterator, in its own
thread. A stream that is awaited is *pushed*: a task of its loop takes the items as fast as they come.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar

from chatcache.interrupts import is_interrupt, suppress

from .greenlets import Caller
from .loops import Loop, current_loop, off_loop, running_loop
from .pings import answers, stalled
from .threads import LoopThread

__all__ = ["PulledStream", "PushedStream", "Stream", "within"]

C = TypeVar("C")

_LOOK = 0.05  # seconds between looks at whether the loop of a stream goes on
_BATCH = 64  # items, after which a stream that never waits lets the other tasks of its loop have their turn
_END: Any = object()

within: ContextVar[frozenset["Stream[Any]"]] = ContextVar("chatcache_streams", default=frozenset())
"""The streams whose own code makes this call."""


class Stream(ABC, Generic[C]):
    """A stream that somebody began, and others may follow. What it runs, runs in a copy of that one's context.

    Attributes:
        items: those that have come so far.
        over: whether no more come: it ended, it failed, or its last reader left.
        error: what it failed with.
        readers: who reads it, each by a number, with the streams whose code that reader is part of.
        stops_its_leader: whether the leader is told if the stream was cancelled; else that stopped only who read it.
    """

    stops_its_leader = False

    def __init__(self) -> None:
        self.items: list[C] = []
        self.over = False
        self.error: BaseException | None = None
        self.readers: dict[int, frozenset[Stream[Any]]] = {}
        self._context = copy_context()
        self._context.run(within.set, within.get() | {self})
        self._waiting: deque[Callable[[], object]] = deque()  # no lock: each waits only after a look of its own

    def start(self) -> None:
        """Begin it, where that is not for its readers to do."""

    def stalled(self) -> bool:
        """Return whether no more items come for now, because the loop of the stream stopped, or is blocked."""
        return False

    def answers(self) -> bool:
        """Wait until it is known that more items come; return False where the stream stalled."""
        return True

    async def aanswers(self) -> bool:
        """Awaiting twin of `answers`."""
        return True

    def blocks_itself(self) -> bool:
        """Return whether a blocking reader on this thread keeps from running what it waits for."""
        return False

    @abstractmethod
    def wait(self, position: int) -> bool:
        """Wait until the item at a position is there, or the stream is over; return False where it stalled before."""

    @abstractmethod
    async def await_(self, position: int) -> bool:
        """Awaiting twin of `wait`."""

    @abstractmethod
    def close(self) -> None:
        """Close what the items come from, which nobody reads any more."""

    @abstractmethod
    async def aclose(self) -> None:
        """Awaiting twin of `close`."""

    def _settled(self, position: int) -> bool:
        return position < len(self.items) or self.over

    def _end(self, error: BaseException | None = None) -> None:
        self.error = error
        self.over = True

    def _wake(self) -> None:
        for _ in range(len(self._waiting)):
            with suppress(IndexError, RuntimeError):  # another thread woke it; or its loop was closed
                self._waiting.popleft()()


class PulledStream(Stream[C]):
    """A stream whose readers take the items from a blocking iterator, one of them at a time.

    Args:
        begin: returns the iterator; is called when the first item is needed.
    """

    def __init__(self, begin: Callable[[], Iterator[C]]) -> None:
        super().__init__()
        self._source = _begun(begin)
        self._pulling = Lock()
        self._puller: Caller | None = None
        self._apart = False  # whether a thread was begun that pulls for a task

    def wait(self, position: int) -> bool:
        woken: Lock | None = None
        while not self._settled(position):
            if not self._pulling.locked():
                with self._pulling:
                    self._pull(position)
                self._pulled()
            elif woken is None:  # no waiting for that lock, which is not fair: whoever pulls on would keep others out
                if self._puller is not None:
                    self._puller.check_wait()
                woken = Lock()
                woken.acquire()
                self._waiting.append(woken.release)  # and one more look before it is waited for
            elif woken.acquire(timeout=_LOOK):
                self._waiting.append(woken.release)
        return True

    async def await_(self, position: int) -> bool:
        while not self._settled(position):
            if self._taken():
                await self._freed(position)
            else:
                await self._pull_apart(position)
        return True

    def close(self) -> None:
        if self._pulling.acquire(blocking=False):  # else whoever pulls closes it afterwards
            try:
                self._context.run(self._source.close)
            finally:
                self._pulling.release()

    async def aclose(self) -> None:
        await off_loop(self.close)

    def _taken(self) -> bool:
        """Return whether somebody pulls, or is about to for a task."""
        return self._apart or self._pulling.locked()

    async def _pull_apart(self, position: int) -> None:
        """Pull in a thread of its own: an item may be long in coming, and is waited for by no end of a program."""
        self._apart = True
        await LoopThread.call(self._try_to_pull, position)

    def _try_to_pull(self, position: int) -> None:
        try:
            if self._pulling.acquire(blocking=False):
                try:
                    self._pull(position)
                finally:
                    self._pulling.release()
        finally:
            self._apart = False
            self._pulled()

    def _pull(self, position: int) -> None:
        if self._settled(position):
            return
        self._puller = Caller()
        try:
            item = self._context.run(next, self._source, _END)
        except BaseException as error:
            self._end(error)
            if is_interrupt(error):
                self._wake()
                self._context.run(self._source.close)  # a Ctrl-C may come when it has given an item
                raise
        else:
            self._end() if item is _END else self.items.append(item)

    def _pulled(self) -> None:
        if self._waiting:
            self._wake()
        if self.over:  # the last reader may have left meanwhile, and could not close it
            self.close()

    async def _freed(self, position: int) -> None:
        """Wait until the item at a position is there, or nobody pulls any more."""
        loop = current_loop()
        woken: asyncio.Future[None] = loop.create_future()
        self._waiting.append(partial(loop.call_soon_threadsafe, _set, woken))
        if self._taken() and not self._settled(position):
            await woken


def _begun(begin: Callable[[], Iterator[C]]) -> Any:
    yield from begin()


def _set(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


class PushedStream(Stream[C]):
    """A stream whose items a task takes from an asynchronous iterator.

    Args:
        begin: returns the iterator; is called in that task.
        loop: the loop of the task, which runs in this thread.
    """

    stops_its_leader = True

    def __init__(self, begin: Callable[[], AsyncIterator[C]], loop: Loop) -> None:
        super().__init__()
        self._begin = begin
        self._loop = loop

    def start(self) -> None:
        self._task: asyncio.Task[None] | None = self._loop.create_task(self._push(), context=self._context)
        self._task.add_done_callback(self._ended)

    def stalled(self) -> bool:
        return stalled(self._loop)

    def answers(self) -> bool:
        return self.over or answers(self._loop) or self.over

    async def aanswers(self) -> bool:
        return self._loop is running_loop() or await off_loop(self.answers)

    def blocks_itself(self) -> bool:
        return self._loop is running_loop()

    def wait(self, position: int) -> bool:
        woken = Lock()
        woken.acquire()
        self._waiting.append(woken.release)
        while not (self._settled(position) or self.stalled() or self.blocks_itself()):
            woken.acquire(timeout=_LOOK)
        return self._settled(position)

    async def await_(self, position: int) -> bool:
        loop = current_loop()
        woken: asyncio.Future[None] = loop.create_future()
        if loop is self._loop:
            if not self._settled(position):
                self._waiting.append(partial(_set, woken))
                await woken
            return True
        self._waiting.append(partial(loop.call_soon_threadsafe, _set, woken))
        while not (self._settled(position) or self.stalled()):
            await asyncio.wait([woken], timeout=_LOOK)
        return self._settled(position)

    def close(self) -> None:
        task = self._task
        if task is not None:
            with suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(task.cancel)

    async def aclose(self) -> None:
        if self._loop is not running_loop():
            self.close()
            return
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _push(self) -> None:
        source = self._begin()
        try:
            async for item in source:
                if self.over:  # it was cancelled, and made nothing of it
                    return
                self.items.append(item)
                if self._waiting:
                    self._wake()
                if len(self.items) % _BATCH == 0:
                    await asyncio.sleep(0)
        finally:
            aclose = getattr(source, "aclose", None)
            if aclose is not None:
                await aclose()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._end(error if self.readers else None)
        self._task = None  # whose error leads to all that its code held, and back to here
        self._wake()

"""One source for blocking and awaiting callers: the only module of the engine that knows asyncio and threading.

The logic of a layer is written once, as a coroutine that takes its colour, `blocking` or `awaiting`, and goes through
it wherever the layer below has both a method and its awaiting twin::

    async def _get(self, colour: Colour, key: str) -> Any:
        return await colour(self._storage.get, self._storage.aget, key)

    def get(self, key: str) -> Any:
        return drive(self._get(blocking, key))

    async def aget(self, key: str) -> Any:
        return await self._get(awaiting, key)

In blocking colour nothing in such a coroutine suspends, so `drive` runs it to its end in one step.
"""

import asyncio
import atexit
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from threading import Lock, RLock, Thread, current_thread
from time import monotonic
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

__all__ = [
    # colours
    "Colour",
    "awaiting",
    "blocking",
    "drive",
    # exclusion
    "ContextVar",
    "Lock",
    "RLock",
    "Holder",
    "Turnstile",
    "WouldWaitForItself",
    # threads and loops
    "Loop",
    "LoopThread",
    "Outcome",
    "PerLoop",
    "Worker",
    "beside",
    "born_daemon",
    "finish_apart",
    "off_loop",
    "running_loop",
]

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

Loop = AbstractEventLoop

_FINISH_WITHIN = 1.0  # seconds: nothing that is closed when a program ends may hold it up


class Colour(Protocol):
    """Calls a method or its awaiting twin, which take the same arguments."""

    async def __call__(
        self, method: Callable[P, R], twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return what the chosen one returns."""
        ...


async def blocking(method: Callable[P, R], _twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the method."""
    return method(*args, **kwargs)


async def awaiting(_method: Callable[P, R], twin: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Await the twin."""
    return await twin(*args, **kwargs)


def drive(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: it suspended, so something in it was not blocking.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        coroutine.close()
    raise RuntimeError("a blocking call came to something that has to be awaited")


def running_loop() -> Loop | None:
    """Return the loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Outcome:
    """How something ended that tasks of any loop wait for, and any thread brings to its end.

    Attributes:
        expected: how many wait for the end, or are about to.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[Loop, list[asyncio.Future[None]]] = {}
        self.expected = 0
        self.done = False
        self.error: Exception | None = None

    def end(self, error: Exception | None = None) -> bool:
        """Set how it ended; return whether anybody will hear of it.

        Each loop is woken once, however many of its tasks wait.
        """
        with self._lock:
            self.done, self.error = True, error
            waiting, self._waiting = self._waiting, {}
        for loop, tasks in waiting.items():
            with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                loop.call_soon_threadsafe(_wake, tasks)
        return self.expected > 0

    async def wait(self) -> None:
        """Wait for the end; raise the error it ended with."""
        loop = asyncio.get_running_loop()
        task: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self.done:
                task.set_result(None)
            else:
                self.expected += 1
                self._waiting.setdefault(loop, []).append(task)
        try:
            await task
        except asyncio.CancelledError:
            with self._lock:
                self.expected -= 1
            raise
        if self.error is not None:
            raise self.error


def _wake(tasks: list["asyncio.Future[None]"]) -> None:
    for task in tasks:
        if not task.done():
            task.set_result(None)


class Worker:
    """One thread for what waits for the disk. What it was given is done before the program ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._executor: ThreadPoolExecutor | None = None

    def submit(self, job: Callable[[], R]) -> "Future[R]":
        """Have a job done; return its future."""
        with self._lock:
            try:
                self._executor = self._executor or ThreadPoolExecutor(1, "chatcache")
                return self._executor.submit(job)
            except RuntimeError:  # the interpreter is ending and starts no more threads
                pass
        done: Future[R] = Future()
        done.set_result(job())
        return done

    async def run(self, job: Callable[[], R]) -> R:
        """Await a job. A task that is cancelled waits for the end of it all the same: nothing goes on unseen."""
        future = self.submit(job)
        cancelled: asyncio.CancelledError | None = None
        ended = Outcome()
        future.add_done_callback(lambda _: ended.end())
        while not future.done():
            try:
                await ended.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return future.result()

    def stop(self) -> None:
        """Let the thread end when its jobs are done; another starts where it is needed."""
        with self._lock:
            if self._executor is not None:
                self._executor.shutdown(wait=False)
            self._executor = None


class WouldWaitForItself(Exception):  # noqa: N818 - says what would happen
    """A blocking call, on the thread of a loop, would wait for a task of that loop."""


class Holder(Protocol):
    """Who passed a turnstile: its loop, or None for a thread, and what to do where the loop stopped in the middle."""

    loop: Loop | None

    def abandon(self) -> None:
        """Give up, in whatever thread; the turnstile is left next."""
        ...


class Turnstile:
    """Lets one holder in at a time, first come first served, threads and tasks in one queue.

    A holder whose loop stopped, and so may never leave, is abandoned when somebody else wants to enter.
    """

    _LOOK = 0.05  # seconds between looks at whether the holder's loop still runs

    def __init__(self) -> None:
        self._lock = RLock()
        self._queue: deque[tuple[Holder, Future[None]]] = deque()
        self.holder: Holder | None = None

    def try_enter(self, holder: Holder) -> bool:
        """Enter if nobody is in; return whether it was possible."""
        with self._lock:
            if self.holder is None:
                self.holder = holder
            return self.holder is holder

    def enter(self, holder: Holder, timeout: float) -> None:
        """Enter, waiting for at most so many seconds.

        Raises:
            TimeoutError: it took longer.
            WouldWaitForItself: this thread's loop would have to go on first.
        """
        until = monotonic() + timeout
        self._free_of_stopped()
        ticket = self._queue_up(holder, running_loop())
        while ticket is not None:
            try:
                ticket.result(self._LOOK)
                break
            except NotYet:
                self._free_of_stopped()
                _give_up(ticket, until)

    async def aenter(self, holder: Holder, timeout: float) -> None:  # noqa: ASYNC109 - it cannot just be cancelled
        """Awaiting twin of `enter`."""
        until = monotonic() + timeout
        await self._afree_of_stopped()
        while self.holder is not holder:  # once more where it was let in while its loop was stopped, and abandoned
            ticket = self._queue_up(holder, None)
            if ticket is not None:
                await self._admitted(holder, ticket, until)

    def leave(self, holder: Holder) -> None:
        """Let the next one in. Nothing happens where the holder was abandoned before."""
        with self._lock:
            if self.holder is not holder:
                return
            self.holder = None
            while self._queue and self.holder is None:
                entering, ticket = self._queue.popleft()
                if ticket.set_running_or_notify_cancel():
                    self.holder = entering
                    ticket.set_result(None)

    async def _admitted(self, holder: Holder, ticket: "Future[None]", until: float) -> None:
        woken = Outcome()
        ticket.add_done_callback(lambda _: woken.end())
        try:
            while not ticket.done():
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(woken.wait(), self._LOOK)
                await self._afree_of_stopped()
                _give_up(ticket, until)
        except BaseException:
            if not ticket.cancel():
                self.leave(holder)
            raise

    def _queue_up(self, holder: Holder, here: Loop | None) -> "Future[None] | None":
        with self._lock:
            if self.try_enter(holder):
                return None
            ahead = [self.holder, *(waiting for waiting, ticket in self._queue if not ticket.cancelled())]
            if here is not None and any(each is not None and each.loop is here for each in ahead):
                raise WouldWaitForItself
            ticket: Future[None] = Future()
            self._queue.append((holder, ticket))
            return ticket

    def _stopped(self) -> Holder | None:
        holder = self.holder
        return holder if holder is not None and holder.loop is not None and not holder.loop.is_running() else None

    def _free_of_stopped(self) -> None:
        holder = self._stopped()
        if holder is not None:
            holder.abandon()  # not under the lock: it may have to wait
            self.leave(holder)

    async def _afree_of_stopped(self) -> None:
        if self._stopped() is not None:
            await off_loop(self._free_of_stopped)


def _give_up(ticket: "Future[None]", until: float) -> None:
    """Raise where it is too late for a ticket that was not served."""
    if not ticket.done() and monotonic() > until and ticket.cancel():
        raise TimeoutError


class PerLoop(Generic[V]):
    """One value for each event loop, made when the loop first asks, and dropped when the loop was closed."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._values: dict[asyncio.AbstractEventLoop, tuple[V, asyncio.Lock]] = {}
        self._lock = Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[V]:
        """Give the value of the running loop to one task at a time."""
        value, lock = self._of(asyncio.get_running_loop())
        async with lock:
            yield value

    def _of(self, loop: asyncio.AbstractEventLoop) -> tuple[V, asyncio.Lock]:
        with self._lock:
            if loop not in self._values:
                self._values = {each: value for each, value in self._values.items() if not each.is_closed()}
                self._values[loop] = (self._make(), asyncio.Lock())
            return self._values[loop]

    def clear(self) -> None:
        """Drop the values of all loops."""
        with self._lock:
            self._values = {}


class LoopThread:
    """A daemon thread with an event loop of its own, for what goes on beside the program, at most until its end.

    Args:
        step: is awaited again and again; returns how many seconds to wait until the next time.
    """

    _END_WITHIN = 0.2  # seconds, where the program ends

    def __init__(self, step: Callable[[], Coroutine[Any, Any, float]]) -> None:
        self._step = step
        self._loop: Loop | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._thread = Thread(target=self._run, daemon=True, name="chatcache")

    def start(self) -> None:
        """Begin."""
        atexit.register(self._end)
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it was closed
                self._loop.call_soon_threadsafe(self._woken.set)

    def stop(self, timeout: float) -> None:
        """Take no further step; what the last one left running is cancelled. Wait for so many seconds at most."""
        atexit.unregister(self._end)
        self._stopping = True
        self.wake()
        if self._thread is not current_thread():
            self._thread.join(timeout)

    @staticmethod
    async def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Await a call that may block, made in a daemon thread of its own, which holds up no end of a program."""
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                future.set_exception(error)

        Thread(target=run, daemon=True, name="chatcache").start()
        return await asyncio.wrap_future(future)

    async def attempt(self, work: Coroutine[Any, Any, None]) -> BaseException | None:
        """Await something, and return what it raised. Only that this thread stops gets through."""
        try:
            await work
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            if self._stopping:
                raise
            return error
        return None

    def _end(self) -> None:
        self.stop(self._END_WITHIN)

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stopping:
            pause = await self._step()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), pause)
            self._woken.clear()


def beside(coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Begin a coroutine in the running loop, without waiting for it."""
    return asyncio.get_running_loop().create_task(coroutine)


async def off_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await a call that may block, made in a thread of the loop's own executor."""
    call = partial(copy_context().run, function, *args, **kwargs)
    try:
        made = asyncio.get_running_loop().run_in_executor(None, call)
    except RuntimeError:  # the interpreter is ending and starts no more threads
        return call()
    return await made


def born_daemon(make: Callable[[], R]) -> R:
    """Return what `make` makes, called in a daemon thread: the threads that it creates are then daemons too.

    A thread that is none would keep a program alive that ends without closing its cache.
    """
    made: list[R] = []
    thread = Thread(target=lambda: made.append(make()), daemon=True)
    thread.start()
    thread.join()
    return made[0]


def finish_apart(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine to its end on a loop of its own, whatever loop this thread has; give up after a second."""

    async def bounded() -> None:
        await asyncio.wait_for(make(), _FINISH_WITHIN)

    def run() -> None:
        with suppress(TimeoutError):
            asyncio.run(bounded())

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    else:
        thread.join(_FINISH_WITHIN)

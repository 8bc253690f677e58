"""Threads that work beside the program."""

import asyncio
import atexit
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, ParamSpec, TypeVar

from .loops import Loop, Outcome

__all__ = ["LoopThread", "Worker", "born_daemon"]

P = ParamSpec("P")
R = TypeVar("R")


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


def born_daemon(make: Callable[[], R]) -> R:
    """Return what `make` makes, called in a daemon thread: the threads that it creates are then daemons too.

    A thread that is none would keep a program alive that ends without closing its cache.
    """
    made: list[R] = []
    thread = Thread(target=lambda: made.append(make()), daemon=True)
    thread.start()
    thread.join()
    return made[0]

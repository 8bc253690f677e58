"""Threads that work beside the program."""

import asyncio
import atexit
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from math import inf
from queue import Empty, SimpleQueue
from threading import Lock, Thread, main_thread
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakSet

from chatcache.clock import monotonic
from chatcache.interrupts import raise_interrupt, suppress

from .forbidden import learn_from, reads_apart
from .forks import anew_in_children
from .logs import LOGGER
from .loops import Loop, Outcome, running_loop
from .starting import Startable, daemon, daemon_for_a_loop, is_ending, start

__all__ = ["LoopThread", "StepThread", "Worker", "born_daemon", "call_even_if_forbidden", "call_off_loop"]

P = ParamSpec("P")
R = TypeVar("R")


class Job(Generic[R]):
    """Something that a thread does, for threads and tasks that wait for it.

    Attributes:
        ended: whether it is done.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self.ended = Outcome()

    def run(self) -> None:
        """Do it."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error
            raise_interrupt(error)  # it ran in place, where nobody may be waiting for it
        finally:
            self.ended.end()

    def wait(self, most: float) -> bool:
        """Wait for the end, so many seconds at most; return whether it ended."""
        bell = self.ended.bell()
        return bell.acquire(timeout=most) if most < inf else bell.acquire()

    async def finished(self, most: float = inf) -> bool:
        """Awaiting twin of `wait`. A task that is cancelled waits all the same: nothing goes on unseen."""
        until = monotonic() + most
        cancelled: asyncio.CancelledError | None = None
        while not self.ended.done and (left := until - monotonic()) > 0:
            try:
                await self.ended.wait(left)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        return self.ended.done

    def result(self) -> R:
        """Wait for the end; return what it returned, or raise what it raised."""
        self.ended.bell().acquire()
        if self._error is not None:
            raise self._error
        result: R = self._value
        return result


class Worker:
    """One thread for what waits for the disk. What it was given is done before the program ends."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._jobs: SimpleQueue[Job[Any] | None] | None = None

    def submit(self, function: Callable[[], R]) -> Job[R]:
        """Have a job done; return it."""
        job = Job(function)
        with self._lock:
            jobs = self._jobs = self._jobs or self._begun()
            if jobs is not None:
                jobs.put(job)
                return job
        job.run()
        return job

    async def run(self, function: Callable[[], R]) -> R:
        """Await a job. A task that is cancelled waits for the end of it all the same: nothing goes on unseen."""
        job = self.submit(function)
        await job.finished()
        return job.result()

    def stop(self) -> None:
        """Let the thread end when its jobs are done; another starts where it is needed."""
        with self._lock:
            if self._jobs is not None:
                self._jobs.put(None)
            self._jobs = None

    def _begun(self) -> "SimpleQueue[Job[Any] | None] | None":
        """Return what a thread takes its jobs from; None where the program is ending and starts no more threads."""
        jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        if not _WORKERS.add(self):
            return None
        try:
            begun = start(Thread(target=_work, args=(jobs,), daemon=False, name="chatcache"))
        except BaseException:  # a person's Ctrl-C, for example: the thread may have begun
            jobs.put(None)
            raise
        return jobs if begun else None

    def __del__(self) -> None:
        if hasattr(self, "_jobs"):  # else it was interrupted before it was made
            self.stop()


def _work(jobs: "SimpleQueue[Job[Any] | None]") -> None:
    for job in iter(jobs.get, None):
        job.run()
        del job  # nothing is kept while there is nothing to do


class _Workers:
    """The workers of the process, whose threads are no daemons: when the main thread ends, they are told to."""

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no workers: for a child process, which has none of its parent's other threads."""
        self._lock = Lock()
        self._all: WeakSet[Worker] = WeakSet()
        self._looks_out = False

    def add(self, worker: Worker) -> bool:
        """Have a worker end with the main thread; return False where that has ended."""
        with self._lock:
            if not main_thread().is_alive():
                return False
            self._all.add(worker)
            if not self._looks_out:
                self._looks_out = start(Thread(target=self._look_out, daemon=True, name="chatcache"))
            return self._looks_out

    def _look_out(self) -> None:
        main_thread().join()
        with self._lock:
            workers = list(self._all)
        for worker in workers:
            worker.stop()


_WORKERS = _Workers()


class _SideThread(ABC):
    """A daemon thread for what goes on beside the program, at most until its end."""

    _END_WITHIN = 0.2  # seconds, where the program ends

    def __init__(self, thread: Startable) -> None:
        self._stopping = False
        self._thread = thread

    def start(self) -> bool:
        """Begin; return False if no thread can be started, see `chatcache._bridge.starting`."""
        atexit.register(self._end)
        try:
            begun = start(self._thread)
        except BaseException:  # a signal handler's exception, for example: the thread may have begun
            self._stopping = True
            raise
        if not begun:
            atexit.unregister(self._end)
        return begun

    @abstractmethod
    def wake(self) -> None:
        """Take the next step now. This takes no lock."""

    def stop(self, timeout: float) -> None:
        """Take no further step; what the last one left running is cancelled. Wait for so many seconds at most."""
        atexit.unregister(self._end)
        self._stopping = True
        self.wake()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _end(self) -> None:
        self.stop(self._END_WITHIN)


class StepThread(_SideThread):
    """A thread without an event loop, so that nothing that watches over loops forbids it to use files.

    Args:
        step: is called again and again; returns how many seconds to wait until the next time. If it raises, that is
            logged, and it is called again a second later.
    """

    _LONGEST = 3600.0  # seconds
    _AFTER_FAILURE = 1.0  # seconds

    def __init__(self, step: Callable[[], float]) -> None:
        super().__init__(daemon(self._run))
        self._step = step
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def wake(self) -> None:
        self._wakes.put(None)

    def _run(self) -> None:
        while not self._stopping:
            try:
                pause = self._step()
            except Exception:  # noqa: BLE001 - whatever it is, it must not be the last step
                LOGGER.exception("a step of a thread beside the program failed")
                pause = self._AFTER_FAILURE
            with suppress(Empty):
                self._wakes.get(timeout=min(pause, self._LONGEST))
                while True:
                    self._wakes.get_nowait()


class LoopThread(_SideThread):
    """A thread with an event loop of its own.

    Args:
        step: is awaited again and again; returns how many seconds to wait until the next time.
    """

    def __init__(self, step: Callable[[], Coroutine[Any, Any, float]]) -> None:
        super().__init__(daemon_for_a_loop(self._run))
        self._step = step
        self._loop: Loop | None = None
        self._woken = asyncio.Event()

    def wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # it was closed
                self._loop.call_soon_threadsafe(self._woken.set)

    @staticmethod
    async def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Await a call that may block, made in a daemon thread of its own, which holds up no end of a program.

        If no thread can be started, it is made in place.
        """
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                if not (isinstance(error, SystemExit) and is_ending()):  # else the waiting thread ends silently
                    future.set_exception(error)

        if not start(Thread(target=run, daemon=True, name="chatcache")):
            run()
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
    if not start(thread):
        return make()
    thread.join()
    return made[0]


def call_even_if_forbidden(function: Callable[[], R]) -> R:
    """Return what a function returns that looks at a file; called in another thread if a tool forbids that here."""
    if running_loop() is None:
        return function()
    if not reads_apart():
        try:
            return function()
        except Exception as error:  # noqa: BLE001 - it is raised, unless it is such a tool's
            learn_from(error)
    job, done = Job(function), SimpleQueue[None]()  # a join would be forbidden, too

    def run() -> None:
        job.run()
        done.put(None)

    if start(Thread(target=run, daemon=True, name="chatcache")):
        done.get()
    else:
        job.run()
    return job.result()


def call_off_loop(function: Callable[[], object]) -> None:
    """Call a function that may read files: in a daemon thread if an event loop runs in this one, else in place."""
    if running_loop() is None or not start(Thread(target=function, daemon=True, name="chatcache")):
        function()

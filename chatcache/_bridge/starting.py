"""The one place that starts threads."""

import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable
from threading import Lock, Thread, current_thread, main_thread
from typing import Any, Protocol

from chatcache.errors import UnsupportedLibraryError
from chatcache.interrupts import raise_interrupt, suppress

__all__ = ["Startable", "check_threads", "daemon", "daemon_for_a_loop", "is_ending", "start", "start_apart"]


class Startable(Protocol):
    """A thread."""

    def start(self) -> None:
        """Begin."""

    def is_alive(self) -> bool:
        """Return whether it has begun, and not ended."""
        ...

    def join(self, timeout: float) -> None:
        """Wait for its end, so many seconds at most, and not at all within itself."""


def check_threads() -> None:
    """Raise `UnsupportedLibraryError` if `threading` is patched so that threads would block each other."""
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise UnsupportedLibraryError(
            "chatcache does not work with threads that eventlet has patched: call eventlet.monkey_patch(thread=False), "
            "or use gevent, threads or asyncio"
        )
    if _is_patched_by_gevent() and threading.Lock is not Lock:
        raise UnsupportedLibraryError(
            "gevent patched `threading` after chatcache was imported, so chatcache would block greenlets: call "
            "gevent.monkey.patch_all() before chatcache is imported"
        )


def is_ending() -> bool:
    """Return whether the main thread has ended, so that the program ends with its last thread."""
    return not main_thread().is_alive()


def start(thread: Startable | Thread) -> bool:
    """Start a thread; return False if the program is ending, or the system has no more threads.

    When the main thread has ended, the interpreter starts no more threads: since Python 3.12 it raises, and Python
    3.11 waits forever for one that is started while modules are torn down.
    """
    if is_ending():
        return False
    try:
        thread.start()
    except RuntimeError as error:
        raise_interrupt(error)
        return False
    return True


def start_apart(target: Callable[[], None]) -> None:
    """Call a function in a daemon thread, unless the program is ending. This takes no lock, as a finalizer may not.

    `Thread.start` takes one, and a finalizer may run in the middle of it.
    """
    if not is_ending():
        with suppress(RuntimeError):  # the system has no more threads
            start_new_thread(target, ())


def daemon(target: Callable[[], None]) -> Startable:
    """Return a daemon thread."""
    return _DaemonThread(target=target, daemon=True, name="chatcache")


def daemon_for_a_loop(target: Callable[[], None]) -> Startable:
    """Return a daemon in which an event loop can run: a thread of the operating system.

    If gevent has patched `threading`, its threads are greenlets, all of them in one thread of the operating system,
    which can run one event loop only.
    """
    if _is_patched_by_gevent():
        sys.modules["gevent"].get_hub()  # imports what the thread's own hub needs; the thread itself may fail to
        return _NativeThread(target, sys.modules["gevent.monkey"].get_original)
    return daemon(target)


def _is_patched_by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class _DaemonThread(Thread):
    def join(self, timeout: float | None = None) -> None:
        if self is not current_thread():
            super().join(timeout)


class _NativeThread:
    """A thread that is made of what gevent has replaced."""

    def __init__(self, target: Callable[[], None], original: Callable[[str, str], Callable[..., Any]]) -> None:
        self._target = target
        self._start, self._ident = original("_thread", "start_new_thread"), original("_thread", "get_ident")
        self._runs = original("_thread", "allocate_lock")()
        self._own: int | None = None

    def start(self) -> None:
        self._runs.acquire()
        self._start(self._run, ())

    def is_alive(self) -> bool:
        locked: bool = self._runs.locked()
        return locked

    def join(self, timeout: float) -> None:
        if self._ident() != self._own and self._runs.acquire(timeout=timeout):
            self._runs.release()

    def _run(self) -> None:
        self._own = self._ident()
        try:
            self._target()
        finally:
            self._runs.release()

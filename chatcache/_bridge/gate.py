"""What a fork waits for."""

from collections import Counter
from threading import Condition, RLock, get_ident
from types import TracebackType

from .forks import anew_in_children

__all__ = ["Gate"]


class Gate:
    """Any number of threads are within, until it is closed: then those within come out, and nobody else goes in.

    A thread that is within may go in again, also while it is closed, and so may the one that closed it.
    """

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Be open, and have nobody within: for a child process, which has none of its parent's other threads."""
        self._lock = RLock()  # a finalizer may enter in the middle of any method of its thread
        self._changed = Condition(self._lock)  # entered by its lock: a Ctrl-C within its own method leaves that locked
        self._within: Counter[int] = Counter()
        self._closed_by: int | None = None

    def __enter__(self) -> None:
        me = get_ident()
        with self._lock:
            while self._closed_by not in {None, me} and me not in self._within:
                self._changed.wait()
            self._within[me] += 1

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _: TracebackType | None
    ) -> None:
        me = get_ident()
        with self._lock:
            self._within[me] -= 1
            if not self._within[me]:
                self._within.pop(me, None)
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait until all others are out."""
        with self._lock:
            self._closed_by = get_ident()
            while self._within.keys() - {get_ident()}:
                self._changed.wait()

    def open(self) -> None:
        """Let everybody in again."""
        with self._lock:
            self._closed_by = None
            self._changed.notify_all()

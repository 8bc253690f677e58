"""What is to be saved from time to time, by one thread of the process, and once more when the program ends."""

import atexit
from typing import Protocol

from chatcache._bridge import Outcome, RLock, StepThread, anew_in_children

__all__ = ["Saver"]

_FINISH_WITHIN = 1.0  # seconds: nothing that is saved when a program ends may hold it up
_PERIOD = 60.0  # seconds; each time it is a commit, after which nothing that was read is held in memory


class _Savable(Protocol):
    def save(self) -> bool: ...


class Saver:
    """Saves what it is told to expect within a minute, and what is left when the program ends.

    There is a thread as long as there is something to be saved. The end of a program waits for it a second at most.
    """

    def __init__(self) -> None:
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have nothing to save, and no thread: for a child process, whose parent saves what was counted there."""
        self._lock = RLock()  # a handler of a signal may count as well
        self._due: set[_Savable] = set()
        self._thread: StepThread | None = None
        self._begun = False
        self._ending: Outcome | None = None

    def expect(self, savable: _Savable) -> None:
        """Have something saved, until its ``save()`` says that nothing of it is left."""
        with self._lock:
            self._due.add(savable)
            if self._thread is None:
                thread, self._begun = StepThread(self._step), False
                if not thread.start():
                    return
                self._thread = thread
                atexit.unregister(self._finish)
                atexit.register(self._finish)  # after the thread's own, so that this is called before that

    def forget(self, savable: _Savable) -> None:
        """Save something no more until it is expected again."""
        with self._lock:
            self._due.discard(savable)

    def _step(self) -> float:
        with self._lock:
            begun, self._begun, ending = self._begun, True, self._ending
            if not begun and ending is None:
                return _PERIOD
            due, self._due = self._due, set()
        left = {savable for savable in due if not savable.save()}
        with self._lock:
            self._due |= left
            ending = ending or (None if self._due else self._ending)
            if not self._due and self._thread is not None:
                self._thread.stop(0)
                self._thread = None
        if ending is not None:
            ending.end()
        return _PERIOD

    def _finish(self) -> None:
        """Have saved what is left, and wait for it."""
        with self._lock:
            if self._thread is None:
                return
            ending = self._ending = Outcome()
            bell = ending.bell()
            self._thread.wake()
        ending.rung(bell, _FINISH_WITHIN)

"""Steps of many callers, committed together."""

from collections import deque
from collections.abc import Callable
from typing import Any

from chatcache._bridge import RENEWALS, Lock, Shared, Worker, anew_in_children, running_loop
from chatcache.clock import monotonic
from chatcache.errors import PersistenceError
from chatcache.storage import Storage, Transaction, seconds_left
from chatcache.store_errors import as_persistence_error

__all__ = ["Batch", "Step"]

Step = Callable[[Transaction], Any]

_IDLE = 1.0  # seconds without a step after which the thread ends


class _Entry:
    """A step, and how it ended."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.result: Any = None
        self.error: PersistenceError | None = None

    def run(self, transaction: Transaction) -> None:
        """Run the step. An exception reaches only its own caller."""
        try:
            self.result = self._step(transaction)
        except Exception as error:  # noqa: BLE001 - raised where the step is waited for
            self.error = as_persistence_error(error)

    def unpack(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class Batch:
    """Runs steps in transactions of a storage, in a thread, in the order in which they are given.

    Those that come while the disk is busy are one transaction: a transaction of its own for each of a thousand callers
    would have them wait for the disk a thousand times. The thread ends when there was nothing to do for a second.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.begin_anew()
        anew_in_children(self)

    def begin_anew(self) -> None:
        """Have no steps and no thread: for a child process."""
        self._entries: deque[_Entry] = deque()
        self._committing = Lock()  # a thread that was stopped may still be at it when the next one begins
        self._worker = Worker()
        self._used = 0.0
        self._watched = False  # whether somebody will look whether the thread is idle

    @staticmethod
    def of(storage: Storage) -> "Batch":
        """Return that of a storage, the same one as long as somebody holds it."""
        return _BATCHES.of(storage, lambda: Batch(storage))

    def submit(self, step: Step) -> None:
        """Have a step run, without waiting for it. Where the storage fails, it is not."""
        self._added(step)
        self._worker.submit(self._commit)

    def run(self, step: Step) -> Any:
        """Return what a step returns, when it is committed. What a step raises is raised to its caller alone.

        On the thread of a running loop it is a transaction of its own, made in place: the thread might wait for a task
        of that loop, which stands still.

        Raises:
            PersistenceError: it could not be, and nothing of it was kept; or not in the time that the caller may wait,
                and it may be kept later.
        """
        if running_loop() is not None:
            entry = _Entry(step)
            self._run([entry])
        else:
            entry = self._added(step)
            if not self._worker.submit(self._commit).wait(seconds_left()):
                raise self._storage.late()
        return entry.unpack()

    async def arun(self, step: Step) -> Any:
        """Awaiting twin of `run`. A task that is cancelled waits for nothing: the step is run all the same."""
        entry = self._added(step)
        job = self._worker.submit(self._commit)
        if not await job.ended.wait(seconds_left()):
            raise self._storage.late()
        return entry.unpack()

    def stop(self) -> None:
        """Let the thread end when it ran what it was given; another one starts where it is needed."""
        self._watched = False
        RENEWALS.forget(self._end_if_idle)
        self._worker.stop()

    def _added(self, step: Step) -> _Entry:
        entry = _Entry(step)
        self._entries.append(entry)
        self._used = monotonic()
        if not self._watched:
            self._watch()
        return entry

    def _watch(self) -> None:
        self._watched = True
        RENEWALS.later(self._used + _IDLE - monotonic(), self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._watched = False  # at first, so that whoever gives a step from now on has somebody look again
        if monotonic() - self._used < _IDLE:
            self._watch()
        else:
            self._worker.stop()

    def _commit(self) -> None:
        with self._committing:
            entries = [self._entries.popleft() for _ in range(len(self._entries))]
            if entries:
                self._run(entries)

    def _run(self, entries: list[_Entry]) -> None:
        def steps(transaction: Transaction) -> None:
            for entry in entries:
                entry.run(transaction)

        try:
            self._storage.transaction(steps)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait have to hear of it
            failure = as_persistence_error(error)
            for entry in entries:
                entry.error = failure


_BATCHES: Shared[Storage, Batch] = Shared()

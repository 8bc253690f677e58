"""A lock between processes that ends with the process that has it."""

import os
from pathlib import Path
from weakref import finalize

try:
    import fcntl
except ImportError:  # Windows, where each process has the lock
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]


class FileLock:
    """A lock on a file, by ``flock``: free again as soon as no process has the file open that took it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: list[int] = []
        self._held = False
        finalize(self, _close, self._descriptors)

    def acquire(self) -> bool:
        """Take the lock if nobody has it; return whether this process has it now.

        Raises:
            OSError: the file cannot be made.
        """
        if fcntl is None or (self._held and os.fstat(self._descriptors[0]).st_nlink > 0):
            return True
        self.release()  # what was deleted is nobody's lock any more
        if not self._path.parent.exists():  # nobody ever wrote there
            return False
        if not self._descriptors:
            self._descriptors.append(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            fcntl.flock(self._descriptors[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._held = True
        return True

    def release(self) -> None:
        """Let others have it."""
        _close(self._descriptors)
        self._held = False

    def forgotten(self) -> "FileLock":
        """Return the same lock, not held: for a child process, whose descriptor would keep the parent's lock."""
        self.release()
        return FileLock(self._path)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())

"""A lock between processes that ends with the process that has it."""

import os
from pathlib import Path

from chatcache._bridge import Lock

from .descriptors import Descriptor

try:
    import fcntl
except ImportError:  # Windows, where each process has the lock
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]


class FileLock:
    """A lock on a file, by ``flock``: free again as soon as no process has the file open that took it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._using = Lock()  # whoever stops to use it may be another thread
        self._file: Descriptor | None = None
        self._held = False

    def acquire(self) -> bool:
        """Take the lock if nobody has it; return whether this process has it now.

        Raises:
            OSError: the file cannot be made.
        """
        with self._using:
            if fcntl is None or (self._held and self._file is not None and self._file.is_named()):
                return True
            self._forget()  # what was deleted is nobody's lock any more
            if not self._path.parent.exists():  # nobody ever wrote there
                return False
            self._file = Descriptor(self._path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(self._file.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._held = True
            return True

    def release(self) -> None:
        """Let others have it."""
        with self._using:
            self._forget()

    def forgotten(self) -> "FileLock":
        """Return the same lock, not held: for a child process, whose descriptor would keep the parent's lock."""
        self._forget()
        return FileLock(self._path)

    def _forget(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._held = None, False

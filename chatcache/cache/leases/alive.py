"""Whether the process that holds a lease still lives, as the kernel knows it.

A lease of a process that was killed would block its waiters until it runs out. The kernel knows at once: it releases
the locks of a process that ends, however it ends. So a process that takes leases keeps one file of its own beside the
store, ``<16 hex digits>.alive``, locked by ``flock``, and the row of a lease names it. A waiter that gets a shared lock
on that file knows that the process is gone.

No process that lives may ever be taken for dead, so a mark names not only the file, but also the running kernel, the
device and the inode. All of them have to match, or the lease just runs out:

* Another machine may not see the lock, as on some network file systems. It has another kernel.
* Another mount of the same files, as of FUSE in two containers, may have locks of its own. It is another device.
* Where the file was deleted and made anew, or the folder was copied or restored, the lock is on another inode. The
  kernel uses an inode's number again only when nobody has it open, which the living process does.

Process ids would not do: they are used again, and mean another process in each container. POSIX record locks would not
do either: a process loses all of its locks on a file as soon as any code in it closes that file. A child that a process
forks closes its copy of the descriptor; one that cannot, such as one forked by C code, keeps the lock of its parent,
whose leases then run out.

The file is removed when the process closes the store or ends. What a killed process leaves behind is removed by the
next one that takes a lease.
"""

import os
import re
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from weakref import finalize

from chatcache._bridge import RENEWALS, Lock, Shared, anew_in_children
from chatcache.clock import real_time
from chatcache.interrupts import raise_interrupt, suppress
from chatcache.storage.descriptors import Descriptor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Alive"]

_MARK = re.compile(r"([0-9a-f]{16}) ([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+)")  # file, kernel, device, inode
_SUFFIX = ".alive"
_TRIES = 3  # a file that is not locked yet may be taken for that of a killed process, and removed
_YOUNG = 60.0  # seconds in which a new file that is not locked yet is left alone
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Alive:
    """The file that shows that this process lives, in one folder, and those of other processes there.

    Args:
        folder: the folder of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._files: list[_File] = []  # none or one
        anew_in_children(self)
        finalize(self, _remove, self._files)

    @staticmethod
    def of(folder: Path) -> "Alive":
        """Return that of a folder, the same one as long as somebody holds it."""
        return _SHARED.of(folder, lambda: Alive(folder))

    def begin_anew(self) -> None:
        """Close the file of the parent, which keeps its lock: for a child process."""
        self._lock = Lock()
        while self._files:
            self._files.pop().descriptor.close()

    def mark(self) -> str:
        """Return what the row of a lease tells others, so that they find out whether this process lives.

        It is empty where they cannot. The folder has to exist.
        """
        with self._lock:
            if self._files and not self._files[0].descriptor.is_named():
                self._files.pop().descriptor.close()
            if not self._files:
                self._make()
            return self._files[0].mark if self._files else ""

    def is_dead(self, mark: str) -> bool:
        """Return whether the process that made a mark is known to have ended."""
        found = _MARK.fullmatch(mark)
        if found is None or found[2] != _kernel():
            return False
        try:
            descriptor = os.open(self._folder / f"{found[1]}{_SUFFIX}", _FLAGS)
        except OSError as error:
            raise_interrupt(error)
            return False
        try:
            return _identity(descriptor) == (found[3], found[4]) and _locked(descriptor, shared=True)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Remove the file, unless this process holds a lease, whose row may name it."""
        with self._lock:
            _remove(self._files)

    def _make(self) -> None:
        self._sweep()
        with suppress(OSError):  # there is no room, or no permission
            for _ in range(_TRIES):
                file = _File(self._folder / f"{token_hex(8)}{_SUFFIX}")
                if _locked(file.descriptor.number) and file.descriptor.is_named():
                    self._files.append(file)
                    return
                file.remove()

    def _sweep(self) -> None:
        """Remove the files of killed processes."""
        for path in _files(self._folder):
            with suppress(OSError):
                descriptor = os.open(path, _FLAGS)
                try:
                    if real_time() - os.fstat(descriptor).st_mtime > _YOUNG and _locked(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


class _File:
    """An open file of this process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = Descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self.mark = " ".join((path.stem, _kernel(), *_identity(self.descriptor.number)))

    def remove(self) -> None:
        """Take its name away, and close it."""
        if self.descriptor.is_named():
            with suppress(Exception):  # where a tool forbids that, too: then the next process removes it
                self._path.unlink()
        self.descriptor.close()


def _remove(files: list[_File]) -> None:
    """Remove the file unless a lease is held: at the end of the program, the kernel tells of that."""
    with suppress(IndexError):  # another thread took it
        while not RENEWALS.holds_any():
            files.pop().remove()


def _files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.glob(f"*{_SUFFIX}")


def _identity(descriptor: int) -> tuple[str, str]:
    found = os.fstat(descriptor)
    return f"{found.st_dev:x}", f"{found.st_ino:x}"


def _locked(descriptor: int, *, shared: bool = False) -> bool:
    """Take a lock that ends when the file is closed; return whether it could be taken."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:  # somebody else has it, or the file system has no locks
        raise_interrupt(error)
        return False
    return fcntl is not None


@cache
def _kernel() -> str:
    """Return what tells the running kernel from any other: the containers of one machine share one."""
    try:
        running = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError as error:
        raise_interrupt(error)
        import uuid

        running = f"{uuid.getnode()} {os.uname().nodename}".encode()
    return sha256(running).hexdigest()[:16]


_SHARED: "Shared[Path, Alive]" = Shared()

"""A namespace of objects: a folder, and in it one file an object."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from stat import S_ISDIR
from typing import ClassVar
from weakref import WeakValueDictionary

from chatcache._bridge import Lock
from chatcache.clock import Clock
from chatcache.errors import InvalidInputError, StorageError

from .alarms import Alarm, Alarms, ObjectSchedule
from .database import Durability
from .ids import check_namespace, check_object_name, is_id, new_id, object_id, parse_id
from .rows import read_alarm, read_name
from .storage import Storage
from .turns import Turns

__all__ = ["DurableObject", "ObjectInfo", "ObjectNamespace"]

Handler = Callable[["DurableObject", Alarm], Awaitable[None] | None]

_TIMEOUT = 10.0  # seconds
_LONGEST_TIMEOUT = 1_000_000  # seconds: SQLite counts milliseconds in 32 bits
_LONGEST_ROW = 2 * 1024 * 1024  # bytes, as Cloudflare documents it


class DurableObject:
    """One object of a namespace.

    Attributes:
        name: the name it was asked for by, or None where that was an id.
        id: its id, 64 hexadecimal digits.
        path: its file, which exists from the first write on.
        storage: its storage.
    """

    def __init__(self, objects: "_Objects", identifier: str, name: str | None) -> None:
        settings = objects.settings
        self.name = name
        self.id = identifier
        self.path = settings.folder / f"{identifier}.sqlite"
        self._objects = objects  # as long as this one lives, another namespace object is to find it
        schedule = None if objects.alarms is None else ObjectSchedule(objects.alarms, identifier, name)
        self._turns = Turns(self.path, name, settings.durability, settings.timeout, schedule)
        self.storage = Storage(self._turns, settings.longest_row)

    def close(self) -> None:
        """Write what is to be written, and release the file. The storage opens it again when it is used.

        Raises:
            StorageError: it could not be written.
        """
        self._turns.close()

    def due(self) -> int | None:
        """Return when the alarm is to go off; for `chatcache.storage.alarms`, as the methods that follow."""
        return self._turns.read(read_alarm, None, None)

    def fire(self, alarm: Alarm) -> Awaitable[None] | None:
        """Call the handler."""
        handler = self._objects.settings.handler
        return None if handler is None else handler(self, alarm)

    def begin(self, when: int) -> None:
        """Note that the handler runs."""
        self._turns.firing = when

    def end(self) -> bool:
        """Note that the handler ended; return whether no alarm was set meanwhile."""
        unchanged, self._turns.firing = self._turns.firing is not None, None
        return unchanged

    def forget(self, when: int) -> None:
        """Delete the alarm if it is still that one."""
        with self._turns.blocking(locked=True) as turn:
            if self.due() == when:
                turn.layer.alarm = None

    def known_name(self) -> str | None:
        """Return its name, from its file if need be."""
        return self.name or self._turns.read(read_name, None, None)

    def __repr__(self) -> str:
        return f"<DurableObject {self.name or self.id!r} in {str(self.path)!r}>"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object from its file.

    Attributes:
        id: its id.
        name: its name, or None where it was only ever asked for by its id.
        size: how many bytes its files take.
        modified: when it was last written to, in UTC.
    """

    id: str
    name: str | None
    size: int
    modified: datetime


@dataclass(frozen=True)
class Settings:
    """What the objects of a namespace have in common."""

    folder: Path
    durability: Durability
    timeout: float
    longest_row: int
    handler: Handler | None
    clock: Clock


class _Objects:
    """The objects of one folder and one kind of settings that this process holds."""

    _shared: "ClassVar[WeakValueDictionary[Settings, _Objects]]" = WeakValueDictionary()  # noqa: RUF012
    _sharing = Lock()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._held: WeakValueDictionary[str, DurableObject] = WeakValueDictionary()
        self._lock = Lock()
        self.alarms: Alarms | None = None
        if settings.handler is not None:
            self.alarms = Alarms(settings.folder, self.get, clock=settings.clock, timeout=settings.timeout)

    @classmethod
    def of(cls, settings: Settings) -> "_Objects":
        """Return those of equal settings, the same ones as long as somebody holds them."""
        with cls._sharing:
            found = cls._shared.get(settings)
            if found is None:
                found = cls._shared[settings] = cls(settings)
            return found

    def get(self, identifier: str, name: str | None) -> DurableObject:
        """Return the object of an id, the same one as long as somebody holds it."""
        with self._lock:
            found = self._held.get(identifier)
            if found is None:
                found = self._held[identifier] = DurableObject(self, identifier, name)
            found.name = found.name or name
            return found

    def after_fork_in_child(self) -> None:
        """Begin anew, without the locks of the parent's threads."""
        self._lock = Lock()
        if self.alarms is not None:
            self.alarms.after_fork_in_child()

    def close(self) -> None:
        """Call no more handlers, and release the files."""
        if self.alarms is not None:
            self.alarms.stop()
        for thing in [*self._held.values()]:
            thing.close()


def _after_fork_in_child() -> None:
    _Objects._sharing = Lock()  # noqa: SLF001
    for objects in [*_Objects._shared.values()]:  # noqa: SLF001
        objects.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


class ObjectNamespace:
    """Objects by name, each in ``<root>/<name of the namespace>/<id>.sqlite``.

    Nothing is made on disk before something is written. Within a process there is one object of an id, whichever
    namespace object of these settings it comes from, as long as somebody holds it.

    Args:
        root: the folder of all namespaces.
        name: the name of this one: 1 to 100 letters, digits, ``_``, ``-`` and ``.``. It is also the unique key that ids
            are derived from.
        durability: what a commit waits for: ``full``, an fsync, so that nothing is lost that was committed, or
            ``normal``, the operating system: if the machine goes down, the last commits may be lost.
        timeout: how many seconds to wait where another task, thread or process is writing to the same object.
        longest_row: how many bytes a key and its value may take together.
        alarm: is called, with the object and the `Alarm`, when the alarm of an object goes off; a function or a
            coroutine function. Namespaces of one process that are to be one have the same.
        clock: gives the time in seconds since the epoch.

    Raises:
        InvalidNameError: the name is no such name.
        InvalidInputError: another argument cannot be right.
        StorageError: `root` is a file, or cannot be looked at.
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        root: str | PathLike[str],
        name: str = "default",
        *,
        durability: str = "full",
        timeout: float = _TIMEOUT,
        longest_row: int = _LONGEST_ROW,
        alarm: Handler | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.name = check_namespace(name)
        self.root = _folder(root)
        if not isinstance(timeout, int | float) or not 0 <= timeout <= _LONGEST_TIMEOUT:
            raise InvalidInputError(f"timeout {timeout!r:.200}: pass seconds, from 0 on, a million at most")
        if alarm is not None and not callable(alarm):
            raise InvalidInputError(f"alarm {alarm!r:.200}: pass a function of an object and an Alarm")
        if not callable(clock):
            raise InvalidInputError(f"clock {clock!r:.200}: pass a function that returns seconds, such as time.time")
        if type(longest_row) is not int or longest_row < 1:
            raise InvalidInputError(f"longest_row {longest_row!r:.200}: pass a number of bytes, from 1 on")
        settings = Settings(
            self.root / self.name, Durability.parse(durability), float(timeout), longest_row, alarm, clock
        )
        self._objects = _Objects.of(settings)
        if self._objects.alarms is not None:
            self._objects.alarms.start()

    def id_from_name(self, name: str) -> str:
        """Return the id of the object of a name.

        Args:
            name: 1 to 1,024 bytes of printable text that does not read as a path out of its folder.

        Raises:
            InvalidNameError: it is no such name.
        """
        return object_id(self.name, check_object_name(name))

    def new_unique_id(self) -> str:
        """Return an id that no object has."""
        return new_id(self.name)

    def id_from_string(self, text: str) -> str:
        """Return an id from its 64 hexadecimal digits.

        Raises:
            InvalidNameError: it is no id, or one of another namespace.
        """
        return parse_id(self.name, text)

    def get(self, identifier: str) -> DurableObject:
        """Return the object of an id, the same one as long as somebody holds it.

        Raises:
            InvalidNameError: it is no id, or one of another namespace.
        """
        return self._objects.get(self.id_from_string(identifier), None)

    def get_by_name(self, name: str) -> DurableObject:
        """Return the object of that name, the same one as long as somebody holds it.

        Raises:
            InvalidNameError: it is no name, see `id_from_name`.
        """
        return self._objects.get(self.id_from_name(name), name)

    def names(self) -> Iterator[ObjectInfo]:
        """Yield the objects of this namespace that were ever written to, in the order of their ids.

        Raises:
            StorageError: a file cannot be read.
        """
        for path in sorted(self._objects.settings.folder.glob("*.sqlite")):
            if is_id(path.stem):
                files = [each.stat() for each in (path, path.with_name(f"{path.name}-wal")) if each.exists()]
                thing = self._objects.get(path.stem, None)
                modified = datetime.fromtimestamp(max(file.st_mtime for file in files), UTC)
                yield ObjectInfo(path.stem, thing.known_name(), sum(file.st_size for file in files), modified)

    def delete(self, name: str) -> bool:
        """Delete the object of a name with all that it holds; return whether it existed.

        No other process may be writing to it at the same time.

        Raises:
            StorageError: its file cannot be deleted.
        """
        thing = self.get_by_name(name)
        if not thing.path.exists():
            return False
        thing.storage.delete_all()
        thing.close()
        for beside in ("", "-wal", "-shm"):
            thing.path.with_name(thing.path.name + beside).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Call no more handlers, and release the files of all objects."""
        self._objects.close()

    def __repr__(self) -> str:
        return f"<ObjectNamespace {self.name!r} in {str(self.root)!r}>"


def _folder(root: str | PathLike[str]) -> Path:
    """Return a folder by its whole path, so that it stays the same where the program changes its own."""
    if not isinstance(root, str | PathLike) or not str(root) or "\0" in str(root):
        raise InvalidInputError(f"path {root!r:.200}: pass the path of a folder, as a str or a Path")
    folder = Path(root).absolute()
    try:
        found = folder.stat()
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be looked at ({error}): pass another path=, or set CHATCACHE_DIR"
        ) from error
    if not S_ISDIR(found.st_mode):
        raise StorageError(f"{folder} is a file: pass a folder as path=, or set CHATCACHE_DIR to one")
    return folder

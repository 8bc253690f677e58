"""A namespace of objects: a folder, and in it one file an object."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import EACCES
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from stat import S_ISDIR
from typing import ClassVar, TypeVar
from weakref import WeakSet, WeakValueDictionary

from chatcache._bridge import Lock, LoopThread, call_even_if_forbidden, check_threads, off_loop
from chatcache.clock import Clock, now
from chatcache.errors import InvalidInputError, StorageError
from chatcache.interrupts import raise_interrupt

from .alarms import Alarm, Alarms, ObjectSchedule
from .database import Durability
from .ids import check_namespace, check_object_name, is_id, new_id, object_id, parse_id
from .paths import absolute, default_folder, expanded
from .rows import read_alarm, read_name
from .storage import Storage, empty
from .turn import Turn
from .turns import Turns

__all__ = ["DurableObject", "ObjectInfo", "ObjectNamespace"]

Handler = Callable[["DurableObject", Alarm], Awaitable[None] | None]

R = TypeVar("R")

_TIMEOUT = 10.0  # seconds
_LONGEST_TIMEOUT = 1_000_000  # seconds: SQLite counts milliseconds in 32 bits
_LONGEST_ROW = 2 * 1024 * 1024  # bytes, as Cloudflare documents it
_NAMES_AT_ONCE = 64


class DurableObject:
    """One object of a namespace.

    Attributes:
        name: the name it was asked for by, or None where that was an id so far.
        id: its id, 64 hexadecimal digits.
        path: its file, which exists from the first write on.
        storage: its storage.
    """

    def __init__(self, turns: Turns, identifier: str, longest_row: int) -> None:
        self.id = identifier
        self.path = turns.path
        self._turns = turns
        self.storage = Storage(turns, longest_row)

    @property
    def name(self) -> str | None:
        """The name it was asked for by."""
        return self._turns.name

    def close(self) -> None:
        """Write what is to be written, and release the file. Using the storage later opens the file again.

        Raises:
            StorageError: it could not be written.
            TransactionError: this is called within a transaction, or would have to wait for a task of the running loop.
        """
        self._turns.close()

    async def aclose(self) -> None:
        """Awaiting twin of `close`; it waits for the transactions of other tasks, too."""
        await _apart(self.close)

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
        error: why its name cannot be read from its file, which may be damaged; None where it can.
    """

    id: str
    name: str | None
    size: int
    modified: datetime
    error: StorageError | None = None


@dataclass(frozen=True)
class _Settings:
    """What the objects of a namespace have in common."""

    folder: Path
    durability: Durability
    timeout: float
    handler: Handler | None = field(hash=False)  # whatever can be called
    clock: Clock = field(hash=False)


class _Objects:
    """The objects of one folder and one kind of settings that this process holds."""

    _shared: "ClassVar[WeakSet[_Objects]]" = WeakSet()  # noqa: RUF012
    _sharing = Lock()

    def __init__(self, settings: _Settings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()
        self._held: WeakValueDictionary[tuple[str, int], DurableObject] = WeakValueDictionary()
        self._alarms: Alarms | None = None
        self._users: WeakSet[ObjectNamespace] = WeakSet()  # that were opened and neither closed nor forgotten
        self._longest_row = 1
        if settings.handler is not None:
            self._alarms = Alarms(settings.folder, self._target, clock=settings.clock, timeout=settings.timeout)

    @classmethod
    def of(cls, settings: _Settings) -> "_Objects":
        """Return those of equal settings, the same ones as long as somebody holds them."""
        with cls._sharing:
            for found in cls._shared:
                if found.settings == settings:
                    return found
            made = cls(settings)
            cls._shared.add(made)
            return made

    def get(self, identifier: str, name: str | None, longest_row: int) -> DurableObject:
        """Return the object of an id, the same one as long as somebody holds it or its storage."""
        with self._lock:
            turns = self._turns_of(identifier, name)
            turns.allow_rows(longest_row)
            found = self._held.get((identifier, longest_row))
            if found is None:
                found = self._held[identifier, longest_row] = DurableObject(turns, identifier, longest_row)
            return found

    def turns(self, identifier: str) -> Turns:
        """Return what an object is read and written by."""
        with self._lock:
            return self._turns_of(identifier, None)

    def open(self, namespace: "ObjectNamespace", longest_row: int) -> None:
        """Call handlers from now on, as long as somebody holds the namespace or an object."""
        with self._lock:
            self._users.add(namespace)
            self._longest_row = max(self._longest_row, longest_row)
        if self._alarms is not None:
            self._alarms.start()

    def close(self, namespace: "ObjectNamespace") -> None:
        """Call no more handlers once everybody who opened this closed it, and release the files."""
        with self._lock:
            self._users.discard(namespace)
            held = [*self._turns.values()]
        if self._alarms is not None and not self._users:
            self._alarms.stop()
            if self._users:  # opened just now
                self._alarms.start()
        for turns in held:
            turns.close()

    def _turns_of(self, identifier: str, name: str | None) -> Turns:
        found = self._turns.get(identifier)
        if found is None:
            settings = self.settings
            path = settings.folder / f"{identifier}.sqlite"
            schedule = None if self._alarms is None else ObjectSchedule(self._alarms, identifier)
            found = Turns(path, settings.durability, settings.timeout, schedule, settings.clock)
            found.keeps = self  # so that whoever asks for this object later finds it
            self._turns[identifier] = found
        found.name = found.name or name
        if found.schedule is not None:
            found.schedule.name = found.name
        return found

    def _target(self, identifier: str, name: str | None) -> "_Target":
        thing = self.get(identifier, name, self._longest_row)
        return _Target(thing, self.turns(identifier), self.settings.handler)

    def after_fork_in_child(self) -> None:
        """Begin anew, without the locks of the parent's threads."""
        self._lock = Lock()
        if self._alarms is not None:
            self._alarms.after_fork_in_child()


class _Target:
    """An object as `chatcache.storage.alarms` sees it."""

    def __init__(self, thing: DurableObject, turns: Turns, handler: Handler | None) -> None:
        self._thing = thing
        self._turns = turns
        self._handler = handler
        self.path = thing.path
        self.storage = thing.storage

    def __repr__(self) -> str:
        return repr(self._thing)

    def due(self) -> int | None:
        return self._turns.read(read_alarm, None, None)

    def fire(self, alarm: Alarm) -> Awaitable[None] | None:
        return None if self._handler is None else self._handler(self._thing, alarm)

    def begin(self, when: int) -> None:
        with self._turns.writing:  # whoever has just committed the alarm shows it as set until then
            self._turns.firing = when

    def end(self) -> bool:
        unchanged, self._turns.firing = self._turns.firing is not None, None
        return unchanged

    def forget(self, when: int) -> None:
        def forget(turn: Turn) -> None:
            if self.due() == when:
                turn.layer.alarm = None

        self._turns.write(forget, locked=True)


def _after_fork_in_child() -> None:
    _Objects._sharing = Lock()  # noqa: SLF001
    for objects in [*_Objects._shared]:  # noqa: SLF001
        objects.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)


class ObjectNamespace:
    """Objects by name, each in ``<root>/<name of the namespace>/<id>.sqlite``.

    Nothing is made on disk before something is written. Within a process there is one object of an id, whichever
    namespace of equal settings it comes from. One of another ``longest_row`` is a second one, in the same turns; one of
    another ``durability``, ``timeout``, ``alarm`` or ``clock`` is to it like one in another process.

    Args:
        root: the folder of all namespaces; None for ``CHATCACHE_DIR``, or else ``.chatcache``.
        name: the name of this one: 1 to 100 letters, digits, ``_``, ``-`` and ``.``. It is also the unique key that ids
            are derived from.
        durability: what a commit waits for: ``full``, an fsync, so that nothing is lost that was committed, or
            ``normal``, the operating system: if the machine goes down, the last commits may be lost.
        timeout: how many seconds to wait where another task, thread or process is writing to the same object.
        longest_row: how many bytes a key and its value may take together.
        alarm: is called, with the object and the `Alarm`, when the alarm of an object goes off, as long as somebody
            holds the namespace or one of its objects, until it is closed; a function or a coroutine function.
        clock: gives the time in seconds since the epoch.

    Raises:
        InvalidNameError: the name is no such name.
        InvalidInputError: another argument cannot be right.
        UnsupportedLibraryError: eventlet has patched the threads of this process.
        StorageError: `root` is a file, or cannot be looked at.
    """

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        root: str | PathLike[str] | None,
        name: str = "default",
        *,
        durability: str = "full",
        timeout: float = _TIMEOUT,
        longest_row: int = _LONGEST_ROW,
        alarm: Handler | None = None,
        clock: Clock = now,
    ) -> None:
        check_threads()
        self.name = check_namespace(name)
        self.root = call_even_if_forbidden(partial(_folder, default_folder() if root is None else root))
        if not isinstance(timeout, int | float) or not 0 <= timeout <= _LONGEST_TIMEOUT:
            raise InvalidInputError(f"timeout {timeout!r:.200}: pass seconds, from 0 on, a million at most")
        if alarm is not None and not callable(alarm):
            raise InvalidInputError(f"alarm {alarm!r:.200}: pass a function of an object and an Alarm")
        if not callable(clock):
            raise InvalidInputError(f"clock {clock!r:.200}: pass a function that returns seconds, such as time.time")
        if type(longest_row) is not int or longest_row < 1:
            raise InvalidInputError(f"longest_row {longest_row!r:.200}: pass a number of bytes, from 1 on")
        settings = _Settings(self.root / self.name, Durability.parse(durability), float(timeout), alarm, clock)
        self._longest_row = longest_row
        self._objects = _Objects.of(settings)
        self._objects.open(self, longest_row)

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
        return self._objects.get(self.id_from_string(identifier), None, self._longest_row)

    def get_by_name(self, name: str) -> DurableObject:
        """Return the object of that name, the same one as long as somebody holds it.

        Raises:
            InvalidNameError: it is no name, see `id_from_name`.
        """
        return self._objects.get(self.id_from_name(name), name, self._longest_row)

    def names(self) -> Iterator[ObjectInfo]:
        """Yield the objects of this namespace that were ever written to, in the order of their ids.

        One whose file cannot be read is among them, with the error.
        """
        for path in sorted(self._objects.settings.folder.glob("*.sqlite")):
            if is_id(path.stem):
                try:
                    files = [path.lstat(), *(each.lstat() for each in path.parent.glob(f"{path.name}-wal"))]
                except FileNotFoundError:  # it was deleted meanwhile
                    continue
                modified = datetime.fromtimestamp(max(file.st_mtime for file in files), UTC)
                name, error = self._name_of(path.stem)
                yield ObjectInfo(path.stem, name, sum(file.st_size for file in files), modified, error)

    async def anames(self) -> AsyncIterator[ObjectInfo]:
        """Awaiting twin of `names`."""
        names = self.names()
        while piece := await off_loop(lambda: [*islice(names, _NAMES_AT_ONCE)]):
            for info in piece:
                yield info

    def delete(self, name: str) -> bool:
        """Delete the object of a name with all that it holds, also a damaged one; return whether it existed.

        It existed, too, if what was written is not on disk yet. No other process may be writing to it at the same time.

        Raises:
            StorageError: its file cannot be deleted.
            TransactionError: this is called within a transaction on it, or would have to wait for a task of the running
                loop.
        """
        thing = self.get_by_name(name)
        return self._objects.turns(thing.id).delete_file(empty)

    async def adelete(self, name: str) -> bool:
        """Awaiting twin of `delete`; it waits for the transactions of other tasks, too."""
        return await _apart(partial(self.delete, name))

    def close(self) -> None:
        """Release the files of all objects, and call no more handlers, once each namespace of these settings is closed.

        Raises:
            StorageError: what is to be written could not be.
        """
        self._objects.close(self)

    async def aclose(self) -> None:
        """Awaiting twin of `close`; it waits for the transactions of other tasks, too."""
        await _apart(self.close)

    def _name_of(self, identifier: str) -> tuple[str | None, StorageError | None]:
        """Return the name of an object, if it is known, and why it cannot be read."""
        turns = self._objects.turns(identifier)
        try:
            return turns.read(read_name, None, None) or turns.name, None
        except StorageError as error:
            return turns.name, error

    def __repr__(self) -> str:
        return f"<ObjectNamespace {self.name!r} in {str(self.root)!r}>"


async def _apart(function: Callable[[], R]) -> R:
    """Await a call that may have to wait for tasks of the loop, made in a thread that nobody else needs."""
    return await LoopThread.call(partial(copy_context().run, function))


def _folder(root: str | PathLike[str]) -> Path:
    """Return a folder by its whole path, so that it stays the same where the program changes its own."""
    if not isinstance(root, str | PathLike) or not str(root):
        raise InvalidInputError(f"path {root!r:.200}: pass the path of a folder, as a str or a Path")
    folder = absolute(expanded(root))
    try:
        found = folder.stat()
    except FileNotFoundError:
        return folder
    except OSError as error:
        raise_interrupt(error)
        remedy = "let this user read it, or use another folder" if error.errno == EACCES else "use another folder"
        raise StorageError(f"{folder} cannot be looked at ({error.strerror}): {remedy}") from error
    if not S_ISDIR(found.st_mode):
        raise StorageError(f"{folder} is a file: pass a folder")
    return folder

"""A namespace of objects: a folder, and in it one file an object."""

from os import PathLike
from pathlib import Path
from stat import S_ISDIR
from weakref import WeakValueDictionary

from chatcache._bridge import Lock
from chatcache.errors import InvalidInputError, StorageError

from .database import Database
from .ids import check_namespace, check_object_name, object_id
from .storage import Storage

__all__ = ["DurableObject", "ObjectNamespace"]


class DurableObject:
    """One object of a namespace.

    Attributes:
        name: the name it was asked for by.
        id: its id, 64 hexadecimal digits.
        path: its file, which exists from the first write on.
        storage: its key/value storage.
    """

    def __init__(self, name: str, identifier: str, path: Path) -> None:
        self.name = name
        self.id = identifier
        self.path = path
        self._database = Database(path)
        self.storage = Storage(self._database)

    def close(self) -> None:
        """Release the file. The storage opens it again when it is used."""
        self._database.close()

    def __repr__(self) -> str:
        return f"<DurableObject {self.name!r} in {str(self.path)!r}>"


class ObjectNamespace:
    """Objects by name, each in ``<root>/<name of the namespace>/<id>.sqlite``.

    Nothing is made on disk before something is written.

    Args:
        root: the folder of all namespaces.
        name: the name of this one: 1 to 100 letters, digits, ``_``, ``-`` and ``.``. It is also the unique key that ids
            are derived from.

    Raises:
        InvalidNameError: the name is no such name.
        InvalidInputError: `root` cannot be the path of a folder.
        StorageError: `root` is a file, or cannot be looked at.
    """

    def __init__(self, root: str | PathLike[str], name: str = "default") -> None:
        self.name = check_namespace(name)
        self.root = _folder(root)
        self._objects: WeakValueDictionary[str, DurableObject] = WeakValueDictionary()
        self._lock = Lock()

    def get_by_name(self, name: str) -> DurableObject:
        """Return the object of that name, the same one as long as somebody holds it.

        Args:
            name: 1 to 1,024 bytes of printable text that does not read as a path out of its folder.

        Raises:
            InvalidNameError: it is no such name.
        """
        identifier = object_id(self.name, check_object_name(name))
        with self._lock:
            found = self._objects.get(identifier)
            if found is None:
                found = DurableObject(name, identifier, self.root / self.name / f"{identifier}.sqlite")
                self._objects[identifier] = found
            return found

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

"""A bundle as it is read in a run: its records, found by whose they are and what was asked."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from chatcache.cache import Form
from chatcache.codec import encode
from chatcache.storage import ObjectNamespace
from chatcache.storage.paths import absolute

from .bundle import Bundle, Head, Record, at_of, form_of

__all__ = ["Entry", "Shelf", "Shelves"]

_LONGEST_ROW = 32 * 1024 * 1024  # bytes: twice as many as a record has at most
_NEAR = 16 * 1024 * 1024  # bytes of texts that are in memory; the rest is in the storage of an object


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a record without reading it.

    Attributes:
        row: the key of its row.
        scope: as in `Record`; so are the others.
        store: as there.
        key: as there.
        number: as there.
        form: as there.
        at: as there.
        sketch: the sketch of its request, a number of 64 bits.
    """

    row: str
    scope: str
    store: str
    key: str
    number: int
    form: Form
    at: int
    sketch: int


class Shelf:
    """The records of one bundle.

    Args:
        bundle: the bundle.
        namespace: where the object is.

    Raises:
        BundleError: the bundle cannot be read.
    """

    def __init__(self, bundle: Bundle, namespace: ObjectNamespace) -> None:
        self.bundle = bundle
        self._object = namespace.get_by_name(sha256(os.fsencode(absolute(bundle.path))).hexdigest())
        self.load()

    def load(self) -> None:
        """Read the bundle, anew if it was read before.

        Raises:
            BundleError: it cannot be read.
        """
        near, size = dict[str, bytes](), 0
        far: dict[str, bytes | None] = {}
        self._scopes: dict[str, dict[tuple[str, str], list[Entry]]] = {}
        for number, (head, text) in enumerate(self.bundle.blocks()):
            entry = _entry(f"{number:06}", head)
            size += len(text)
            if size <= _NEAR:
                near[entry.row] = text
            else:
                far[entry.row] = encode(text)
            self._scopes.setdefault(entry.scope, {}).setdefault((entry.store, entry.key), []).append(entry)
        for of_scope in self._scopes.values():
            for entries in of_scope.values():
                entries.sort(key=lambda entry: entry.number)
        self._near = near
        if far or self._object.path.exists():
            self._object.storage.change(far, prefixes=[""])

    def scopes(self) -> list[str]:
        """Return whose records there are."""
        return [*self._scopes]

    def of_scope(self, scope: str) -> list[Entry]:
        """Return the records of a scope."""
        return [entry for entries in self._scopes.get(scope, {}).values() for entry in entries]

    def find(self, scope: str, store: str, key: str) -> list[Entry]:
        """Return the records of a request in a scope, in the order of their numbers."""
        return self._scopes.get(scope, {}).get((store, key), [])

    def record(self, entry: Entry) -> Record:
        """Return a record.

        Raises:
            BundleError: its text is damaged, or a blob of it is missing.
        """
        text = self._near.get(entry.row)
        return self.bundle.record(self._object.storage.kv.get(entry.row) if text is None else text)

    def __iter__(self) -> Iterator[Entry]:
        return (entry for of_scope in self._scopes.values() for entries in of_scope.values() for entry in entries)

    def close(self) -> None:
        """Release the file."""
        self._object.close()


class Shelves:
    """The bundles that were read in a run. Their objects are in a folder for as long as this lives."""

    def __init__(self) -> None:
        self._shelves: dict[Path, Shelf] = {}
        self._folder: TemporaryDirectory[str] | None = None

    def of(self, path: Path) -> Shelf:
        """Return the records of a bundle, which is read when it is first asked for, by the same path.

        Raises:
            BundleError: it cannot be read.
        """
        shelf = self._shelves.get(path)
        if shelf is None:
            shelf = self._shelves[path] = Shelf(Bundle(path), self._namespace)
        return shelf

    @cached_property
    def _namespace(self) -> ObjectNamespace:
        self._folder = TemporaryDirectory(prefix="chatcache-", ignore_cleanup_errors=True)
        return ObjectNamespace(self._folder.name, "bundles", durability="normal", longest_row=_LONGEST_ROW)

    def __iter__(self) -> Iterator[Shelf]:
        return iter([*self._shelves.values()])

    def close(self) -> None:
        """Delete the objects."""
        for shelf in self:
            shelf.close()
        self._shelves.clear()
        if self._folder is not None:
            self._folder.cleanup()


def _entry(row: str, head: Head) -> Entry:
    return Entry(
        row,
        head["test"],
        head["store"],
        head["key"],
        head.get("number", 1),
        form_of(head),
        at_of(head),
        int(head["sketch"], 16),
    )

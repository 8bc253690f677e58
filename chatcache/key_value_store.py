"""Text and bytes under keys, in the storage of an object: Effect's ``KeyValueStore``, statement 44 of its contract.

The row of a key is ``%text:{store}:{key}``, the id of the store escaped as in `chatcache.backing.rows`.
"""

from base64 import b64encode
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, TypeVar

from .backing.names import check_store_id
from .backing.rows import escape
from .codec import encode
from .errors import CorruptRecordError, InvalidValueError, shown
from .memory_storage import Rows, RowStorage, awaited
from .storage.ranges import check_key

__all__ = ["KeyValueStore"]

V = TypeVar("V", str, bytes)

_Step = Callable[[Rows], None]


class KeyValueStore:
    """Text and bytes under keys, for any number of threads, tasks and processes.

    Every method raises `InvalidNameError` for a key that is none, and `PersistenceError` where the storage fails or
    holds what is neither text nor bytes.

    Args:
        storage: that of an object, or `chatcache.MemoryStorage`.
        store_id: its namespace there: 1 to 512 bytes of UTF-8. Two of one id see the same keys.

    Raises:
        InvalidNameError: the id is none.
    """

    def __init__(self, storage: RowStorage, store_id: str) -> None:
        self._storage = storage
        self._prefix = f"%text:{escape(check_store_id(store_id))}:"

    def prefix(self, prefix: str) -> "KeyValueStore":
        """Return a view of the keys that begin with a prefix, which it puts before every key, and strips in `keys`."""
        view = copy(self)
        view._prefix = self._row(prefix)  # noqa: SLF001 - another one of this class
        return view

    def get(self, key: str) -> str | None:
        """Return the text under a key, or None; of bytes it is their base64."""
        return _text(key, self._storage.get(self._row(key)))

    async def aget(self, key: str) -> str | None:
        """Awaiting twin of `get`."""
        return _text(key, await self._storage.aget(self._row(key)))

    def get_bytes(self, key: str) -> bytes | None:
        """Return the bytes under a key, or None; of text they are its UTF-8, whatever the text looks like."""
        return _bytes(key, self._storage.get(self._row(key)))

    async def aget_bytes(self, key: str) -> bytes | None:
        """Awaiting twin of `get_bytes`."""
        return _bytes(key, await self._storage.aget(self._row(key)))

    def has(self, key: str) -> bool:
        """Return whether there is something under a key."""
        return self.get(key) is not None

    async def ahas(self, key: str) -> bool:
        """Awaiting twin of `has`."""
        return await self.aget(key) is not None

    def set(self, key: str, value: str | bytes) -> None:
        """Store text or bytes under a key.

        Raises:
            InvalidValueError: it is neither, holds lone surrogates, or is larger than a row of the storage.
        """
        self._storage.transaction(self._writes(key, value))

    async def aset(self, key: str, value: str | bytes) -> None:
        """Awaiting twin of `set`."""
        await self._storage.atransaction(awaited(self._writes(key, value)))

    def modify(self, key: str, change: Callable[[str], str]) -> str | None:
        """Replace the text under a key by what a function makes of it, while nobody else writes.

        Args:
            key: the key.
            change: is given what `get` gives. It is not called where there is nothing. What it raises is raised.

        Returns:
            The new text, or None where there was nothing, and still is not.

        Raises:
            InvalidValueError: as `set`.
        """
        return self._storage.transaction(partial(self._modify, _text, key, change))

    async def amodify(self, key: str, change: Callable[[str], str]) -> str | None:
        """Awaiting twin of `modify`; the function is not awaited."""
        return await self._storage.atransaction(awaited(partial(self._modify, _text, key, change)))

    def modify_bytes(self, key: str, change: Callable[[bytes], bytes]) -> bytes | None:
        """Do what `modify` does, with what `get_bytes` gives."""
        return self._storage.transaction(partial(self._modify, _bytes, key, change))

    async def amodify_bytes(self, key: str, change: Callable[[bytes], bytes]) -> bytes | None:
        """Awaiting twin of `modify_bytes`."""
        return await self._storage.atransaction(awaited(partial(self._modify, _bytes, key, change)))

    def remove(self, key: str) -> None:
        """Remove a key; an absent one is none the less removed."""
        self._storage.transaction(self._removes(key))

    async def aremove(self, key: str) -> None:
        """Awaiting twin of `remove`."""
        await self._storage.atransaction(awaited(self._removes(key)))

    def clear_prefix(self, prefix: str) -> None:
        """Remove every key that begins with a prefix, to the letter; every key begins with the empty one."""
        self._storage.transaction(self._clears(prefix))

    async def aclear_prefix(self, prefix: str) -> None:
        """Awaiting twin of `clear_prefix`."""
        await self._storage.atransaction(awaited(self._clears(prefix)))

    def clear(self) -> None:
        """Remove every key of this store, or of this view of one."""
        self.clear_prefix("")

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self.aclear_prefix("")

    def keys(self) -> list[str]:
        """Return all keys, in the order of their UTF-8 bytes."""
        return self._keys(self._storage.list(prefix=self._prefix))

    async def akeys(self) -> list[str]:
        """Awaiting twin of `keys`."""
        return self._keys(await self._storage.alist(prefix=self._prefix))

    def size(self) -> int:
        """Return how many keys there are."""
        return len(self.keys())

    async def asize(self) -> int:
        """Awaiting twin of `size`."""
        return len(await self.akeys())

    def is_empty(self) -> bool:
        """Return whether there is no key."""
        return not self._storage.list(prefix=self._prefix, limit=1)

    async def ais_empty(self) -> bool:
        """Awaiting twin of `is_empty`."""
        return not await self._storage.alist(prefix=self._prefix, limit=1)

    def _row(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _keys(self, rows: dict[str, Any]) -> list[str]:
        return [row.removeprefix(self._prefix) for row in rows]

    def _writes(self, key: str, value: Any) -> _Step:
        if not isinstance(value, str | bytes):
            raise InvalidValueError(
                f"{shown(value)} for the key {key!r:.60} is neither text nor bytes: pass one of them"
            )
        if isinstance(value, str):
            _utf8(key, value)
        change = {self._row(key): encode(value)}
        return lambda rows: rows.change(change)

    def _removes(self, key: str) -> _Step:
        row = self._row(key)
        return lambda rows: rows.change({row: None})

    def _clears(self, prefix: str) -> _Step:
        rows_of_it = self._row(prefix)
        return lambda rows: rows.change({}, prefixes=[rows_of_it])

    def _modify(self, read: Callable[[str, Any], V | None], key: str, change: Callable[[V], V], rows: Rows) -> V | None:
        value = read(key, rows.get(self._row(key)))
        if value is None:
            return None
        value = change(value)
        self._writes(key, value)(rows)
        return value


def _text(key: str, value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bytes():
            return b64encode(value).decode()
    raise CorruptRecordError(f"under the key {key!r:.60} there is {shown(value)}, neither text nor bytes: remove it")


def _bytes(key: str, value: Any) -> bytes | None:
    return value if isinstance(value, bytes) or (value := _text(key, value)) is None else _utf8(key, value)


def _utf8(key: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"the text for the key {key!r:.60} holds lone surrogates, which UTF-8 has no form for: store its bytes"
        ) from error

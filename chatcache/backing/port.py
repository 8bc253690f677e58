"""The contract of a backing store: statements 1-18 of Effect's ``BackingPersistence``, in Python."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from chatcache.ttl import TTL

__all__ = ["Backing", "BackingStore", "Entry"]

Entry = tuple[str, Any, TTL]
"""A key, its value, and how long it lives."""


class BackingStore(Protocol):
    """Entries under keys, isolated from those of every other store id.

    Values are those that `chatcache.codec` stores. An entry with a TTL is invisible from its last millisecond on;
    without one it never expires. A note is a second value that lives and dies with its entry; reading the entry does
    not read it.
    Each method raises `chatcache.PersistenceError` where the backend fails.
    """

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a live entry, or `default`."""
        ...

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        ...

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Return one slot for each key, in the order of the keys, `default` where there is no live, readable entry."""
        ...

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        """Awaiting twin of `get_many`."""
        ...

    def note(self, key: str) -> Any:
        """Return the note of a live entry, or None where it has none."""
        ...

    async def anote(self, key: str) -> Any:
        """Awaiting twin of `note`."""
        ...

    def set(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        """Store a value and its expiry over whatever was there; a TTL that is not positive makes it expired already.

        Args:
            key: the key.
            value: the value.
            ttl: how long it lives.
            note: another value to be kept with it, or None; one that was there before is gone in any case.
        """
        ...

    async def aset(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        """Awaiting twin of `set`."""
        ...

    def set_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        """Store entries: all of them, or none.

        Args:
            entries: the entries.
            notes: the notes of some of them, by their keys.
        """
        ...

    async def aset_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        """Awaiting twin of `set_many`."""
        ...

    def remove(self, key: str) -> None:
        """Remove an entry; an absent one is none the less removed."""
        ...

    async def aremove(self, key: str) -> None:
        """Awaiting twin of `remove`."""
        ...

    def clear(self) -> None:
        """Remove every entry of this store, and of no other."""
        ...

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        ...


class Backing(Protocol):
    """Makes stores, one for each id."""

    def make(self, store_id: str) -> BackingStore:
        """Return the store of an id; two of one id see the same entries.

        Raises:
            InvalidNameError: the id is no str of 1 to 512 bytes of UTF-8.
        """
        ...

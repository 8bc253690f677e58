"""A backing that counts what it is asked, and fails where it is told to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chatcache.backing import Backing, BackingStore, Entry
from chatcache.errors import PersistenceError
from chatcache.ttl import TTL

__all__ = ["Watched"]


class Watched:
    """Passes everything on to another backing.

    Args:
        backing: that one.

    Attributes:
        calls: the names of the methods of its stores that were called, in their blocking form.
        failing: which of them raise `PersistenceError` instead.
        too_few: whether ``get_many`` leaves out its last slot.
    """

    def __init__(self, backing: Backing) -> None:
        self._backing = backing
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.too_few = False

    def make(self, store_id: str) -> BackingStore:
        """Return the store of an id, watched."""
        return _WatchedStore(self, self._backing.make(store_id))

    def note(self, name: str) -> None:
        """Count a call, or fail."""
        self.calls.append(name)
        if name in self.failing:
            raise PersistenceError(f"{name} was told to fail")


class _WatchedStore:
    def __init__(self, watched: Watched, store: BackingStore) -> None:
        self._watched = watched
        self._store = store

    def get(self, key: str, default: Any = None) -> Any:
        self._watched.note("get")
        return self._store.get(key, default)

    async def aget(self, key: str, default: Any = None) -> Any:
        self._watched.note("get")
        return await self._store.aget(key, default)

    def get_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        self._watched.note("get_many")
        return self._store.get_many(keys, default)[: -1 if self._watched.too_few else None]

    async def aget_many(self, keys: Sequence[str], default: Any = None) -> list[Any]:
        self._watched.note("get_many")
        return (await self._store.aget_many(keys, default))[: -1 if self._watched.too_few else None]

    def note(self, key: str) -> Any:
        self._watched.note("note")
        return self._store.note(key)

    async def anote(self, key: str) -> Any:
        self._watched.note("note")
        return await self._store.anote(key)

    def set(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        self._watched.note("set")
        self._store.set(key, value, ttl, note=note)

    async def aset(self, key: str, value: Any, ttl: TTL = None, *, note: Any = None) -> None:
        self._watched.note("set")
        await self._store.aset(key, value, ttl, note=note)

    def set_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        self._watched.note("set_many")
        self._store.set_many(entries, notes=notes)

    async def aset_many(self, entries: Iterable[Entry], *, notes: Mapping[str, Any] | None = None) -> None:
        self._watched.note("set_many")
        await self._store.aset_many(entries, notes=notes)

    def remove(self, key: str) -> None:
        self._watched.note("remove")
        self._store.remove(key)

    async def aremove(self, key: str) -> None:
        self._watched.note("remove")
        await self._store.aremove(key)

    def clear(self) -> None:
        self._watched.note("clear")
        self._store.clear()

    async def aclear(self) -> None:
        self._watched.note("clear")
        await self._store.aclear()

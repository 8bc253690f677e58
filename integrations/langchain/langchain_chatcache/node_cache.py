"""LangGraph's cache of what its nodes return."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, TypeVar

from chatcache import (
    BackingStore,
    DurableObjectPersistence,
    MissingPackageError,
    ObjectNamespace,
    raise_interrupt,
    request_key,
    sweep_expired,
)

try:
    from langgraph.cache.base import BaseCache, FullKey, Namespace
    from langgraph.checkpoint.serde.base import SerializerProtocol
except ImportError as error:
    raise MissingPackageError("DONodeCache needs LangGraph: pip install 'langchain-chatcache[langgraph]'") from error

__all__ = ["DONodeCache"]

V = TypeVar("V")

_NAMESPACE = "nodes"
_KNOWN = "%namespace:"  # begins the rows that name all namespaces; none of a backing store's begins so

_logger = logging.getLogger("chatcache")


class DONodeCache(BaseCache[V]):
    """What the nodes of a graph return, kept in one SQLite file; for ``compile(cache=)`` with a ``CachePolicy``.

    ``CachePolicy(key_func=node_key)`` has equal inputs hit in each process, see `node_key`: the keys that LangGraph
    makes by default change from process to process for messages and pydantic models.

    Two namespaces have never an entry in common, whatever their parts are called. Where the file cannot be read or
    written the nodes run, which is said once by the logger ``chatcache``; so they do where an entry cannot be read.

    Args:
        store_id: the namespace of all of these entries within the object.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        serde: makes bytes of what a node returns, and the other way round; LangGraph's own by default.

    Raises:
        InvalidInputError: an argument cannot be right.
        StorageError: `path` is a file.
    """

    def __init__(
        self,
        store_id: str,
        *,
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(serde=serde)
        self._object = ObjectNamespace(path, _NAMESPACE, alarm=sweep_expired, durability="normal").get_by_name(object)
        self._persistence = DurableObjectPersistence(self._object.storage, sweeps=True)
        self._persistence.make(store_id)  # which says what is wrong with it
        self._store_id = store_id
        self._known = f"{_KNOWN}{request_key([store_id])}:"
        self._stores: dict[Namespace, BackingStore] = {}
        self._noted: set[Namespace] = set()
        self._said: set[type[Exception]] = set()

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Return what is kept under some keys; what is not there, or cannot be read, is left out."""
        found: dict[FullKey, V] = {}
        for namespace, group in _by_namespace(keys).items():
            with self._excused():
                values = self._store(namespace).get_many([request_key(key) for _, key in group])
                found |= self._read(group, values)
        return found

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, V]:
        """Awaiting twin of `get`."""
        found: dict[FullKey, V] = {}
        for namespace, group in _by_namespace(keys).items():
            with self._excused():
                values = await self._store(namespace).aget_many([request_key(key) for _, key in group])
                found |= self._read(group, values)
        return found

    def set(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """Keep values, each for so many seconds, or for ever."""
        for namespace, group in _by_namespace(pairs).items():
            with self._excused():
                if namespace not in self._noted:
                    self._object.storage.put(self._row(namespace), list(namespace))
                    self._noted.add(namespace)
                self._store(namespace).set_many(self._entries(group, pairs))

    async def aset(self, pairs: Mapping[FullKey, tuple[V, int | None]]) -> None:
        """Awaiting twin of `set`."""
        for namespace, group in _by_namespace(pairs).items():
            with self._excused():
                if namespace not in self._noted:
                    await self._object.storage.aput(self._row(namespace), list(namespace))
                    self._noted.add(namespace)
                await self._store(namespace).aset_many(self._entries(group, pairs))

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Remove the entries of some namespaces, or of all.

        Raises:
            StorageError: they could not be removed.
        """
        if namespaces is None:
            namespaces = [*self._object.storage.list(prefix=self._known).values()]
        for namespace in namespaces:
            self._store(tuple(namespace)).clear()

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Awaiting twin of `clear`."""
        if namespaces is None:
            namespaces = [*(await self._object.storage.alist(prefix=self._known)).values()]
        for namespace in namespaces:
            await self._store(tuple(namespace)).aclear()

    def _store(self, namespace: Namespace) -> BackingStore:
        if namespace not in self._stores:
            self._stores[namespace] = self._persistence.make(self._digest(namespace))
        return self._stores[namespace]

    def _row(self, namespace: Namespace) -> str:
        return self._known + self._digest(namespace)

    def _digest(self, namespace: Namespace) -> str:
        return request_key([self._store_id, *namespace])

    def _entries(
        self, group: Sequence[FullKey], pairs: Mapping[FullKey, tuple[V, int | None]]
    ) -> list[tuple[str, Any, int | None]]:
        entries: list[tuple[str, Any, int | None]] = []
        for key in group:
            value, ttl = pairs[key]
            with self._excused():
                entries.append((request_key(key[1]), list(self.serde.dumps_typed(value)), ttl))
        return entries

    def _read(self, group: Sequence[FullKey], values: Sequence[Any]) -> dict[FullKey, V]:
        found: dict[FullKey, V] = {}
        for key, value in zip(group, values, strict=True):
            if value is not None:
                with self._excused():
                    kind, data = value
                    found[key] = self.serde.loads_typed((kind, data))
        return found

    @contextmanager
    def _excused(self) -> Iterator[None]:
        """Have a node run where the cache fails, and say so once for each kind of error."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - also whatever a serializer makes of what it does not know
            raise_interrupt(error)
            if type(error) not in self._said:
                self._said.add(type(error))
                _logger.warning("the cache of nodes %r is not used: %s", self._store_id, error)

    def __repr__(self) -> str:
        return f"<DONodeCache {self._store_id!r} in {str(self._object.path)!r}>"


def _by_namespace(keys: Iterable[FullKey]) -> dict[Namespace, list[FullKey]]:
    groups: dict[Namespace, list[FullKey]] = {}
    for key in keys:
        groups.setdefault(tuple(key[0]), []).append(key)
    return groups

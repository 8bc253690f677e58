"""LangChain's key-value store of bytes."""

from collections.abc import AsyncIterator, Iterator, Sequence
from os import PathLike

from langchain_core.stores import BaseStore

from chatcache import DurableObjectPersistence, InvalidNameError, InvalidValueError, ObjectNamespace

__all__ = ["DOByteStore"]

_NAMESPACE = "bytes"


class DOByteStore(BaseStore[str, bytes]):
    """Bytes by their keys, kept in one SQLite file; for ``CacheBackedEmbeddings``, retrievers and document stores.

    Args:
        store_id: the namespace of these entries within the object.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.

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
    ) -> None:
        self._object = ObjectNamespace(path, _NAMESPACE, durability="normal").get_by_name(object)
        self._storage = self._object.storage
        DurableObjectPersistence(self._storage).make(store_id)  # which says what is wrong with the id
        self._prefix = store_id.replace("%", "%25").replace(":", "%3A") + ":"  # of no two stores the same

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the bytes of each key, in their order, or None where there are none.

        Raises:
            InvalidNameError: a key is no str, or takes more than 2,048 bytes with the id of the store.
            StorageError: they could not be read.
        """
        rows = [self._row(key) for key in keys]
        found = self._storage.get_many(rows)
        return [found.get(row) for row in rows]

    async def amget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Awaiting twin of `mget`."""
        rows = [self._row(key) for key in keys]
        found = await self._storage.aget_many(rows)
        return [found.get(row) for row in rows]

    def mset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Keep bytes by their keys, all of them or none.

        Raises:
            InvalidNameError: as `mget`.
            InvalidValueError: a value is not bytes, or takes more than 2 MiB with its key.
            StorageError: they could not be written.
        """
        self._storage.put_many(dict(self._entries(key_value_pairs)))

    async def amset(self, key_value_pairs: Sequence[tuple[str, bytes]]) -> None:
        """Awaiting twin of `mset`."""
        await self._storage.aput_many(dict(self._entries(key_value_pairs)))

    def mdelete(self, keys: Sequence[str]) -> None:
        """Remove keys, as far as they are there.

        Raises:
            StorageError: they could not be removed.
        """
        self._storage.delete_many([self._row(key) for key in keys])

    async def amdelete(self, keys: Sequence[str]) -> None:
        """Awaiting twin of `mdelete`."""
        await self._storage.adelete_many([self._row(key) for key in keys])

    def yield_keys(self, *, prefix: str | None = None) -> Iterator[str]:
        """Yield the keys, in their order, or those that begin with a prefix.

        Raises:
            StorageError: they could not be read.
        """
        for row in self._storage.keys(prefix=self._prefix + (prefix or "")):
            yield row.removeprefix(self._prefix)

    async def ayield_keys(self, *, prefix: str | None = None) -> AsyncIterator[str]:
        """Awaiting twin of `yield_keys`."""
        async for row in self._storage.akeys(prefix=self._prefix + (prefix or "")):
            yield row.removeprefix(self._prefix)

    def _entries(self, pairs: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        for key, value in pairs:
            if not isinstance(value, bytes | bytearray | memoryview):
                raise InvalidValueError(
                    f"under the key {key!r:.60} the value is of type {type(value).__name__}: a DOByteStore keeps bytes"
                )
            yield self._row(key), bytes(value)

    def _row(self, key: str) -> str:
        if isinstance(key, str):
            return self._prefix + key
        raise InvalidNameError(f"{key!r:.200} is of type {type(key).__name__}: a key of a DOByteStore is a str")

    def __repr__(self) -> str:
        return f"<DOByteStore {self._prefix!r} in {str(self._object.path)!r}>"

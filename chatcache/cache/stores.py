"""Which stores there are in a folder."""

from collections.abc import Iterator
from os import PathLike

from chatcache.backing import DurableObjectPersistence
from chatcache.storage import ObjectNamespace

from .responses import NAMESPACE, ResponseCache

__all__ = ["stores_in"]


def stores_in(path: str | PathLike[str] | None = None, object: str | None = None) -> Iterator[ResponseCache]:  # noqa: A002 - Cloudflare's word for it
    """Yield a cache of each store that has records in a folder; it only reads.

    An object that was made by its id alone has no name to be asked for by, and is left out.

    Args:
        path: the folder; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the one object to look in; by default all are looked in.

    Raises:
        StorageError: `path` is a file, or a file of an object cannot be read.
    """
    namespace = ObjectNamespace(path, NAMESPACE)
    for info in namespace.names():
        if info.error is not None:
            raise info.error
        if info.name is not None and object in (None, info.name):
            storage = namespace.get_by_name(info.name).storage
            for store_id in DurableObjectPersistence(storage, tidies=False).store_ids():
                yield ResponseCache(store_id, path=path, object=info.name, mode="read_only")

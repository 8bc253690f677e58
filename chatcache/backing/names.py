"""Names of stores, the same for every backend."""

from chatcache.errors import InvalidNameError
from chatcache.storage.ranges import check_key

__all__ = ["check_store_id"]

_LONGEST_ID = 512  # bytes of UTF-8


def check_store_id(store_id: str) -> str:
    """Return a store id.

    Raises:
        InvalidNameError: it is no str of 1 to 512 bytes of UTF-8.
    """
    if not isinstance(store_id, str) or not store_id:
        raise InvalidNameError(f"store id {store_id!r:.200}: use a non-empty str")
    size = len(check_key(store_id).encode())
    if size > _LONGEST_ID:
        raise InvalidNameError(f"store id {store_id!r:.60} is {size:,} bytes of UTF-8: use at most {_LONGEST_ID}")
    return store_id

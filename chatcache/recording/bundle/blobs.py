"""The values of blobs."""

from collections.abc import Callable
from typing import Any

from chatcache.errors import BundleError
from chatcache.interrupts import raise_interrupt

from .layout import parsed
from .text import MOST_VALUES, why_not_json

__all__ = ["BlobReader", "no_blob"]

_SIZE_OF_A_NUMBER = 32  # bytes in memory
_MOST_EXPANDED = 64 * 1024 * 1024  # bytes of the blobs that records refer to, each counted as often as it is
_MOST_TIMES = 32  # that they may refer to each byte of a blob in addition


class BlobReader:
    """Reads the blobs of some records, each once, and no more of them than they may expand to.

    Args:
        content: returns the content of a blob by its name, which may be anything.
    """

    def __init__(self, content: Callable[[Any], bytes]) -> None:
        self._content = content
        self._values: dict[str, tuple[Any, int]] = {}
        self._distinct = self._expanded = self._held = 0

    def __call__(self, digest: Any) -> Any:
        """Return the value of a blob.

        Raises:
            BundleError: it is damaged, or records refer to blobs so often that together they are too large.
        """
        known = self._values.get(digest) if isinstance(digest, str) else None
        value, size = known or self._read(digest)
        self._expanded += size
        if self._expanded > _MOST_EXPANDED + _MOST_TIMES * self._distinct:
            raise BundleError(f"blobs are referred to so often that they expand to over {self._expanded:,} bytes")
        return value if type(value) is str else [*value]

    def _read(self, digest: Any) -> tuple[Any, int]:
        content = self._content(digest)
        if content.startswith(b"[") and content.count(b",") > MOST_VALUES:
            raise BundleError(f"the blob {digest} has more than {MOST_VALUES:,} values")
        try:
            value = parsed(content)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise BundleError(f"the blob {digest} is no JSON: {why_not_json(error)}") from error
        is_list = type(value) is list and all(type(item) in {int, float} for item in value)
        if type(value) is not str and not is_list:
            raise BundleError(f"the blob {digest} is neither a text nor a list of numbers")
        if self._held > _MOST_EXPANDED:
            self._values, self._held = {}, 0
        size = _SIZE_OF_A_NUMBER * len(value) if is_list else len(content)
        self._values[digest] = value, size
        self._held += size
        self._distinct += len(content)
        return value, size


def no_blob(_digest: Any) -> None:
    """Stand for the value of every blob."""

"""Every error that chatcache raises.

::

    ChatcacheError
    ├── InvalidInputError (also a ValueError)    what the caller passed cannot be right
    │   ├── InvalidNameError                     an object, a namespace, a store id, a key
    │   ├── InvalidModeError                     not one of the modes
    │   ├── InvalidTTLError                      not a time to live
    │   └── InvalidValueError                    not a JSON value (also a PersistenceError)
    ├── PersistenceError                         a record could not be kept or read
    │   ├── StorageError                         the file cannot be opened, read or written
    │   │   └── CorruptStorageError              the file is no SQLite database, or a damaged one
    │   └── CorruptRecordError                   one record's bytes are not what chatcache wrote
    └── ReplayMiss                               mode ``replay``, and there is no record to replay

Errors of the libraries underneath (``sqlite3``, ``orjson``) stand as the cause of one of these, and are never raised
themselves.
"""

from typing import Any

__all__ = [
    "ChatcacheError",
    "CorruptRecordError",
    "CorruptStorageError",
    "InvalidInputError",
    "InvalidModeError",
    "InvalidNameError",
    "InvalidTTLError",
    "InvalidValueError",
    "PersistenceError",
    "ReplayMiss",
    "StorageError",
]


class ChatcacheError(Exception):
    """The root: ``except ChatcacheError`` catches whatever chatcache raises."""


class InvalidInputError(ChatcacheError, ValueError):
    """What the caller passed cannot be right."""


class InvalidNameError(InvalidInputError):
    """A name that cannot stand for an object, a namespace, a store or a key."""


class InvalidModeError(InvalidInputError):
    """A mode that is not one of `chatcache.Mode`."""


class InvalidTTLError(InvalidInputError):
    """A time to live that is neither seconds, nor a timedelta, nor None."""


class PersistenceError(ChatcacheError):
    """A record could not be kept or read; the cause says why."""


class InvalidValueError(InvalidInputError, PersistenceError):
    """A value that is not JSON.

    Attributes:
        path: where in the value the part is that is not JSON, such as ``$.a[3].b``.
        problem: what is wrong with it, and what to do.
    """

    def __init__(self, problem: str, path: str = "$") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        """Say where, then what."""
        return f"{self.path}: {self.problem}"

    def within(self, step: str | int) -> "InvalidValueError":
        """Return this error as seen from the container that holds the part under a key or an index."""
        here = f"[{step}]" if isinstance(step, int) else f".{step}"
        return InvalidValueError(self.problem, f"${here}{self.path[1:]}")


class StorageError(PersistenceError):
    """The file of an object cannot be opened, read or written."""


class CorruptStorageError(StorageError):
    """The file of an object is no SQLite database, or a damaged one."""


class CorruptRecordError(PersistenceError):
    """The bytes of one record are not what chatcache wrote."""


class ReplayMiss(ChatcacheError):  # noqa: N818 - a miss is what it is: the word of the modes and of the documentation
    """In mode ``replay`` a request has no record, so nothing was called.

    Attributes:
        key: the key that was looked up (64 hex digits), or None where the request has no key.
        request: the request as it was keyed, a JSON value, or the text that could not be.
        store_id: the store that was asked.
        reason: why there is no answer, in a few words.
        where: the file of the records.
    """

    def __init__(self, *, key: str | None, request: Any, store_id: str, reason: str, where: str) -> None:
        self.key = key
        self.request = request
        self.store_id = store_id
        self.reason = reason
        self.where = where
        super().__init__(key, request, store_id, reason, where)

    def __str__(self) -> str:
        """Say what was asked for, where, and how to record it."""
        return (
            f"no record to replay: {self.reason}\n"
            f"  store    {self.store_id!r} in {self.where}\n"
            f"  key      {self.key or 'none'}\n"
            f"  request  {_shortened(repr(self.request))}\n"
            "Nothing was called. To record it, run once in a mode that calls, such as 'auto', where the provider can "
            "be reached."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by keyword, so that a miss crosses process borders (pytest-xdist, multiprocessing)."""
        return _rebuild_miss, (self.key, self.request, self.store_id, self.reason, self.where)


def _rebuild_miss(key: str | None, request: Any, store_id: str, reason: str, where: str) -> ReplayMiss:
    return ReplayMiss(key=key, request=request, store_id=store_id, reason=reason, where=where)


def _shortened(text: str, limit: int = 2_000) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"

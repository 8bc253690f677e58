"""Every error that chatcache raises.

::

    ChatcacheError
    ├── InvalidInputError (also a ValueError)    what the caller passed cannot be right
    │   ├── InvalidNameError                     an object, a namespace, a store id, a key
    │   ├── InvalidModeError                     not one of the modes
    │   ├── InvalidTTLError                      not a time to live
    │   └── InvalidValueError                    not to be stored, or not JSON (also a PersistenceError)
    ├── PersistenceError                         a record could not be kept or read
    │   ├── StorageError                         the file cannot be opened, read or written
    │   │   ├── CorruptStorageError              the file is no SQLite database, or a damaged one
    │   │   └── SQLError                         a statement of ``storage.sql`` failed
    │   ├── TransactionError                     a transaction was used after its end, or where none may be
    │   ├── NotStoredError                       an answer was paid for, and could not be stored
    │   ├── CorruptRecordError                   one record's bytes are not what chatcache wrote
    │   └── DecodeError                          a record is no result of the request that asks for it
    ├── BundleError                              a file of recorded calls cannot be read or written
    ├── NotRecordedError                         a call could not be recorded into a bundle
    │   └── SecretError                          it holds a secret
    ├── ReplayedError                            a failure that was recorded, of a class that may not be made here
    ├── ReplayMiss                               mode ``replay``, and there is no record to replay
    ├── QueueEmptyError                          nothing in a queue was due in the time that was given
    ├── StreamInterruptedError                   the stream of another caller that was followed broke off
    ├── UnsupportedLibraryError                  an awaited method without asyncio, or a library that it cannot run with
    └── MissingPackageError (also an ImportError) a package that only some uses need is not installed

Errors of the libraries underneath (``sqlite3``, ``orjson``) stand as the cause of one of these, and are never raised
themselves.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from chatcache.interrupts import raise_interrupt

__all__ = [
    "BundleError",
    "ChatNotFoundError",
    "ChatcacheError",
    "CorruptRecordError",
    "CorruptStorageError",
    "DecodeError",
    "InvalidInputError",
    "InvalidModeError",
    "InvalidNameError",
    "InvalidTTLError",
    "InvalidValueError",
    "LeftOut",
    "MissingPackageError",
    "NotRecordedError",
    "NotStoredError",
    "PersistenceError",
    "QueueEmptyError",
    "ReplayMiss",
    "ReplayedError",
    "SQLError",
    "SecretError",
    "StorageError",
    "StreamInterruptedError",
    "TransactionError",
    "UnsupportedLibraryError",
]


class ChatcacheError(Exception):
    """The root: ``except ChatcacheError`` catches whatever chatcache raises."""

    def __str__(self) -> str:
        """Return the message, in which what cannot be seen is escaped: it may hold names and texts of others."""
        return printable(super().__str__(), keep="\n")


class InvalidInputError(ChatcacheError, ValueError):
    """What the caller passed cannot be right.

    Attributes:
        status_code: what a server answers where it is not caught, 400 (Bad Request).
    """

    status_code = 400


class InvalidNameError(InvalidInputError):
    """A name that cannot stand for an object, a namespace, a store or a key."""


class InvalidModeError(InvalidInputError):
    """A mode that is not one of `chatcache.Mode`."""


class InvalidTTLError(InvalidInputError):
    """A time to live that is neither seconds, nor a timedelta, nor None."""


class PersistenceError(ChatcacheError):
    """A record could not be kept or read; the cause says why."""


class InvalidValueError(InvalidInputError, PersistenceError):
    """A value that cannot be stored, or a request that is not JSON.

    Attributes:
        path: where in the value the part is that cannot be, such as ``$.a[3].b``. A key that is no identifier stands in
            brackets, as in ``$["a b"]`` or ``$[(1, 2)]``; a member of a set, and a key that is itself at fault, stand
            in braces, as in ``$.tags{Decimal('1')}``.
        problem: what is wrong with it, and what to do.
    """

    def __init__(self, problem: str, path: str = "$") -> None:
        super().__init__(problem, path)
        self.problem = problem
        self.path = path

    def __str__(self) -> str:
        """Say where, then what."""
        return printable(f"{self.path}: {self.problem}", keep="\n")

    def within(self, step: object) -> "InvalidValueError":
        """Return this error as seen from the container that holds the part under a key or an index."""
        return InvalidValueError(self.problem, f"${_step(step)}{self.path[1:]}")

    def among(self, member: object) -> "InvalidValueError":
        """Return it as seen from the set that has the part as a member, or the dictionary that has it as a key."""
        return InvalidValueError(self.problem, f"${{{shown(member)}}}{self.path[1:]}")


class StorageError(PersistenceError):
    """The file of an object cannot be opened, read or written."""


class CorruptStorageError(StorageError):
    """The file of an object is no SQLite database, or a damaged one."""


class SQLError(StorageError):
    """A statement of ``storage.sql`` is wrong, is not allowed, or failed."""


class TransactionError(PersistenceError):
    """A transaction was used after its end, or something was called that cannot be in one."""


class NotStoredError(PersistenceError):
    """An answer could not be stored; what failed is the cause.

    Attributes:
        answer: the answer, or the chunks of a stream, which was paid for.
        problem: what failed.
    """

    def __init__(self, answer: Any, problem: str) -> None:
        super().__init__(answer, problem)
        self.answer = answer
        self.problem = problem

    def __str__(self) -> str:
        """Say what failed, and where the answer is."""
        return f"an answer could not be stored: {printable(self.problem)}\nThe answer is in this error's .answer."


class CorruptRecordError(PersistenceError):
    """The bytes of one record are not what chatcache wrote."""


class DecodeError(PersistenceError):
    """A record is no result of the request that asks for it: its schemas changed, or another one has its key."""


class ReplayedError(ChatcacheError):
    """A failure that was recorded, and is raised again; its own class is not among those that may be made.

    Attributes:
        name: the name of the class, as ``openai.RateLimitError``; nothing is imported by it.
        message: what the error said.
        data: those attributes of the error that could be stored.
    """

    def __init__(self, name: str, message: str, data: dict[str, Any] | None = None) -> None:
        self.name = name
        self.message = message
        self.data = data or {}
        super().__init__(name, message, self.data)

    def __str__(self) -> str:
        """Say what failed then, and how to have it differently."""
        return (
            f"recorded failure: {printable(self.name)}: {printable(self.message, keep=chr(10))}\n"
            "Nothing was called. To have it raised as itself, pass its class in errors=; to try again, remove the "
            "record."
        )


class ChatNotFoundError(ChatcacheError):
    """There is no chat of an id.

    Attributes:
        chat_id: the id.
    """

    def __init__(self, chat_id: str) -> None:
        super().__init__(f"there is no chat {chat_id!r:.200}: get_or_create() makes one")
        self.chat_id = chat_id


class QueueEmptyError(ChatcacheError):
    """Nothing in a queue was due in the time that was given."""


class StreamInterruptedError(ChatcacheError):
    """The stream of another caller that was followed broke off, by no error of its own: that caller's loop ended."""


class UnsupportedLibraryError(ChatcacheError, RuntimeError):
    """The program runs on a concurrency library that chatcache does not work with, such as trio or eventlet."""


class MissingPackageError(ChatcacheError, ImportError):
    """A package that only some uses of chatcache need is not installed."""


class BundleError(ChatcacheError):
    """A bundle, a file of recorded calls, cannot be read or written."""

    def __str__(self) -> str:
        """Return the message in one line."""
        return printable(super().__str__())


class NotRecordedError(ChatcacheError):
    """A call could not be recorded into a bundle, so it could not be replayed."""


class SecretError(NotRecordedError):
    """A call was not recorded because it holds a secret."""


class ReplayMiss(ChatcacheError):  # noqa: N818 - a miss is what it is: the word of the modes and of the documentation
    """In mode ``replay`` a request has no record, so nothing was called.

    Attributes:
        key: the key that was looked up (64 hex digits), or None where the request has no key.
        request: the request as it was keyed, a JSON value, or the name of its type if it has no key.
        store_id: the store that was asked.
        reason: why there is no answer, in a few words.
        where: the file of the records.
        left_out: the names of what the call had that is no part of the request, where an adapter says so.
        status_code: what a server answers where it is not caught, 424 (Failed Dependency); what routes calls knows by
            it that there is no sense in trying again.
    """

    status_code = 424

    def __init__(self, *, key: str | None, request: Any, store_id: str, reason: str, where: str) -> None:
        self.key = key
        self.request = request
        self.store_id = store_id
        self.reason = reason
        self.where = where
        self.left_out: tuple[str, ...] = ()
        super().__init__(key, request, store_id, reason, where)

    def __str__(self) -> str:
        """Say what was asked for, where, and how to record it."""
        left_out = f"  left out {printable(shortened(', '.join(self.left_out), 300))}\n" if self.left_out else ""
        remedy = (
            "Such a call cannot be recorded."
            if self.key is None
            else "To record it, run once in a mode that calls, such as 'auto', where the provider can be reached."
        )
        return (
            f"no record to replay: {printable(self.reason)}\n"
            f"  store    {self.store_id!r} in {printable(self.where)}\n"
            f"  key      {printable(self.key or 'none')}\n"
            f"  request  {shortened(repr(self.request))}\n"
            f"{left_out}"
            f"Nothing was called. {remedy}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of it, as JSON has it if the request is JSON."""
        return {
            "key": self.key,
            "store": self.store_id,
            "reason": self.reason,
            "where": self.where,
            "request": self.request,
            "left_out": [*self.left_out],
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by keyword, so that a miss crosses process borders (pytest-xdist, multiprocessing)."""
        state = {"left_out": self.left_out}
        return _rebuild_miss, (self.key, self.request, self.store_id, self.reason, self.where), state


def _rebuild_miss(key: str | None, request: Any, store_id: str, reason: str, where: str) -> ReplayMiss:
    return ReplayMiss(key=key, request=request, store_id=store_id, reason=reason, where=where)


class LeftOut:
    """Has a miss in its body say what is no part of the request: for adapters.

    Args:
        names: returns the names; it is called where there is a miss.
    """

    __slots__ = ("_names",)

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Tell the miss, if there is one."""
        if isinstance(error, ReplayMiss) and not error.left_out:
            error.left_out = tuple(self._names())


_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\U000e0100-\U000e01ef]"
)  # that Python calls printable
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#[\w.]*\[)", re.MULTILINE)  # of a CI's log


def printable(text: str, *, keep: str = "") -> str:
    """Return a text as it is printed: what cannot be seen, or changes what is seen around it, stands as its escape.

    So do the beginnings of lines that GitHub, Azure and TeamCity take for commands when they read a log.

    Args:
        text: the text.
        keep: the characters that stay as they are, such as a line feed for a text of several lines.
    """
    if not text.isprintable() or _INVISIBLE.search(text):
        text = "".join(each if each.isprintable() or each in keep else _escape(each) for each in text)
        text = _INVISIBLE.sub(lambda match: _escape(match.group()), text)
    if "::" in text or "##" in text:
        text = _COMMAND.sub(lambda match: f"{match[1] or ''}{_escape(match[0][-1])}", text)
    return text


def _escape(character: str) -> str:
    if character.isascii() and character.isprintable():
        return f"\\x{ord(character):x}"
    return ascii(character)[1:-1]


def shortened(text: str, limit: int = 2_000) -> str:
    """Return a text as far as a message has room for it."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def shown(value: object) -> str:
    """Return a value's repr as far as a message has room for it; one whose repr fails must not hide the message."""
    try:
        return shortened(repr(value), 200)
    except Exception as error:  # noqa: BLE001 - any code of a caller's class, and Python's limits of digits and of depth
        raise_interrupt(error)
        return f"<{type(value).__name__} object, whose repr fails>"


def _step(step: object) -> str:
    if not isinstance(step, str):
        return f"[{shown(step)}]"
    if step.isidentifier():
        return f".{step}"
    quoted = json.dumps(shortened(step, 200), ensure_ascii=False)
    return f"[{quoted.encode('utf-8', 'backslashreplace').decode()}]"

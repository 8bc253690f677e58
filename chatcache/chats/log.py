"""The messages of one conversation, each in a row of its own: to add one costs the same however many there are."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from os import PathLike
from typing import Any

from chatcache._bridge import Colour, awaiting, blocking, drive, pause
from chatcache.backing.names import check_store_id
from chatcache.clock import Clock, milliseconds, now
from chatcache.codec import encode
from chatcache.errors import DecodeError, InvalidNameError, shown
from chatcache.interrupts import raise_interrupt
from chatcache.keys import canonical_json
from chatcache.storage import Alarm, DurableObject, ObjectNamespace, Storage, Transaction
from chatcache.storage.ranges import check_key
from chatcache.ttl import TTL, expires_at, parse_ttl

from .rows import DUE, conversation_of, due_row, end_of_due, head_row, number_of, piece_row, said_rows

__all__ = ["MessageLog", "sweep_conversations"]

_NAMESPACE = "chats"
_PIECE = 250_000  # characters: at most a megabyte of UTF-8, and a row takes two
_NULL = encode(None)
_MOST = 100  # conversations that are deleted in one transaction


class MessageLog:
    """The messages of one conversation.

    What is appended at once is kept as a whole or not at all, and stays in one piece, whoever else appends at the same
    time: in another thread, task or process.

    Args:
        chat_id: the id of the conversation: a str of any length.
        store_id: the namespace of the conversation: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file; many conversations may share one.
        ttl: how long the conversation is kept after the last message: seconds, a timedelta, or None for no limit.
        timeout: how many seconds to wait where another process holds the file.
        clock: gives the time in seconds since the epoch.

    Raises:
        InvalidInputError: an argument cannot be right.
        StorageError: `path` is a file.
    """

    def __init__(  # noqa: PLR0913 - all but the first by keyword, all with a default
        self,
        chat_id: str,
        *,
        store_id: str = "chats",
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        ttl: TTL = None,
        timeout: float = 10.0,
        clock: Clock = now,
    ) -> None:
        parse_ttl(ttl)
        if not check_key(chat_id):
            raise InvalidNameError("the id of a chat is an empty str: use one that is not")
        self.chat_id = chat_id
        self.store_id = check_store_id(store_id)
        self._ttl = ttl
        self._clock = clock
        self._object = ObjectNamespace(
            path, _NAMESPACE, alarm=sweep_conversations, durability="normal", timeout=timeout, clock=clock
        ).get_by_name(object)
        self._conversation = conversation_of(store_id, chat_id)

    def append(self, messages: Sequence[Any]) -> None:
        """Add messages at the end, and count the TTL from now on.

        Args:
            messages: JSON values; where there are none, the conversation is there, and its TTL counts anew.

        Raises:
            InvalidValueError: one of them is not JSON; none is kept.
            StorageError: they could not be written; none is kept.
        """
        self._object.storage.transaction(self._appending(messages))

    async def aappend(self, messages: Sequence[Any]) -> None:
        """Awaiting twin of `append`."""
        await self._object.storage.abatch(self._appending(messages))

    def create(self, messages: Sequence[Any] = ()) -> bool:
        """Begin the conversation with some messages, unless there is one, which is left as it is; return whether.

        Raises:
            InvalidValueError: one of the messages is not JSON.
            StorageError: it could not be written.
        """
        return self._object.storage.transaction(self._creating(messages))

    async def acreate(self, messages: Sequence[Any] = ()) -> bool:
        """Awaiting twin of `create`."""
        return await self._object.storage.abatch(self._creating(messages))

    def messages(self) -> list[Any] | None:
        """Return all messages, the first one first, new objects each time; None where there is no conversation.

        Raises:
            DecodeError: one of them is not what was written.
            StorageError: they could not be read.
        """
        return drive(self._messages(blocking))

    async def amessages(self) -> list[Any] | None:
        """Awaiting twin of `messages`."""
        return await self._messages(awaiting)

    def clear(self) -> None:
        """Remove the conversation.

        Raises:
            StorageError: it could not be removed.
        """
        self._object.storage.transaction(self._clear)

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._object.storage.abatch(self._clear)

    def close(self) -> None:
        """Release the file. It is opened again when it is used."""
        self._object.close()

    async def aclose(self) -> None:
        """Awaiting twin of `close`."""
        await self._object.aclose()

    def _appending(self, messages: Sequence[Any]) -> Callable[[Transaction], None]:
        """Return what appends messages as they are now."""
        texts = [_text_of(message) for message in messages]

        def append(transaction: Transaction) -> None:
            now = milliseconds(self._clock)
            head = _Head.of(transaction.get(head_row(self._conversation)))
            if head is not None and head.is_over(now):
                self._clear(transaction)
                head = None
            expires = expires_at(self._ttl, now)
            if expires is not None and expires <= now:
                self._clear(transaction)
                return
            first = 0 if head is None else head.next
            rows: dict[str, bytes | None] = {
                piece_row(self._conversation, number, place): encode(text[start : start + _PIECE])
                for number, text in enumerate(texts, first)
                for place, start in enumerate(range(0, len(text), _PIECE))
            }
            if head is not None and head.expires is not None:
                rows[due_row(head.expires, self._conversation)] = None
            if expires is not None:
                rows[due_row(expires, self._conversation)] = _NULL
            told = {"id": self.chat_id, "store": self.store_id, "next": first + len(texts), "expires": expires}
            rows[head_row(self._conversation)] = encode(told)
            transaction.change(rows, alarm=None if expires is None else expires / 1000)

        return append

    def _creating(self, messages: Sequence[Any]) -> Callable[[Transaction], bool]:
        append = self._appending(messages)

        def create(transaction: Transaction) -> bool:
            head = _Head.of(transaction.get(head_row(self._conversation)))
            if head is not None and not head.is_over(milliseconds(self._clock)):
                return False
            append(transaction)
            return True

        return create

    async def _messages(self, colour: Colour) -> list[Any] | None:
        storage = self._object.storage
        head = _Head.of(await colour(storage.get, storage.aget, head_row(self._conversation)))
        if head is None or head.is_over(milliseconds(self._clock)):
            return None
        pieces = await colour(storage.list, storage.alist, prefix=said_rows(self._conversation))
        return [self._read(number, texts) for number, texts in _joined(pieces)]

    def _read(self, number: int, text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise_interrupt(error)
            raise DecodeError(f"message {number} of conversation {self.chat_id!r:.200} is not JSON: {error}") from error

    def _clear(self, transaction: Transaction) -> None:
        _delete(transaction, self._conversation)

    def __repr__(self) -> str:
        return f"<MessageLog {self.chat_id!r} of {self.store_id!r} in {str(self._object.path)!r}>"


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of a conversation.

    Attributes:
        next: the number of the message that comes next.
        expires: when it is over, in milliseconds since the epoch, or None for never.
    """

    next: int
    expires: int | None

    @classmethod
    def of(cls, value: Any) -> "_Head | None":
        """Return it from its row, or None where there is none.

        Raises:
            DecodeError: it is not what was written.
        """
        match value:
            case None:
                return None
            case {"next": int(number), "expires": None | int() as expires}:
                return cls(number, expires)
            case _:
                raise DecodeError(f"the head of a conversation is {shown(value)}, which chatcache does not write")

    def is_over(self, now: int) -> bool:
        return self.expires is not None and self.expires <= now


def _text_of(message: Any) -> str:
    """Return the JSON text of a message.

    Raises:
        InvalidValueError: it is not JSON.
    """
    canonical_json(message)  # which says what is wrong, and where
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _joined(pieces: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return the numbers and the texts of messages, of their pieces in order."""
    return [(number, "".join(pieces[row] for row in rows)) for number, rows in groupby(pieces, number_of)]


def _delete(transaction: Transaction, conversation: str) -> None:
    head = _Head.of(transaction.get(head_row(conversation)))
    rows: dict[str, bytes | None] = {head_row(conversation): None}
    if head is not None and head.expires is not None:
        rows[due_row(head.expires, conversation)] = None
    transaction.change(rows, prefixes=[said_rows(conversation)])


def sweep_conversations(thing: DurableObject, alarm: Alarm) -> None:  # noqa: ARG001 - what a handler is called with
    """Delete the conversations of an object that are over, and set the alarm for the next one.

    Args:
        thing: the object.
        alarm: what it is called for.

    Raises:
        StorageError: the file cannot be written; the handler is called again.
    """
    while thing.storage.transaction(lambda transaction: _sweep_some(transaction, thing.storage)):
        pass
    while thing.storage.give_back():
        pause(0.01)


def _sweep_some(transaction: Transaction, storage: Storage) -> bool:
    """Delete a few conversations that are over; return whether there may be more."""
    now = milliseconds(storage.clock)
    due = [*transaction.sizes(prefix=DUE, end=end_of_due(now), limit=_MOST)]
    for key in due:
        conversation = key.rpartition(":")[2]
        head = _Head.of(transaction.get(head_row(conversation)))
        if head is not None and head.is_over(now):
            _delete(transaction, conversation)
    transaction.change(dict.fromkeys(due))
    if not due:
        following = next(iter(transaction.sizes(prefix=DUE, limit=1)), None)
        transaction.delete_alarm()
        if following is not None:
            transaction.change({}, alarm=int(following.split(":")[1]) / 1000)
    return bool(due)

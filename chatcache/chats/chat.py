"""Chats that keep their history: Effect's ``Chat.makePersisted``, statements 46 to 55 of its contract.

Where Effect writes the whole history anew after each turn, and so loses a turn where two handles of one chat take
theirs at once, each message is a row of its own here: a turn is appended, and none is lost.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import aclosing
from functools import partial
from inspect import isawaitable
from math import inf
from os import PathLike
from typing import Any, TypeVar
from uuid import uuid4

from chatcache._bridge import (
    Colour,
    Loop,
    Turnstile,
    WouldWaitForItself,
    awaiting,
    blocking,
    drive,
    each,
    get_ident,
    running_loop,
    running_task,
    steps,
)
from chatcache.clock import Clock, now
from chatcache.errors import (
    ChatNotFoundError,
    DecodeError,
    InvalidInputError,
    InvalidValueError,
    NotStoredError,
    TransactionError,
    shown,
)
from chatcache.interrupts import raise_interrupt, suppress
from chatcache.keys import canonical_json
from chatcache.ttl import TTL

from .log import MessageLog

__all__ = ["Chat", "Chats"]

T = TypeVar("T")

Message = dict[str, Any]
"""A message of Effect's ``Prompt``: ``{"role": str, "content": text or a list of parts}``, and perhaps ``options``."""

Prompt = str | Message | Sequence[Message]
"""What a turn says: a text of the user, a message, or some of them."""

_PERSISTED = "effect/ai/Chat/Persisted"  # where Effect keeps the id of a message


class Chats:
    """Opens chats, and makes them.

    Args:
        store_id: the namespace of the chats.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a chat is kept after its last turn, of those that are opened here: one that is opened elsewhere
            without a TTL is kept forever from its next turn on. One that is not positive keeps nothing.
        new_id: makes an id for the messages of a chat that has none yet.
        timeout: how many seconds to wait where another process holds the file.
        clock: gives the time in seconds since the epoch.

    Raises:
        InvalidInputError: an argument cannot be right.
    """

    def __init__(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        *,
        store_id: str = "chats",
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        ttl: TTL = None,
        new_id: Callable[[], str] = lambda: uuid4().hex,
        timeout: float = 10.0,
        clock: Clock = now,
    ) -> None:
        self._log: Callable[[str], MessageLog] = partial(
            MessageLog, store_id=store_id, path=path, object=object, ttl=ttl, timeout=timeout, clock=clock
        )
        self._new_id = new_id
        self._log("chat")  # which says what is wrong

    def get(self, chat_id: str) -> "Chat":
        """Return a chat.

        Raises:
            ChatNotFoundError: there is none of this id.
            PersistenceError: its history cannot be read; it is left as it is.
        """
        return drive(self._get(blocking, chat_id))

    async def aget(self, chat_id: str) -> "Chat":
        """Awaiting twin of `get`."""
        return await self._get(awaiting, chat_id)

    def get_or_create(self, chat_id: str) -> "Chat":
        """Return a chat; where there is none, an empty one is made, and is there from now on.

        Raises:
            PersistenceError: its history cannot be read, and is left as it is; or it cannot be written.
        """
        return drive(self._get_or_create(blocking, chat_id))

    async def aget_or_create(self, chat_id: str) -> "Chat":
        """Awaiting twin of `get_or_create`."""
        return await self._get_or_create(awaiting, chat_id)

    def from_export(self, chat_id: str, exported: Any) -> "Chat":
        """Make a chat of what `Chat.export` returned.

        Raises:
            InvalidInputError: it is no such value, or there is a chat of this id, which is left as it is.
            PersistenceError: it cannot be written.
        """
        return drive(self._import(blocking, chat_id, exported))

    async def afrom_export(self, chat_id: str, exported: Any) -> "Chat":
        """Awaiting twin of `from_export`."""
        return await self._import(awaiting, chat_id, exported)

    def from_json(self, chat_id: str, text: str) -> "Chat":
        """Make a chat of what `Chat.export_json` returned.

        Raises:
            InvalidInputError: as `from_export`.
            PersistenceError: it cannot be written.
        """
        return self.from_export(chat_id, _parsed(text))

    async def afrom_json(self, chat_id: str, text: str) -> "Chat":
        """Awaiting twin of `from_json`."""
        return await self.afrom_export(chat_id, _parsed(text))

    def remove(self, chat_id: str) -> None:
        """Remove a chat, if there is one.

        Raises:
            StorageError: it could not be removed.
        """
        self._log(chat_id).clear()

    async def aremove(self, chat_id: str) -> None:
        """Awaiting twin of `remove`."""
        await self._log(chat_id).aclear()

    async def _get(self, colour: Colour, chat_id: str) -> "Chat":
        log = self._log(chat_id)
        if await _history(colour, log) is None:
            raise ChatNotFoundError(chat_id)
        return Chat(log, self._new_id)

    async def _get_or_create(self, colour: Colour, chat_id: str) -> "Chat":
        log = self._log(chat_id)
        if not await colour(log.create, log.acreate):
            await _history(colour, log)
        return Chat(log, self._new_id)

    async def _import(self, colour: Colour, chat_id: str, exported: Any) -> "Chat":
        messages = exported.get("content") if isinstance(exported, dict) else None
        if not isinstance(messages, list):
            raise InvalidInputError(f"{shown(exported)} is no exported chat: that is {{'content': [message, ...]}}")
        checked = [_checked(message) for message in messages]
        log = self._log(chat_id)
        if not await colour(log.create, log.acreate, checked):
            raise InvalidInputError(f"there is a chat {chat_id!r:.200} already: remove it before, or use another id")
        return Chat(log, self._new_id)


class Chat:
    """One chat, of `Chats`.

    The turns of one chat object are taken one after the other, and each sees what those before said. Two objects of one
    chat may take turns at the same time: what each says is kept in one piece.

    Attributes:
        id: its id.
    """

    def __init__(self, log: MessageLog, new_id: Callable[[], str]) -> None:
        self.id = log.chat_id
        self._log = log
        self._new_id = new_id
        self._turns = Turnstile()

    def history(self) -> list[Message]:
        """Return all messages; none where the chat was removed, or is over.

        Raises:
            PersistenceError: they cannot be read.
        """
        return drive(_history(blocking, self._log)) or []

    async def ahistory(self) -> list[Message]:
        """Awaiting twin of `history`."""
        return await _history(awaiting, self._log) or []

    def generate(self, prompt: Prompt, fn: Callable[[list[Message]], T]) -> T:
        """Take a turn: have a model answer, and keep what the user and the model said.

        Args:
            prompt: what the user says.
            fn: is called with the history and the prompt, and returns the answer: a text, a message, or some of them.

        Raises:
            NotStoredError: the turn could not be stored; it holds the answer.
            PersistenceError: the history cannot be read; nothing was called.
            TransactionError: a task of the running loop, which this call would stop, is in its turn; or the caller is.
            Exception: whatever `fn` raises; nothing of the turn is kept then.
        """
        return drive(self._generate(blocking, prompt, fn))  # type: ignore[no-any-return]

    async def agenerate(self, prompt: Prompt, fn: Callable[[list[Message]], Awaitable[T]]) -> T:
        """Awaiting twin of `generate`; what `fn` returns is awaited."""
        return await self._generate(awaiting, prompt, fn)  # type: ignore[no-any-return]

    def stream(self, prompt: Prompt, fn: Callable[[list[Message]], Iterable[T]]) -> Generator[T, None, None]:
        """Take a turn whose answer comes in parts, and yield them as they come.

        What came is kept when the stream ends, however it ends: also where it fails, or nobody reads on. The turn lasts
        from the first part that is asked for until then.

        Args:
            prompt: what the user says.
            fn: is called with the history and the prompt, and returns an iterable of texts and of parts of content,
                which are JSON objects. Texts that come one after the other are one part of the message.

        Raises:
            PersistenceError: as `generate`, while it is read.
            Exception: whatever `fn` or its iterable raises, while it is read.
        """
        return steps(self._stream(blocking, prompt, fn))

    def astream(
        self, prompt: Prompt, fn: Callable[[list[Message]], AsyncIterable[T] | Awaitable[AsyncIterable[T]]]
    ) -> AsyncGenerator[T, None]:
        """Awaiting twin of `stream`; what `fn` returns may be awaited."""
        return self._stream(awaiting, prompt, fn)

    def save(self) -> None:
        """Keep the chat, whose TTL counts from now on, though nothing was said.

        Raises:
            PersistenceError: it could not be written.
        """
        self._log.append([])

    async def asave(self) -> None:
        """Awaiting twin of `save`."""
        await self._log.aappend([])

    def export(self) -> dict[str, Any]:
        """Return the chat as a JSON value, as Effect exports one: ``{"content": [message, ...]}``.

        Raises:
            PersistenceError: it cannot be read.
        """
        return {"content": self.history()}

    async def aexport(self) -> dict[str, Any]:
        """Awaiting twin of `export`."""
        return {"content": await self.ahistory()}

    def export_json(self) -> str:
        """Return `export` as a text."""
        return json.dumps(self.export(), ensure_ascii=False)

    async def aexport_json(self) -> str:
        """Awaiting twin of `export_json`."""
        return json.dumps(await self.aexport(), ensure_ascii=False)

    async def _generate(self, colour: Colour, prompt: Prompt, fn: Callable[[list[Message]], Any]) -> Any:
        said = _messages_of(prompt, "user")
        turn = await self._begin(colour)
        try:
            before = await _history(colour, self._log) or []
            try:
                answer = fn([*before, *said])
                if colour is awaiting and isawaitable(answer):
                    answer = await answer
            except Exception:
                with suppress(Exception):  # the chat is kept, as after every turn; what failed is said
                    await colour(self.save, self.asave)
                raise
            await self._keep(colour, before, said, answer)
            return answer
        finally:
            self._end(turn)

    async def _stream(
        self, colour: Colour, prompt: Prompt, fn: Callable[[list[Message]], Any]
    ) -> AsyncGenerator[Any, None]:
        said = _messages_of(prompt, "user")
        turn = await self._begin(colour)
        try:
            before = await _history(colour, self._log) or []
            parts: list[Any] = []
            try:
                source = fn([*before, *said])
                if colour is awaiting and isawaitable(source):
                    source = await source
                async with aclosing(each(colour, source)) as coming:
                    async for part in coming:
                        parts.append(_checked_part(part))
                        yield part
            except BaseException:
                with suppress(Exception):  # what ended it is said
                    await self._keep(colour, before, said, _spoken(parts))
                raise
            await self._keep(colour, before, said, _spoken(parts))
        finally:
            self._end(turn)

    async def _keep(self, colour: Colour, before: list[Message], said: list[Message], answer: Any) -> None:
        try:
            messages = [*said, *_messages_of(answer, "assistant")]
            identifier = _id_of(before[-1]) if before and before[-1]["role"] == "assistant" else None
            identifier = identifier or self._new_id()
            stamped = [_stamped(message, identifier) for message in messages]
            await colour(self._log.append, self._log.aappend, stamped)
        except Exception as error:
            raise_interrupt(error)
            raise NotStoredError(answer, str(error)) from error

    async def _begin(self, colour: Colour) -> "_Turn":
        turn = _Turn(running_loop() if colour is awaiting else None)
        holder = self._turns.holder
        if isinstance(holder, _Turn) and not holder.left and holder.owner == turn.owner:
            raise TransactionError(
                f"chat {self.id!r:.200} is in a turn of this very thread or task, which a second one would wait for: "
                "end it before, or read its stream to the end"
            )
        try:
            await colour(self._turns.enter, self._turns.aenter, turn, inf)
        except WouldWaitForItself:
            raise TransactionError(
                f"a blocking turn of chat {self.id!r:.200} would wait for a task of the loop that it stops: "
                "await agenerate() or read astream()"
            ) from None
        return turn

    def _end(self, turn: "_Turn") -> None:
        turn.left = True
        self._turns.leave(turn)

    def __repr__(self) -> str:
        return f"<Chat {self.id!r}>"


class _Turn:
    """Who takes a turn; one whose loop stopped in the middle never ends it."""

    def __init__(self, loop: Loop | None) -> None:
        self.loop = loop
        self.left = False
        self.owner = running_task() or get_ident()

    def abandon(self) -> None:
        """Nothing: there is nothing to be undone."""


async def _history(colour: Colour, log: MessageLog) -> list[Message] | None:
    """Return the messages of a chat, or None where there is no chat.

    Raises:
        DecodeError: they are none.
    """
    try:
        messages = await colour(log.messages, log.amessages)
        return None if messages is None else [_checked(message) for message in messages]
    except (DecodeError, InvalidInputError) as error:
        raise DecodeError(f'Failed to decode persisted history for chat "{log.chat_id}": {error}') from error


def _messages_of(said: Any, role: str) -> list[Message]:
    """Return what somebody says as messages.

    Raises:
        InvalidInputError: it is neither a text, nor a message, nor a list of messages.
    """
    match said:
        case str():
            return [{"role": role, "content": said}]
        case dict():
            return [_checked(said)]
        case list() | tuple():
            return [_checked(message) for message in said]
        case _:
            raise InvalidInputError(f"{shown(said)} is neither a text, nor a message, nor a list of messages")


def _checked(message: Any) -> Message:
    if isinstance(message, dict):
        match message:
            case {"role": str(), "content": str() | list()} if isinstance(message.get("options", {}), dict):
                return message
    raise InvalidInputError(f"{shown(message)} is no message: that is {{'role': ..., 'content': ...}}")


def _checked_part(part: Any) -> Any:
    """Return a part of an answer.

    Raises:
        InvalidInputError: it is neither a text nor a JSON object.
    """
    if not isinstance(part, str | dict):
        raise InvalidInputError(f"{shown(part)} is no part of an answer: that is a text, or a JSON object")
    canonical_json(part)  # which says what is wrong with it
    return part


def _spoken(parts: Sequence[Any]) -> list[Message]:
    return [{"role": "assistant", "content": _content_of(parts)}] if parts else []


def _content_of(parts: Iterable[Any]) -> Any:
    """Return the content that parts make: a text where they are texts only."""
    content: list[Any] = []
    for part in parts:
        if isinstance(part, str) and content and isinstance(content[-1], str):
            content[-1] += part
        else:
            content.append(part)
    if len(content) == 1 and isinstance(content[0], str):
        return content[0]
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]


def _id_of(message: Message) -> str | None:
    match message:
        case {"options": {"effect/ai/Chat/Persisted": {"messageId": str(identifier)}}}:
            return identifier
        case _:
            return None


def _stamped(message: Message, identifier: str) -> Message:
    """Return a message with an id, unless it has one."""
    if _id_of(message) is not None:
        return message
    return {**message, "options": {**message.get("options", {}), _PERSISTED: {"messageId": identifier}}}


def _parsed(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, TypeError, RecursionError) as error:
        raise_interrupt(error)
        raise InvalidValueError(f"an exported chat is JSON: {error}") from error

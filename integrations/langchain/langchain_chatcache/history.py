"""LangChain's chat history: one conversation, a message a row."""

import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict
from pydantic_core import PydanticSerializationError, to_jsonable_python

from chatcache import TTL, DecodeError, InvalidValueError, MessageLog, raise_interrupt

__all__ = ["DOChatMessageHistory"]


class DOChatMessageHistory(BaseChatMessageHistory):
    """The messages of one conversation, kept in one SQLite file; for ``RunnableWithMessageHistory`` and by itself.

    To add a message costs the same however many there are, and what is added at once stays in one piece, in its order,
    whoever else adds at the same time.

    Args:
        session_id: the id of the conversation.
        store_id: the namespace of the conversation within the object.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file; conversations may share one.
        ttl: how long the conversation is kept after its last message: seconds, a timedelta, or None for ever.
        clock: gives the time in seconds since the epoch.

    Raises:
        InvalidInputError: an argument cannot be right.
        StorageError: `path` is a file.
    """

    def __init__(  # noqa: PLR0913 - all but the first by keyword, all with a default
        self,
        session_id: str,
        *,
        store_id: str = "chats",
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        ttl: TTL = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._log = MessageLog(session_id, store_id=store_id, path=path, object=object, ttl=ttl, clock=clock)

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # LangChain's own are properties as well
        """All messages, the first one first, new objects each time.

        Raises:
            PersistenceError: they cannot be read.
        """
        return self._read(self._log.messages())

    async def aget_messages(self) -> list[BaseMessage]:
        """Awaiting twin of `messages`."""
        return self._read(await self._log.amessages())

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Add messages at the end.

        In what a program adds to them, bytes, dates and the like become strings, as in pydantic's JSON.

        Raises:
            InvalidValueError: one of them holds what is not JSON, as a tool's ``artifact`` may, or is of a class that
                is not LangChain's, which could not be made again; none is kept.
            StorageError: they could not be written; none is kept.
        """
        self._log.append([_written(message) for message in messages])

    async def aadd_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Awaiting twin of `add_messages`."""
        await self._log.aappend([_written(message) for message in messages])

    def clear(self) -> None:
        """Remove the conversation.

        Raises:
            StorageError: it could not be removed.
        """
        self._log.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._log.aclear()

    def _read(self, written: Sequence[Any] | None) -> list[BaseMessage]:
        try:
            return messages_from_dict(list(written or []))
        except (ValueError, TypeError, KeyError) as error:
            raise_interrupt(error)
            raise DecodeError(f"conversation {self._log.chat_id!r:.200} holds what is no message: {error}") from error

    def __repr__(self) -> str:
        return f"<DOChatMessageHistory {self._log!r}>"


def _written(message: BaseMessage) -> Any:
    try:
        written = to_jsonable_python(message_to_dict(message), inf_nan_mode="constants")
        messages_from_dict([written])
    except PydanticSerializationError as error:
        raise_interrupt(error)
        raise InvalidValueError(f"a {type(message).__name__} holds what is not JSON: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise_interrupt(error)
        raise InvalidValueError(f"a {type(message).__name__} could not be made again: {error}") from error
    return written

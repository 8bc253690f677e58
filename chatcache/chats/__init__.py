"""Conversations: their messages as rows of an object, and chats that keep theirs there."""

from .chat import Chat, Chats
from .log import MessageLog

__all__ = ["Chat", "Chats", "MessageLog"]

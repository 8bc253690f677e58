"""The calls of chat models that LangChain asks its cache for, from the lookup to what becomes of them.

LangChain tells its cache no error, so that who waits for a call that failed would wait in vain. Therefore the two
methods in which a chat model asks the cache are wrapped, once in a process. They do what they did, and say how it
ended.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any

from langchain_core.language_models import BaseChatModel

from chatcache import Leader

__all__ = ["CURRENT", "install", "leader_of"]


class _Call:
    """One call of a chat model."""

    __slots__ = ("key", "leader")

    def __init__(self) -> None:
        self.key = ""
        self.leader: Leader | None = None

    def led(self, key: str, leader: Leader | None) -> None:
        """Note that it is made, and that others may wait for it."""
        self.key, self.leader = key, leader

    def end(self, error: BaseException | None = None) -> None:
        """Have nobody wait any more who was not told of an answer."""
        leader, self.leader = self.leader, None
        if leader is None:
            return
        if isinstance(error, Exception):
            leader.failed(error)
        else:
            leader.give_up()


CURRENT: ContextVar[_Call | None] = ContextVar("langchain_chatcache_call", default=None)
"""The call for which LangChain asks its cache just now."""


def leader_of(key: str) -> Leader | None:
    """Return that others wait for the answer of this key, if they do; from then on it is the caller's to tell them."""
    call = CURRENT.get()
    if call is None or call.key != key:
        return None
    leader, call.leader = call.leader, None
    return leader


_installed = False


def install() -> None:
    """Have chat models say how their calls ended; where LangChain has no such methods, nobody waits for anybody."""
    global _installed  # noqa: PLW0603 - LangChain is there once
    if not _installed:
        _installed = True
        for name, wrapped in (("_generate_with_cache", _told), ("_agenerate_with_cache", _atold)):
            if hasattr(BaseChatModel, name):
                original = getattr(BaseChatModel, name)
                setattr(BaseChatModel, name, wraps(original)(wrapped(original)))


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        call = _Call()
        before = CURRENT.set(call)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        finally:
            CURRENT.reset(before)
            call.end()

    return method


def _atold(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(*args: Any, **kwargs: Any) -> Any:
        call = _Call()
        before = CURRENT.set(call)
        try:
            return await original(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        finally:
            CURRENT.reset(before)
            call.end()

    return method

"""The calls of chat models that LangChain asks its cache for, from the lookup to what becomes of them.

A few methods of chat models are wrapped, once in a process; they do what they did, and beyond that:

* The two in which a model asks the cache say how a call ended: LangChain tells its cache no error, so that who waits
  for a call that failed would wait in vain. For a cache of ours they write the messages in a shorter way: LangChain's
  own takes most of the time of a hit, nearly all of it in a long conversation.
* In mode ``replay`` a stream is answered by what a call recorded, or is a miss, as if the model had no streams:
  LangChain asks no cache in ``stream``, and would call the provider.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, chat_models
from langchain_core.outputs import Generation

from chatcache import Leader, Mode, ResponseCache

from .keys import text_of

__all__ = ["CURRENT", "install", "leader_of"]


class _Call:
    """One call of a chat model.

    Args:
        ours: whether the cache that LangChain asks for it is one of ours.
    """

    __slots__ = ("key", "leader", "ours")

    def __init__(self, *, ours: bool) -> None:
        self.ours = ours
        self.key = ""
        self.leader: Leader | None = None

    def led(self, key: str, found: list[Generation] | Leader | None) -> list[Generation] | None:
        """Return what another call was answered with, or note that this one is made, and who may wait for it."""
        if found is None or isinstance(found, Leader):
            self.key, self.leader = key, found
            return None
        return found

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
    """Change the methods; where a version of LangChain has none of a name, what it is for is not done."""
    global _installed  # noqa: PLW0603 - LangChain is there once
    if not _installed:
        _installed = True
        for name, wrapped in _WRAPPED.items():
            if hasattr(BaseChatModel, name):
                original = getattr(BaseChatModel, name)
                setattr(BaseChatModel, name, wraps(original)(wrapped(original)))
        if hasattr(chat_models, _DUMPS):
            setattr(chat_models, _DUMPS, _written(getattr(chat_models, _DUMPS)))


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: BaseChatModel, *args: Any, **kwargs: Any) -> Any:
        call = _Call(ours=_engine(self) is not None)
        before = CURRENT.set(call)
        try:
            return original(self, *args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        finally:
            CURRENT.reset(before)
            call.end()

    return method


def _atold(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: BaseChatModel, *args: Any, **kwargs: Any) -> Any:
        call = _Call(ours=_engine(self) is not None)
        before = CURRENT.set(call)
        try:
            return await original(self, *args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        finally:
            CURRENT.reset(before)
            call.end()

    return method


def _written(original: Callable[..., str]) -> Callable[..., str]:
    @wraps(original)
    def dumps(messages: Any, *args: Any, **kwargs: Any) -> str:
        call = CURRENT.get()
        text = text_of(messages) if call is not None and call.ours and not args and not kwargs else None
        return original(messages, *args, **kwargs) if text is None else text

    return dumps


def _replayed(original: Callable[..., Any]) -> Callable[..., Any]:
    def stream(self: BaseChatModel, *args: Any, **kwargs: Any) -> Iterator[Any]:
        if _strict(self) is None:
            return original(self, *args, **kwargs)  # type: ignore[no-any-return]

        def replay() -> Iterator[Any]:
            yield self.invoke(*args, **kwargs)

        return replay()

    return stream


def _areplayed(original: Callable[..., Any]) -> Callable[..., Any]:
    def astream(self: BaseChatModel, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if _strict(self) is None:
            return original(self, *args, **kwargs)  # type: ignore[no-any-return]

        async def replay() -> AsyncIterator[Any]:
            yield await self.ainvoke(*args, **kwargs)

        return replay()

    return astream


def _refused(original: Callable[..., Any]) -> Callable[..., Any]:
    def events(self: BaseChatModel, messages: Any, *args: Any, **kwargs: Any) -> Any:
        strict = _strict(self)
        if strict is None:
            return original(self, messages, *args, **kwargs)
        raise strict.miss(None, repr(messages), "LangChain asks no cache in stream_events(): use cached(model, cache)")

    return events


def _engine(model: BaseChatModel) -> ResponseCache | None:
    """Return the engine of the cache that LangChain would ask for a model, if it is ours."""
    if model.cache is False:
        return None
    cache = model.cache if isinstance(model.cache, BaseCache) else get_llm_cache()
    engine = getattr(cache, "engine", None)
    return engine if isinstance(engine, ResponseCache) else None


def _strict(model: BaseChatModel) -> ResponseCache | None:
    """Return the engine of the cache of a model, if it is ours and nothing may be called."""
    engine = _engine(model)
    return engine if engine is not None and engine.mode is Mode.REPLAY else None


_DUMPS = "dumps"  # its name in the module, of what writes the messages for the cache


_WRAPPED = {
    "_generate_with_cache": _told,
    "_agenerate_with_cache": _atold,
    "stream": _replayed,
    "astream": _areplayed,
    "_iter_v2_events": _refused,
    "_aiter_v2_events": _refused,
}

"""LangChain's cache hook for chat models: their calls and streams are those of ``cached(model, cache)``.

LangChain asks its cache in calls, but not in streams, and shows it a text that may name no more of a model than its
class. So this module wraps the methods of chat models that ask a cache, or should, once per process. If the cache that
LangChain would ask is ours, the wrapper calls the method with a view of the model that the cache replays (`view_of`).

Language models of texts ask the cache themselves. While they do, the cache knows that a provider is called next, which
nothing else tells it. Their streams ask no cache: none of them is made in mode ``replay``.

While a cache of ours stands in, as in a test, it is asked where there is none. Beneath a cache of another make it is
asked what a chat model would ask its provider.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, BaseLLM, llms

from .replaying import Replaying, view_of

if TYPE_CHECKING:
    from .cache import DOCache

__all__ = ["IN_CALL", "install", "stand_in"]

IN_CALL: ContextVar[bool] = ContextVar("langchain_chatcache_in_call", default=False)
"""Whether a language model of texts asks the cache, and not the program itself."""

_METHODS = (
    "_generate_with_cache",
    "_agenerate_with_cache",
    "stream",
    "astream",
    "_chat_model_stream_v3",
    "_achat_model_stream_v3",
    "_iter_v2_events",
    "_aiter_v2_events",
)
"""Of chat models. A version of LangChain need not have all of them."""

_installed = False
_stand_in: "DOCache | None" = None


def stand_in(cache: "DOCache | None") -> None:
    """Have a cache stand in where there is none, or none any more."""
    global _stand_in  # noqa: PLW0603 - LangChain is there once
    _stand_in = cache


def install(of: "type[DOCache]") -> None:
    """Wrap the methods for caches of a class."""
    global _installed  # noqa: PLW0603 - LangChain is there once
    if _installed:
        return
    _installed = True
    for name in _METHODS:
        if hasattr(BaseChatModel, name):
            setattr(BaseChatModel, name, _wrapped(getattr(BaseChatModel, name), of))
    BaseLLM.generate = _in_call(BaseLLM.generate)  # type: ignore[method-assign]
    BaseLLM.agenerate = _in_acall(BaseLLM.agenerate)  # type: ignore[method-assign]
    BaseLLM.stream = _streamed(BaseLLM.stream, of)  # type: ignore[method-assign]
    BaseLLM.astream = _astreamed(BaseLLM.astream, of)  # type: ignore[method-assign]
    BaseLLM._generate_helper = _called(BaseLLM._generate_helper, of)  # type: ignore[method-assign]
    BaseLLM._agenerate_helper = _called(BaseLLM._agenerate_helper, of)  # type: ignore[method-assign]
    setattr(llms, "get_llm_cache", _global_cache)  # noqa: B010 - models of texts look for it there


def _in_call(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        before = IN_CALL.set(True)
        try:
            return original(*args, **kwargs)
        finally:
            IN_CALL.reset(before)

    return method


def _in_acall(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    async def method(*args: Any, **kwargs: Any) -> Any:
        before = IN_CALL.set(True)
        try:
            return await original(*args, **kwargs)
        finally:
            IN_CALL.reset(before)

    return method


def _streamed(original: Callable[..., Iterator[str]], of: "type[DOCache]") -> Callable[..., Iterator[str]]:
    @wraps(original)
    def method(self: BaseLLM, *args: Any, **kwargs: Any) -> Iterator[str]:
        if type(self)._stream is not BaseLLM._stream:
            _leave_out_stream(self, args, of)
        return original(self, *args, **kwargs)

    return method


def _astreamed(original: Callable[..., AsyncIterator[str]], of: "type[DOCache]") -> Callable[..., AsyncIterator[str]]:
    @wraps(original)
    def method(self: BaseLLM, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        if type(self)._stream is not BaseLLM._stream or type(self)._astream is not BaseLLM._astream:
            _leave_out_stream(self, args, of)
        return original(self, *args, **kwargs)

    return method


def _called(original: Callable[..., Any], of: "type[DOCache]") -> Callable[..., Any]:
    """Have it said, while a cache stands in, that a model is called that does not ask the cache."""

    @wraps(original)
    def method(self: BaseLLM, *args: Any, **kwargs: Any) -> Any:
        if _stand_in is not None:
            cache = _cache_of_texts(self)
            kind = type(cache)
            if self.cache is False:
                _stand_in.leave_out(repr(args[0]), _not_recorded(self, "it has cache=False"))
            elif not isinstance(cache, of):
                why = f"its cache is a {kind.__module__}.{kind.__qualname__}; in tests, use a DOCache, or no cache"
                _stand_in.leave_out(repr(args[0]), _not_recorded(self, why))
        return original(self, *args, **kwargs)

    return method


def _leave_out_stream(model: BaseLLM, asked: Any, of: "type[DOCache]") -> None:
    """Raise a miss for a stream of texts, or tell a tape that is in of it."""
    cache = _cache_of_texts(model)
    ours = cache if isinstance(cache, of) else _stand_in
    if ours is not None:
        ours.leave_out(repr(asked), _not_recorded(model, "LangChain asks no cache for streams of texts"))


def _not_recorded(model: BaseLLM, why: str) -> str:
    return f"a call of {type(model).__name__} is not recorded: {why}"


def _cache_of_texts(model: BaseLLM) -> BaseCache | None:
    return model.cache if isinstance(model.cache, BaseCache) else _global_cache()


def _global_cache() -> BaseCache | None:
    """Return the cache that is set for all models, or what stands in for none."""
    cache = get_llm_cache()
    return _stand_in if cache is None else cache


def _wrapped(original: Callable[..., Any], of: "type[DOCache]") -> Callable[..., Any]:
    of_views = getattr(Replaying, original.__name__, original)

    @wraps(original)
    def method(self: BaseChatModel, *args: Any, **kwargs: Any) -> Any:
        cache = None if isinstance(self, Replaying) else _cache_of(self, of)
        if isinstance(cache, of):
            return of_views(view_of(self, cache), *args, **kwargs)
        if cache is not None and _stand_in is not None:
            return of_views(view_of(self, _stand_in, beneath=True), *args, **kwargs)
        return original(self, *args, **kwargs)

    return method


def _cache_of(model: BaseChatModel, of: "type[DOCache]") -> BaseCache | None:
    """Return the cache that LangChain would ask for a model; while a tape is in, a model that wants none has one."""
    if model.cache is False:
        cache = _global_cache()
        if isinstance(cache, of):
            return cache.passing if cache.engine.is_taped else None
        return _stand_in
    return model.cache if isinstance(model.cache, BaseCache) else _global_cache()

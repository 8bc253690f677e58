"""LangChain's cache hook for chat models: their calls and streams are those of ``cached(model, cache)``.

LangChain asks its cache in calls, but not in streams, and shows it a text that may name no more of a model than its
class. So this module wraps the methods of chat models that ask a cache, or should, once per process. If the cache that
LangChain would ask is ours, the wrapper calls the method with a view of the model that the cache replays (`view_of`).

Language models of texts ask the cache themselves. While they do, the cache knows that a provider is called next, which
nothing else tells it.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel, BaseLLM

from .replaying import Replaying, view_of

if TYPE_CHECKING:
    from .cache import DOCache

__all__ = ["IN_CALL", "install"]

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


def _wrapped(original: Callable[..., Any], of: "type[DOCache]") -> Callable[..., Any]:
    of_views = getattr(Replaying, original.__name__, original)

    @wraps(original)
    def method(self: BaseChatModel, *args: Any, **kwargs: Any) -> Any:
        cache = None if isinstance(self, Replaying) else _cache_of(self, of)
        return (
            of_views(view_of(self, cache), *args, **kwargs)
            if isinstance(cache, of)
            else original(self, *args, **kwargs)
        )

    return method


def _cache_of(model: BaseChatModel, of: "type[DOCache]") -> BaseCache | None:
    """Return the cache that LangChain would ask for a model; while a tape is in, a model that wants none has one."""
    if model.cache is False:
        cache = get_llm_cache()
        return cache.passing if isinstance(cache, of) and cache.engine.is_taped else None
    return model.cache if isinstance(model.cache, BaseCache) else get_llm_cache()

"""The object that LiteLLM makes for each call, to ask the cache."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from litellm.caching import caching_handler
from litellm.caching.caching_handler import LLMCachingHandler
from pydantic import BaseModel

from chatcache import ReplayMiss
from litellm_chatcache.call import BEGUN, CURRENT, SCOPE, Call
from litellm_chatcache.hook import guard, hooked
from litellm_chatcache.kinds import MESSAGES

from .gathering import note
from .replacing import replace

__all__ = ["begun_at", "call_in", "call_of", "handler_of", "install"]

_CALL = "_chatcache_call"
_OUTER = "_chatcache_outer"


def install() -> None:
    """Have each handler know its call, and each lookup and each store be one of that call."""
    replace(LLMCachingHandler, "__init__", _begins)
    replace(LLMCachingHandler, ("sync_get_cache", "_sync_get_cache"), _in_its_call)
    replace(LLMCachingHandler, ("async_get_cache", "_async_get_cache"), _awaited_in_its_call)
    replace(LLMCachingHandler, ("sync_set_cache", "_sync_set_cache"), _last_in_its_call)
    replace(LLMCachingHandler, ("async_set_cache", "_async_set_cache"), _awaited_last_in_its_call)
    replace(LLMCachingHandler, "_convert_cached_result_to_model_response", _messages_as_they_are)
    replace(LLMCachingHandler, "_update_litellm_logging_obj_environment", _logged)
    replace(caching_handler, "convert_args_to_kwargs", _where_there_are_any)


def call_in(handler: Any) -> Call | None:
    """Return the call that a handler was made for, if the cache is one of ours."""
    return getattr(handler, _CALL, None)


def call_of(logging: Any) -> Call | None:
    """Return the call that the caller made, of which LiteLLM logs something."""
    call = call_in(handler_of(logging))
    return call and (call.within or call)


def begun_at(logging: Any, start_time: Any) -> Call | None:
    """Return the call of this logging object that was begun at a time, which is the very object."""
    handler = handler_of(logging)
    while handler is not None and handler.start_time is not start_time:
        handler = getattr(handler, _OUTER, None)
    return call_in(handler)


def handler_of(logging: Any) -> Any:
    """Return the object that a logging object's call asks the cache by, or None."""
    return getattr(logging, "_llm_caching_handler", None)  # its name in every version


_is_awaited = cache(inspect.iscoroutinefunction)


def _begins(original: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Any, original_function: Any, request_kwargs: dict[str, Any], start_time: Any) -> None:
        hook, outer = hooked(), handler_of(request_kwargs.get("litellm_logging_obj"))
        if hook is not None:
            whole = call_in(outer)
            whole = whole and (whole.within or whole)
            call = Call(
                original_function.__name__,
                whole if whole is not None and whole.goes_on else None,
                awaited=_is_awaited(original_function),
            )
            is_told = call.kind is None and whole is not None and whole.kind is None
            if call.within is None and not is_told:
                with _Current(call):
                    hook.guard(call, request_kwargs)
            setattr(self, _CALL, call)
            setattr(self, _OUTER, outer)
            BEGUN.set(call)
            scope = SCOPE.get()
            if scope is not None:
                scope.append(call)
        elif outer is None:
            guard(Call(original_function.__name__), request_kwargs)
        original(self, original_function=original_function, request_kwargs=request_kwargs, start_time=start_time)

    return begin


class _Current:
    """While it is entered the cache is asked of this call; what it misses is noted."""

    __slots__ = ("_before", "_call")

    def __init__(self, call: Call | None) -> None:
        self._call = call

    def __enter__(self) -> None:
        self._before = CURRENT.set(self._call)

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        CURRENT.reset(self._before)
        if isinstance(error, ReplayMiss):
            note(error)


def _in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Current(call_in(self)):
            return original(self, *args, **kwargs)

    return method


def _awaited_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Current(call_in(self)):
            return await original(self, *args, **kwargs)

    return method


def _last_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = call_in(self)
        try:
            with _Current(call):
                return original(self, *args, **kwargs)
        finally:
            if call is not None:  # nobody waits for an answer that LiteLLM did not want to have stored
                call.end()

    return method


def _awaited_last_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        call = call_in(self)
        if call is not None:
            call.answer = result  # of which the cache is shown the JSON text
        try:
            with _Current(call):
                return await original(self, result, *args, **kwargs)
        finally:
            if call is not None:
                call.end()

    return method


def _logged(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have a hit logged with its provider, which LiteLLM before 1.102 leaves out of a blocking one, and as JSON.

    LiteLLM would log what Python prints of it, which takes ten times as long.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if call_in(self) is not None:
            if kwargs.get("custom_llm_provider") is None:
                kwargs["custom_llm_provider"] = kwargs["model"].partition("/")[0]
            hit = kwargs.get("cached_result")
            if isinstance(hit, BaseModel):
                kwargs["cached_result"] = hit.model_dump_json(warnings=False)
        return original(self, *args, **kwargs)

    return method


def _where_there_are_any(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Give names to arguments only where some have none; LiteLLM would look at the signature before it sees that."""

    def convert(original_function: Any, args: Any = None) -> dict[str, Any]:
        return original(original_function, args) if args or hooked() is None else {}

    return convert


def _messages_as_they_are(original: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a message of Anthropic on, which is a dictionary; LiteLLM would import its proxy to do so.

    An answer of a tape that takes the place of the provider is not marked as a hit.
    """

    def method(self: Any, cached_result: Any, *args: Any, **kwargs: Any) -> Any:
        call = call_in(self)
        if call is not None and call.kind is MESSAGES and isinstance(cached_result, Mapping):
            return cached_result
        answer = original(self, cached_result, *args, **kwargs)
        hidden = getattr(answer, "_hidden_params", None)
        if call is not None and call.is_provided and isinstance(hidden, dict):
            hidden.pop("cache_hit", None)
        return answer

    return method

"""The object that LiteLLM makes for each call, to ask the cache."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.caching.caching_handler import LLMCachingHandler
from litellm.types.utils import Embedding, EmbeddingResponse

from litellm_chatcache.call import BEGUN, CURRENT, SCOPE, Call
from litellm_chatcache.hook import hooked
from litellm_chatcache.kinds import EMBEDDINGS, MESSAGES
from litellm_chatcache.prices import billed

from .replacing import replace

__all__ = ["begun_at", "call_of", "install"]

_CALL = "_chatcache_call"
_OUTER = "_chatcache_outer"


def install() -> None:
    """Have each handler know its call, and each lookup and each store be one of that call."""
    replace(LLMCachingHandler, "__init__", _begins)
    replace(LLMCachingHandler, ("sync_get_cache", "_sync_get_cache"), _lookup)
    replace(LLMCachingHandler, ("async_get_cache", "_async_get_cache"), _awaited_lookup)
    replace(LLMCachingHandler, ("sync_set_cache", "_sync_set_cache"), _last_in_its_call)
    replace(LLMCachingHandler, ("async_set_cache", "_async_set_cache"), _awaited_last_in_its_call)
    replace(LLMCachingHandler, "_convert_cached_result_to_model_response", _messages_as_they_are)
    replace(LLMCachingHandler, "_update_litellm_logging_obj_environment", _logged)
    joins = "combine_cached_embedding_response_with_api_result"
    replace(LLMCachingHandler, (joins, f"_{joins}"), _numbered)
    replace(caching_handler, "convert_args_to_kwargs", _where_there_are_any)


def call_of(logging: Any) -> Call | None:
    """Return the call that the caller made, of which LiteLLM logs something."""
    call: Call | None = getattr(_handler_of(logging), _CALL, None)
    return call and (call.within or call)


def begun_at(logging: Any, start_time: Any) -> Call | None:
    """Return the call of this logging object that was begun at a time, which is the very object."""
    handler = _handler_of(logging)
    while handler is not None and handler.start_time is not start_time:
        handler = getattr(handler, _OUTER, None)
    return getattr(handler, _CALL, None)


def _handler_of(logging: Any) -> Any:
    return getattr(logging, "_llm_caching_handler", None)  # its name in every version


_is_awaited = cache(inspect.iscoroutinefunction)


def _begins(original: Callable[..., None]) -> Callable[..., None]:
    def begin(self: Any, original_function: Any, request_kwargs: dict[str, Any], start_time: Any) -> None:
        hook = hooked()
        if hook is not None:
            outer = _handler_of(request_kwargs.get("litellm_logging_obj"))
            whole: Call | None = getattr(outer, _CALL, None)
            whole = whole and (whole.within or whole)
            call = Call(
                original_function.__name__,
                whole if whole is not None and whole.goes_on else None,
                awaited=_is_awaited(original_function),
            )
            if call.within is None:
                hook.guard(call, request_kwargs)
            setattr(self, _CALL, call)
            setattr(self, _OUTER, outer)
            BEGUN.set(call)
            scope = SCOPE.get()
            if scope is not None:
                scope.append(call)
        original(self, original_function=original_function, request_kwargs=request_kwargs, start_time=start_time)

    return begin


def _in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = CURRENT.set(getattr(self, _CALL, None))
        try:
            return original(self, *args, **kwargs)
        finally:
            CURRENT.reset(before)

    return method


def _lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have a call for embeddings ask for no more than is missing, which LiteLLM does for awaited ones only."""
    inner = _in_its_call(original)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = inner(self, *args, **kwargs)
        call: Call | None = getattr(self, _CALL, None)
        if call is not None and call.known:
            inputs = kwargs["kwargs"].get("input")
            if inputs is None:  # it is positional, and there is no taking anything away from it
                call.known = {}
            else:
                kwargs["kwargs"]["input"] = EMBEDDINGS.rest(inputs, call.known)
        return found

    return method


def _awaited_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        before = CURRENT.set(call)
        try:
            return await original(self, *args, **kwargs)
        finally:
            CURRENT.reset(before)

    return method


def _awaited_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mark embeddings that LiteLLM made of records of ours, and have it ask for no more than is missing."""
    inner = _awaited_in_its_call(original)

    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        positional = bool(kwargs.get("args"))
        kwargs = _with_names(call, kwargs)
        found = await inner(self, *args, **kwargs)
        embeddings = getattr(found, "final_embedding_cached_response", None)
        if call is None or embeddings is None:
            return found
        embeddings._hidden_params.update(cache_age=call.oldest, cache_key=next(iter(call.items)))  # noqa: SLF001 - its name
        if found.embedding_all_elements_cache_hit:
            return found
        if positional:  # it will ask for all of them
            return None
        _ask_for_the_rest(kwargs["kwargs"], embeddings)
        return found

    return method


def _with_names(call: Call | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a method is called with, with names for positional arguments of `aembedding`: LiteLLM has none."""
    if call is None or call.function != "aembedding" or not kwargs.get("args"):
        return kwargs
    names = caching_handler.convert_args_to_kwargs(litellm.embedding, kwargs["args"])
    return {**kwargs, "kwargs": kwargs["kwargs"] | names, "args": None}


def _ask_for_the_rest(arguments: dict[str, Any], known: EmbeddingResponse) -> None:
    """Have a call ask only for the inputs that there is no record of.

    Before 1.102 LiteLLM asks for all of them, and then takes the first ones that come for the first ones missing.
    """
    inputs = arguments["input"]
    if len(inputs) == len(known.data):  # else it asks for the rest by itself
        arguments["input"] = [value for value, each in zip(inputs, known.data, strict=True) if each is None]


def _numbered(original: Callable[..., EmbeddingResponse]) -> Callable[..., EmbeddingResponse]:
    """Have embeddings numbered by their places in the whole, which LiteLLM before 1.102 does for those known only."""

    def method(self: Any, *args: Any, **kwargs: Any) -> EmbeddingResponse:
        whole = original(self, *args, **kwargs)
        if getattr(self, _CALL, None) is not None:
            whole.data = [
                Embedding(embedding=each["embedding"], index=place, object="embedding")
                for place, each in enumerate(whole.data)
            ]
        return whole

    return method


def _last_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    inner = _in_its_call(original)

    def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return inner(self, result, *args, **kwargs)
        finally:
            _end(self)
            _complete(getattr(self, _CALL, None), result, kwargs.get("kwargs") or {})

    return method


def _complete(call: Call | None, result: Any, arguments: dict[str, Any]) -> None:
    """Add to the embeddings that were asked for, and are priced, those that were known."""
    if call is not None and call.known:
        billed(result, arguments)
        EMBEDDINGS.complete(result, call.known)
        result._hidden_params.update(cache_hit=True, cache_age=call.oldest)  # noqa: SLF001 - as LiteLLM marks such a one


def _awaited_last_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    inner = _awaited_in_its_call(original)

    async def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        if call is not None:
            call.answer = result  # of which the cache is shown the JSON text
        try:
            return await inner(self, result, *args, **_with_names(call, kwargs))
        finally:
            _end(self)

    return method


def _end(handler: Any) -> None:
    """Have nobody wait for a call whose answer LiteLLM did not want to have stored."""
    call: Call | None = getattr(handler, _CALL, None)
    if call is not None:
        call.end()


def _logged(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have a hit logged with its provider, which LiteLLM before 1.102 leaves out of a blocking one.

    Embeddings are logged without their numbers: to write those out takes longer than all the rest of a hit.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, _CALL, None) is not None:
            found = kwargs.get("cached_result")
            if isinstance(found, EmbeddingResponse):
                kwargs["cached_result"] = f"EmbeddingResponse(model={found.model!r}, {len(found.data)} embeddings)"
            if kwargs.get("custom_llm_provider") is None:
                kwargs["custom_llm_provider"] = kwargs["model"].partition("/")[0]
        return original(self, *args, **kwargs)

    return method


def _where_there_are_any(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Give names to arguments only where some have none; LiteLLM would look at the signature before it sees that."""

    def convert(original_function: Any, args: Any = None) -> dict[str, Any]:
        return original(original_function, args) if args or hooked() is None else {}

    return convert


def _messages_as_they_are(original: Callable[..., Any]) -> Callable[..., Any]:
    """Pass a message of Anthropic on, which is a dictionary; LiteLLM would import its proxy to do so."""

    def method(self: Any, cached_result: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        if call is not None and call.kind is MESSAGES and isinstance(cached_result, Mapping):
            return cached_result
        return original(self, cached_result, *args, **kwargs)

    return method

"""The object that LiteLLM makes for each call, to ask the cache."""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.caching.caching_handler import LLMCachingHandler
from litellm.types.utils import Embedding, EmbeddingResponse

from chatcache import ReplayMiss
from litellm_chatcache.call import BEGUN, CURRENT, SCOPE, Call
from litellm_chatcache.hook import hooked
from litellm_chatcache.kinds import EMBEDDINGS, MESSAGES
from litellm_chatcache.prices import billed

from .gathering import MISSES
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
                try:
                    hook.guard(call, request_kwargs)
                except ReplayMiss as miss:
                    MISSES[:] = [miss]
                    raise
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
        except ReplayMiss as miss:
            MISSES[:] = [miss]
            raise
        finally:
            CURRENT.reset(before)

    return method


def _lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have a call for embeddings ask for no more than is missing, which LiteLLM does for awaited ones only."""
    inner = _in_its_call(original)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        hook, call = hooked(), getattr(self, _CALL, None)
        if hook is None or call is None or call.kind is not EMBEDDINGS:
            return inner(self, *args, **kwargs)
        named = _with_names(kwargs)
        inputs = named["kwargs"].get("input")
        try:
            while True:
                call.begin_lookup({**named["kwargs"]})
                found = inner(self, *args, **named)
                if not hook.recorded_since(call):
                    break
        except ReplayMiss as miss:
            raise hook.recorded_failure(call) or miss from None
        if call.known and "input" in kwargs["kwargs"]:
            kwargs["kwargs"]["input"] = EMBEDDINGS.rest(inputs, call.known)
        else:  # there is no taking anything away from what is positional
            call.known = {}
        return found

    return method


def _awaited_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        before = CURRENT.set(call)
        try:
            return await original(self, *args, **kwargs)
        except ReplayMiss as miss:
            MISSES[:] = [miss]
            raise
        finally:
            CURRENT.reset(before)

    return method


def _awaited_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Mark embeddings that LiteLLM made of records of ours, and have it ask for no more than is missing."""
    inner = _awaited_in_its_call(original)

    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        hook, call = hooked(), getattr(self, _CALL, None)
        if hook is None or call is None or call.kind is not EMBEDDINGS:
            return await inner(self, *args, **kwargs)
        named = _with_names(kwargs)
        arguments = named["kwargs"]
        inputs = arguments.get("input")
        if inputs is None and not hook.replays(arguments):  # the provider has something to say to that
            return None
        try:
            while True:
                arguments["input"] = inputs  # of which LiteLLM takes away what it found
                call.begin_lookup({**arguments})
                found = await inner(self, *args, **named)
                if not await hook.arecorded_since(call):
                    break
        except ReplayMiss as miss:
            raise hook.recorded_failure(call) or miss from None
        embeddings = getattr(found, "final_embedding_cached_response", None)
        if embeddings is None:
            return found
        whole = found.embedding_all_elements_cache_hit
        _mark(embeddings, call, **({"response_cost": 0.0} if whole else {}))
        if not whole:
            if arguments is not kwargs["kwargs"]:  # it will ask for all of them
                return None
            # Before 1.102 LiteLLM asks for all of them, and takes the first ones that come for the first ones missing.
            arguments["input"] = [value for value, each in zip(inputs, embeddings.data, strict=True) if each is None]
        return found

    return method


def _mark(embeddings: EmbeddingResponse, call: Call, **hidden: Any) -> None:
    """Mark embeddings as a hit, at least of some of them, where LiteLLM's users look for that."""
    hidden |= {"cache_hit": True, "cache_age": call.oldest, "cache_key": next(iter(call.items), None)}
    embeddings._hidden_params.update(hidden)  # noqa: SLF001 - its name


def _with_names(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a method is called with, as LiteLLM needs it to find the inputs of a call for embeddings.

    Of `aembedding` it knows no names of positional arguments, and takes each number of a list of tokens for an input.
    """
    names = caching_handler.convert_args_to_kwargs(litellm.embedding, kwargs.get("args"))
    inputs = names.get("input", kwargs["kwargs"].get("input"))
    if EMBEDDINGS.inputs({"input": inputs}) is not inputs and isinstance(inputs, list):
        names["input"] = [inputs]
    return {**kwargs, "kwargs": kwargs["kwargs"] | names, "args": None} if names else kwargs


def _numbered(original: Callable[..., EmbeddingResponse]) -> Callable[..., EmbeddingResponse]:
    """Have embeddings numbered by their places in the whole, which LiteLLM before 1.102 does for those known only."""

    def method(self: Any, *args: Any, **kwargs: Any) -> EmbeddingResponse:
        ours, asked = getattr(self, _CALL, None) is not None, kwargs.get("embedding_response")
        if ours and asked is not None:
            asked.data = EMBEDDINGS.ordered(asked.data)
        whole = original(self, *args, **kwargs)
        if ours:
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
        _mark(result, call)


def _awaited_last_in_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    inner = _awaited_in_its_call(original)

    async def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        call: Call | None = getattr(self, _CALL, None)
        if call is not None:
            call.answer = result  # of which the cache is shown the JSON text
            kwargs = _with_names(kwargs) if call.kind is EMBEDDINGS else kwargs
        try:
            return await inner(self, result, *args, **kwargs)
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

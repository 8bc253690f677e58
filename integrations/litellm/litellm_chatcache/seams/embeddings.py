"""Calls for embeddings, which are recorded input by input: no more is asked for than what is missing.

LiteLLM does that for awaited calls only. What it makes of known and of new embeddings is put right here, too.
"""

from collections.abc import Callable
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.caching.caching_handler import LLMCachingHandler
from litellm.types.utils import Embedding, EmbeddingResponse

from chatcache import ReplayMiss
from litellm_chatcache.call import Call
from litellm_chatcache.hook import Hook, hooked
from litellm_chatcache.kinds import EMBEDDINGS
from litellm_chatcache.prices import billed

from .handler import call_in
from .replacing import replace

__all__ = ["install"]


def install() -> None:
    """Have calls for embeddings looked up and stored input by input; what is done for each call is done within."""
    replace(LLMCachingHandler, ("sync_get_cache", "_sync_get_cache"), _lookup)
    replace(LLMCachingHandler, ("async_get_cache", "_async_get_cache"), _awaited_lookup)
    replace(LLMCachingHandler, ("sync_set_cache", "_sync_set_cache"), _completed)
    replace(LLMCachingHandler, ("async_set_cache", "_async_set_cache"), _named)
    replace(LLMCachingHandler, "_update_litellm_logging_obj_environment", _logged)
    joins = "combine_cached_embedding_response_with_api_result"
    replace(LLMCachingHandler, (joins, f"_{joins}"), _numbered)


def _asks_for_embeddings(handler: Any) -> tuple[Hook, Call] | None:
    """Return the cache and the call, where the cache is one of ours and the call one for embeddings."""
    call = call_in(handler)
    if call is None or call.kind is not EMBEDDINGS:
        return None
    hook = hooked()
    return None if hook is None else (hook, call)


def _lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        asks = _asks_for_embeddings(self)
        if asks is None:
            return original(self, *args, **kwargs)
        hook, call = asks
        named = _with_names(kwargs)
        inputs = named["kwargs"].get("input")
        try:
            while True:
                call.begin_lookup({**named["kwargs"]})
                found = original(self, *args, **named)
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


def _awaited_lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        asks = _asks_for_embeddings(self)
        if asks is None:
            return await original(self, *args, **kwargs)
        hook, call = asks
        named = _with_names(kwargs)
        arguments = named["kwargs"]
        inputs = arguments.get("input")
        if inputs is None and not hook.replays(arguments):  # the provider has something to say to that
            return None
        try:
            while True:
                arguments["input"] = inputs  # of which LiteLLM takes away what it found
                call.begin_lookup({**arguments})
                found = await original(self, *args, **named)
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


def _completed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Add to the embeddings that were asked for, and are priced, those that were known."""

    def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, result, *args, **kwargs)
        finally:
            call = call_in(self)
            if call is not None and call.known:
                billed(result, kwargs.get("kwargs") or {})
                EMBEDDINGS.complete(result, call.known)
                _mark(result, call)

    return method


def _named(original: Callable[..., Any]) -> Callable[..., Any]:
    async def method(self: Any, result: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs = kwargs if _asks_for_embeddings(self) is None else _with_names(kwargs)
        return await original(self, result, *args, **kwargs)

    return method


def _with_names(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a method is called with, as LiteLLM needs it to find the inputs of a call for embeddings.

    Of `aembedding` it knows no names of positional arguments, and takes each number of a list of tokens for an input.
    """
    names = caching_handler.convert_args_to_kwargs(litellm.embedding, kwargs.get("args"))
    inputs = names.get("input", kwargs["kwargs"].get("input"))
    if EMBEDDINGS.inputs({"input": inputs}) is not inputs and isinstance(inputs, list):
        names["input"] = [inputs]
    return {**kwargs, "kwargs": kwargs["kwargs"] | names, "args": None} if names else kwargs


def _mark(embeddings: EmbeddingResponse, call: Call, **hidden: Any) -> None:
    """Mark embeddings as a hit, at least of some of them, where LiteLLM's users look for that."""
    hidden |= {"cache_hit": True, "cache_age": call.oldest, "cache_key": next(iter(call.items), None)}
    embeddings._hidden_params.update(hidden)  # noqa: SLF001 - its name


def _numbered(original: Callable[..., EmbeddingResponse]) -> Callable[..., EmbeddingResponse]:
    """Have embeddings numbered by their places in the whole, which LiteLLM before 1.102 does for those known only."""

    def method(self: Any, *args: Any, **kwargs: Any) -> EmbeddingResponse:
        ours, asked = call_in(self) is not None, kwargs.get("embedding_response")
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


def _logged(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have embeddings logged without their numbers: to write those out takes longer than all the rest of a hit."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = kwargs.get("cached_result")
        if call_in(self) is not None and isinstance(found, EmbeddingResponse):
            kwargs["cached_result"] = f"EmbeddingResponse(model={found.model!r}, {len(found.data)} embeddings)"
        return original(self, *args, **kwargs)

    return method

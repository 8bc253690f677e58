"""Two repairs of LiteLLM, without which any cache of its loses or breaks answers.

1.  From 1.102 on, the first hit crashes where ``litellm[proxy]`` is not installed: LiteLLM looks whether a hit is a
    stream of one of its proxy's classes, and cannot import them (BerriAI/litellm#42195). A chat completion is none.

2.  What an awaited stream said is stored by a task that LiteLLM starts with the last chunk. A program that ends there
    (``asyncio.run`` returns) cancels the task before it begins, and the answer was paid for in vain. It is stored with
    the last chunk instead.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.types.utils import ModelResponse

__all__ = ["repair"]

_DONE = "_repaired_by_chatcache"


def repair(is_ours: Callable[[object], bool]) -> None:
    """Repair LiteLLM, once in a process, for caches that `is_ours` says yes to."""
    if not hasattr(caching_handler, _DONE):
        setattr(caching_handler, _DONE, True)
        _let_hits_be_told_apart_without_the_proxy()
        _store_awaited_streams_at_once(is_ours)


def _let_hits_be_told_apart_without_the_proxy() -> None:
    name = "_should_defer_streaming_cache_hit_callbacks"
    original: Callable[..., bool] | None = getattr(caching_handler, name, None)
    if original is None:  # before 1.102
        return

    @wraps(original)
    def repaired(*, cached_result: object) -> bool:
        if isinstance(cached_result, ModelResponse | CustomStreamWrapper):
            return isinstance(cached_result, CustomStreamWrapper)
        return original(cached_result=cached_result)

    setattr(caching_handler, name, repaired)


def _store_awaited_streams_at_once(is_ours: Callable[[object], bool]) -> None:
    name = "async_cache_streaming_response"
    original: Callable[..., Awaitable[None]] = getattr(CustomStreamWrapper, name)

    @wraps(original)
    def repaired(
        self: CustomStreamWrapper,
        processed_chunk: Any,
        cache_hit: bool,  # noqa: FBT001 - LiteLLM's own signature
    ) -> Awaitable[None]:
        handler = getattr(self.logging_obj, "llm_caching_handler", None)
        if cache_hit or handler is None or not is_ours(litellm.cache):
            return original(self, processed_chunk, cache_hit)
        handler.sync_add_streaming_response_to_cache(processed_chunk)
        return _nothing_left_to_do()

    setattr(CustomStreamWrapper, name, repaired)


def _nothing_left_to_do() -> Coroutine[Any, Any, None]:
    async def nothing() -> None: ...

    return nothing()

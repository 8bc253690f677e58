"""Repairs of LiteLLM, without which any cache of its loses or breaks answers. Each applies only where it is needed.

1.  From 1.102 on, the first hit crashes where ``litellm[proxy]`` is not installed: LiteLLM looks whether a hit is a
    stream of one of its proxy's classes, and cannot import them (BerriAI/litellm#42195). A chat completion is none.

2.  What an awaited call returned, or an awaited stream said, is stored by a task that nobody waits for. A program that
    asks the same again at once pays twice; one that ends there (``asyncio.run`` returns) may cancel the task before it
    begins, and has paid in vain. It is stored before the caller goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.types.utils import ModelResponse

__all__ = ["nothing_left", "repair"]

_DONE = "_repaired_by_chatcache"


def repair(is_ours: Callable[[object], bool]) -> None:
    """Repair LiteLLM, once in a process, for caches that `is_ours` says yes to."""
    if not hasattr(caching_handler, _DONE):
        setattr(caching_handler, _DONE, True)
        _replace(caching_handler, "_should_defer_streaming_cache_hit_callbacks", _told_apart_without_the_proxy)
        _replace(caching_handler, "create_cache_write_task", lambda original: _written_at_once(original, is_ours))
        _replace(
            CustomStreamWrapper, "async_cache_streaming_response", lambda original: _kept_at_once(original, is_ours)
        )


async def nothing_left() -> None:
    """Be awaited by LiteLLM where everything was done before."""


def _replace(where: Any, name: str, repaired: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    original = getattr(where, name, None)
    if original is not None:  # else this LiteLLM is older than the fault
        setattr(where, name, wraps(original)(repaired(original)))


def _told_apart_without_the_proxy(original: Callable[..., bool]) -> Callable[..., bool]:
    def repaired(**asked: Any) -> bool:  # before 1.102 LiteLLM asks by other arguments, and imports nothing
        hit = asked.get("cached_result")
        if isinstance(hit, ModelResponse | CustomStreamWrapper):
            return isinstance(hit, CustomStreamWrapper)
        return original(**asked)

    return repaired


def _written_at_once(original: Callable[..., Any], is_ours: Callable[[object], bool]) -> Callable[..., Any]:
    def repaired(write_factory: Callable[[], Awaitable[None]]) -> Any:
        if not is_ours(litellm.cache):
            return original(write_factory)
        return asyncio.ensure_future(write_factory())  # ours wrote when it was called

    return repaired


def _kept_at_once(original: Callable[..., Any], is_ours: Callable[[object], bool]) -> Callable[..., Any]:
    def repaired(self: CustomStreamWrapper, processed_chunk: Any, cache_hit: bool) -> Awaitable[None]:  # noqa: FBT001 - LiteLLM's
        handler = getattr(self.logging_obj, "_llm_caching_handler", None)  # its name in every version
        if cache_hit or handler is None or not is_ours(litellm.cache):
            answer: Awaitable[None] = original(self, processed_chunk, cache_hit)
            return answer
        handler._sync_add_streaming_response_to_cache(processed_chunk)  # noqa: SLF001 - as above
        return nothing_left()

    return repaired

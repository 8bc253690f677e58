"""Repairs of LiteLLM, without which any cache of its loses or breaks answers. Each applies only where it is needed.

1.  From 1.102 on, the first hit crashes where ``litellm[proxy]`` is not installed: LiteLLM looks whether a hit is a
    stream of one of its proxy's classes, and cannot import them (BerriAI/litellm#42195). A chat completion is none.

2.  What an awaited call returned, or an awaited stream said, is stored by a task that nobody waits for. A program that
    asks the same again at once pays twice; one that ends there (``asyncio.run`` returns) may cancel the task before it
    begins, and has paid in vain. It is stored before the caller goes on.

3.  A stream that broke off without an error, and without a reason to finish, is told to a cache as one that ended with
    ``stop``. It is refused.

4.  Of a blocking hit LiteLLM tells its callbacks only where ``"cache"`` is one of them, as its own cache makes it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from threading import Thread
from typing import Any

import litellm
from litellm.caching import caching_handler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.types.utils import ModelResponse

from chatcache import Refusal, ResponseCache

__all__ = ["briefly", "nothing_left", "repair"]

EngineOf = Callable[[object], ResponseCache | None]

_DONE = "_repaired_by_chatcache"
_BRIEFLY = 0.1  # seconds; an fsync takes some milliseconds


def repair(engine_of: EngineOf) -> None:
    """Repair LiteLLM, once in a process, for the caches that `engine_of` gives the engine of."""
    if "cache" not in litellm.success_callback:
        litellm.success_callback.append("cache")  # means nothing else to LiteLLM
    if not hasattr(caching_handler, _DONE):
        setattr(caching_handler, _DONE, True)
        _replace(caching_handler, "_should_defer_streaming_cache_hit_callbacks", _told_apart_without_the_proxy)
        _replace(caching_handler, "create_cache_write_task", lambda original: _written_at_once(original, engine_of))
        _replace(
            CustomStreamWrapper, "async_cache_streaming_response", lambda original: _kept_at_once(original, engine_of)
        )
        _replace(CustomStreamWrapper, "cache_streaming_response", lambda original: _kept_if_whole(original, engine_of))


def briefly(work: Callable[[], None]) -> None:
    """Do work that may wait for the disk or for another process, and hold up the running event loop only so long.

    What takes longer goes on in a thread, for which the program waits at its end.
    """
    thread = Thread(target=work)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        work()
    else:
        thread.join(_BRIEFLY)


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


def _written_at_once(original: Callable[..., Any], engine_of: EngineOf) -> Callable[..., Any]:
    def repaired(write_factory: Callable[[], Awaitable[None]]) -> Any:
        if engine_of(litellm.cache) is None:
            return original(write_factory)
        return asyncio.ensure_future(write_factory())  # ours wrote when it was called

    return repaired


def _kept_at_once(original: Callable[..., Any], engine_of: EngineOf) -> Callable[..., Any]:
    def repaired(self: CustomStreamWrapper, processed_chunk: Any, cache_hit: bool) -> Awaitable[None]:  # noqa: FBT001 - LiteLLM's
        engine, handler = engine_of(litellm.cache), getattr(self.logging_obj, "_llm_caching_handler", None)
        if cache_hit or handler is None or engine is None:
            answer: Awaitable[None] = original(self, processed_chunk, cache_hit)
            return answer
        if not _refused(self, engine):
            briefly(lambda: handler._sync_add_streaming_response_to_cache(processed_chunk))  # noqa: SLF001 - its name in every version
        return nothing_left()

    return repaired


def _kept_if_whole(original: Callable[..., Any], engine_of: EngineOf) -> Callable[..., Any]:
    def repaired(self: CustomStreamWrapper, processed_chunk: Any, cache_hit: bool) -> None:  # noqa: FBT001 - LiteLLM's
        engine = engine_of(litellm.cache)
        if cache_hit or engine is None or not _refused(self, engine):
            original(self, processed_chunk, cache_hit)

    return repaired


def _refused(stream: CustomStreamWrapper, engine: ResponseCache) -> bool:
    """Whether a stream broke off, and is not to be kept for that."""
    ended = (getattr(stream, name, "stop") for name in ("received_finish_reason", "intermittent_finish_reason"))
    return not any(ended) and engine.refuses(Refusal.INTERRUPTED)

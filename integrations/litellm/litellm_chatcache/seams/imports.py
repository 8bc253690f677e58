"""What LiteLLM imports at a hit."""

from collections.abc import Callable
from typing import Any

from litellm.caching import caching_handler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.types.utils import ModelResponse

from litellm_chatcache.streams import ReplayedMessages

from .replacing import replace

__all__ = ["install"]


def install() -> None:
    """Have hits told apart without what comes with ``litellm[proxy]``."""
    replace(caching_handler, "_should_defer_streaming_cache_hit_callbacks", _told_apart)


def _told_apart(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_stream(**asked: Any) -> bool:  # before 1.102 LiteLLM asks by other arguments, and imports nothing
        hit = asked.get("cached_result")
        if isinstance(hit, ModelResponse | CustomStreamWrapper | ReplayedMessages):
            return not isinstance(hit, ModelResponse)
        try:
            return original(**asked)
        except ImportError:  # then it is none of the proxy's streams
            return _is_responses_stream(hit)

    return is_stream


def _is_responses_stream(hit: Any) -> bool:
    from litellm.responses.streaming_iterator import BaseResponsesAPIStreamingIterator

    return isinstance(hit, BaseResponsesAPIStreamingIterator)

"""What LiteLLM imports at a hit."""

from collections.abc import Callable
from typing import Any

from litellm.caching import caching_handler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.responses.streaming_iterator import BaseResponsesAPIStreamingIterator
from pydantic import BaseModel

from litellm_chatcache.streams import ReplayedMessages, ReplayedResponses, ReplayedStream

from .replacing import replace

__all__ = ["install"]

_NO_STREAMS = (BaseModel, dict)


def install() -> None:
    """Have hits told apart without what comes with ``litellm[proxy]``."""
    replace(caching_handler, "_should_defer_streaming_cache_hit_callbacks", _told_apart)


def _told_apart(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_stream(**asked: Any) -> bool:  # before 1.102 LiteLLM asks by other arguments, and imports nothing
        hit = asked.get("cached_result")
        if isinstance(hit, _NO_STREAMS):  # nearly all hits: a failing import takes a millisecond, each time
            return False
        if isinstance(hit, ReplayedStream | ReplayedResponses | ReplayedMessages):
            return True
        try:
            return original(**asked)
        except ImportError:  # then it is none of the proxy's streams
            return isinstance(hit, CustomStreamWrapper | BaseResponsesAPIStreamingIterator)

    return is_stream

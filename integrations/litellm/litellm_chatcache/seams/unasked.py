"""Functions of LiteLLM that reach a provider, and make no object to ask the cache."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import litellm

from litellm_chatcache.call import Call
from litellm_chatcache.hook import guard

from .replacing import replace_everywhere

__all__ = ["install"]

_NAMES = (
    "moderation",
    "acount_tokens",
    "cancel_batch",
    "acancel_batch",
    "file_content_streaming",
    "list_fine_tuning_jobs",
    "alist_fine_tuning_jobs",
    # assistants
    "a_add_message",
    "acreate_assistants",
    "acreate_thread",
    "add_message",
    "adelete_assistant",
    "aget_assistants",
    "aget_messages",
    "aget_thread",
    "arun_thread",
    "arun_thread_stream",
    "create_assistants",
    "create_thread",
    "delete_assistant",
    "get_assistants",
    "get_messages",
    "get_thread",
    "run_thread",
    "run_thread_stream",
)


_WITHIN: ContextVar[bool] = ContextVar("litellm_chatcache_within_unasked", default=False)
"""Whether one of them is being called: an awaited one calls its blocking twin."""


def install() -> None:
    """Have none of them called in mode ``replay``."""
    replace_everywhere(litellm, _NAMES, _guarded)


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def blocking(*args: Any, **kwargs: Any) -> Any:
        with _outermost(original.__name__, kwargs):
            return original(*args, **kwargs)

    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        with _outermost(original.__name__, kwargs):
            return await original(*args, **kwargs)

    return awaiting if inspect.iscoroutinefunction(original) else blocking


@contextmanager
def _outermost(function: str, arguments: dict[str, Any]) -> Iterator[None]:
    """Guard a call, and none of those within."""
    if not _WITHIN.get():
        guard(Call(function), {**arguments})
    before = _WITHIN.set(True)
    try:
        yield
    finally:
        _WITHIN.reset(before)

"""Functions of LiteLLM that reach a provider, and make no object to ask the cache."""

import inspect
from collections.abc import Callable
from typing import Any

import litellm

from litellm_chatcache.call import Call
from litellm_chatcache.hook import hooked

from .replacing import replace

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


def install() -> None:
    """Have none of them called in mode ``replay``."""
    for name in _NAMES:
        replace(litellm, name, _guarded)


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    def guard(arguments: dict[str, Any]) -> None:
        hook = hooked()
        if hook is not None:
            hook.guard(Call(original.__name__), {**arguments})

    def blocking(*args: Any, **kwargs: Any) -> Any:
        guard(kwargs)
        return original(*args, **kwargs)

    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        guard(kwargs)
        return await original(*args, **kwargs)

    return awaiting if inspect.iscoroutinefunction(original) else blocking

"""The errors of calls, which LiteLLM logs."""

from collections.abc import Callable
from typing import Any

from litellm.litellm_core_utils.litellm_logging import Logging

from chatcache import ChatcacheError
from litellm_chatcache.hook import hooked

from .handler import begun_at
from .replacing import replace

__all__ = ["install"]


def install() -> None:
    """Have the cache told of errors."""
    replace(Logging, "failure_handler", _told)


def _told(original: Callable[..., Any]) -> Callable[..., Any]:
    def failure_handler(
        self: Any, exception: Any, traceback_exception: Any, start_time: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        hook, call = hooked(), begun_at(self, start_time)
        if hook is not None and call is not None and not call.over:
            if isinstance(exception, ChatcacheError):
                call.end()
            else:
                hook.keep_failure(call, exception)
        return original(self, exception, traceback_exception, start_time, *args, **kwargs)

    return failure_handler

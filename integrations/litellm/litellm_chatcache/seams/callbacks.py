"""Whom LiteLLM tells of a hit."""

from collections.abc import Callable
from typing import Any

import litellm
from litellm.litellm_core_utils.litellm_logging import Logging

from .handler import call_of
from .replacing import replace

__all__ = ["install"]


def install() -> None:
    """Have the callbacks told of the hit of a blocking call."""
    replace(Logging, "_should_run_sync_callbacks_for_async_calls", _any_callback)


def _any_callback(original: Callable[..., bool]) -> Callable[..., bool]:
    def is_anybody_to_be_told(self: Any) -> bool:
        call = call_of(self)
        if call is None or call.awaited:
            return original(self)
        return bool(self.get_combined_callback_list(self.dynamic_success_callbacks, litellm.success_callback))

    return is_anybody_to_be_told

"""What LiteLLM tries again when a call failed, and what its Router asks instead."""

import sys
from collections.abc import Callable
from typing import Any

import litellm
from litellm.router import Router
from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import ModelResponse

from chatcache import ReplayMiss
from litellm_chatcache.hook import hooked

from .handler import call_of
from .replacing import replace

__all__ = ["install"]

_BLOCKING = ("completion_with_retries", "responses_with_retries")
_ENDED = "_chatcache_ended"
_AWAITED = ("acompletion_with_retries", "aresponses_with_retries")


def install() -> None:
    """Have nothing tried again in mode ``replay``, and have the answer recorded of what is."""
    for name in _BLOCKING:
        replace(litellm, name, _blocking)
    for name in _AWAITED:
        replace(litellm, name, _awaited)
    replace(Router, "async_function_with_fallbacks_common_utils", _not_instead_of_a_miss)
    _end_native_routes()
    replace(Router, "__init__", _with_native_routes)


def _blocking(original: Callable[..., Any]) -> Callable[..., Any]:
    def retried(*args: Any, **kwargs: Any) -> Any:
        _let_through(kwargs)
        logging = kwargs.get("litellm_logging_obj")
        answer = original(*args, **kwargs)
        _keep(logging, answer, kwargs)
        return answer

    return retried


def _awaited(original: Callable[..., Any]) -> Callable[..., Any]:
    async def retried(*args: Any, **kwargs: Any) -> Any:
        _let_through(kwargs)
        logging = kwargs.get("litellm_logging_obj")
        answer = await original(*args, **kwargs)
        _keep(logging, answer, kwargs)
        return answer

    return retried


def _let_through(arguments: dict[str, Any]) -> None:
    """Raise the error again that LiteLLM is handling, if nothing may be called; otherwise have a miss end the call."""
    hook, error = hooked(), sys.exception()
    if hook is not None and hook.replays(arguments):
        if error is not None:
            raise error
        arguments["num_retries"] = 1  # how often it is tried in all


def _not_instead_of_a_miss(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have a Router ask no other model group if a call missed."""

    async def with_fallbacks(self: Any, e: Exception, *args: Any, **kwargs: Any) -> Any:
        if isinstance(e, ReplayMiss):
            raise e
        return await original(self, e, *args, **kwargs)

    return with_fallbacks


def _end_native_routes() -> None:
    """Have Routers of native code, which LiteLLM has from 1.110 on, end at a miss, once their module is imported."""
    driver = getattr(sys.modules.get("litellm.router_rust.core"), "_Driver", None)
    if driver is not None and not hasattr(driver, _ENDED):
        setattr(driver, _ENDED, True)
        replace(driver, "attempt", _last_after_a_miss)
        replace(driver, "attempt_sync", _blocking_last_after_a_miss)


def _with_native_routes(original: Callable[..., None]) -> Callable[..., None]:
    """Look for native code when a Router is made: to import it here would cost every program 0.15 s."""

    def begin(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _end_native_routes()

    return begin


def _last_after_a_miss(original: Callable[..., Any]) -> Callable[..., Any]:
    """Have native code, which is told how each attempt ended, make no other one after a miss."""

    async def attempt(self: Any, step: Any) -> Any:
        outcome = await original(self, step)
        if isinstance(self.last_error, ReplayMiss):
            raise self.last_error
        return outcome

    return attempt


def _blocking_last_after_a_miss(original: Callable[..., Any]) -> Callable[..., Any]:
    def attempt(self: Any, step: Any) -> Any:
        outcome = original(self, step)
        if isinstance(self.last_error, ReplayMiss):
            raise self.last_error
        return outcome

    return attempt


def _keep(logging: Any, answer: Any, arguments: dict[str, Any]) -> None:
    hook, call = hooked(), call_of(logging)
    if hook is not None and call is not None and isinstance(answer, ModelResponse | ResponsesAPIResponse):
        hook.keep(call, answer, arguments)

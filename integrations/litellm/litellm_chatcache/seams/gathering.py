"""Functions of LiteLLM that make several calls, and give or hide the errors of those as part of what they return."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import litellm
from litellm.router import Router

from chatcache import ReplayMiss
from litellm_chatcache.hook import hooked

from .replacing import replace

__all__ = ["install", "note"]

_last: list[ReplayMiss] = []  # in whatever thread

_FUNCTIONS = ("batch_completion", "batch_completion_models", "batch_completion_models_all_responses")
_METHODS = (
    "abatch_completion",
    "abatch_completion_fastest_response",
    "abatch_completion_one_model_multiple_requests",
)


def install() -> None:
    """Have them raise what a call within missed, unless another one of which only the first counts did answer."""
    for name in _FUNCTIONS:
        replace(litellm, name, _raising)
    for each in _classes():
        for name in _METHODS:
            replace(each, name, _raising)


def note(miss: ReplayMiss) -> None:
    """Note that a call missed in mode ``replay``, which may be one of several."""
    _last[:] = [miss]


def _classes() -> list[Any]:
    """Return the classes that have the Router's methods: in newer releases it hands them on to others."""
    try:
        endpoints = import_module("litellm.router_rust.invoke.endpoints")
    except ImportError:
        return [Router]
    return [Router, *(each for each in vars(endpoints).values() if isinstance(each, type))]


def _raising(original: Callable[..., Any]) -> Callable[..., Any]:
    def blocking(*args: Any, **kwargs: Any) -> Any:
        before = [*_last]
        try:
            return _checked(original(*args, **kwargs), before, kwargs)
        except Exception as error:
            missed = _new(before)
            if missed is not None and missed is not error:
                raise missed from error
            raise

    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        before = [*_last]
        try:
            return _checked(await original(*args, **kwargs), before, kwargs)
        except Exception as error:
            missed = _new(before)
            if missed is not None and missed is not error:
                raise missed from error
            raise

    return awaiting if inspect.iscoroutinefunction(original) else blocking


def _checked(answers: Any, before: list[ReplayMiss], arguments: dict[str, Any]) -> Any:
    """Return answers, all of which were to be there.

    Raises:
        ReplayMiss: one of them is not.
    """
    hook, missed = hooked(), _new(before)
    is_race = answers is not None and not isinstance(answers, list)
    if hook is not None and missed is not None and hook.replays(arguments) and not is_race:
        raise missed
    return answers


def _new(before: list[ReplayMiss]) -> ReplayMiss | None:
    return _last[0] if _last and before != _last else None

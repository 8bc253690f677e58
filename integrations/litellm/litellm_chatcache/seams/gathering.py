"""Functions of LiteLLM that make several calls, and give or hide the errors of those as part of what they return."""

import inspect
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import litellm
from litellm.batch_completion import main
from litellm.router import Router

from chatcache import ReplayMiss
from litellm_chatcache.hook import hooked

from .replacing import replace

__all__ = ["install", "note"]

_MISSES: ContextVar[list[ReplayMiss] | None] = ContextVar("litellm_chatcache_misses", default=None)
"""What the calls within missed, for the function that makes them."""

_FUNCTIONS = ("batch_completion", "batch_completion_models", "batch_completion_models_all_responses")
_METHODS = (
    "abatch_completion",
    "abatch_completion_fastest_response",
    "abatch_completion_one_model_multiple_requests",
)


class _InContext(ModuleType):
    """LiteLLM, as the functions see it that call it in threads, which have no context of their own."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(litellm, name)
        return partial(copy_context().run, value) if name == "completion" else value


def install() -> None:
    """Have them raise what a call within missed, unless another one of which only the first counts did answer."""
    main.litellm = _InContext("litellm")  # type: ignore[attr-defined]  # it exports nothing
    for name in _FUNCTIONS:
        replace(litellm, name, _raising)
    for each in _classes():
        for name in _METHODS:
            replace(each, name, _raising)


def note(miss: ReplayMiss) -> None:
    """Note that a call missed in mode ``replay``, which may be one of several."""
    misses = _MISSES.get()
    if misses is not None:
        misses.append(miss)


def _classes() -> list[Any]:
    """Return the classes that have the Router's methods: in newer releases it hands them on to others."""
    try:
        endpoints = import_module("litellm.router_rust.invoke.endpoints")
    except ImportError:
        return [Router]
    return [Router, *(each for each in vars(endpoints).values() if isinstance(each, type))]


def _raising(original: Callable[..., Any]) -> Callable[..., Any]:
    def blocking(*args: Any, **kwargs: Any) -> Any:
        misses: list[ReplayMiss] = []
        before = _MISSES.set(misses)
        try:
            return _checked(original(*args, **kwargs), misses, kwargs)
        except Exception as error:
            _raise_first(misses, error)
            raise
        finally:
            _MISSES.reset(before)

    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        misses: list[ReplayMiss] = []
        before = _MISSES.set(misses)
        try:
            return _checked(await original(*args, **kwargs), misses, kwargs)
        except Exception as error:
            _raise_first(misses, error)
            raise
        finally:
            _MISSES.reset(before)

    return awaiting if inspect.iscoroutinefunction(original) else blocking


def _checked(answers: Any, misses: list[ReplayMiss], arguments: dict[str, Any]) -> Any:
    """Return answers, all of which were to be there.

    Raises:
        ReplayMiss: one of them is not.
    """
    hook = hooked()
    is_race = answers is not None and not isinstance(answers, list)
    if hook is not None and misses and hook.replays(arguments) and not is_race:
        raise misses[0]
    return answers


def _raise_first(misses: list[ReplayMiss], error: Exception) -> None:
    """Raise the first miss instead of the error that LiteLLM made of it."""
    if misses and error not in misses:
        raise misses[0] from error

"""Calls that LiteLLM hands to its native code, which asks no cache."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from litellm_chatcache.call import Call
from litellm_chatcache.hook import guard, hooked

from .replacing import replace

__all__ = ["install"]

_Arguments = Mapping[str, Any]


def install() -> None:
    """Have Python make the calls that a cache is asked for, and none of the others in mode ``replay``."""
    try:
        from litellm.rust_bridge.dispatch import PublicDispatch
    except ImportError:  # before 1.102
        return
    replace(PublicDispatch, "run", _by_python)
    replace(PublicDispatch, "arun", _awaited_by_python)


def _by_python(original: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: Any, args: tuple[Any, ...], kwargs: _Arguments, *, python: Any, **rest: Any) -> Any:
        if _asks_a_cache(self, kwargs, python):
            return python(*args, **kwargs)
        return original(self, args, kwargs, python=python, **rest)

    return run


def _awaited_by_python(original: Callable[..., Any]) -> Callable[..., Any]:
    async def run(self: Any, args: tuple[Any, ...], kwargs: _Arguments, *, python: Any, **rest: Any) -> Any:
        if _asks_a_cache(self, kwargs, python):
            return await python(*args, **kwargs)
        return await original(self, args, kwargs, python=python, **rest)

    return run


def _asks_a_cache(dispatch: Any, arguments: _Arguments, python: Any) -> bool:
    """Return whether there is a function in Python for a call, which asks the cache of ours that is set.

    Raises:
        ReplayMiss: there is none, and nothing may be called.
    """
    if not callable(python):
        guard(Call(str(dispatch.route.value)), {**arguments})
        return False
    hook = hooked()
    if hook is None:
        return False
    return _has_a_choice(dispatch.route) or hook.replays(arguments)


@cache
def _has_a_choice(route: Any) -> bool:
    """Return whether the native code of a route may be left unused: for some providers there is no other."""
    from litellm.rust_bridge.catalog import RULES
    from litellm.rust_bridge.configuration import Rollout

    return all(rule.rollout is not Rollout.RUST_REQUIRED or getattr(rule, "route", None) != route for rule in RULES)

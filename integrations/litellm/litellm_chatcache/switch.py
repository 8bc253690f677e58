"""Switching the cache on and off, as ``litellm.enable_cache`` and ``litellm.disable_cache`` do for LiteLLM's own."""

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from os import PathLike
from typing import Any, Literal, TypedDict, Unpack

import litellm

from chatcache import TTL, Accept, Allowed, Mode, ModeName, Refusal

from .cache import DOCache
from .call import SCOPE, Call, Scope
from .kinds import FUNCTIONS

__all__ = ["disable", "enable"]

_WRAPPED: dict[str, Callable[..., Any]] = {}
"""The functions of LiteLLM that are wrapped, by name, as they were."""


class Options(TypedDict, total=False):
    """What `enable` takes for `DOCache`."""

    path: str | PathLike[str] | None
    object: str
    ttl: TTL
    mode: ModeName | Mode
    allow: Collection[Allowed | Refusal]
    accept: Accept | None
    max_entries: int | None
    max_bytes: int | None
    store_requests: Literal["full", "redacted", "digest"]
    on_store_error: Literal["bypass", "raise"]
    timeout: float
    max_messages: int | None
    key: Callable[[dict[str, Any]], Any] | None
    ignore: Collection[str]
    supported_call_types: Collection[str] | None
    default_off: bool
    record_errors: bool
    tenant: Callable[[], str | None] | None


def enable(store_id: str, *, single_flight: bool = True, **options: Unpack[Options]) -> DOCache:
    """Cache all calls of LiteLLM from now on, and return the cache.

    It sets ``litellm.cache``, and wraps the functions of LiteLLM that can be cached, so that whoever asks for what is
    just being asked for waits for that one answer. A function that was imported by name before, as by ``from litellm
    import completion``, is cached as well; where a call of it is cancelled, those who wait for it may do so until the
    garbage collector comes.

    Args:
        store_id: as for `DOCache`.
        single_flight: as for `DOCache`.
        options: the other arguments of `DOCache`.

    Raises:
        InvalidInputError: an argument or the environment cannot be right.
        StorageError: the path is a file.
    """
    disable()
    cache = DOCache(store_id, single_flight=single_flight, **options)
    litellm.cache = cache  # type: ignore[assignment]  # LiteLLM asks for no class
    for name in FUNCTIONS:
        function = getattr(litellm, name, None)
        if callable(function):
            _WRAPPED[name] = function
            setattr(litellm, name, _wrapped(function))
    return cache


def disable() -> None:
    """Cache no more calls of LiteLLM: what `enable` did is undone, and its file released."""
    while _WRAPPED:
        name, function = _WRAPPED.popitem()
        setattr(litellm, name, function)
    cache: object = litellm.cache
    if isinstance(cache, DOCache):
        litellm.cache = None
        cache.engine.close()


def _wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of LiteLLM after whose end nobody waits for its calls, except for streams that go on."""

    @wraps(function)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        calls = Scope()
        before = SCOPE.set(calls)
        try:
            answer = function(*args, **kwargs)
        except BaseException:
            _end(calls)
            raise
        finally:
            SCOPE.reset(before)
        if not any(call.streamed for call in calls):
            _end(calls)
        return answer

    @wraps(function)
    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        calls = Scope()
        before = SCOPE.set(calls)
        try:
            answer = await function(*args, **kwargs)
        except BaseException:
            _end(calls)
            raise
        finally:
            SCOPE.reset(before)
        if not any(call.streamed for call in calls):
            _end(calls)
        return answer

    return awaiting if inspect.iscoroutinefunction(function) else blocking


def _end(calls: list[Call]) -> None:
    for call in calls:
        call.end()

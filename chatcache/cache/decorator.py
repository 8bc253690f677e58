"""``@cached(cache)``: a function of JSON arguments whose results are recorded."""

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import aclosing
from functools import wraps
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from chatcache.errors import InvalidInputError, shown
from chatcache.ttl import TTL

from .recorder import Accept, parse_accept
from .responses import ResponseCache

__all__ = ["cached"]

P = ParamSpec("P")
R = TypeVar("R")


def cached(
    cache: ResponseCache,
    *,
    name: str | None = None,
    ignore: Collection[str] = (),
    ttl: TTL = None,
    accept: Accept | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that records what a function returns, and replays it to calls with equal arguments.

    The function may be sync or async, a generator or an async generator, as `ResponseCache.call`, ``acall``, ``stream``
    and ``astream`` take them. The key is made of its name and its arguments, JSON values, each under the name of its
    parameter and with defaults. Nothing else counts: neither its code, nor what it reads from elsewhere.

    Args:
        cache: keeps the records.
        name: stands for the function in the key; by default its module and its qualified name. Of a function of the
            program itself, ``__main__``, the name of the file stands for the module.
        ignore: the names of parameters that do not count.
        ttl: instead of the TTL of the cache.
        accept: instead of the predicate of the cache.

    Raises:
        InvalidInputError: `cache` is no cache, a name in `ignore` no parameter, or a lambda has no `name`.
    """
    if not isinstance(cache, ResponseCache):
        raise InvalidInputError(
            f"cached({shown(cache)}): pass a chatcache.ResponseCache; cached(model, cache) is in langchain_chatcache"
        )
    options = {"ttl": ttl, "accept": parse_accept(accept)}
    return lambda function: _recorded(cache, function, _request_of(function, name, ignore), options)


def _request_of(function: Any, name: str | None, ignore: Collection[str]) -> Callable[..., dict[str, Any]]:
    """Return what makes a request of the arguments of a function.

    Raises:
        InvalidInputError: as `cached`.
    """
    signature = inspect.signature(function)
    if isinstance(ignore, str) or not signature.parameters.keys() >= {*ignore}:
        raise InvalidInputError(f"ignore={shown(ignore)}: pass a list of some of {', '.join(signature.parameters)}")
    called = name or _name_of(function)

    def request(*args: Any, **kwargs: Any) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {each: value for each, value in bound.arguments.items() if each not in ignore}
        return {"function": called, "arguments": arguments}

    return request


def _recorded(
    cache: ResponseCache, function: Any, request: Callable[..., dict[str, Any]], options: dict[str, Any]
) -> Any:
    """Return a function of the same kind that asks the cache."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return cache.call(request(*args, **kwargs), lambda _: function(*args, **kwargs), **options)

    @wraps(function)
    async def acall(*args: Any, **kwargs: Any) -> Any:
        return await cache.acall(request(*args, **kwargs), lambda _: function(*args, **kwargs), **options)

    @wraps(function)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from cache.stream(request(*args, **kwargs), lambda _: function(*args, **kwargs), **options)

    @wraps(function)
    async def astream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        given = cache.astream(request(*args, **kwargs), lambda _: function(*args, **kwargs), **options)
        async with aclosing(given) as chunks:
            async for chunk in chunks:
                yield chunk

    if inspect.isasyncgenfunction(function):
        return astream
    if inspect.isgeneratorfunction(function):
        return stream
    return acall if inspect.iscoroutinefunction(function) else call


def _name_of(function: Any) -> str:
    """Return the name of a function that no other function has.

    Raises:
        InvalidInputError: it has none.
    """
    name = getattr(function, "__qualname__", None)
    if name is None or name.endswith("<lambda>"):
        raise InvalidInputError(f"{shown(function)} has no name of its own: pass cached(..., name=)")
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None and set(code.co_freevars) - {"__class__"}:  # which stands for super() in a method
        raise InvalidInputError(
            f"{shown(function)} reads variables of the function that it is made in, which do not count: pass "
            "cached(..., name=), another name for each that answers otherwise"
        )
    module = function.__module__
    if module == "__main__":
        file = getattr(sys.modules[module], "__file__", None)
        module = module if file is None else PurePath(file).stem
    return f"{module}.{name}"

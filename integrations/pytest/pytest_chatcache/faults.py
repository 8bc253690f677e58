"""Errors that a test wants its calls to fail with, made of their classes as the SDKs of providers make them."""

import inspect
from collections.abc import Callable
from typing import Any

from chatcache import InvalidInputError
from chatcache.recording import Fault

__all__ = ["faults_of"]

_STATUS = {
    "BadRequestError": 400,
    "AuthenticationError": 401,
    "PermissionDeniedError": 403,
    "NotFoundError": 404,
    "ConflictError": 409,
    "UnprocessableEntityError": 422,
    "RateLimitError": 429,
    "InternalServerError": 500,
    "ServiceUnavailableError": 503,
    "OverloadedError": 529,
}
_MESSAGE = "injected by the marker chatcache"


def faults_of(fail: Any, times: Any) -> list[Fault]:
    """Return what the arguments ``fail`` and ``times`` of a marker ask.

    Args:
        fail: an exception class, an exception, or a function that takes no argument and returns one.
        times: how many calls are to fail.

    Raises:
        InvalidInputError: they cannot be right.
    """
    if fail is None:
        if times is not None:
            raise InvalidInputError(f"chatcache(times={times!r}): say what the calls are to fail with, by fail=")
        return []
    times = 1 if times is None else times
    if type(times) is not int or times < 1:
        raise InvalidInputError(f"chatcache(times={times!r}): say how many calls are to fail, from 1 on")
    if isinstance(fail, Exception):
        return [Fault(lambda _model: fail, times)]
    if isinstance(fail, type) and issubclass(fail, Exception):
        return [Fault(lambda model: _made(fail, model), times)]
    if callable(fail):
        return [Fault(lambda _model: _called(fail), times)]
    raise InvalidInputError(f"chatcache(fail={fail!r}): pass an exception class, an exception, or what makes one")


def _called(make: Callable[[], Any]) -> Exception:
    made = make()
    if not isinstance(made, Exception):
        raise InvalidInputError(f"chatcache(fail={make!r}) returned {made!r}, which is no exception")
    return made


def _made(kind: type[Exception], model: str | None) -> Exception:
    """Return an error of a class, with what the classes of OpenAI, Anthropic and LiteLLM ask for."""
    try:
        takes = inspect.signature(kind).parameters
    except ValueError:  # a class of the interpreter's
        return kind(_MESSAGE)
    known: dict[str, Callable[[], Any]] = {
        "message": lambda: _MESSAGE,
        "model": lambda: model or "",
        "llm_provider": lambda: "chatcache",
        "body": lambda: None,
        "response": lambda: _response(kind),
        "request": _request,
    }
    needed = [
        name
        for name, each in takes.items()
        if each.default is each.empty and each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY}
    ]
    if not needed:
        return kind(_MESSAGE) if takes else kind()
    unknown = [name for name in needed if name not in known]
    if unknown:
        raise InvalidInputError(
            f"chatcache(fail={kind.__name__}): it is not known what to pass for {', '.join(unknown)}; "
            f"pass an exception, or a function that makes one"
        )
    return kind(**{name: known[name]() for name in needed})


def _request() -> Any:
    import httpx  # which is there where such a class is

    return httpx.Request("POST", "https://provider.invalid/")


def _response(kind: type[Exception]) -> Any:
    import httpx

    return httpx.Response(_STATUS.get(kind.__name__, 500), request=_request())

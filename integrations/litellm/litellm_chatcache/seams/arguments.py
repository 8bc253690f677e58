"""The arguments of a call that LiteLLM is about to make, which it edits in place."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import CellType
from typing import Any

import litellm
from litellm.caching import caching_handler

from litellm_chatcache.copies import copied, copies_of
from litellm_chatcache.hook import hooked
from litellm_chatcache.kinds import FUNCTIONS

from .handler import call_in, handler_of

__all__ = ["install"]

_ORIGINAL = "original_function"  # what LiteLLM's decorator calls the function that it decorates
_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def install() -> None:
    """Have each function that can be cached called with copies, whatever name it was imported by."""
    for name in FUNCTIONS:
        cell = _cell(getattr(litellm, name, None))
        if cell is not None:
            cell.cell_contents = _with_copies(cell.cell_contents)


def _cell(function: Any) -> CellType | None:
    """Return where LiteLLM's decorator keeps the function that it decorates, or None if it is another one's."""
    while function is not None:
        names = function.__code__.co_freevars
        if _ORIGINAL in names:
            cell: CellType = function.__closure__[names.index(_ORIGINAL)]
            return cell
        function = getattr(function, "__wrapped__", None)
    return None


def _with_copies(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def blocking(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _frozen(original, args, kwargs)
        return original(*args, **kwargs)

    @wraps(original)
    async def awaiting(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = _frozen(original, args, kwargs)
        return await original(*args, **kwargs)

    return awaiting if inspect.iscoroutinefunction(original) else blocking


def _frozen(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Arguments:
    """Return what a function is to be called with: copies, if the cache is to know the call by what is passed now."""
    logging: Any = kwargs.get("litellm_logging_obj")
    hook, call = hooked(), call_in(handler_of(logging))
    # LiteLLM calls some functions within others; only the outermost one gets the caller's objects
    if hook is None or call is None or call.within is not None or call.function != original.__name__:
        return args, kwargs
    names = litellm.embedding if original.__name__ == "aembedding" else original  # `aembedding` has none
    if not hook.freeze(call, {**kwargs, **caching_handler.convert_args_to_kwargs(names, args)}):
        return args, kwargs
    # callbacks are shown these messages, and some edit them, as to mask personal data
    logging.messages = logging.model_call_details["messages"] = copied(logging.messages)
    return tuple(map(copied, args)), copies_of(kwargs)

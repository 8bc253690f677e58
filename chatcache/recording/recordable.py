"""What a bundle can hold, so that a replay returns what the recording run got. Pure.

A bundle is JSON. A tuple would come back as a list, and an enum's member as its value, so neither is recorded. The
limit of levels keeps functions that call themselves for each level within Python's own limit.
"""

from typing import Any

from chatcache.codec import is_json
from chatcache.errors import InvalidValueError

from .bundle.layout import DEEPEST, is_too_deep

__all__ = ["check_answer", "check_request"]

_SCALARS = frozenset({type(None), bool, int, float, str})


def check_request(request: Any) -> None:
    """Check that a bundle can hold a request that has a key.

    Raises:
        InvalidValueError: it cannot.
    """
    if is_too_deep(request):
        raise InvalidValueError(f"the request cannot be recorded: it nests more than {DEEPEST} levels")


def check_answer(answer: Any) -> None:
    """Check that a bundle can hold an answer, and that a replay returns it equal and of the same types.

    Raises:
        InvalidValueError: it cannot, or would not; the message holds the path to the part.
    """
    if is_too_deep(answer):
        raise InvalidValueError(f"the answer cannot be recorded: it nests more than {DEEPEST} levels")
    if not is_json(answer):
        _check_json(answer)


def _check_json(value: Any) -> None:
    kind = type(value)
    if kind is dict:
        for name, item in value.items():
            if type(name) is not str:
                raise InvalidValueError(_not_json(f"{type(name).__name__} as a name"))
            _check_part(name, item)
    elif kind is list:
        for index, item in enumerate(value):
            _check_part(index, item)
    elif kind not in _SCALARS:
        raise InvalidValueError(_not_json(kind.__name__))


def _check_part(step: str | int, value: Any) -> None:
    try:
        _check_json(value)
    except InvalidValueError as error:
        raise error.within(step) from None


def _not_json(what: str) -> str:
    return f"the answer is not JSON: have the call return None, bool, int, float, str, list and dict, and no {what}"

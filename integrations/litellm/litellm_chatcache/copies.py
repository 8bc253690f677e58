"""Copies of what LiteLLM is passed, since it edits the arguments of calls in place.

For some providers it takes `strict` and `additionalProperties` out of tools, or `cache_control` out of messages.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from pydantic import BaseModel

from .request import counts

__all__ = ["copied", "copies_of"]


_SENT_TOO = {"stream_options"}  # beside those that count


def copied(value: Any) -> Any:
    """Return a value with containers and pydantic models of its own. All else is shared, such as clients and files."""
    match value:
        case dict():
            fields = copy(value)
            for name, each in value.items():
                fields[name] = copied(each)
            return fields
        case list():
            items = copy(value)
            items[:] = map(copied, value)
            return items
        case tuple() if type(value) is tuple:
            return tuple(map(copied, value))
        case BaseModel():
            model = value.model_copy()
            for own in (vars(model), model.__pydantic_extra__ or {}):
                for name, each in own.items():
                    own[name] = copied(each)
            return model
        case _:
            return value


def copies_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call, with copies of those that a provider is sent.

    What LiteLLM and its proxy tell each other in the others, such as `metadata`, both are to see.
    """
    return {name: copied(value) if counts(name) or name in _SENT_TOO else value for name, value in arguments.items()}

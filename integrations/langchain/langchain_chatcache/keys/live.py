"""What a model is asked, from what it holds at the moment of the call."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, cast, is_typeddict
from uuid import UUID

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from chatcache import raise_interrupt, without_credentials

from .messages import meaning
from .noise import UnkeyableError, counting, left_out

__all__ = ["asks_for_several", "left_out_of", "request_of"]

_PLAIN = (str, int, float, type(None))  # bool is an int
_WRITTEN_AS_JSON = (bytes, date, time, timedelta, Decimal, UUID, PurePath)
_SEVERAL = ("n", "candidate_count")


def request_of(  # noqa: PLR0913, PLR0917 - what a model is called with, and what it is
    model: BaseChatModel,
    kind: type[BaseChatModel],
    messages: Sequence[BaseMessage],
    stop: Sequence[str] | None,
    arguments: Mapping[str, Any],
    ignore: Collection[str] = (),
) -> dict[str, Any]:
    """Return a request as JSON has it.

    A class that an answer is to be an instance of is written by its JSON schema.

    Args:
        model: the model, of which all that is set counts: fields, those that it keeps out of its own dump only where
            they are plain data, since clients are among them; and private attributes.
        kind: its own class, which counts by its name.
        messages: what it is asked.
        stop: where it is to stop.
        arguments: what else it is called with.
        ignore: the names of fields and arguments that are to be left out, beside those that are noise.

    Raises:
        UnkeyableError: a field or an argument is an object of which it is not known what it holds.
    """
    counted, hidden = _fields(kind)
    fields = {name: getattr(model, name, None) for name in counted}
    for name in hidden:
        value = getattr(model, name, None)
        if _is_plain(value):
            fields[name] = value
    request = {
        "client": "langchain",
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "fields": _written(_without(fields, ignore), "its field"),
        "private": _written(_without(model.__pydantic_private__ or {}, ignore), "its private attribute"),
        "address": _address(model),
        "messages": [_data(meaning(dict(message)), "a message of the prompt") for message in messages],
        "previous": _previous(model, messages),
        "arguments": _written(_without(arguments, ignore), "the argument"),
        "stop": list(stop) if stop else None,
    }
    return {name: value for name, value in request.items() if value is not None and value != {}}


def left_out_of(model: BaseChatModel, arguments: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """Return the names of what is set of a model, and of the arguments of a call, that do not count."""
    fields = {name: getattr(model, name, None) for name in model.model_fields_set}
    ignored = [name for name in ignore if name in fields or name in arguments]
    return sorted({*left_out([*fields.items(), *arguments.items()]), *ignored})


def asks_for_several(request: Mapping[str, Any]) -> bool:
    """Return whether a request asks for several choices, which in a stream LangChain takes for one."""
    asked = {**request.get("fields", {}), **request.get("arguments", {})}
    return any(asked.get(name, 1) != 1 for name in _SEVERAL)


def _without(values: Mapping[str, Any], ignore: Collection[str]) -> dict[str, Any]:
    return counting((name, value) for name, value in values.items() if name not in ignore)


@lru_cache(maxsize=256)
def _fields(kind: type[BaseChatModel]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the fields that may count: those in the model's own dump, and those kept out of it."""
    hidden = tuple(name for name, field in kind.model_fields.items() if field.exclude)
    return tuple(name for name in kind.model_fields if name not in hidden), hidden


def _address(model: BaseChatModel) -> str | None:
    """Return where a client of OpenAI's reaches its provider, which may be from the environment."""
    address = getattr(getattr(model, "root_client", None), "base_url", None)
    return None if address is None else str(counting([("url", str(address))])["url"])


def _previous(model: BaseChatModel, messages: Sequence[BaseMessage]) -> str | None:
    """Return the id of the answer that a model refers to instead of sending the messages before it."""
    if not getattr(model, "use_previous_response_id", False):
        return None
    ids = (message.response_metadata.get("id") for message in reversed(messages) if isinstance(message, AIMessage))
    return next((str(found) for found in ids if found), None)


def _written(fields: Mapping[str, Any], what: str) -> dict[str, Any]:
    written = ((name, _data(value, f"{what} {name!r}")) for name, value in fields.items() if value is not None)
    # again: what an object holds is known only now
    return without_credentials({name: value for name, value in written if value is not None})


def _is_plain(value: Any) -> bool:
    match value:
        case list() | tuple():
            return all(map(_is_plain, value))
        case dict():
            return all(map(_is_plain, value.values()))
        case _:
            return isinstance(value, _PLAIN)


def _data(value: Any, what: str) -> Any:  # noqa: C901, PLR0911 - a table, a case a row
    """Return a value as JSON has it, without what is secret. It is not changed, as an iterator would be.

    Raises:
        UnkeyableError: it is none.
    """
    match value:
        case SecretStr() | SecretBytes():
            return None
        case Enum():
            return _data(value.value, what)
        case _ if isinstance(value, _PLAIN):
            return value
        case list() | tuple():
            return [_data(each, what) for each in value]
        case set() | frozenset():
            return sorted((_data(each, what) for each in value), key=str)
        case Mapping():
            return {str(name): _data(each, what) for name, each in value.items()}
        case type():
            return _schema(value, what)
        case BaseTool():
            takes = value.tool_call_schema
            return {
                "tool": value.name,
                "says": value.description,
                "takes": takes if isinstance(takes, dict) else _schema(takes, what),
            }
        case BaseModel():
            return {"class": type(value).__qualname__, "fields": {name: _data(each, what) for name, each in value}}
        case _ if is_dataclass(value):
            held = {field.name: _data(getattr(value, field.name), what) for field in fields_of_dataclass(value)}
            return {"class": type(value).__qualname__, "fields": held}
        case _ if isinstance(value, _WRITTEN_AS_JSON):
            return to_jsonable_python(value)
        case _:
            raise UnkeyableError(
                f"{what} is {value!r:.200}, of which it is not known what it holds: make it plain data, or name it in "
                "ignore= if it does not change the answer"
            )


def _schema(kind: type[Any], what: str) -> Any:
    try:
        return _schema_of(cast(Hashable, kind))
    except (PydanticSchemaGenerationError, TypeError, ValueError) as error:
        raise_interrupt(error)
        raise UnkeyableError(f"{what} is {kind!r}, which has no JSON schema: {error}") from error


@lru_cache(maxsize=256)
def _schema_of(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_json_schema()
    if is_typeddict(kind) or is_dataclass(kind):
        return TypeAdapter(kind).json_schema()
    raise TypeError("it is no pydantic class, TypedDict or dataclass")

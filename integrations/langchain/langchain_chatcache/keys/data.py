"""What a model holds, and what it is called with, as JSON has it."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any, cast, is_typeddict
from uuid import UUID

from langchain_core.language_models import BaseLanguageModel
from langchain_core.tools import BaseTool
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import to_jsonable_python

from chatcache import raise_interrupt, without_credentials

from .clients import address_of, is_client, is_router, routes_of, sent_by_clients
from .closures import closed_over
from .noise import UnkeyableError, counting, is_noise

__all__ = ["names_of", "settings_of", "to_data", "written"]

_PLAIN = (str, int, float, type(None))  # bool is an int
_WRITTEN_AS_JSON = (bytes, date, time, timedelta, Decimal, UUID, PurePath)


def settings_of(model: BaseModel, kind: type[BaseModel], ignore: Collection[str] = ()) -> dict[str, Any]:
    """Return what is set of a model that may change its answers.

    Args:
        model: the model. Its fields count, and its private attributes. A field that it keeps out of its own dump counts
            only if it is data, or a client.
        kind: its own class, which counts by its name, and by what it reads of the function that it was made in.
        ignore: the names of fields that are left out, beside those that are noise.

    Raises:
        UnkeyableError: it holds an object of which it is not known what it holds.
    """
    fields = {
        name: value for name in names_of(kind) if (value := vars(model).get(name)) is not None and name not in ignore
    }
    hidden = {name: fields.pop(name) for name in fields.keys() & _hidden(kind)}
    fields |= {name: value for name, value in (model.__pydantic_extra__ or {}).items() if name not in ignore}
    private = {name: value for name, value in (model.__pydantic_private__ or {}).items() if name not in ignore}
    held = {**fields, **hidden, **private}
    clients = [value for value in held.values() if is_client(value)]
    found = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "made_with": closed_over(kind),
        "fields": {
            **written(_without_clients(fields), f"{kind.__name__}'s field"),
            **_as_far_as_written(_without_clients(hidden)),
        },
        "private": written(_without_clients(private), f"{kind.__name__}'s private attribute"),
        "address": ", ".join(sorted({address for address in map(address_of, clients) if address})),
        "sent": sent_by_clients(vars(model)),
    }
    return {name: value for name, value in found.items() if value}


def written(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return values as JSON has them, without credentials and whatever else is noise.

    Args:
        values: the values, by their names.
        what: what they are, for errors.

    Raises:
        UnkeyableError: one of them is an object of which it is not known what it holds.
    """
    return _cleaned((name, to_data(value, f"{what} {name!r}")) for name, value in counting(values.items()).items())


def to_data(value: Any, what: str) -> Any:  # noqa: C901, PLR0911, PLR0912 - a table, a case a row
    """Return a value as JSON has it, without what is secret. It is not changed, as an iterator would be.

    A class is written by its JSON schema, and a client by its address.

    Raises:
        UnkeyableError: it is an object of which it is not known what it holds.
    """
    match value:
        case SecretStr() | SecretBytes():
            return None
        case Enum():
            return to_data(value.value, what)
        case _ if isinstance(value, _PLAIN):
            return value
        case list() | tuple():
            return [to_data(each, what) for each in value]
        case set() | frozenset():
            return sorted((to_data(each, what) for each in value), key=str)
        case Mapping():
            return {str(name): to_data(each, what) for name, each in value.items()}
        case type():
            return _schema(value, what)
        case BaseTool():
            takes = value.tool_call_schema
            return {
                "tool": value.name,
                "says": value.description,
                "takes": takes if isinstance(takes, dict) else _schema(takes, what),
            }
        case _ if is_client(value):
            return address_of(value)
        case BaseLanguageModel():
            return settings_of(value, type(value))
        case BaseModel():
            return {"class": type(value).__qualname__, "fields": {name: to_data(each, what) for name, each in value}}
        case _ if is_dataclass(value):
            held = {field.name: to_data(getattr(value, field.name), what) for field in fields_of_dataclass(value)}
            return {"class": type(value).__qualname__, "fields": held}
        case _ if isinstance(value, _WRITTEN_AS_JSON):
            return to_jsonable_python(value)
        case _ if is_router(value):
            return to_data(routes_of(value), what)
        case _:
            raise UnkeyableError(
                f"{what} is an object of type {type(value).__name__}, which cannot be read as data: make it plain "
                "data, or use cached(model, cache, ignore=[...]) and name it in ignore= if it does not change the "
                "answer",
                subject=what,
            )


@lru_cache(maxsize=256)
def names_of(kind: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields of a class of models that may count."""
    return tuple(name for name in kind.model_fields if not is_noise(name))


@lru_cache(maxsize=256)
def _hidden(kind: type[BaseModel]) -> frozenset[str]:
    """Return the names of the fields that models of a class keep out of their dump."""
    return frozenset(name for name, field in kind.model_fields.items() if field.exclude)


def _without_clients(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not is_client(value)}


def _as_far_as_written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that are data. The others are clients, too, of classes that are not known here."""
    found = {}
    for name, value in values.items():
        try:
            found.update(written({name: value}, ""))
        except UnkeyableError:
            continue
    return found


def _cleaned(values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return data without credentials: what an object holds is known only after it was written."""
    return without_credentials({name: value for name, value in values if value is not None})


def _schema(kind: type[Any], what: str) -> Any:
    try:
        return _schema_of(cast(Hashable, kind))
    except (PydanticSchemaGenerationError, TypeError, ValueError) as error:
        raise_interrupt(error)
        raise UnkeyableError(f"{what} is {kind!r}, which has no JSON schema: {error}", subject=what) from error


@lru_cache(maxsize=256)
def _schema_of(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_json_schema()
    if is_typeddict(kind) or is_dataclass(kind):
        return TypeAdapter(kind).json_schema()
    raise TypeError("it is no pydantic class, TypedDict or dataclass")

"""What a model is asked, from what it holds at the moment of the call."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast, is_typeddict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from .messages import meaning
from .noise import UnkeyableError, counting, is_noise

__all__ = ["request_of"]

_PLAIN = (str, int, float, type(None))  # bool is an int


def request_of(
    model: BaseChatModel,
    messages: Sequence[BaseMessage],
    stop: Sequence[str] | None,
    arguments: Mapping[str, Any],
    ignore: Collection[str] = (),
) -> dict[str, Any]:
    """Return a request as JSON has it.

    A class that an answer is to be an instance of is written by its JSON schema.

    Args:
        model: the model, of which all fields count that are set.
        messages: what it is asked.
        stop: where it is to stop.
        arguments: what else it is called with.
        ignore: the names of fields and arguments that are to be left out, beside those that are noise.

    Raises:
        UnkeyableError: a field or an argument is an object of which it is not known what it holds.
    """
    fields = counting((name, getattr(model, name, None)) for name in _fields(type(model)) if name not in ignore)
    given = counting((name, value) for name, value in arguments.items() if name not in ignore)
    request = {
        "client": "langchain",
        "llm": model._llm_type,  # noqa: SLF001 - what LangChain calls a model's kind
        "fields": _written(fields, "its field"),
        "messages": [_data(meaning(dict(message)), "a message of the prompt") for message in messages],
        "arguments": _written(given, "the argument"),
    }
    return {**request, "stop": list(stop)} if stop else request


@lru_cache(maxsize=256)
def _fields(kind: type[BaseChatModel]) -> tuple[str, ...]:
    """Return the names of the fields that count: not those that are kept out of the model's own dump, as clients."""
    return tuple(sorted(name for name, field in kind.model_fields.items() if not field.exclude and not is_noise(name)))


def _written(fields: Mapping[str, Any], what: str) -> dict[str, Any]:
    written = ((name, _data(value, f"{what} {name!r}")) for name, value in fields.items() if value is not None)
    return {name: value for name, value in written if value is not None}


def _data(value: Any, what: str) -> Any:  # noqa: PLR0911 - a table, a case a row
    """Return a value as JSON has it, without what is secret.

    Raises:
        UnkeyableError: it is none.
    """
    match value:
        case SecretStr() | SecretBytes():
            return None
        case _ if isinstance(value, _PLAIN):
            return value
        case list() | tuple():
            return [_data(each, what) for each in value]
        case Mapping():
            return {str(name): _data(each, what) for name, each in value.items()}
        case type():
            return _schema(value, what)
        case BaseModel():
            fields = {name: _data(each, what) for name, each in value}
            return {"class": type(value).__qualname__, "fields": fields}
        case _:
            return _otherwise(value, what)


def _otherwise(value: Any, what: str) -> Any:
    try:
        plain = to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise UnkeyableError(
            f"{what} is {value!r:.200}, of which it is not known what it holds: make it plain data, or name it in "
            "ignore= if it does not change the answer"
        ) from error
    return sorted(plain, key=str) if isinstance(value, set | frozenset) else plain


def _schema(kind: type[Any], what: str) -> Any:
    try:
        return _schema_of(cast(Hashable, kind))
    except (PydanticSchemaGenerationError, TypeError, ValueError) as error:
        raise UnkeyableError(f"{what} is {kind!r}, which has no JSON schema: {error}") from error


@lru_cache(maxsize=256)
def _schema_of(kind: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_json_schema()
    if is_typeddict(kind) or hasattr(kind, "__dataclass_fields__"):
        return TypeAdapter(kind).json_schema()
    raise TypeError("it is no pydantic class, TypedDict or dataclass")

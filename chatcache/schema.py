"""How the results of a request are stored: as values that `chatcache.codec` has a form for."""

import json
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from .errors import MissingPackageError

__all__ = ["PLAIN", "FailureSchema", "Persistable", "Schema", "typed"]

T = TypeVar("T")
E = TypeVar("E")


class Schema(Protocol[T]):
    """Stores values of one type."""

    def encode(self, value: T, /) -> Any:
        """Return what is stored for a value: JSON, or any other value that `chatcache.codec` stores.

        Raises:
            Exception: it is no such value, or would not decode.
        """
        ...

    def decode(self, data: Any, /) -> T:
        """Return the value that this is stored for.

        Raises:
            Exception: it is none.
        """
        ...


class FailureSchema(Schema[T], Protocol[T]):
    """Stores errors of one type."""

    def covers(self, error: Exception, /) -> bool:
        """Return whether an error is of that type."""
        ...


class _Plain:
    """Stores values as they are."""

    def encode(self, value: Any, /) -> Any:
        return value

    def decode(self, data: Any, /) -> Any:
        return data


PLAIN: Schema[Any] = _Plain()
"""The schema of values that are stored as they are: JSON, and whatever else `chatcache.codec` has a form for."""


class Persistable(Protocol[T]):
    """A request whose result can be stored. Subclass it, or have the same three members.

    Attributes:
        success: stores what a success gives.
        failure: stores the errors that are part of the request's contract. Any other is kept by its name and message.
    """

    def primary_key(self) -> str:
        """Return what stands for this request in a store.

        It is the whole key: two classes with one primary key in one store share a row, so begin it with a name of the
        class, as in ``f"Translation:{self.text}"``.
        """
        ...

    @property
    def success(self) -> Schema[T]:
        """Store values as they are, unless a subclass says otherwise."""
        return PLAIN

    @property
    def failure(self) -> FailureSchema[Any] | None:
        """Have no typed errors, unless a subclass says otherwise."""
        return None


class _Typed(Generic[T]):
    """Stores what pydantic has a schema for."""

    def __init__(self, kind: Any) -> None:
        try:
            from pydantic import TypeAdapter  # not needed by those who store plain values
        except ImportError as error:
            raise MissingPackageError(
                f"typed({kind!r}) needs pydantic, which is not installed: pip install 'chatcache[pydantic]'"
            ) from error
        self._kind = kind
        self._adapter = TypeAdapter[T](kind)

    def covers(self, error: Exception, /) -> bool:
        return isinstance(error, self._kind)

    def encode(self, value: T, /) -> Any:
        data = self._adapter.dump_python(value, mode="json", by_alias=False, warnings="error")
        self.decode(data)  # what would not come back is better not written
        return data

    def decode(self, data: Any, /) -> T:
        return self._adapter.validate_json(json.dumps(data), by_alias=False, by_name=True)


@overload
def typed(kind: type[T]) -> FailureSchema[T]: ...
@overload
def typed(kind: Any) -> FailureSchema[Any]: ...
def typed(kind: Any) -> FailureSchema[Any]:
    """Return the schema of a type: one of pydantic, a dataclass, a typed dict, a union, ``list[int]``.

    Values are stored as JSON, fields under their names. A subclass of the type comes back as the type itself. For
    errors the type is an exception class, or a union of some, that pydantic has a schema for, such as a dataclass.

    Raises:
        MissingPackageError: pydantic is not installed.
        pydantic.errors.PydanticUserError: pydantic has no schema for the type.
    """
    return cast(FailureSchema[Any], _Typed(kind))

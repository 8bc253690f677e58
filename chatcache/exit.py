"""How a request ended, and what is stored of it.

The form is that of Effect's ``Exit`` (statement 20 of its persistence contract)::

    {"_tag": "Success", "value": value}
    {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": error}]}
    {"_tag": "Failure", "cause": [{"_tag": "Die", "defect": {"name": name, "message": text}}]}

The request's schemas store the value, and the error where it is one of those that the request declares. Of any other
error, a defect, the name of its class and its message are kept; its arguments (``args``) and its attributes
(``data``) as far as they can be stored. Reading it imports nothing: only a class that the caller allows is made again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from chatcache.interrupts import raise_interrupt

from .codec import encode
from .errors import DecodeError, InvalidInputError, InvalidValueError, ReplayedError, shown
from .schema import Persistable

__all__ = ["Exit", "ExitForm", "Failure", "Success", "outcome"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Success(Generic[T_co]):
    """A request ended well.

    Attributes:
        value: what it gave.
    """

    value: T_co


@dataclass(frozen=True, slots=True)
class Failure:
    """A request failed.

    Attributes:
        error: what it raised. That somebody cancelled it, or ended the program, is no way for a request to end.
    """

    error: Exception

    def __post_init__(self) -> None:
        if not isinstance(self.error, Exception):
            raise InvalidInputError(
                f"Failure({shown(self.error)}): a cancellation, or any other BaseException that is no Exception, is "
                "no result to keep; raise it"
            )


Exit = Success[T] | Failure
"""How a request ended."""


def outcome(exit_: Exit[T]) -> T:
    """Return the value of a request that ended well, or raise the error of one that failed."""
    match exit_:
        case Success(value):
            return value
        case Failure(error):
            raise error


@dataclass(frozen=True, slots=True)
class ExitForm:
    """Turns exits into what is stored of them, and back.

    Args:
        errors: the exception classes that may be made again, each for errors of exactly that class; or a mapping of
            the names that they are stored by.

    Raises:
        InvalidInputError: one of them is no exception class.
    """

    errors: Collection[type[Exception]] | Mapping[str, type[Exception]] = ()
    _classes: dict[str, type[Exception]] = field(init=False, repr=False)
    _names: dict[type[Exception], str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        wrong = [each for each in _members(self.errors) if not (isinstance(each, type) and issubclass(each, Exception))]
        if wrong:
            raise InvalidInputError(f"errors: {shown(wrong[0])} is no exception class; pass classes such as ValueError")
        named = self.errors if isinstance(self.errors, Mapping) else {_name(each): each for each in self.errors}
        object.__setattr__(self, "_classes", dict(named))
        object.__setattr__(self, "_names", {each: name for name, each in named.items()})

    def encode(self, exit_: Exit[Any], request: Persistable[Any]) -> dict[str, Any]:
        """Return what is stored of an exit.

        Raises:
            InvalidValueError: a schema of the request refused the value, or the error; its error is the cause.
        """
        try:
            match exit_:
                case Success(value):
                    return {"_tag": "Success", "value": request.success.encode(value)}
                case Failure(error):
                    return {"_tag": "Failure", "cause": [self._reason(error, request)]}
        except InvalidValueError:
            raise
        except Exception as error:
            raise_interrupt(error)
            raise InvalidValueError(
                f"{shown(exit_)} of {shown(request)} is refused by its schema: {error}; return what it declares, or "
                "declare what it returns"
            ) from error

    def decode(self, data: Any, request: Persistable[T]) -> Exit[T]:
        """Return the exit of what is stored of it.

        Raises:
            DecodeError: it is no exit, or a schema of the request refused the value, or the error; its error is the
                cause.
        """
        problem: Exception | None = None
        try:
            match data:
                case {"_tag": "Success", "value": value}:
                    return Success(request.success.decode(value))
                case {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": error}]} if request.failure is not None:
                    return Failure(request.failure.decode(error))
                case {"_tag": "Failure", "cause": [{"_tag": "Die", "defect": {"name": str(), "message": str()} as it}]}:
                    return Failure(self._error(it))
        except Exception as error:  # noqa: BLE001 - whatever a schema raises
            raise_interrupt(error)
            problem = error
        raise DecodeError(
            f"what is stored under {shown(request.primary_key())} is no result of {shown(request)}: "
            f"{problem or shown(data)}; remove it, or begin primary_key() with a name that no other request uses"
        ) from problem

    def _reason(self, error: Exception, request: Persistable[Any]) -> dict[str, Any]:
        if request.failure is not None and request.failure.covers(error):
            return {"_tag": "Fail", "error": request.failure.encode(error)}
        return {"_tag": "Die", "defect": self._defect(error)}

    def _defect(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, ReplayedError):
            return {"name": error.name, "message": error.message, "data": error.data}
        defect: dict[str, Any] = {"name": self._names.get(type(error)) or _name(type(error)), "message": _text(error)}
        if error.args != (defect["message"],) and _storable(error.args):
            defect["args"] = list(error.args)
        if data := {name: value for name, value in vars(error).items() if _storable(value)}:
            defect["data"] = data
        return defect

    def _error(self, defect: dict[str, Any]) -> Exception:
        """Return the error, of its own class where that is allowed; its ``__init__`` is not called."""
        name, message, data = defect["name"], defect["message"], dict(defect.get("data", {}))
        allowed = self._classes.get(name)
        if allowed is None:
            return ReplayedError(name, message, data)
        try:
            error = allowed.__new__(allowed, *defect.get("args", [message]))
            vars(error).update(data)
        except Exception as error:  # noqa: BLE001 - any code of the class, which is not made that way
            raise_interrupt(error)
            return ReplayedError(name, message, data)
        return error


def _members(errors: Collection[Any] | Mapping[str, Any]) -> Collection[Any]:
    return errors.values() if isinstance(errors, Mapping) else errors


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception as unprintable:  # noqa: BLE001 - any code of the error's class
        raise_interrupt(unprintable)
        return shown(error)


def _storable(value: Any) -> bool:
    try:
        encode(value)
    except InvalidValueError:
        return False
    return True

"""The request of the suites."""

from dataclasses import dataclass
from typing import Any, ClassVar

from chatcache.schema import Persistable

__all__ = ["Ask", "OutOfLuckError"]


class OutOfLuckError(Exception):
    """The error that `Ask` declares: it has a number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"out of luck: {number}")
        self.number = number


class _Numbers:
    """Stores whole numbers, as ``{"number": 5}``."""

    def encode(self, value: Any, /) -> Any:
        if type(value) is not int:
            raise TypeError(f"{value!r} is no int")
        return {"number": value}

    def decode(self, data: Any, /) -> Any:
        match data:
            case {"number": int(number)}:
                return number
        raise ValueError(f"{data!r} is no number")


class _OutOfLuck:
    """Stores `OutOfLuckError`."""

    def covers(self, error: Exception, /) -> bool:
        return isinstance(error, OutOfLuckError)

    def encode(self, error: Any, /) -> Any:
        return {"number": error.number}

    def decode(self, data: Any, /) -> Any:
        return OutOfLuckError(data["number"])


@dataclass(frozen=True, slots=True)
class Ask(Persistable[int]):
    """Asks for a whole number.

    Attributes:
        key: its primary key.
    """

    key: str
    success: ClassVar[_Numbers] = _Numbers()
    failure: ClassVar[_OutOfLuck] = _OutOfLuck()

    def primary_key(self) -> str:
        """Return the key."""
        return self.key


@dataclass(frozen=True, slots=True)
class Tell(Persistable[Any]):
    """Another request whose primary keys are those of `Ask`, with the schemas that a request has by default."""

    key: str

    def primary_key(self) -> str:
        """Return the key."""
        return self.key

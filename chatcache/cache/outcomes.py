"""How calls ended, told to those in other processes that waited and find no record; in the form of `chatcache.exit`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from chatcache.errors import InvalidValueError
from chatcache.exit import Exit, ExitForm
from chatcache.schema import PLAIN, FailureSchema, Schema

__all__ = ["Errors", "Outcomes"]

Errors = Collection[type[Exception]] | Mapping[str, type[Exception]]


class Outcomes:
    """Turns the ends of calls into notes, and back.

    Args:
        errors: the exception classes that may be made again; of any other error a `chatcache.ReplayedError` is made.

    Raises:
        InvalidInputError: one of them is no exception class.
    """

    def __init__(self, errors: Errors) -> None:
        self._form = ExitForm(errors)

    def written(self, exit_: Exit[Any]) -> dict[str, Any] | None:
        """Return the note of an end, or None where there is none: then those that wait make calls of their own."""
        try:
            return self._form.encode(exit_, _CALL)
        except InvalidValueError:
            return None

    def read(self, note: Any) -> Exit[Any]:
        """Return the end that a note tells of.

        Raises:
            DecodeError: it is none that this version writes.
        """
        return self._form.decode(note, _CALL)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request whose answer is stored as it is."""

    success: Schema[Any] = PLAIN
    failure: FailureSchema[Any] | None = None

    def primary_key(self) -> str:
        return "a call"


_CALL = _Call()

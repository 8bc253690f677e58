"""What a cache does with a call, by its mode, and which answers it refuses. Pure."""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Literal, get_args

from chatcache.interrupts import raise_interrupt

from .errors import InvalidModeError, shown

__all__ = ["Allowed", "Mode", "ModeName", "Refusal", "invalid_mode", "parse_mode", "parse_refusals"]

ModeName = Literal["auto", "read_only", "refresh", "replay", "off"]
"""The name of a `Mode`."""


class Mode(StrEnum):
    """How a cache treats a call.

    Attributes:
        reads: whether a call is looked up.
        calls: whether the provider is called where nothing was found.
        writes: whether the provider's answer is stored.
    """

    reads: bool
    calls: bool
    writes: bool

    AUTO = "auto"
    """Look up; on a miss call, and store the answer."""
    READ_ONLY = "read_only"
    """Look up; on a miss call, and store nothing."""
    REFRESH = "refresh"
    """Always call, and store the answer over what was there."""
    REPLAY = "replay"
    """Look up; on a miss raise `chatcache.ReplayMiss`, and call nothing."""
    OFF = "off"
    """Always call, and store nothing."""

    def __init__(self, name: str) -> None:
        self.reads = name in ("auto", "read_only", "replay")
        self.calls = name != "replay"
        self.writes = name in ("auto", "refresh")


class Refusal(StrEnum):
    """Why an answer is not worth keeping: replayed forever, it would poison every later run."""

    LENGTH = "length"
    """It was cut off at a token limit."""
    CONTENT_FILTER = "content_filter"
    """The provider filtered it."""
    EMPTY = "empty"
    """There is nothing in it."""
    INTERRUPTED = "interrupted"
    """It is a stream that ended without saying why it ended, or that nobody read to its end."""
    TOO_LARGE = "too_large"
    """It is larger than all that the store may hold."""
    REJECTED = "rejected"
    """The cache's `accept` did not accept it."""


Allowed = Literal["length", "content_filter", "empty", "interrupted"]
"""The name of a `Refusal` that a cache can be told to keep."""
_ALLOWED: tuple[str, ...] = get_args(Allowed)


def parse_mode(mode: str, source: str = "") -> Mode:
    """Return the mode of that name; a `Mode` is one already.

    Args:
        mode: the name.
        source: where the name comes from, for the message, such as ``CHATCACHE_MODE``.

    Raises:
        InvalidModeError: there is no such mode.
    """
    try:
        return Mode(mode)
    except ValueError as error:
        raise_interrupt(error)
        raise invalid_mode(mode, source, Mode) from None


def invalid_mode(mode: object, source: str, modes: Iterable[str]) -> InvalidModeError:
    """Return the error for a name that is not among some modes."""
    within = f" in {source}" if source else ""
    return InvalidModeError(f"invalid mode {shown(mode)}{within}: use one of {', '.join(modes)}")


def parse_refusals(allow: Collection[str]) -> frozenset[Refusal]:
    """Return the refusals of those names, each a `Refusal` or its value.

    Raises:
        InvalidModeError: `allow` is no collection, or one of the names is not among `Allowed`.
    """
    try:
        if not isinstance(allow, str):
            return frozenset(Refusal(_ALLOWED[_ALLOWED.index(each)]) for each in allow)
    except (TypeError, ValueError) as error:
        raise_interrupt(error)
    raise InvalidModeError(f"allow={shown(allow)}: pass a list of some of {', '.join(map(repr, _ALLOWED))}")

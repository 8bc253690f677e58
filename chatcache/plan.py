"""What a call does, decided from its mode and from what was found. Pure: nothing here reads, writes or calls."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .errors import InvalidModeError

__all__ = ["Call", "Mode", "Plan", "Refusal", "Refuse", "Serve", "decide", "parse_mode", "parse_refusals"]


class Mode(StrEnum):
    """How a cache treats a call."""

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

    @property
    def reads(self) -> bool:
        """Whether a call is looked up at all."""
        return self in (Mode.AUTO, Mode.READ_ONLY, Mode.REPLAY)

    @property
    def writes(self) -> bool:
        """Whether an answer is stored."""
        return self in (Mode.AUTO, Mode.REFRESH)


class Refusal(StrEnum):
    """Why an answer is not worth keeping: replayed for ever, it would poison every later run."""

    LENGTH = "length"
    """It was cut off at a token limit."""
    CONTENT_FILTER = "content_filter"
    """The provider filtered it."""
    EMPTY = "empty"
    """There is nothing in it."""


@dataclass(frozen=True, slots=True)
class Serve:
    """Replay this record."""

    record: Any


@dataclass(frozen=True, slots=True)
class Call:
    """Ask the provider."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Raise: nothing may be called."""


Plan = Serve | Call | Refuse


def decide(mode: Mode, record: Any | None) -> Plan:
    """Return what to do in a mode, given the record that was found, or None."""
    if record is not None and mode.reads:
        return Serve(record)
    return Refuse() if mode is Mode.REPLAY else Call()


def parse_mode(mode: str, source: str = "mode") -> Mode:
    """Return the mode of that name; a `Mode` is one already.

    Raises:
        InvalidModeError: there is none; the message names the source the name came from.

    """
    try:
        return Mode(mode)
    except ValueError:
        names = ", ".join(repr(str(each)) for each in Mode)
        raise InvalidModeError(f"{source} is {mode!r}, which is no mode; use one of {names}") from None


def parse_refusals(allow: Collection[str]) -> frozenset[Refusal]:
    """Return the refusals of those names, each a `Refusal` or its value.

    Raises:
        InvalidModeError: one of the names is no refusal.

    """
    try:
        return frozenset(Refusal(each) for each in allow)
    except ValueError:
        names = ", ".join(repr(str(each)) for each in Refusal)
        raise InvalidModeError(f"allow is {allow!r}; it is a collection of {names}") from None

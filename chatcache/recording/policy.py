"""What is done with the calls of a scope."""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, cast

from chatcache.clock import Clock, real_time
from chatcache.errors import InvalidInputError, shown
from chatcache.interrupts import raise_interrupt
from chatcache.mode import Mode, invalid_mode
from chatcache.ttl import TTL, parse_ttl

from .volatile import Volatile

__all__ = ["Exhausted", "Policy", "RecordMode", "mode_of_environment", "parse_not_secret", "parse_record_mode"]


class RecordMode(StrEnum):
    """How a bundle is used."""

    REPLAY = "replay"
    """Replay strictly: what is not recorded is a miss, and nothing is called."""
    ONCE = "once"
    """Record what has no records so far, and replay strictly what has."""
    AUTO = "auto"
    """Replay what is recorded, and record what is not."""
    REFRESH = "refresh"
    """Call everything anew, and record it in the place of what was there."""
    OFF = "off"
    """Have nothing to do with it: caches read and write their own records."""


def parse_record_mode(mode: str, source: str = "") -> RecordMode:
    """Return the mode of a name; a `RecordMode` is one already.

    Args:
        mode: the name.
        source: where the name comes from, for the message.

    Raises:
        InvalidModeError: there is no such mode.
    """
    try:
        return RecordMode(mode)
    except ValueError as error:
        raise_interrupt(error)
        raise invalid_mode(mode, source, RecordMode) from None


def mode_of_environment() -> RecordMode | None:
    """Return the mode that ``CHATCACHE_MODE`` names, or None if it is not set.

    The variable is also that of caches. Their ``read_only`` stores nothing, so for a bundle it means ``replay``.

    Raises:
        InvalidModeError: there is no such mode.
    """
    mode = os.environ.get("CHATCACHE_MODE")
    if mode == Mode.READ_ONLY:
        return RecordMode.REPLAY
    return parse_record_mode(mode, "CHATCACHE_MODE") if mode else None


class Exhausted(StrEnum):
    """What is done where a request is made more often than it was recorded."""

    ERROR = "error"
    """It is a miss."""
    LAST = "last"
    """The last answer is given again."""
    CYCLE = "cycle"
    """The answers are given from the first one on again."""


def _no_faults() -> list["Fault"]:
    return []


@dataclass(slots=True)
class Fault:
    """Calls that fail, as if the provider did.

    Attributes:
        make: makes the error of the model that is asked for.
        times: how many calls are left to fail.
    """

    make: Callable[[str | None], Exception]
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is done with the calls of a scope.

    Attributes:
        mode: how the bundle is used, a `RecordMode` or its name.
        exhausted: what is done where a request is made more often than it was recorded.
        ignore: the names in a request that do not count, wherever they are; ``arguments.seed`` is one within another.
        volatile: finds what is another in each run.
        not_secret: patterns (Python's ``re``) of texts that look like secrets and are none. They are recorded as they
            are.
        masked_answers: whether to record an answer with a secret that is not in its request. A replay has the mask in
            the place of the secret. By default such a call is not recorded, and `SecretError` says where the secret is.
        errors: whether errors are recorded, and replayed.
        max_age: how old a record may be: seconds, a timedelta, a text such as ``90d``, or None for any age.
        faults: which calls are to fail.
        clock: gives the time at which a record is made, and by which it is too old, in seconds since the epoch; by
            default the real time, also where the program's time is frozen or moved.
    """

    mode: RecordMode = RecordMode.AUTO
    exhausted: Exhausted = Exhausted.ERROR
    ignore: tuple[str, ...] = ()
    volatile: Volatile = field(default_factory=lambda: Volatile({}))
    not_secret: tuple[str, ...] = ()
    masked_answers: bool = False
    errors: bool = False
    max_age: TTL = None
    faults: list[Fault] = field(default_factory=_no_faults)
    clock: Clock = real_time

    @property
    def allowed(self) -> re.Pattern[str] | None:
        """The pattern of the texts that are no secrets, if there are any."""
        return _any_of(self.not_secret) if self.not_secret else None

    @property
    def oldest(self) -> float | None:
        """How old a record may be, in seconds, or None for any age."""
        return cast(float | None, self.max_age)

    def __post_init__(self) -> None:
        """Check the fields. `max_age` is in seconds from then on, and None where it was infinite.

        Raises:
            InvalidInputError: one of them cannot be right.
        """
        oldest = parse_ttl(self.max_age)
        object.__setattr__(self, "max_age", None if oldest is None else oldest / 1000)
        object.__setattr__(self, "mode", parse_record_mode(self.mode))
        object.__setattr__(self, "exhausted", parse_exhausted(self.exhausted))
        object.__setattr__(self, "ignore", parse_ignore(self.ignore))
        object.__setattr__(self, "not_secret", parse_not_secret(self.not_secret))

    def counting(self, value: Any) -> Any:
        """Return a request without what is to be ignored."""
        for name in self.ignore:
            value = _without(value, name.split("."))
        return value


def parse_exhausted(name: str) -> Exhausted:
    """Return what is done when the answers run out, by its name.

    Raises:
        InvalidInputError: there is no such name.
    """
    try:
        return Exhausted(name)
    except ValueError as error:
        raise_interrupt(error)
        raise InvalidInputError(f"exhausted={shown(name)}: use one of {', '.join(Exhausted)}") from None


def parse_ignore(names: Any) -> tuple[str, ...]:
    """Return names of what is to be ignored.

    Raises:
        InvalidInputError: they are none.
    """
    if not isinstance(names, Collection) or isinstance(names, str) or not all(isinstance(n, str) and n for n in names):
        raise InvalidInputError(f"ignore={shown(names)}: pass a list of names, such as ['seed', 'metadata.run']")
    return tuple(names)


def parse_not_secret(patterns: Any) -> tuple[str, ...]:
    """Return patterns of texts that are no secrets.

    Raises:
        InvalidInputError: they are no list of regular expressions.
    """
    if not isinstance(patterns, Collection) or isinstance(patterns, str):
        raise InvalidInputError(f"not_secret={shown(patterns)}: pass a list of patterns, such as ['ACME-[0-9]+']")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise_interrupt(error)
            raise InvalidInputError(f"not_secret {shown(pattern)} is no regular expression: {error}") from error
    return tuple(patterns)


@lru_cache(maxsize=64)
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _without(value: Any, path: list[str]) -> Any:
    """Return a value without the member of a name, wherever it is; of a path, without its end."""
    match value:
        case Mapping():
            name, *inner = path
            kept = {}
            for each, item in value.items():
                if each != name:
                    kept[each] = _without(item, path)
                elif inner:
                    kept[each] = _without_at(item, inner)
            return kept
        case list() | tuple():
            return [_without(item, path) for item in value]
        case _:
            return value


def _without_at(value: Any, path: list[str]) -> Any:
    """Return a value without what a path leads to from here."""
    name, *inner = path
    match value:
        case Mapping():
            return {
                each: _without_at(item, inner) if each == name else item
                for each, item in value.items()
                if each != name or inner
            }
        case list() | tuple():
            return [_without_at(item, path) for item in value]
        case _:
            return value

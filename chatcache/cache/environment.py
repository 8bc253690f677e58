"""The options of a cache in variables of the environment.

Two more are read by every cache: ``CHATCACHE_DIR`` and ``CHATCACHE_MODE``.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, get_args

from chatcache.errors import InvalidInputError
from chatcache.interrupts import raise_interrupt
from chatcache.mode import Allowed
from chatcache.ttl import parse_duration

__all__ = ["SETTINGS", "Setting", "from_environment", "options_in"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable of the environment.

    Attributes:
        argument: the argument of a cache that it stands for.
        read: turns its text into the value; raises ValueError if it cannot.
        wanted: what the text has to be, in words.
    """

    argument: str
    read: Callable[[str], Any]
    wanted: str

    @classmethod
    def count(cls, argument: str) -> Self:
        """Return the setting of a whole number above 0."""
        return cls(argument, _count, "a whole number above 0")

    @classmethod
    def switch(cls, argument: str) -> Self:
        """Return the setting of what is on or off."""
        return cls(argument, _switch, "true or false")

    @classmethod
    def names(cls, argument: str, wanted: str) -> Self:
        """Return the setting of a list of names; `wanted` says of what."""
        return cls(argument, _names, f"{wanted}, with commas")

    @classmethod
    def one_of(cls, argument: str, names: Sequence[str]) -> Self:
        """Return the setting of one of some names."""
        return cls(argument, partial(_known, names), f"one of {', '.join(names)}")

    @classmethod
    def some_of(cls, argument: str, names: Sequence[str]) -> Self:
        """Return the setting of a list of some of some names."""
        return cls(
            argument,
            partial(_some, names),
            f"some of {', '.join(names)}, with commas",
        )


def options_in(environment: Mapping[str, str], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return the arguments of a cache that an environment names. An empty variable counts as not set.

    Args:
        environment: such as ``os.environ``.
        settings: the variables, by name.

    Raises:
        InvalidInputError: a variable cannot be right; the message names it.
    """
    options = {}
    for name, setting in settings.items():
        text = environment.get(name, "").strip()
        if text:
            try:
                options[setting.argument] = setting.read(text)
            except ValueError as error:
                raise_interrupt(error)
                raise InvalidInputError(f"{name} is {text!r:.200}; set it to {setting.wanted}") from None
    return options


def from_environment(settings: Mapping[str, Setting], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a cache that the environment names, under those that a program passes.

    Raises:
        InvalidInputError: a variable cannot be right, or neither names the store.
    """
    found = {**options_in(os.environ, settings), **options}
    if "store_id" not in found:
        raise InvalidInputError("CHATCACHE_STORE is not set: set it to the name of the store, or pass store_id=")
    return found


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _duration(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds > 0:
        raise ValueError(text)
    return seconds


def _switch(text: str) -> bool:
    name = text.lower()
    if name not in _SWITCH:
        raise ValueError(text)
    return _SWITCH[name]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _known(names: Sequence[str], name: str) -> str:
    return names[names.index(name)]


def _some(names: Sequence[str], text: str) -> list[str]:
    return [_known(names, each) for each in _names(text)]


_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

SETTINGS = {
    "CHATCACHE_STORE": Setting("store_id", str, "a name"),
    "CHATCACHE_OBJECT": Setting("object", str, "a name"),
    "CHATCACHE_TTL": Setting("ttl", _duration, "seconds, or a number and a unit, such as 12h or 90d, above 0"),
    "CHATCACHE_ALLOW": Setting.some_of("allow", get_args(Allowed)),
    "CHATCACHE_MAX_ENTRIES": Setting.count("max_entries"),
    "CHATCACHE_MAX_BYTES": Setting.count("max_bytes"),
    "CHATCACHE_STORE_REQUESTS": Setting.one_of("store_requests", ("full", "redacted", "digest")),
}
"""The variables of every cache, by name."""

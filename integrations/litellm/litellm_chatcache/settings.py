"""The arguments of `DOCache` in variables of the environment, where there is no program to pass them.

Two more the engine reads itself: ``CHATCACHE_DIR`` and ``CHATCACHE_MODE``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from chatcache import Allowed, InvalidInputError, parse_duration, raise_interrupt

from .kinds import FUNCTIONS

__all__ = ["SETTINGS", "options_in"]

_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a variable is.

    Attributes:
        argument: the argument of `DOCache` that it is.
        read: makes of its text what is passed; raises ValueError where the text is none of those.
        wanted: what the text is to be, in words.
    """

    argument: str
    read: Callable[[str], Any]
    wanted: str


def options_in(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `DOCache` that an environment names. A variable that is empty is as good as not set.

    Raises:
        InvalidInputError: a variable cannot be right; the message names it.
    """
    options = {}
    for name, setting in SETTINGS.items():
        text = environment.get(name, "").strip()
        if text:
            try:
                options[setting.argument] = setting.read(text)
            except ValueError as error:
                raise_interrupt(error)
                raise InvalidInputError(f"{name} is {text!r:.200}; set it to {setting.wanted}") from None
    return options


def _seconds(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds > 0:
        raise ValueError(text)
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(text)
    return count


def _switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError as error:
        raise_interrupt(error)
        raise ValueError(text) from None


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    known = [*names]
    return lambda text: known[known.index(text)]


def _list(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _some_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    read = _one_of(names)
    return lambda text: [read(name) for name in _list(text)]


_ALLOWABLE = get_args(Allowed)
_REQUESTS = ("full", "redacted", "digest")
_ON_OR_OFF = "true or false"
_NUMBER = "a whole number above 0"

SETTINGS = {
    "CHATCACHE_STORE": _Setting("store_id", str, "a name"),
    "CHATCACHE_OBJECT": _Setting("object", str, "a name"),
    "CHATCACHE_TTL": _Setting("ttl", _seconds, "seconds, or a number and a unit, such as 12h or 90d, above 0"),
    "CHATCACHE_ALLOW": _Setting("allow", _some_of(_ALLOWABLE), f"some of {', '.join(_ALLOWABLE)}, with commas"),
    "CHATCACHE_MAX_ENTRIES": _Setting("max_entries", _count, _NUMBER),
    "CHATCACHE_MAX_BYTES": _Setting("max_bytes", _count, _NUMBER),
    "CHATCACHE_STORE_REQUESTS": _Setting("store_requests", _one_of(_REQUESTS), f"one of {', '.join(_REQUESTS)}"),
    "CHATCACHE_MAX_MESSAGES": _Setting("max_messages", _count, _NUMBER),
    "CHATCACHE_IGNORE": _Setting("ignore", _list, "names of arguments, with commas"),
    "CHATCACHE_CALL_TYPES": _Setting(
        "supported_call_types", _some_of(FUNCTIONS), f"some of {', '.join(FUNCTIONS)}, with commas"
    ),
    "CHATCACHE_DEFAULT_OFF": _Setting("default_off", _switch, _ON_OR_OFF),
    "CHATCACHE_SINGLE_FLIGHT": _Setting("single_flight", _switch, _ON_OR_OFF),
    "CHATCACHE_RECORD_ERRORS": _Setting("record_errors", _switch, _ON_OR_OFF),
}
"""The variables, by name."""

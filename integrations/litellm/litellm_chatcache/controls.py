"""What one call asks of the cache: ``cache={...}``, in LiteLLM's words and one of ours, ``mode``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatcache import InvalidInputError, Mode, parse_mode

__all__ = ["Controls"]

_MAX_AGE = ("s-maxage", "s-max-age")


@dataclass(frozen=True, slots=True)
class Controls:
    """What one call asks of the cache.

    Attributes:
        mode: instead of the mode of the cache.
        ttl: instead of its TTL, in seconds.
        namespace: the requests of another namespace are other requests.
        max_age: how old a record may be, in seconds; 0 for none at all.
        stores: whether its answer may be stored.
        opted_in: whether it is to be cached where that is only for those that ask for it.
    """

    mode: Mode | None = None
    ttl: Any = None
    namespace: Any = None
    max_age: float | None = None
    stores: bool = True
    opted_in: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Controls":
        """Return those of a call.

        Raises:
            InvalidInputError: ``cache`` is no dictionary, its mode is none, or its ``s-maxage`` no number.
        """
        given = arguments.get("cache")
        if not given:
            return _NONE
        if not isinstance(given, Mapping):
            raise InvalidInputError(f"cache={given!r:.100}: pass a dictionary, such as {{'ttl': 60}}")
        mode = given.get("mode")
        return cls(
            mode=None if mode is None else parse_mode(mode, "cache="),
            ttl=given.get("ttl"),
            namespace=given.get("namespace"),
            max_age=_max_age(given),
            stores=given.get("no-store") is not True,
            opted_in=given.get("use-cache") is True,
        )


_NONE = Controls()


def _max_age(given: Mapping[str, Any]) -> float | None:
    asked = next((given[name] for name in _MAX_AGE if given.get(name) is not None), None)
    if asked is None or (isinstance(asked, int | float) and not isinstance(asked, bool)):
        return asked
    raise InvalidInputError(f"s-maxage={asked!r:.100} in cache=: pass a number of seconds")

"""What one call asks of the cache: ``cache={...}``, in LiteLLM's words and one of ours, ``mode``.

Beside it LiteLLM has ``ttl=``, which its proxy makes of a header, and ``redis_namespace`` in the metadata.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatcache import InvalidInputError, InvalidTTLError, Mode, parse_duration, parse_mode, parse_ttl

__all__ = ["Controls", "metadata_of"]

_MAX_AGE = ("s-maxage", "s-max-age")
_SWITCHES = ("no-cache", "no-store", "use-cache")
_KNOWN = ("mode", "ttl", "namespace", *_MAX_AGE, *_SWITCHES)
_METADATA = ("metadata", "litellm_metadata")


@dataclass(frozen=True, slots=True)
class Controls:
    """What one call asks of the cache.

    Attributes:
        mode: instead of the mode of the cache.
        ttl: instead of its TTL, as `chatcache.TTL`.
        namespace: the requests of another namespace are other requests.
        max_age: how old a record may be, in seconds; 0 for none at all.
        stores: whether its answer may be stored.
        opted_in: whether it is to be cached where that is only for those that ask for it.
    """

    mode: Mode | None = None
    ttl: Any = None
    namespace: str | None = None
    max_age: float | None = None
    stores: bool = True
    opted_in: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Controls":
        """Return those of a call.

        Raises:
            InvalidInputError: ``cache`` is no dictionary, or holds an unknown name or an invalid value.
        """
        given = arguments.get("cache") or {}
        ttl, namespace = arguments.get("ttl"), metadata_of(arguments, "redis_namespace")
        if not given and ttl is None and namespace is None:
            return _NONE
        if not isinstance(given, Mapping):
            raise InvalidInputError(f"cache={given!r:.100}: pass a dictionary, such as {{'ttl': 60}}")
        unknown = [name for name in given if name not in _KNOWN]
        if unknown:
            raise InvalidInputError(f"cache= has no {unknown[0]!r:.100}: use some of {', '.join(_KNOWN)}")
        mode = given.get("mode")
        switches = {name: _is_on(given, name) for name in _SWITCHES}
        namespace = given.get("namespace") or namespace
        if namespace is not None and not isinstance(namespace, str):
            raise InvalidInputError(f"a namespace of {namespace!r:.100}: pass a text")
        return cls(
            mode=None if mode is None else parse_mode(mode, "cache="),
            ttl=_ttl(given, ttl),
            namespace=namespace,
            max_age=_max_age(given),
            stores=not switches["no-store"],
            opted_in=switches["use-cache"],
        )


_NONE = Controls()


def metadata_of(arguments: Mapping[str, Any], name: str) -> Any:
    """Return what the metadata of a call has under a name, or None."""
    for each in _METADATA:
        metadata = arguments.get(each)
        if isinstance(metadata, Mapping) and metadata.get(name):
            return metadata[name]
    return None


def _ttl(given: Mapping[str, Any], other: Any) -> Any:
    ttl = given.get("ttl")
    if ttl is None:
        ttl = other
    try:
        if ttl is other and isinstance(other, str):  # a header is a text
            ttl = parse_duration(other)
        parse_ttl(ttl)
    except InvalidTTLError as error:
        raise InvalidTTLError(f"ttl={ttl!r:.100} of a call: {error}") from None
    return ttl


def _is_on(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name)
    if value is None or isinstance(value, bool):
        return value is True
    raise InvalidInputError(f"{name}={value!r:.100} in cache=: pass True or False")


def _max_age(given: Mapping[str, Any]) -> float | None:
    name, asked = next(((name, given[name]) for name in _MAX_AGE if given.get(name) is not None), ("", None))
    try:
        milliseconds = parse_ttl(asked)
    except InvalidTTLError as error:
        raise InvalidTTLError(f"{name}={asked!r:.100} in cache=: {error}") from None
    return None if milliseconds is None else milliseconds / 1000

"""Values as tagged JSON, in which scripts and results travel: what JSON has no form for is ``{"$": kind, "v": ...}``.

::

    null, true, "text"       themselves; lone surrogates travel as escapes of JSON
    1, 1.5                   numbers; {"$": "number", "v": "NaN" | "Infinity" | "-Infinity" | "-0"}
    {"$": "bigint", "v": "9007199254740993"}      whole numbers beyond 2**53
    {"$": "bytes", "v": "00ff"}                   Uint8Array; "buffer": ArrayBuffer
    {"$": "date", "v": milliseconds}
    {"$": "set", "v": [...]}, {"$": "map", "v": [[key, value], ...]}, {"$": "object", "v": [[key, value], ...]}
    {"$": "undefined"}, {"$": "function"}         what is no value, or cannot be stored
    {"$": "example", "v": name}                   something that only one side has, see `EXAMPLES` and the oracle
    {"$": "tuple", "v": [...]}, {"$": "frozenset", "v": [...]}          only Python has these
    {"$": "surrogates", "v": [code units]}        text with a high and a low surrogate in a row, one character there

So what was an int in Python comes back from workerd as the same number, though not as the same type: see `canonical`.
"""

import json
import math
import re
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

__all__ = ["MISSING", "canonical", "decode", "encode", "unstorable"]

SAFE = 2**53  # up to here JavaScript's numbers are exact
UNDEFINED = {"$": "undefined"}


class _Missing:
    """What a lookup gives where there is nothing, as undefined does in JavaScript."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")  # two characters here, one there
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unstorable() -> int:
    """Stand for any function: it cannot be stored, neither here nor there."""
    return 1


class Custom:
    """A class of the caller's own."""


class Whole(int):
    """A subclass of what can be stored."""


class Pair(NamedTuple):
    """Another one."""

    one: int = 1
    other: int = 2


_CYCLE: list[Any] = []
_CYCLE.append(_CYCLE)

EXAMPLES = {
    "pattern": re.compile("a+b"),
    "exception": TypeError("text"),
    "array": array("H", [1, 2]),
    "cycle": _CYCLE,
    "instance": Custom(),
    "subclass": Whole(1),
    "named tuple": Pair(),
    "naive datetime": datetime(2024, 2, 29, 12, 30),  # noqa: DTZ001 - what is refused
}


def decode(form: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - a table, a case a row
    """Return the Python value that stands for a form."""
    match form:
        case list():
            return [decode(each) for each in form]
        case {"$": "undefined"}:
            return MISSING
        case {"$": "function"}:
            return unstorable
        case {"$": "example", "v": name}:
            return EXAMPLES[name]
        case {"$": "number", "v": text}:
            return float(text)
        case {"$": "bigint", "v": text}:
            return int(text)
        case {"$": "bytes" | "buffer", "v": text}:
            return bytes.fromhex(text)
        case {"$": "date", "v": milliseconds}:
            return _EPOCH + timedelta(milliseconds=milliseconds)
        case {"$": "set", "v": items}:
            return {decode(each) for each in items}
        case {"$": "frozenset", "v": items}:
            return frozenset(decode(each) for each in items)
        case {"$": "tuple", "v": items}:
            return tuple(decode(each) for each in items)
        case {"$": "surrogates", "v": units}:
            return "".join(map(chr, units))
        case {"$": "map" | "object", "v": pairs}:
            return {decode(key): decode(item) for key, item in pairs}
        case dict():
            raise ValueError(f"no value {form!r}")
        case _:
            return form


def encode(value: Any) -> Any:  # noqa: C901, PLR0911 - as `decode`
    """Return the form of a Python value."""
    match value:
        case None | bool():
            return value
        case str():
            return {"$": "surrogates", "v": [*map(ord, value)]} if _PAIR.search(value) else value
        case _Missing():
            return UNDEFINED
        case int():
            return value if abs(value) <= SAFE else {"$": "bigint", "v": str(value)}
        case float():
            return _encode_float(value)
        case bytes():
            return {"$": "bytes", "v": value.hex()}
        case datetime():
            return {"$": "date", "v": (value - _EPOCH) / timedelta(milliseconds=1)}
        case list():
            return [encode(each) for each in value]
        case tuple():
            return {"$": "tuple", "v": [encode(each) for each in value]}
        case set() | frozenset():
            return {"$": type(value).__name__, "v": [encode(each) for each in value]}
        case dict():
            kind = "object" if all(type(key) is str for key in value) else "map"
            return {"$": kind, "v": [[encode(key), encode(item)] for key, item in value.items()]}
        case _:
            return {"$": f"Python's {type(value).__name__}", "v": repr(value)}


def _encode_float(value: float) -> Any:
    if math.isfinite(value) and (value or math.copysign(1, value) > 0):
        return value
    return {"$": "number", "v": "-0" if not value else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"}


def canonical(form: Any) -> Any:
    """Return a form without what the differences `number`, `object-order` and `set-order` allow, and only that."""
    match form:
        case list():
            return [canonical(each) for each in form]
        case int() | float() if not isinstance(form, bool):
            return float(form)
        case {"$": "set", "v": items}:
            return {"$": "set", "v": sorted((canonical(each) for each in items), key=json.dumps)}
        case {"$": "object", "v": pairs}:
            return {"$": "object", "v": sorted(([key, canonical(item)] for key, item in pairs), key=_rank)}
        case {"$": kind, "v": inner}:
            return {"$": kind, "v": canonical(inner)}
        case _:
            return form


def _rank(pair: list[Any]) -> int:
    """Return where an object of JavaScript has a key: whole numbers first, in order, then the others as they came."""
    key = pair[0]
    index = isinstance(key, str) and key.isascii() and key.isdecimal() and str(int(key)) == key and int(key) < 2**32 - 1
    return int(key) if index else 2**32

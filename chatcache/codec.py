"""Stored values as bytes, and back.

The first byte names the form of the rest, so that a later version can add one and still read these:

``0x01``
    plain JSON, nothing in it means anything but itself: nearly every value.
``0x02``
    JSON in which a dictionary with one key that begins with ``$`` stands for what JSON has no form for::

        {"$float": "nan" | "inf" | "-inf"}
        {"$int": "0x10000000000000000"}           beyond 64 bits, hexadecimal
        {"$str": "<base64 of its WTF-8 bytes>"}   lone surrogates
        {"$bytes": "<base64>"}
        {"$datetime": "2024-02-29T12:30:00.000000+01:00"}
        {"$tuple": [item, ...]}
        {"$set": [member, ...]}                   in the order of the members' bytes, so that equal sets
        {"$frozenset": [member, ...]}             are stored as equal bytes
        {"$dict": [[key, value], ...]}            a dictionary with a key that is no str, begins with $, or has lone
                                                  surrogates

``0x03``
    bytes, as they are: for values that are nothing but bytes.

``0x00`` is never written: whoever reads rows gives `DAMAGED` in place of bytes whose checksum does not match, and
decoding that raises.

A value comes back equal and of the same type. Values are None, bool, int, float, str, bytes, aware datetimes, and
lists, tuples, sets, frozensets and dicts of those, each of exactly that type: a subclass (an enum's member, a
defaultdict, a named tuple) would come back as something else, so it is refused. A dictionary keeps its order.

A datetime keeps its instant, to the microsecond, and its offset from UTC; a named zone comes back as that fixed offset,
which is equal. (The one exception is Python's: in the hour that a named zone has twice, or skips, it holds a datetime
unequal to any of another zone, and so to what comes back, though the instant and the offset are the same.)

There is no pickle, and no class is named in the bytes: whatever they are, decoding gives such a value or raises.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from datetime import datetime
from math import isfinite
from operator import attrgetter
from typing import Any

import orjson

from chatcache.interrupts import raise_interrupt

from .errors import CorruptRecordError, InvalidValueError, shown

__all__ = ["DAMAGED", "Part", "decode", "encode", "is_json", "is_utf8", "part_of"]

DAMAGED = b"\x00"
"""What a reader of rows returns for a value whose checksum does not match; `decode` raises for it."""

_PLAIN, _TAGGED, _BYTES = b"\x01", b"\x02", b"\x03"
_LEAST, _GREATEST = -(2**63), 2**64 - 1
_DEEPEST = 254  # levels that orjson writes
_DEPTH = (
    "the value contains itself, or nests too deeply to be stored: some 250 lists or dictionaries in one another are "
    "the most, or 120 tuples or sets, or 80 dictionaries whose keys are no str; store the inner parts by themselves"
)


class Part:
    """What stands for a value that is encoded already, in another value that is to be encoded; `part_of` makes it.

    Attributes:
        json: the JSON of the value.
        fragment: the same, as `orjson` takes it.
    """

    __slots__ = ("fragment", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self.fragment = orjson.Fragment(json)


_SCALARS = frozenset({str, bool, type(None), Part})
_STORABLE = _SCALARS | {int, float, bytes, datetime, list, tuple, dict, set, frozenset}


def encode(value: Any) -> bytes:
    """Return a value as bytes.

    Raises:
        InvalidValueError: some part of the value is of no storable type; the message holds the path to it.
    """
    try:
        if is_json(value):
            try:
                return _PLAIN + orjson.dumps(value, _fragment)
            except orjson.JSONEncodeError:
                pass  # lone surrogates, which the tagged form has a place for
        if type(value) is bytes:
            return _BYTES + value
        return _TAGGED + orjson.dumps(_tagged(value))
    except (RecursionError, orjson.JSONEncodeError):
        raise InvalidValueError(_DEPTH) from None


def part_of(data: bytes) -> Part | Any:
    """Return what stands for the value that these bytes are of, in another value that is to be encoded.

    It is put in there as it is, and not encoded a second time.

    Args:
        data: what `encode` returned.
    """
    return Part(data[1:]) if data[:1] == _PLAIN else decode(data)


def decode(data: bytes) -> Any:
    """Return the value that `encode` made these bytes of, a new object at each call.

    Raises:
        CorruptRecordError: the bytes are not what `encode` writes.
    """
    try:
        form = data[:1]
        if form == _PLAIN:
            return orjson.loads(data[1:])
        if form == _TAGGED:
            return _untagged(orjson.loads(data[1:]))
        if form == _BYTES:
            return bytes(data[1:])
    except (ValueError, TypeError, RecursionError) as error:
        raise_interrupt(error)
        raise CorruptRecordError(f"stored bytes are damaged: {error}") from error
    if data == DAMAGED:
        raise CorruptRecordError("the record is damaged: its checksum does not match")
    raise CorruptRecordError(f"stored bytes begin with {form!r}: cut short, or written by a newer version of chatcache")


def is_json(value: Any, levels: int = _DEEPEST) -> bool:  # noqa: C901, PLR0911, PLR0912 - a table, a case a row
    """Return whether JSON says all that there is of a value, lone surrogates aside, and orjson writes its levels."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                return False
            kind = type(item)
            if kind in _SCALARS:
                continue
            if kind is int:
                if not _LEAST <= item <= _GREATEST:
                    return False
            elif not (levels and is_json(item, levels - 1)):
                return False
        return True
    if kind is list:
        for item in value:  # no generator, whose frame would be another one a level
            if type(item) in _SCALARS:
                continue
            if not (levels and is_json(item, levels - 1)):
                return False
        return True
    if kind is int:
        return bool(_LEAST <= value <= _GREATEST)
    if kind is float:
        return isfinite(value)
    return kind in _SCALARS


# No Python function: `orjson` would make an error of its own of what a signal handler raises within.
_fragment = attrgetter("fragment")


def _tagged(value: Any, levels: int = _DEEPEST) -> Any:
    """Return the JSON of the tagged form; two frames a level, so that Python's limit is not met before orjson's."""
    if not levels:
        raise RecursionError
    value = orjson.loads(value.json) if type(value) is Part else value
    if type(value) not in _STORABLE:
        raise InvalidValueError(
            f"{shown(value)} is of type {type(value).__name__}, which cannot be stored; convert it to None, bool, int, "
            "float, str, bytes, datetime, list, tuple, dict, set or frozenset, and to none of their subclasses"
        )
    match value:
        case list():
            return _tagged_items(enumerate(value), levels)
        case tuple():
            return {"$tuple": _tagged_items(enumerate(value), levels)}
        case set() | frozenset():
            return {f"${type(value).__name__}": sorted(_tagged_members(value, levels), key=orjson.dumps)}
        case dict():
            items = _tagged_items(value.items(), levels)
            if all(map(_is_json_key, value)):
                return dict(zip(value, items, strict=True))
            return {"$dict": [[key, item] for key, item in zip(_tagged_members(value, levels), items, strict=True)]}
        case _:
            return _tagged_scalar(value)


def _tagged_items(items: Iterable[tuple[Any, Any]], levels: int) -> list[Any]:
    tagged = []
    for step, item in items:
        try:
            tagged.append(_tagged(item, levels - 1))
        except InvalidValueError as error:
            raise error.within(step) from None
    return tagged


def _tagged_members(members: Iterable[Any], levels: int) -> list[Any]:
    tagged = []
    for member in members:
        try:
            tagged.append(_tagged(member, levels - 1))
        except InvalidValueError as error:
            raise error.among(member) from None
    return tagged


def _tagged_scalar(value: Any) -> Any:
    match value:
        case str():
            return value if is_utf8(value) else {"$str": _base64(value.encode("utf-8", "surrogatepass"))}
        case bytes():
            return {"$bytes": _base64(value)}
        case datetime():
            return {"$datetime": _iso(value)}
        case float() if not isfinite(value):
            return {"$float": repr(value)}
        case int() if not _LEAST <= value <= _GREATEST:
            return {"$int": hex(value)}
        case _:
            return value


def _iso(moment: datetime) -> str:
    if moment.utcoffset() is None:
        raise InvalidValueError(
            f"{shown(moment)} is naive: it names no instant, so it cannot be stored; "
            "pass an aware datetime, such as datetime.now(UTC) or moment.replace(tzinfo=UTC)"
        )
    return moment.isoformat(timespec="microseconds")


def _untagged(value: Any) -> Any:
    match value:
        case list():
            return [_untagged(item) for item in value]
        case dict():
            if len(value) == 1:
                ((tag, content),) = value.items()
                if tag.startswith("$"):
                    return _meaning(tag, content)
            return {key: _untagged(item) for key, item in value.items()}
        case _:
            return value


def _meaning(tag: str, content: Any) -> Any:  # noqa: PLR0911 - a table, a case a row
    match tag, content:
        case "$float", "nan" | "inf" | "-inf":
            return float(content)  # each NaN an object of its own: a set holds as many as it held
        case "$int", str():
            return int(content, 16)
        case "$str", str():
            return b64decode(content, validate=True).decode("utf-8", "surrogatepass")
        case "$bytes", str():
            return b64decode(content, validate=True)
        case "$datetime", str():
            # fromisoformat takes an offset of less than a second for none
            return datetime.strptime(content, "%Y-%m-%dT%H:%M:%S.%f%z")
        case "$tuple", list():
            return tuple(map(_untagged, content))
        case "$set", list():
            return set(map(_untagged, content))
        case "$frozenset", list():
            return frozenset(map(_untagged, content))
        case "$dict", list():
            return {_untagged(key): _untagged(item) for key, item in content}
        case _:
            raise CorruptRecordError(
                f"stored bytes hold {shown({tag: content})}: damaged, or written by a newer version of chatcache"
            )


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _is_json_key(key: Any) -> bool:
    return type(key) is str and not key.startswith("$") and is_utf8(key)


def is_utf8(text: str) -> bool:
    """Return whether a text has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Stored values as bytes, and back.

The first byte names the form of the rest, so that a later version can add one and still read these:

``0x01``
    plain JSON, nothing in it means anything but itself: nearly every value.
``0x02``
    JSON in which a dictionary with one key that begins with ``$`` stands for what JSON has no form for::

        {"$float": "nan" | "inf" | "-inf"}
        {"$int": "0x10000000000000000"}           beyond 64 bits, hexadecimal
        {"$str": "<base64 of its WTF-8 bytes>"}   lone surrogates
        {"$dict": [[key, value], ...]}            a dictionary with a key that begins with $, or has lone surrogates

A value comes back equal and of the same type. Values are None, bool, int, float, str, and lists and string-keyed dicts
of those, each of exactly that type: a subclass (an enum's member, a defaultdict) would come back as something else, so
it is refused. There is no pickle, and no class is named in the bytes: whatever they are, decoding gives such a value
or raises.
"""

from base64 import b64decode, b64encode
from math import isfinite
from typing import Any

import orjson

from .errors import CorruptRecordError, InvalidValueError

__all__ = ["decode", "encode"]

_PLAIN, _TAGGED = b"\x01", b"\x02"
_SCALARS = frozenset({str, bool, type(None)})
_DEPTH = "the value nests more than 250 levels deep, or contains itself: it cannot be stored"


def encode(value: Any) -> bytes:
    """Return a value as bytes.

    Raises:
        InvalidValueError: some part of the value is of no storable type; the message holds the path to it.
    """
    try:
        if _is_plain(value):
            try:
                return _PLAIN + orjson.dumps(value)
            except orjson.JSONEncodeError:
                pass  # lone surrogates, which the tagged form has a place for
        return _TAGGED + orjson.dumps(_tagged(value))
    except (RecursionError, orjson.JSONEncodeError):
        raise InvalidValueError(_DEPTH) from None


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
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptRecordError(f"stored bytes are damaged: {error}") from error
    raise CorruptRecordError(f"stored bytes begin with {form!r}: cut short, or written by a newer version of chatcache")


def _is_plain(value: Any) -> bool:
    """Whether JSON says it all, lone surrogates aside."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is int:
        return bool(-(2**63) <= value < 2**64)
    if kind is float:
        return bool(isfinite(value))
    if kind is list:
        return _all_plain(enumerate(value))
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise InvalidValueError(
                    f"the dictionary key {key!r:.200} is of type {type(key).__name__}; only str keys can be stored"
                )
        return _all_plain(value.items())
    raise InvalidValueError(
        f"{value!r:.200} is of type {kind.__name__}, which cannot be stored; "
        "a value is made of None, bool, int, float, str, list and dict"
    )


def _all_plain(items: Any) -> bool:
    plain = True
    for step, item in items:
        if type(item) in _SCALARS:
            continue
        try:
            plain = _is_plain(item) and plain
        except InvalidValueError as error:
            raise error.within(step) from None
    return plain


def _tagged(value: Any) -> Any:  # noqa: PLR0911 - a table, a case a row
    match value:
        case str():
            return value if _is_utf8(value) else {"$str": b64encode(value.encode("utf-8", "surrogatepass")).decode()}
        case float() if not isfinite(value):
            return {"$float": repr(value)}
        case bool() | None | float():
            return value
        case int():
            return value if -(2**63) <= value < 2**64 else {"$int": hex(value)}
        case list():
            return [_tagged(item) for item in value]
        case _:
            if all(_is_utf8(key) and not key.startswith("$") for key in value):
                return {key: _tagged(item) for key, item in value.items()}
            return {"$dict": [[_tagged(key), _tagged(item)] for key, item in value.items()]}


def _untagged(value: Any) -> Any:  # noqa: PLR0911 - as above
    match value:
        case list():
            return [_untagged(item) for item in value]
        case {"$float": text}:
            return float(text)
        case {"$int": text}:
            return int(text, 16)
        case {"$str": text}:
            return b64decode(text, validate=True).decode("utf-8", "surrogatepass")
        case {"$dict": items}:
            return {_untagged(key): _untagged(item) for key, item in items}
        case dict():
            return {key: _untagged(item) for key, item in value.items()}
        case _:
            return value


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

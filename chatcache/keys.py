"""From a request to its key: canonical JSON, then SHA-256.

The canonical form of a request is the text that Python's own ``json`` would write for it with sorted keys, no white
space and no escapes beyond those that JSON demands, with one change: a float that is a whole number is written as that
whole number. So:

* the order of dictionary keys has no effect, the order of lists has;
* ``1`` and ``1.0`` and ``10 ** 22`` and ``1e22`` are pairwise equal, while ``1``, ``"1"`` and ``True`` all differ;
* ``NaN``, ``Infinity`` and ``-Infinity`` are written as those words, and are not confused with ``null``;
* two requests have the same form only if they are equal in this sense: JSON delimits every part.

Everything in the request counts. What is noise is decided by the adapter that builds the request, which leaves it out.

The key is the SHA-256 of a version tag and the canonical form. A change of either moves every key, and makes all that
was recorded unreachable: ``tests/core/test_keys.py`` holds golden vectors against that.
"""

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson

from chatcache.interrupts import raise_interrupt

from .errors import InvalidValueError

__all__ = ["canonical_json", "key_of", "request_key"]

_VERSIONED = sha256(b"chatcache/1\n")
_WRITTEN_AS_IS = frozenset({str, bool, type(None)})
_LEAST_INT, _GREATEST_INT = -(2**63), 2**64 - 1  # that orjson writes
_LEAST_ALIKE, _LEAST_UNLIKE = 1e-4, 1e15  # fractions between these orjson writes as Python does, without an exponent
_DEEPEST = 500  # levels, of a frame each: a finalizer that runs meanwhile needs frames, too, and Python allows 1,000
_Spelling = Callable[[int | float], Any]


def request_key(request: Any) -> str:
    """Return the key of a request: 64 hex digits.

    Args:
        request: a JSON value: None, bool, int, float, str, and lists, tuples and string-keyed dicts of those.

    Raises:
        InvalidValueError: some part of the request is not JSON; the message holds the path to it.
    """
    return key_of(canonical_json(request))


def key_of(canonical: bytes) -> str:
    """Return the key of the request that has this canonical form."""
    digest = _VERSIONED.copy()
    digest.update(canonical)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the canonical form of a JSON value (see the module's docstring), as UTF-8.

    A lone surrogate, which UTF-8 has no form for, is written as its three bytes (WTF-8).

    Raises:
        InvalidValueError: some part of the value is not JSON; the message holds the path to it.
    """
    try:
        return orjson.dumps(_spelled(value, _as_fragment), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        # Deeper than orjson goes, or a lone surrogate: rare, so the slower encoder may do it. Where both can, the bytes
        # are the same.
        return _canonical_by_json(value)
    except RecursionError:
        raise InvalidValueError("the value nests too deeply, or contains itself: it has no key") from None


def _canonical_by_json(value: Any) -> bytes:
    try:
        text = json.dumps(_spelled(value, _whole_as_int), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise InvalidValueError("the value nests too deeply, or contains itself: it has no key") from None
    return text.encode("utf-8", "surrogatepass")


def _as_fragment(number: float) -> int | float | orjson.Fragment:
    """Spell a number that orjson would write in its own way, or not at all, as Python's json does."""
    whole = _whole_as_int(number)
    if isinstance(whole, int):
        return whole if _fits_64_bits(whole) else orjson.Fragment(json.dumps(whole))
    return whole if _LEAST_ALIKE <= abs(whole) < _LEAST_UNLIKE else orjson.Fragment(json.dumps(whole))


def _whole_as_int(number: float) -> int | float:
    if not isinstance(number, int):
        return int(number) if number.is_integer() else number
    try:
        str(number)
    except ValueError as error:  # Python's own limit of digits
        raise_interrupt(error)
        raise InvalidValueError(f"an int of {number.bit_length():,} bits has no key: {error}") from None
    return number


def _fits_64_bits(number: int) -> bool:
    return _LEAST_INT <= number <= _GREATEST_INT


def _spelled(value: Any, spell: _Spelling, levels: int = _DEEPEST) -> Any:
    """Return the value with its numbers spelled; what needs no change is returned as it is, not copied."""
    kind = type(value)
    if kind in _WRITTEN_AS_IS:
        return value
    if kind is int:
        return value if _fits_64_bits(value) else spell(value)
    if kind is float:
        return spell(value)
    if not levels:
        raise RecursionError
    if kind not in _OF_KIND:
        return _spelled(_of_plain_type(value), spell, levels - 1)
    return _OF_KIND[kind](value, spell, levels - 1)


def _spelled_dict(value: dict[Any, Any], spell: _Spelling, levels: int) -> dict[str, Any]:
    changed: dict[str, Any] | None = None
    for key, item in value.items():
        if type(key) is not str:
            return _spelled_dict(_with_plain_keys(value), spell, levels)
        kind = type(item)
        if kind in _WRITTEN_AS_IS or (kind is int and _LEAST_INT <= item <= _GREATEST_INT):
            continue
        if kind is float and _LEAST_ALIKE <= item < _LEAST_UNLIKE and not item.is_integer():
            continue
        if not levels:
            raise RecursionError
        try:
            spelled = _OF_KIND.get(kind, _spelled)(item, spell, levels - 1)
        except InvalidValueError as error:
            raise error.within(key) from None
        if spelled is not item:
            changed = changed if changed is not None else dict(value)
            changed[key] = spelled
    return value if changed is None else changed


def _spelled_list(value: Sequence[Any], spell: _Spelling, levels: int) -> Sequence[Any]:
    changed: list[Any] | None = None
    for index, item in enumerate(value):
        kind = type(item)
        if kind is dict:
            for key, part in item.items():
                if type(part) is not str or type(key) is not str:
                    break
            else:  # a message, as most of a long request are
                continue
        if kind in _WRITTEN_AS_IS or (kind is int and _LEAST_INT <= item <= _GREATEST_INT):
            continue
        if kind is float and _LEAST_ALIKE <= item < _LEAST_UNLIKE and not item.is_integer():
            continue
        if not levels:
            raise RecursionError
        try:
            spelled = _OF_KIND.get(kind, _spelled)(item, spell, levels - 1)
        except InvalidValueError as error:
            raise error.within(index) from None
        if spelled is not item:
            changed = changed if changed is not None else list(value)
            changed[index] = spelled
    return value if changed is None else changed


_OF_KIND: dict[type, Callable[[Any, _Spelling, int], Any]] = {
    dict: _spelled_dict,
    list: _spelled_list,
    tuple: _spelled_list,
}


def _of_plain_type(value: Any) -> Any:
    """Return a tuple, or a subclass of a JSON type (an enum's member, a defaultdict), as the plain JSON type."""
    kind = type(value).__name__
    try:
        match value:
            case str():
                return str.__str__(value)
            case int():
                return int(value)
            case float():
                return float(value)
            case list() | tuple():
                return list(value)
            case dict():
                return dict(value)
    except Exception as error:
        raise_interrupt(error)
        raise InvalidValueError(f"an object of type {kind} cannot be read: {type(error).__name__}") from error
    raise InvalidValueError(  # without its repr, which may hold secrets, and goes into logs
        f"an object of type {kind} is not JSON: make the request JSON (None, bool, int, float, str, list, tuple and "
        "dict), or leave the object out of it"
    )


def _with_plain_keys(value: dict[Any, Any]) -> dict[str, Any]:
    for key in value:
        if not isinstance(key, str):
            raise InvalidValueError(
                f"a dictionary key is of type {type(key).__name__}, and JSON has string keys only: make the request "
                "JSON, or leave the dictionary out of it"
            )
    return {str.__str__(key): item for key, item in value.items()}

"""The text of a bundle, as far as it is read without reading its records: paragraphs, heads, sizes. Pure."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from chatcache.interrupts import raise_interrupt

from .layout import DEEPEST, count_values, is_too_deep, parsed
from .record import problem_of, unique

__all__ = ["MOST_VALUES", "Head", "head_of", "is_in_conflict", "paragraphs", "shape_of", "size_of", "why_not_json"]

Head = dict[str, Any]
"""What stands of a record before its request."""

MOST_VALUES = 1_000_000
"""How many values a record, or a blob, may consist of."""

_CONFLICT = (b"\n<<<<<<<", b"\n=======", b"\n>>>>>>>", b"\n|||||||")
_BLANK = re.compile(rb"\n[ \t]*\n\s*")  # between two records
_LONGEST = 16 * 1024 * 1024  # bytes of a record, without its blobs
_END_OF_HEAD = b',\n "request": '


def paragraphs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a text between blank lines, each with the number of its first line."""
    line, begin = 1, 0
    while begin < len(data):
        blank = _BLANK.search(data, begin)
        end, after = (len(data), len(data)) if blank is None else blank.span()
        text = data[begin:end].strip()
        if text:
            at = data.index(text[:1], begin)
            yield line + data.count(b"\n", begin, at), text
        line += data.count(b"\n", begin, after)
        begin = after


def head_of(text: bytes) -> tuple[Head, str | None]:
    """Return the head of a record by its text, and what is wrong with it, or None."""
    size = size_of(text)
    if size is not None:
        return {}, size
    end = text.find(_END_OF_HEAD)
    try:
        head = _loaded(text[:end] + b"}") if end > 0 else parsed(text)
        if isinstance(head, dict) and _may_hold_twice(text[:end], head):
            head = unique(text[:end] + b"}" if end > 0 else text)
    except (ValueError, RecursionError) as error:
        raise_interrupt(error)
        return {}, why_not_json(error)
    return head, problem_of(head)


def size_of(text: bytes) -> str | None:
    """Return in a few words that a record is too large, or None."""
    if len(text) > _LONGEST:
        return f"it has {len(text):,} bytes, and at most {_LONGEST:,} are read"
    return None


def shape_of(text: bytes, *values: Any, deepest: int = DEEPEST) -> str | None:
    """Return in a few words that the values of a record nest too deeply, or are too many, or None."""
    if text.count(b"[") + text.count(b"{") > deepest and any(is_too_deep(each, deepest) for each in values):
        return f"it nests more than {DEEPEST} levels"
    if text.count(b",") > MOST_VALUES and sum(map(count_values, values)) > MOST_VALUES:
        return f"it has more than {MOST_VALUES:,} values"
    return None


def _may_hold_twice(text: bytes, head: Head) -> bool:
    """Whether a name may be there twice in a head, by how many seem to be in its text."""
    versions = head.get("versions")
    return text.count(b'":') != len(head) + (len(versions) if isinstance(versions, dict) else 0)


def _loaded(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise_interrupt(error)
        return parsed(text)


def why_not_json(error: Exception) -> str:
    """Return in a few words why a text is no JSON that is read here."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return f"it nests more than {DEEPEST} levels" if isinstance(error, RecursionError) else str(error)


def is_in_conflict(text: bytes) -> bool:
    """Whether git left the marks of a conflict in a text."""
    return any(mark in text or text.startswith(mark[1:]) for mark in _CONFLICT)

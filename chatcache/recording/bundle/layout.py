"""JSON as a person reads, compares and merges it: what is short stands on one line, what is long on many.

It is JSON. A value that does not fit on a line is laid out over several, one item a line. Two
things are written in a way of their own, so that one changed word is one changed line:

* a long text is ``{"$text": [...]}``, its lines and sentences one by one, to be put together again;
* what is larger than 16 KiB, such as an image, is ``{"$blob": "<SHA-256>"}``, and lies in a file of that name.

A name of the user's that looks like one of these has a ``$`` more. Pure.
"""

import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import orjson

from chatcache.codec import is_utf8
from chatcache.errors import BundleError, shown
from chatcache.recording.payloads import outside_payloads

__all__ = ["DEEPEST", "Blobs", "count_values", "is_too_deep", "parsed", "restored", "sorted_names", "written"]

DEEPEST = 100
"""How many levels a request or an answer may nest; what reads them calls itself once for each level."""

Blobs = dict[str, bytes]
"""The content of blobs, each the JSON of a value, by the SHA-256 of it."""

_WIDTH = 120  # columns
_SHORT = 60  # columns, of a sentence that another one may follow on its line
_LARGE = 16 * 1024  # bytes
_INDENT = " "
_PIECES = re.compile(r".*?(?:\n{16,}|\n|[.!?…] +|[。！？；][」』”’）]*|$)", re.DOTALL)  # noqa: RUF001 - those of Chinese
_MARKS = ",;:)]}、，：）」"  # noqa: RUF001 - after which a line may end where it has no space
_BASE64 = re.compile(r"[A-Za-z0-9+/=_-]{41,}")  # longer than any word
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_TAG = re.compile(r"\$+(?:text|blob)")
_ONE_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBERS = (b"0" * 20, b"-" + b"0" * 19)
_TEXT, _BLOB = "$text", "$blob"


def written(value: Any, blobs: Blobs, *, indent: str = "", width: int = _WIDTH) -> str:
    """Return a JSON value as text.

    Args:
        value: the value.
        blobs: takes what is too large to stand in the text.
        indent: what the lines after the first begin with.
        width: how many columns a line may have where what is in it could stand on several; long texts always do.
    """
    return "".join(_lines(_laid_out(value, blobs), indent, len(indent), width))


def sorted_names(value: Any) -> Any:
    """Return a JSON value with the names of its objects sorted."""
    match value:
        case dict():
            return {name: sorted_names(item) for name, item in sorted(value.items())}
        case list():
            return [sorted_names(item) for item in value]
        case _:
            return value


def restored(value: Any, blob: Callable[[Any], Any]) -> Any:
    """Return the value that a text of `written` is of.

    Args:
        value: the JSON of the text.
        blob: returns the value of a blob by what stands under its name.

    Raises:
        BundleError: it is no text of `written`, or a blob is missing.
    """
    if type(value) is list:
        return [restored(item, blob) if type(item) in _NESTED else item for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        (name, item), *_ = value.items()
        if name == _TEXT:
            return _joined(item)
        if name == _BLOB:
            return blob(item)
    return {
        (name[1:] if name[:2] == "$$" and _TAG.fullmatch(name) else name): (
            restored(item, blob) if type(item) in _NESTED else item
        )
        for name, item in value.items()
    }


_NESTED = {list, dict}
_HOLDING = (list, dict, tuple)


def parsed(data: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none.
    """
    digits = data.translate(_ONE_DIGIT)
    if not any(number in digits for number in _LONG_NUMBERS):  # which orjson would round
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError:
            pass
    return json.loads(data)  # takes lone surrogates, too


def is_too_deep(value: Any, levels: int = DEEPEST) -> bool:
    """Whether a value nests more than so many levels of dictionaries, lists and tuples, or contains itself."""
    level = [value] if isinstance(value, _HOLDING) else []
    for _ in range(levels):
        if not level:
            return False
        inner = (item for each in level for item in (each.values() if isinstance(each, dict) else each))
        level = [*{id(item): item for item in inner if isinstance(item, _HOLDING)}.values()]  # each once: of two in
        # themselves and each other there would soon be too many
    return bool(level)


def count_values(value: Any) -> int:
    """Return how many values a JSON value consists of, itself among them."""
    left, number = [value], 1
    while left:
        items = left.pop()
        if type(items) in _NESTED:
            number += len(items)
            left += [item for item in (items.values() if type(items) is dict else items) if type(item) in _NESTED]
    return number


def _joined(pieces: Any) -> str:
    if isinstance(pieces, list) and all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    raise BundleError(f"{shown(pieces)} under {_TEXT!r} is no list of texts")


def _laid_out(value: Any, blobs: Blobs) -> Any:
    """Return a value with its long texts in pieces, and without what is a blob."""
    match value:
        case dict():
            return {
                (f"${name}" if _TAG.fullmatch(name) else name): _laid_out(item, blobs) for name, item in value.items()
            }
        case list():
            if value and all(type(item) in {int, float} for item in value):
                return _blob_if_large(value, blobs)
            return [_laid_out(item, blobs) for item in value]
        case str() if len(value) > _WIDTH - len(_TEXT) or "\n" in value:
            large = _blob_if_large(value, blobs)
            pieces = [*_pieces(value)] if large is value and _reads_well(value) else []
            return {_TEXT: pieces} if len(pieces) > 1 else large
        case _:
            return value


def _blob_if_large(value: Any, blobs: Blobs) -> Any:
    data = _json_bytes(value)
    if len(data) <= _LARGE or (isinstance(value, str) and _reads_well(value)):
        return value
    digest = sha256(data).hexdigest()
    blobs[digest] = data
    return {_BLOB: digest}


def _reads_well(text: str) -> bool:
    """Whether a text is one for people, in any script, or a program: neither Base64 nor bytes, for the most part."""
    if 2 * sum(end - begin for begin, end in outside_payloads(text)) < len(text):
        return False
    return 2 * sum(map(len, _BASE64.findall(text))) + 8 * len(_CONTROL.findall(text)) <= len(text)


def _pieces(text: str) -> Iterator[str]:
    """Yield the lines and the sentences of a text, those that are too long in parts, and short ones together."""
    line = ""
    for piece in filter(None, _PIECES.findall(text)):
        line += piece
        if len(line) < _SHORT and not piece.endswith("\n"):
            continue
        begin = 0
        while len(line) - begin > _WIDTH:
            at = begin + _end_of_line(line[begin : begin + _WIDTH])
            yield line[begin:at]
            begin = at
        yield line[begin:]
        line = ""
    if line:
        yield line


def _end_of_line(text: str) -> int:
    """Return where a text that is too long for a line is parted: after a space, or a mark, or else anywhere."""
    at = text.rfind(" ", 1, _WIDTH) + 1
    return at or max(text.rfind(mark, _WIDTH // 2, _WIDTH) for mark in _MARKS) + 1 or _WIDTH


def _lines(value: Any, indent: str, column: int, width: int) -> Iterator[str]:
    """Yield the text of a value, which begins at a column."""
    if not isinstance(value, dict | list) or not value:
        yield _json(value)
        return
    if not _holds_text(value):
        flat = _json(value)
        if column + len(flat) <= width or _is_numbers(value):
            yield flat
            return
    inner = indent + _INDENT
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    yield f"{opening}\n"
    items = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for at, (name, item) in enumerate(items):
        begins = inner if name is None else f"{inner}{_json(name)}: "
        yield f"{',' if at else ''}{chr(10) if at else ''}{begins}"
        yield from _lines(item, inner, len(begins), width)
    yield f"\n{indent}{closing}"


def _holds_text(value: Any) -> bool:
    """Whether a text in a value is long, so that it is to stand on lines of its own."""
    match value:
        case dict():
            texts = value.get(_TEXT)
            if len(value) == 1 and isinstance(texts, list):
                return sum(map(len, texts)) > _WIDTH // 2
            return any(_holds_text(item) for item in value.values())
        case list():
            return any(_holds_text(item) for item in value)
        case _:
            return False


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) in {int, float} for item in value)


def _json_bytes(value: Any) -> bytes:
    """Return what `_json` does, as bytes. Of a long text orjson makes the same in a fifth of the time."""
    if isinstance(value, str):
        try:
            return orjson.dumps(value)
        except orjson.JSONEncodeError:  # a lone surrogate
            pass
    return _json(value).encode()


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if is_utf8(text) else json.dumps(value)

"""Replace texts that differ in each run and carry no meaning: fresh ids, the time, the folder of a test.

The key of a request has a placeholder such as ``<<uuid-1>>`` instead. Two places with one id have one placeholder. The
recorded answer has the same placeholders for the ids of its request. A replay puts the ids of its own request there.
Pure.

A time is volatile only if it has seconds and is within an hour of the present, because then the program made it.
``2024-02-29`` in a prompt stays, and so does the date of today.
"""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from chatcache.clock import Clock, now
from chatcache.errors import InvalidInputError
from chatcache.interrupts import raise_interrupt

from .literals import Literals
from .masks import MARK, unescaped
from .payloads import outside_payloads
from .texts import StreamTexts, mapped

__all__ = ["BUILT_IN", "Found", "Volatile", "hidden", "hide_in_stream", "put_back"]

Found = Mapping[str, str]
"""The text behind each placeholder."""

_ID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_HEX = r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}"  # of version 4, or any MD5 would be one
BUILT_IN: Mapping[str, str] = {
    "uuid": rf"(?<![0-9a-zA-Z])(?:{_ID}|(?<=run-)[0-9a-f]{{32}}|{_HEX})(?![0-9a-zA-Z])",
    "call": r"(?<![0-9a-zA-Z_])(?:call|toolu|tooluse|chatcmpl-tool|fc)_(?=[a-zA-Z]*\d)[0-9a-zA-Z]{12,}(?![0-9a-zA-Z_])",
    "time": r"(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?: ?Z|[+-]\d\d:?\d\d)?(?!\d)",
}
"""The patterns of texts that are volatile by default, by name. ``path``, a temporary folder, is added to them."""

_NEAR = timedelta(hours=1)
_SHORTEST_PIECE = 12  # characters of an id that is looked for in the pieces of a stream, each by itself
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Volatile:
    """Finds volatile texts.

    Args:
        patterns: further patterns (Python's ``re``), by the names of their placeholders. None switches off the built-in
            pattern of that name.
        clock: gives the time that the program sees, in seconds since the epoch.

    Raises:
        InvalidInputError: a name or a pattern is invalid.
    """

    def __init__(self, patterns: Mapping[str, str | None], clock: Clock = now) -> None:
        self._clock = clock
        chosen = {**BUILT_IN, "path": _folders(), **patterns}
        self._patterns = {name: pattern for name, pattern in chosen.items() if pattern is not None}
        for name, pattern in patterns.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise InvalidInputError(f"volatile {name!r}: a name is of lower-case letters, digits and _")
            if pattern is not None:
                _check(name, pattern)

    def replaced(self, value: Any) -> tuple[Any, Found]:
        """Return a JSON value with placeholders, and the text behind each."""
        tokens: dict[tuple[str, str], str] = {}
        numbers = Counter[str]()

        def placeholder(match: re.Match[str]) -> str:
            kind, text = str(match.lastgroup), match.group()
            if kind == "time" and not self._is_near(text):
                return text
            if (kind, text) not in tokens:
                numbers[kind] += 1
                tokens[kind, text] = f"<<{kind}-{numbers[kind]}>>"
            return tokens[kind, text]

        made = mapped(value, lambda text: self._replaced(text, placeholder))
        return made, {token: text for (_, text), token in tokens.items()}

    def _replaced(self, text: str, placeholder: Callable[[re.Match[str]], str]) -> str:
        parts, at = [], 0
        for begin, end in outside_payloads(text):
            for match in self._pattern.finditer(text, begin, end):
                parts += [text[at : match.start()], placeholder(match)]
                at = match.end()
        return "".join([*parts, text[at:]]) if parts else text

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in self._patterns.items()) or r"(?!)")

    def _is_near(self, text: str) -> bool:
        try:
            time = datetime.fromisoformat(text.replace(",", ".").replace(" Z", "Z"))
        except ValueError as error:
            raise_interrupt(error)
            return False
        now = datetime.fromtimestamp(self._clock(), UTC)
        zones = [time] if time.tzinfo else [time.astimezone(), time.replace(tzinfo=UTC)]
        return any(abs(each - now) <= _NEAR for each in zones)


def hidden(value: Any, found: Found) -> Any:
    """Return an answer with the placeholders of its request. Texts of less than 4 characters stay."""
    known = Literals({text: token for token, text in found.items()})
    return mapped(value, known.replaced) if known else value


def hide_in_stream(texts: StreamTexts, found: Found) -> None:
    """Put placeholders into the texts of a stream as `hidden` does. Each goes into the chunk where its text begins."""
    tokens = {text: token for token, text in found.items()}
    known = Literals(tokens)
    if known:
        texts.edit(
            lambda leaves: ((number, *edit) for number, leaf in enumerate(leaves) for edit in known.find(leaf.value))
        )
        texts.replace_pieces({text: token for text, token in tokens.items() if len(text) >= _SHORTEST_PIECE})


def put_back(value: Any, found: Found) -> Any:
    """Return a recorded answer with the texts of its request instead of placeholders, and literal marks unescaped."""
    return mapped(value, lambda text: MARK.sub(lambda match: _text_of(match, found), text) if "<<" in text else text)


def _text_of(match: re.Match[str], found: Found) -> str:
    return unescaped(match.group()) if match["escape"] else found.get(match.group(), match.group())


def _folders() -> str:
    """Return the pattern of a path in the folder for temporary files, up to the folder of a test."""
    folders = {os.path.realpath(tempfile.gettempdir()), tempfile.gettempdir()}
    roots = "|".join(map(re.escape, sorted(folders, key=len, reverse=True)))
    of_pytest = r"pytest-of-[^/\s\"']+/pytest-\d+(?:/popen-gw\d+)?(?:/[^/\s\"']+)?"
    return rf"(?<![\w/])(?:{roots})/(?:{of_pytest}|tmp[a-z0-9_]{{8}}(?![a-z0-9_]))"


def _check(name: str, pattern: str) -> None:
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise_interrupt(error)
        raise InvalidInputError(f"volatile {name}={pattern!r} is no regular expression: {error}") from error
    if compiled.groups:
        raise InvalidInputError(f"volatile {name}={pattern!r} has groups: write (?:...) instead of (...)")

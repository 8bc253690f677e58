"""The JSON values in the lines of a text: server-sent events (``data: {...}``) and JSON lines. Pure.

The texts in these values stay as they are written, with their escapes. So an edit in one of them is an edit of the
whole text, at a place that is known.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from chatcache.interrupts import raise_interrupt

__all__ = ["JSONLines"]

_LINE = re.compile(r"(?:data:[ \t]*)?([{\[].*[}\]])\s*", re.DOTALL)
_MANY = 100  # lines: a text with more that are no JSON, and fewer that are, is no JSON lines
_HOLDING = {str, dict, list}
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?')


class JSONLines:
    """The JSON values in the lines of a text.

    Args:
        text: the text.
        lines: the begin and the end of each line.

    Attributes:
        values: the values. In place of each text they hold what stands between its quotes.
        spans: the begin and the end of each of these texts, in order.
    """

    def __init__(self, text: str, lines: Iterable[tuple[int, int]]) -> None:
        self.values: list[Any] = []
        self.spans: list[tuple[int, int]] = []
        others = 0  # lines that look like JSON and are none
        for match in filter(None, (_LINE.fullmatch(text, begin, end) for begin, end in lines)):
            try:
                value = json.loads(match[1])
            except (ValueError, RecursionError) as error:
                raise_interrupt(error)
                others += 1
                if others > max(_MANY, len(self.values)):
                    return
                continue
            spans = [each.span(1) for each in _STRING.finditer(text, *match.span(1)) if not each[2]]
            written = iter([text[begin:end] for begin, end in spans])
            value = _written(value, written)
            if next(written, None) is None:  # or a name stands twice in an object
                self.values.append(value)
                self.spans += spans


def _written(value: Any, texts: Iterator[str]) -> Any:
    """Put the texts into a value, in place of its own."""
    if type(value) is str:
        return next(texts)
    if type(value) is dict:
        for name, item in value.items():
            if type(item) in _HOLDING:
                value[name] = _written(item, texts)
    elif type(value) is list:
        for at, item in enumerate(value):
            if type(item) in _HOLDING:
                value[at] = _written(item, texts)
    return value

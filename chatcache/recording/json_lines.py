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
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?')


class JSONLines:
    """The JSON values in the lines of a text.

    Args:
        text: the text.
        lines: the begin and the end of each line.

    Attributes:
        values: the values. In place of each text they hold what stands between its quotes.
    """

    def __init__(self, text: str, lines: Iterable[tuple[int, int]]) -> None:
        self.values: list[Any] = []
        self._spans: list[list[tuple[int, int]]] = []
        self._text = text
        for match in filter(None, (_LINE.fullmatch(text, begin, end) for begin, end in lines)):
            spans = [each.span(1) for each in _STRING.finditer(text, *match.span(1)) if not each[2]]
            try:
                value = json.loads(match[1])
                if len(spans) == sum(1 for _ in _strings(value)):  # not if a name stands twice in an object
                    self.values.append(_written(value, (text[begin:end] for begin, end in spans)))
                    self._spans.append(spans)
            except (ValueError, RecursionError) as error:
                raise_interrupt(error)

    def edits(self, values: list[Any]) -> Iterator[tuple[int, int, str]]:
        """Yield the edits of the text that make its values other ones, which differ in their texts only."""
        for value, spans in zip(values, self._spans, strict=True):
            for (begin, end), other in zip(spans, _strings(value), strict=True):
                if self._text[begin:end] != other:
                    yield begin, end, other


def _strings(value: Any) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) in {dict, list}:
        for item in value.values() if type(value) is dict else value:
            yield from _strings(item)


def _written(value: Any, texts: Iterator[str]) -> Any:
    if type(value) is str:
        return next(texts)
    if type(value) is dict:
        return {name: _written(item, texts) for name, item in value.items()}
    return [_written(item, texts) for item in value] if type(value) is list else value

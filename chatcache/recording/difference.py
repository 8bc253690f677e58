"""What two requests do not have in common, by JSON path, in texts down to the words. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

import orjson

from chatcache.errors import shortened

__all__ = ["Difference", "differences"]

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_AROUND = 24  # characters of what is equal, beside a change
_LONGEST = 160  # characters of a value that is shown
_MOST_WORDS = 20_000  # of two texts together; of longer ones only the ends are told apart


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them.

    Attributes:
        path: where it is, as ``$.messages[1].content``.
        kind: ``changed``, or ``added`` where only the request has it, or ``removed`` where only the record has it.
        recorded: the value in the record, or None.
        asked: the value in the request, or None.
    """

    path: str
    kind: Literal["changed", "added", "removed"]
    recorded: Any = None
    asked: Any = None

    def __str__(self) -> str:
        """Say it in lines: what was recorded after ``-``, what is asked after ``+``, changed words in braces."""
        match self.kind:
            case "added":
                return f"{self.path}: is new\n  + {_short(self.asked)}"
            case "removed":
                return f"{self.path}: is gone\n  - {_short(self.recorded)}"
            case "changed":
                if isinstance(self.recorded, str) and isinstance(self.asked, str):
                    before, after = _marked(self.recorded, self.asked)
                else:
                    before, after = _short(self.recorded), _short(self.asked)
                return f"{self.path}\n  - {before}\n  + {after}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = {"recorded": self.recorded, "asked": self.asked}
        gone = {"added": "recorded", "removed": "asked"}.get(self.kind)
        return {"path": self.path, "kind": self.kind, **{k: v for k, v in values.items() if k != gone}}


def differences(recorded: Any, asked: Any, path: str = "$") -> Iterator[Difference]:
    """Yield what two JSON values do not have in common."""
    match recorded, asked:
        case dict(), dict():
            for name in [*recorded, *(name for name in asked if name not in recorded)]:
                inner = f"{path}.{name}" if name.isidentifier() else f"{path}[{name!r}]"
                if name not in asked:
                    yield Difference(inner, "removed", recorded=recorded[name])
                elif name not in recorded:
                    yield Difference(inner, "added", asked=asked[name])
                else:
                    yield from differences(recorded[name], asked[name], inner)
        case list(), list():
            yield from _in_lists(recorded, asked, path)
        case _ if type(recorded) is not type(asked) or recorded != asked:
            yield Difference(path, "changed", recorded, asked)


def _in_lists(recorded: list[Any], asked: list[Any], path: str) -> Iterator[Difference]:
    """Yield what is new in a list, and gone; items that stand in one another's place are compared."""
    matcher = SequenceMatcher(None, [*map(_said, recorded)], [*map(_said, asked)], autojunk=False)
    for tag, begin, end, first, last in matcher.get_opcodes():
        if tag == "equal":
            continue
        both = min(end - begin, last - first)
        for at in range(both):
            yield from differences(recorded[begin + at], asked[first + at], f"{path}[{first + at}]")
        for at in range(begin + both, end):
            yield Difference(f"{path}[{at}]", "removed", recorded=recorded[at])
        for at in range(first + both, last):
            yield Difference(f"{path}[{at}]", "added", asked=asked[at])


def _said(value: Any) -> bytes:
    return orjson.dumps(value, default=repr, option=orjson.OPT_SORT_KEYS)


def _short(value: Any) -> str:
    return shortened(_said(value).decode(), _LONGEST)


def _marked(recorded: str, asked: str) -> tuple[str, str]:
    """Return two texts, with what is not common to them in braces, and as much around it as is needed to find it."""
    one, two = _WORDS.findall(recorded), _WORDS.findall(asked)
    is_long = len(one) + len(two) > _MOST_WORDS
    codes = _ends(one, two) if is_long else SequenceMatcher(None, one, two, autojunk=False).get_opcodes()
    before, after = [], []
    for number, (tag, begin, end, first, last) in enumerate(codes):
        if tag == "equal":
            common = _around("".join(one[begin:end]), is_first=number == 0, is_last=number == len(codes) - 1)
            before.append(common)
            after.append(common)
        else:
            before.append(_braced(one[begin:end], "-"))
            after.append(_braced(two[first:last], "+"))
    return "".join(before), "".join(after)


def _ends(one: Sequence[str], two: Sequence[str]) -> list[Any]:
    shorter = min(len(one), len(two))
    head = next((at for at in range(shorter) if one[at] != two[at]), shorter)
    tail = next((at for at in range(shorter - head) if one[-1 - at] != two[-1 - at]), shorter - head)
    ends = len(one) - tail, len(two) - tail
    return [
        ("equal", 0, head, 0, head),
        ("replace", head, ends[0], head, ends[1]),
        ("equal", ends[0], len(one), ends[1], len(two)),
    ]


def _around(text: str, *, is_first: bool, is_last: bool) -> str:
    text = text.replace("\n", "⏎")
    left = 0 if is_first else _AROUND
    right = 0 if is_last else _AROUND
    if len(text) <= left + right + 1:
        return text
    return f"{text[:left]}…{text[len(text) - right :]}"


def _braced(words: list[str], sign: str) -> str:
    text = "".join(words).replace("\n", "⏎")
    if not text:
        return ""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{{{sign}{shown}{sign}}}"

"""What two requests do not have in common, by JSON path, in texts down to the words. Pure."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, zip_longest
from operator import eq
from typing import Any, Literal

from chatcache.errors import printable, shortened, shown
from chatcache.keys import canonical_json

__all__ = ["Difference", "differences", "visible"]

_WORD = r"[^\W\u3040-\u30ff\u3400-\u9fff]+|\S"  # of Chinese and Japanese a character, which has no spaces beside it
_WORDS = re.compile(rf"(?:{_WORD})\s*|\s+")
_PARTS = re.compile(rf"{_WORD}|\s+")
_AROUND = 24  # characters of what is equal, beside a change
_LONGEST = 160  # characters of a value that is shown
_MOST_CHANGES = 5  # of a text that are shown
_FEW = 600  # words of two texts together, or items of two lists, that are compared as well as can be
_IN_A_ROW = 3  # of more of them, by which they are said to go on alike after a change
_MOST_PAIRS = 1_600  # of items, one of each list, that may be paired
_LEAST_ALIKE = 0.5  # of the words of two items that are the same one, changed
_LOOKED_AT = 4_000  # characters of such an item

_Change = tuple[int, int, int, int]
"""From where to where something is in one sequence, and in another."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them.

    Attributes:
        path: where it is, as ``$.messages[1].content``.
        kind: ``changed``, or ``added`` where only the request has it, or ``removed`` where only the record has it, or
            ``moved`` where the request has an item in another place of its list; the path is that in the record.
        recorded: the value in the record, or None.
        asked: the value in the request, or None.
        now: the place of an item that moved, or None.
    """

    path: str
    kind: Literal["changed", "added", "removed", "moved"]
    recorded: Any = None
    asked: Any = None
    now: int | None = None

    def __str__(self) -> str:
        """Say it in lines: what was recorded after ``-``, what is asked after ``+``, changed words in braces."""
        match self.kind:
            case "added":
                return f"{self.path}: is new\n  + {_short(self.asked)}"
            case "removed":
                return f"{self.path}: is gone\n  - {_short(self.recorded)}"
            case "moved":
                return f"{self.path}: is now at [{self.now}]"
            case "changed":
                if isinstance(self.recorded, str) and isinstance(self.asked, str):
                    return "\n  ".join([self.path, *_marked(self.recorded, self.asked)])
                return f"{self.path}\n  - {_short(self.recorded)}\n  + {_short(self.asked)}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        values = {"recorded": self.recorded, "asked": self.asked, "now": self.now}
        names = {"added": ["asked"], "removed": ["recorded"], "moved": ["now"], "changed": ["recorded", "asked"]}
        return {"path": self.path, "kind": self.kind, **{name: values[name] for name in names[self.kind]}}


def differences(recorded: Any, asked: Any, path: str = "$") -> Iterator[Difference]:
    """Yield what two JSON values do not have in common."""
    match recorded, asked:
        case dict(), dict():
            for name in [*recorded, *(name for name in asked if name not in recorded)]:
                inner = f"{path}.{name}" if name.isidentifier() else f"{path}[{shown(name)}]"
                if name not in asked:
                    yield Difference(inner, "removed", recorded=recorded[name])
                elif name not in recorded:
                    yield Difference(inner, "added", asked=asked[name])
                else:
                    yield from differences(recorded[name], asked[name], inner)
        case list(), list():
            yield from _in_lists(recorded, asked, path)
        case _ if canonical_json(recorded) != canonical_json(asked):  # 1 and 1.0 are one in a key, 1 and true are not
            yield Difference(path, "changed", recorded, asked)


def visible(text: str) -> str:
    """Return a text in one line, as it is printed: line ends as ``⏎``, and what cannot be seen as its escape."""
    return printable(text.replace("\n", "⏎"))


def _in_lists(recorded: list[Any], asked: list[Any], path: str) -> Iterator[Difference]:
    """Yield what moved in a list, what is new, and gone; items that stand in one another's place are compared."""
    one, two = [*map(_canonical, recorded)], [*map(_canonical, asked)]
    changes = [*_changes(one, two)]
    moved = _moved(one, two, changes)
    taken = {*moved.values()}
    for begin, end, first, last in changes:
        yield from (Difference(f"{path}[{at}]", "moved", now=moved[at]) for at in range(begin, end) if at in moved)
        gone = [at for at in range(begin, end) if at not in moved]
        new = [at for at in range(first, last) if at not in taken]
        for was, now in _paired(gone, new, _alike([recorded[at] for at in gone], [asked[at] for at in new])):
            if was is None:
                yield Difference(f"{path}[{now}]", "added", asked=asked[now])
            elif now is None:
                yield Difference(f"{path}[{was}]", "removed", recorded=recorded[was])
            else:
                yield from differences(recorded[was], asked[now], f"{path}[{now}]")


def _moved(one: list[str], two: list[str], changes: list[_Change]) -> dict[int, int]:
    """Return where items of a list are now, by where they were; numbers are not followed."""
    places = defaultdict(list)
    for _, _, first, last in changes:
        for at in range(first, last):
            places[two[at]].append(at)
    gone = (at for begin, end, _, _ in changes for at in range(begin, end))
    return {at: places[one[at]].pop(0) for at in gone if one[at][0] in '"[{' and places.get(one[at])}


def _paired(gone: list[int], new: list[int], alike: list[tuple[int, int]]) -> Iterator[tuple[Any, Any]]:
    """Yield the places of items in pairs: those that are alike, and the others between those in order; or None."""
    at = to = 0
    for one, two in alike:
        yield from zip_longest(gone[at:one], new[to:two])
        yield gone[one], new[two]
        at, to = one + 1, two + 1
    yield from zip_longest(gone[at:], new[to:])


def _alike(recorded: list[Any], asked: list[Any]) -> list[tuple[int, int]]:
    """Return which items of two lists are the same ones, changed; in order, by their indices."""
    if not 1 < len(recorded) * len(asked) <= _MOST_PAIRS:
        return []
    one, two = [*map(_words_of, recorded)], [*map(_words_of, asked)]
    ranked = sorted(
        (-_common(first, second), abs(at - to), at, to) for at, first in enumerate(one) for to, second in enumerate(two)
    )
    kept: list[tuple[int, int]] = []
    for common, _, at, to in ranked:
        if -common > _LEAST_ALIKE and all((at - before) * (to - after) > 0 for before, after in kept):
            kept.append((at, to))
    return sorted(kept)


def _words_of(value: Any) -> set[str]:
    """Return the words of what stands in a value, names left out."""
    return {word for word in _PARTS.findall(" ".join(_leaves(value))[:_LOOKED_AT]) if not word.isspace()}


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for item in value.values():
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case _:
            yield str(value)


def _common(one: set[str], two: set[str]) -> float:
    return 2 * len(one & two) / (len(one) + len(two) or 1)


def _canonical(value: Any) -> str:
    return canonical_json(value).decode("utf-8", "surrogatepass")


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=repr)


def _short(value: Any) -> str:
    return visible(shortened(_said(value), _LONGEST))


def _marked(recorded: str, asked: str) -> Iterator[str]:
    """Yield two texts in lines, with what is not common to them in braces, and around it as much as it is found by."""
    changes, rest = _in_words(recorded, asked)
    before = after = ""
    for number, (common, was, now) in enumerate(changes[:_MOST_CHANGES]):
        around = _around(common, _AROUND if number else 0, _AROUND)
        before += around + _braced(was, "-")
        after += around + _braced(now, "+")
    left = changes[_MOST_CHANGES:]
    end = f"{visible(left[0][0][:_AROUND])}…" if left else _around(rest, _AROUND, 0)
    yield f"- {before}{end}"
    yield f"+ {after}{end}"
    if left:
        yield f"… and {len(left):,} more {'change' if len(left) == 1 else 'changes'}"


def _in_words(recorded: str, asked: str) -> tuple[list[tuple[str, str, str]], str]:
    """Return the changes of a text, each after what is common before it, and what is common after the last."""
    one, two = _WORDS.findall(recorded), _WORDS.findall(asked)
    changes = []
    common, at = "", 0
    for begin, end, first, last in _changes(one, two):
        was, now = _PARTS.findall("".join(one[begin:end])), _PARTS.findall("".join(two[first:last]))
        head, tail = _ends(was, now)
        common += "".join([*one[at:begin], *was[:head]])
        changes.append((common, "".join(was[head : len(was) - tail]), "".join(now[head : len(now) - tail])))
        common, at = "".join(was[len(was) - tail :]), end
    return changes, common + "".join(one[at:])


def _changes(one: Sequence[str], two: Sequence[str]) -> Iterator[_Change]:
    """Yield where two sequences are not alike: from where to where in one of them, and in the other."""
    head, tail = _ends(one, two)
    inner = one[head : len(one) - tail], two[head : len(two) - tail]
    compared = _matched if len(inner[0]) + len(inner[1]) <= _FEW else _followed
    for begin, end, first, last in compared(*inner):
        yield head + begin, head + end, head + first, head + last


def _ends(one: Sequence[str], two: Sequence[str]) -> tuple[int, int]:
    """Return how much two sequences have in common at their beginnings, and then at their ends."""
    shorter = min(len(one), len(two))
    head = next((at for at in range(shorter) if one[at] != two[at]), shorter)
    tail = next((at for at in range(shorter - head) if one[-1 - at] != two[-1 - at]), shorter - head)
    return head, tail


def _matched(one: Sequence[str], two: Sequence[str]) -> Iterator[_Change]:
    """Yield the changes of short sequences, as few as there can be."""
    if len(one) == len(two) and 2 * sum(map(eq, one, two)) >= len(one):  # some items are others, and none moved
        yield from _replaced(one, two)
        return
    for tag, begin, end, first, last in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if tag != "equal":
            yield begin, end, first, last


def _replaced(one: Sequence[str], two: Sequence[str]) -> Iterator[_Change]:
    """Yield the runs of places at which two sequences of one length differ."""
    at = 0
    for is_equal, run in groupby(map(eq, one, two)):
        end = at + len([*run])
        if not is_equal:
            yield at, end, at, end
        at = end


def _followed(one: Sequence[str], two: Sequence[str]) -> Iterator[_Change]:
    """Yield it of long sequences: both are followed to where they part, and from where they go on alike."""
    at = to = 0
    while at < len(one) and to < len(two):
        if one[at] == two[to]:
            at, to = at + 1, to + 1
        else:
            begin, first = at, to
            at, to = _met(one, two, at, to)
            yield begin, at, first, to
    if at < len(one) or to < len(two):
        yield at, len(one), to, len(two)


def _met(one: Sequence[str], two: Sequence[str], at: int, to: int) -> tuple[int, int]:
    """Return the nearest places from which on two sequences go on alike, or their ends.

    What is looked through grows with how far that is, so that all of it together takes no more time than the length.
    """
    looked = 8
    while True:
        rows = {row: place for place, row in _rows(two, to, looked)}
        met = [(place, rows[row]) for place, row in _rows(one, at, looked) if row in rows]
        if met:
            return min(met, key=sum)
        if at + looked >= len(one) and to + looked >= len(two):
            return len(one), len(two)
        looked *= 8


def _rows(words: Sequence[str], begin: int, number: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield so many words in a row, from some place on, the last one first."""
    for place in reversed(range(begin, min(begin + number, len(words) - _IN_A_ROW + 1))):
        yield place, tuple(words[place : place + _IN_A_ROW])


def _around(text: str, left: int, right: int) -> str:
    """Return a text that is common as far as it is next to changes: so many characters on the left and the right."""
    if len(text) <= left + right + 1:
        return visible(text)
    return f"{visible(text[:left])}…{visible(text[len(text) - right :])}"


def _braced(text: str, sign: str) -> str:
    if not text:
        return ""
    shown = visible(text[:_LONGEST]) + ("…" if len(text) > _LONGEST else "")
    return f"{{{sign}{shown}{sign}}}"

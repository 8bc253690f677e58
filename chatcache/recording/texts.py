"""The texts of an answer. The texts of a stream are put together from its chunks. Pure.

The pieces of one text are at the same path in chunk after chunk. Several texts may take turns at one path, such as
those of several choices, tool calls or items. The numbers and ids beside them, such as ``index``, and the type of the
event tell them apart.

Providers differ in where they put those: a type may stand in the first chunk only, and an index may count the chunks.
So pieces that these tell apart are put together as well:

* the pieces at one path with the same numbers and ids, whatever the type and the place in a list;
* the texts at one path that follow each other, whatever the numbers and ids. A content may be a text first and a list
  of blocks later: that is one path.

If the chunks make up lines of JSON, such as server-sent events, the texts in these are put together, too.
"""

import re
from bisect import bisect, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from .json_lines import JSONLines

__all__ = [
    "HOLDING",
    "LOGPROBS",
    "SHORTEST",
    "Edit",
    "Leaf",
    "Steps",
    "StreamTexts",
    "add_leaves",
    "copied",
    "edited",
    "has_logprobs",
    "leaves",
    "mapped",
    "path_of",
    "rewritten",
]

Edit = tuple[int, int, str]
"""The begin and the end of a part of a text, and its replacement."""

Steps = tuple["Steps", str | int] | str
"""The way to a part of a JSON value: the way to what holds it, and its name or number there. Paths are long, and few
are shown, so they are put together only then."""

LOGPROBS = "logprobs"
"""The name of the log probabilities of an answer. They hold its text once more, in tokens."""

_TOLD_BY = frozenset({"index", "output_index", "content_index", "summary_index", "item_id", "type"})
_FORM = re.compile(r"(?:\[\]|\.text)+$")  # the end of a path that may differ between the chunks of one text
_LINE = re.compile(r"[^\n]+")
_LONG = 12  # characters of a piece that may be a text of its own
SHORTEST = 7  # characters of a text that can hold a secret
_CONTAINERS = {dict, list, tuple}
HOLDING = (str, dict, list, tuple)


class Leaf(NamedTuple):
    """A text, or a number, in a JSON value.

    Attributes:
        steps: the way to it.
        name: its name; in a list, the name of the list.
        value: the text or number.
        holder: its container.
        place: its name or number in that.
        is_place: whether it is in the place of a credential; see `chatcache.recording.secrets`.
        is_setting: whether the model does not read it.
    """

    steps: Steps
    name: str
    value: Any
    holder: Any = None
    place: Any = None
    is_place: bool = False
    is_setting: bool = False

    @property
    def path(self) -> str:
        """Its path, such as ``$.messages[0].content``."""
        return path_of(self.steps)

    @property
    def is_in_logprobs(self) -> bool:
        """Whether it belongs to log probabilities."""
        steps = self.steps
        while type(steps) is tuple:
            steps, last = steps
            if type(last) is str and LOGPROBS in last:
                return True
        return LOGPROBS in steps


Edits = Callable[[Sequence[Leaf]], Iterable[Sequence[Edit]]]
"""Yields the edits of each text, in order. It gets all texts at once, which takes less time than one by one."""


def path_of(steps: Steps) -> str:
    """Return the path at the end of steps."""
    parts = []
    while type(steps) is tuple:
        steps, last = steps
        parts.append(f"[{last}]" if type(last) is int else f".{last}")
    return "".join([str(steps), *reversed(parts)])


@dataclass(slots=True)
class _Pieces:
    """The pieces of one text of a stream.

    Attributes:
        path: the path of the first piece.
        name: its name.
        ids: the numbers and ids that stand beside each piece.
        held: the container of each piece, and its place in that.
        order: the number of each piece in the stream.
    """

    path: str
    name: str
    ids: tuple[Any, ...]
    held: list[tuple[Any, Any]] = field(default_factory=list)
    order: list[int] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join([holder[place] for holder, place in self.held])

    @property
    def leaf(self) -> Leaf:
        """The text as a leaf."""
        return Leaf(self.path, self.name, self.text)

    @property
    def first(self) -> str:
        """The first piece."""
        holder, place = self.held[0]
        return str(holder[place])

    @property
    def is_constant(self) -> bool:
        """Whether each piece is the same text."""
        first = self.first
        return all(holder[place] == first for holder, place in self.held)

    def divided(self, edits: Iterable[Edit]) -> Iterator[tuple[Any, Any, Edit]]:
        """Yield edits of the text, in order, as edits of its pieces: the container, the place in it and the edit.

        A replacement goes into the piece where the part begins.
        """
        waiting = iter(edits)
        edit = next(waiting, None)
        at = 0
        for holder, place in self.held:
            if edit is None:
                return
            end = at + len(holder[place])
            while edit is not None and edit[0] < end:
                begin, last, other = edit
                yield holder, place, (max(begin, at) - at, min(last, end) - at, other if begin >= at else "")
                if last > end:
                    break
                edit = next(waiting, None)
            at = end

    def edit_lines(self, edits: Edits) -> None:
        """Make edits in the texts that the JSON values in the lines of the text make up."""
        lines = self.lines()
        if lines is not None:
            inner = StreamTexts(lines.values)
            inner.edit(edits)
            _make(self.divided(lines.edits(inner.chunks)))

    def lines(self) -> JSONLines | None:
        """Return the lines of the text if they may be JSON. Without line breaks each piece is a line."""
        text = self.text
        if '{"' not in text:
            return None
        if "\n" in text:
            return JSONLines(text, (line.span() for line in _LINE.finditer(text)))
        ends = [*accumulate(len(holder[place]) for holder, place in self.held)]
        return JSONLines(text, pairwise([0, *ends])) if len(ends) > 1 else None

    def pieces(self) -> Iterator[tuple[Any, Any]]:
        """Yield the container and the place of each piece that is long enough to be a text of its own.

        A piece of whole lines is left out, since nothing in the text before or after it hides what is in it.
        """
        is_begin = True
        for number, (holder, place) in enumerate(self.held, start=1):
            piece = holder[place]
            is_end = piece.endswith("\n") or number == len(self.held)
            if len(piece) >= _LONG and not (is_begin and is_end):
                yield holder, place
            is_begin = piece.endswith("\n")

    def replace_whole(self, replacements: Mapping[str, str]) -> None:
        """Replace each piece that is one of the texts."""
        for holder, place in self.held:
            other = replacements.get(holder[place])
            if other is not None:
                holder[place] = other


def leaves(value: Any) -> list[Leaf]:
    """Return the texts of a JSON value that may hold a secret, the members of an object by their names."""
    found: list[Leaf] = []
    add_leaves(found, [value], 0, "$", "")
    return found


def add_leaves(found: list[Leaf], holder: Any, place: Any, steps: Steps, name: str) -> None:
    """Add the texts in a part of a JSON value, as `leaves` does, and put a copy of the part in its place.

    Args:
        found: collects them; their containers are those of the copy.
        holder: the container of the part.
        place: its name or number in that.
        steps: the way to it.
        name: its name.
    """
    value = holder[place]
    if isinstance(value, str):
        if len(value) >= SHORTEST:
            found.append(Leaf(steps, name, value, holder, place))
    elif isinstance(value, dict):
        made = holder[place] = {**value}
        for each in sorted(value):
            if isinstance(value[each], HOLDING):
                add_leaves(found, made, each, (steps, each), each)
    elif isinstance(value, list | tuple):
        holder[place] = items = [*value]
        for at, item in enumerate(value):
            if isinstance(item, HOLDING):
                add_leaves(found, items, at, (steps, at), name)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with all of its texts changed, including the names of members."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        made = {}
        for name in sorted(value):  # so numbers do not depend on the order
            new, item = change(name), value[name]
            made[name] = new, mapped(item, change) if isinstance(item, HOLDING) else item
        return dict([made[name] for name in value])
    if isinstance(value, list | tuple):
        items = [*value]
        for at, item in enumerate(value):
            if isinstance(item, HOLDING):
                items[at] = mapped(item, change)
        return items
    return value


def rewritten(value: Any, edits: Edits) -> Any:
    """Return a JSON value with edits made in its texts.

    Args:
        value: the value.
        edits: returns the edits of the texts.
    """
    held = [value]
    found: list[Leaf] = []
    add_leaves(found, held, 0, "$", "")
    for leaf, its in zip(found, edits(found), strict=True):
        if its:
            leaf.holder[leaf.place] = edited(leaf.value, its)
    return held[0]


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with edits made. The edits are in order."""
    parts, at = [], 0
    for begin, end, other in edits:
        parts += [text[at:begin], other]
        at = end
    return "".join([*parts, text[at:]]) if parts else text


class StreamTexts:
    """The texts that the chunks of a stream make up.

    Args:
        chunks: the chunks.
        within: a part of the paths of the texts; others are left out.

    Attributes:
        chunks: a copy of them, which `edit` changes.
    """

    def __init__(self, chunks: list[Any], within: str = "") -> None:
        self._given = chunks
        self.chunks: list[Any] = copied(chunks)
        found = _Collected()
        for at, chunk in enumerate(self.chunks):
            if type(chunk) is str:
                found.add(_Spot(), "$[]", "", self.chunks, at)
            else:
                found.collect(chunk, _Spot(), "$[]", "")
        texts = [each for each in found.texts if within in each.path]
        self._texts = [each for each in texts if len(each.held) > 1 and not each.is_constant]
        self._alone = [each for each in texts if len(each.held) == 1 or each.is_constant]
        self._joined = [each for each in _joined(texts) if not each.is_constant]

    def __iter__(self) -> Iterator[Leaf]:
        """Iterate over the texts that span several chunks."""
        for each in (*self._texts, *self._joined):
            yield each.leaf
        for each in (*self._joined, *self._texts, *self._alone):
            lines = each.lines()
            if lines is not None:
                yield from StreamTexts(lines.values)

    def edit(self, edits: Edits) -> None:
        """Make edits in the texts, and in texts that every chunk repeats, such as an id."""
        for pieces in (*self._joined, *self._texts, *self._alone):
            pieces.edit_lines(edits)
        texts = [*self._joined, *self._texts]
        repeated = [each for each in self._alone if len(each.first) >= _LONG]
        leaves = [*(each.leaf for each in texts), *(Leaf(each.path, each.name, each.first) for each in repeated)]
        found = [*edits(leaves)]
        parts = [part for pieces, its in zip(texts, found, strict=False) for part in pieces.divided(its)]
        for pieces, its in zip(repeated, found[len(texts) :], strict=True):
            parts += [(holder, place, edit) for edit in its for holder, place in pieces.held]
        _make(parts)

    def edit_pieces(self, edits: Edits) -> None:
        """Make edits in each piece of at least 12 characters that may be a text of its own."""
        held = [(each, *piece) for each in self._texts for piece in each.pieces()]
        leaves = [Leaf(each.path, each.name, holder[place]) for each, holder, place in held]
        for (_, holder, place), its in zip(held, edits(leaves), strict=True):
            if its:
                holder[place] = edited(holder[place], its)

    def replace_pieces(self, replacements: Mapping[str, str]) -> None:
        """Replace each piece that is one of the texts."""
        for pieces in self._texts:
            pieces.replace_whole(replacements)

    def forget_bytes(self) -> None:
        """Drop the bytes and the alternatives of the tokens that were edited, which tell what these were."""
        _forget_bytes(self._given, self.chunks)


def has_logprobs(value: Any) -> bool:
    """Whether an answer holds log probabilities."""
    waiting = [value]
    for each in waiting:
        if type(each) is dict:
            if each.get(LOGPROBS):
                return True
            waiting += each.values()
        elif type(each) is list:
            waiting += each
    return False


def _forget_bytes(given: Any, made: Any) -> None:
    if type(made) is dict:
        if any(made.get(name) != given.get(name) for name in ("token", "tokens")):
            made.update({name: empty for name, empty in (("bytes", None), ("top_logprobs", [])) if name in made})
        for name, item in made.items():
            if type(item) in _CONTAINERS and item:
                _forget_bytes(given[name], item)
    elif type(made) is list:
        for before, item in zip(given, made, strict=True):
            _forget_bytes(before, item)


class _Spot(NamedTuple):
    """What tells texts at one path apart: all of it, and the numbers and ids in it."""

    all: tuple[Any, ...] = ()
    ids: tuple[Any, ...] = ()


class _Collected:
    """Collects the texts of a stream.

    Attributes:
        texts: the texts.
    """

    def __init__(self) -> None:
        self._by_spot: dict[tuple[Any, ...], _Pieces] = {}
        self._number = 0

    @property
    def texts(self) -> Iterable[_Pieces]:
        return self._by_spot.values()

    def add(self, spot: _Spot, path: str, name: str, holder: Any, place: Any) -> None:
        """Add the piece at a place in its container."""
        key = *spot.all, path
        made = self._by_spot.get(key)
        if made is None:
            made = self._by_spot[key] = _Pieces(path, name, spot.ids)
        made.held.append((holder, place))
        made.order.append(self._number)
        self._number += 1

    def collect(self, value: Any, spot: _Spot, path: str, name: str) -> None:
        """Collect the texts of a chunk, or of a part of it, by its path and name."""
        if type(value) is dict:
            told = _TOLD_BY & value.keys()
            if told:
                known = [(each, value[each]) for each in sorted(told) if isinstance(value[each], str | int)]
                ids = (item for each, item in known if each != "type")
                spot = _Spot((*spot.all, *(item for _, item in known)), (*spot.ids, *ids))
            for place, item in value.items():
                if type(item) is str:
                    self.add(spot, f"{path}.{place}", place, value, place)
                elif type(item) is dict or type(item) is list:
                    self.collect(item, spot, f"{path}.{place}", place)
        elif type(value) is list:
            for place, item in enumerate(value):
                if type(item) is str:
                    self.add(_Spot((*spot.all, place), spot.ids), f"{path}[]", name, value, place)
                elif type(item) is list or type(item) is dict:
                    is_told = type(item) is dict and "index" in item
                    inner = spot if is_told else _Spot((*spot.all, place), spot.ids)
                    self.collect(item, inner, f"{path}[]", name)


def _make(edits: Iterable[tuple[Any, Any, Edit]]) -> None:
    """Make edits in pieces. Of edits that overlap, which two texts with one piece may have, one is made for all."""
    by_piece: dict[tuple[int, Any], tuple[Any, list[Edit]]] = {}
    for holder, place, edit in edits:
        by_piece.setdefault((id(holder), place), (holder, []))[1].append(edit)
    for (_, place), (holder, found) in by_piece.items():
        if len(found) == 1:
            holder[place] = edited(holder[place], found)
            continue
        made: list[Edit] = []
        for begin, end, other in sorted(found, key=lambda edit: edit[0]):
            if made and begin < made[-1][1]:
                first, last, before = made.pop()
                made.append((first, max(last, end), before or other))
            else:
                made.append((begin, end, other))
        holder[place] = edited(holder[place], made)


def _joined(texts: Iterable[_Pieces]) -> Iterator[_Pieces]:
    """Yield the texts that are made up of several of the texts; see the docstring of the module."""
    by_ids: dict[tuple[str, tuple[Any, ...]], list[_Pieces]] = {}
    for each in texts:
        if each.name not in _TOLD_BY:
            by_ids.setdefault((_FORM.sub("", each.path), each.ids), []).append(each)
    by_path: dict[str, list[_Pieces]] = {}
    for (path, _), group in by_ids.items():
        one = _united(group)
        by_path.setdefault(path, []).append(one)
        if len(group) > 1:
            yield one
    for group in by_path.values():
        yield from (_united(chain) for chain in _chains(group) if len(chain) > 1)


def _chains(texts: list[_Pieces]) -> Iterable[list[_Pieces]]:
    """Return the texts in chains: each text of a chain begins after the end of the text before, the nearest one."""
    chains: dict[int, list[_Pieces]] = {}  # by their ends
    ends: list[int] = []
    for each in sorted(texts, key=lambda each: each.order[0]):
        at = bisect(ends, each.order[0])
        chain = chains.pop(ends.pop(at - 1)) if at else []
        chain.append(each)
        chains[each.order[-1]] = chain
        insort(ends, each.order[-1])
    return chains.values()


def _united(texts: list[_Pieces]) -> _Pieces:
    if len(texts) == 1:
        return texts[0]
    pieces = sorted(
        ((number, held) for each in texts for number, held in zip(each.order, each.held, strict=True)),
        key=lambda piece: piece[0],
    )
    first = min(texts, key=lambda each: each.order[0])
    return _Pieces(first.path, first.name, first.ids, [held for _, held in pieces], [number for number, _ in pieces])


def copied(value: Any) -> Any:
    """Return a copy of a JSON value, with lists for tuples."""
    if type(value) is dict:
        return {name: copied(item) if type(item) in _CONTAINERS else item for name, item in value.items()}
    if type(value) in {list, tuple}:
        return [copied(item) if type(item) in _CONTAINERS else item for item in value]
    return value

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
from bisect import bisect, bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

from .json_lines import JSONLines
from .named import names_secret

__all__ = [
    "HOLDING",
    "LOGPROBS",
    "SHORTEST",
    "Edit",
    "Leaf",
    "Part",
    "Steps",
    "StreamTexts",
    "add_leaves",
    "edit_leaves",
    "has_logprobs",
    "leaves",
    "mapped",
    "path_of",
    "rewritten",
]

Edit = tuple[int, int, str]
"""The begin and the end of a part of a text, and its replacement."""

Part = tuple[int, int, int, str]
"""The number of a text, the begin and the end of a part of it, and the kind or the replacement of the part."""

Steps = tuple["Steps", str | int] | str
"""The way to a part of a JSON value: the way to what holds it, and its name or number there. Paths are long, and few
are shown, so they are put together only then."""

LOGPROBS = "logprobs"
"""The name of the log probabilities of an answer. They hold its text once more, in tokens."""

_TOLD_BY = frozenset({"index", "output_index", "content_index", "summary_index", "item_id", "type"})
_FORM = re.compile(r"(?:\[\]|\.text)+$")  # the end of a path that may differ between the chunks of one text
_LINE = re.compile(r"[^\n]+")
_NUMBER, _BEGIN = itemgetter(0), itemgetter(0, 1)  # of parts
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
        is_named: whether its name tells that it may be a credential.
        is_place: whether it is in the place of a credential; see `chatcache.recording.secrets`.
        is_setting: whether the model does not read it.
    """

    steps: Steps
    name: str
    value: Any
    holder: Any = None
    place: Any = None
    is_named: bool = False
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


Edits = Callable[[Sequence[Leaf]], Iterable[Part]]
"""Yields the edits of texts, in order. It gets all texts at once, which takes less time than one by one."""


def path_of(steps: Steps) -> str:
    """Return the path at the end of steps."""
    parts = []
    while type(steps) is tuple:
        steps, last = steps
        parts.append(f"[{last}]" if type(last) is int else f".{last}")
    return "".join([str(steps), *reversed(parts)])


@dataclass(slots=True)
class _Text:
    """A text of a stream.

    Attributes:
        path: the path of its first piece.
        name: its name.
        ids: the numbers and ids that stand beside each piece.
        numbers: the numbers of its pieces in the stream.
    """

    path: str
    name: str
    ids: tuple[Any, ...]
    numbers: list[int] = field(default_factory=list)


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
            found.append(Leaf(steps, name, value, holder, place, names_secret(name)))
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
    edit_leaves(found, edits(found))
    return held[0]


def edit_leaves(leaves: Sequence[Leaf], edits: Iterable[Part]) -> None:
    """Make edits in texts, where they stand."""
    for number, text in _edited(lambda number: str(leaves[number].value), edits):
        leaves[number].holder[leaves[number].place] = text


def _edited(text_of: Callable[[int], str], edits: Iterable[Part]) -> Iterator[tuple[int, str]]:
    """Yield the number of each text that has edits, and the edited text. The edits are in order."""
    for number, its in groupby(edits, _NUMBER):
        text = text_of(number)
        parts, at = [], 0
        for _, begin, end, other in its:
            parts += [text[at:begin], other]
            at = end
        yield number, "".join([*parts, text[at:]])


class StreamTexts:
    """The texts that the chunks of a stream make up.

    Args:
        chunks: the chunks.
        within: a part of the paths of the texts; others are left out.

    Attributes:
        chunks: a copy of them, which `edit` changes.
        pieces: the pieces of all texts, in order.
        edited: the numbers of the pieces that were edited.
    """

    def __init__(self, chunks: list[Any], within: str = "") -> None:
        self._given = chunks
        found = _Collected()
        self.chunks: list[Any] = found.collect_chunks(chunks)
        self.edited: set[int] = set()
        self.pieces, self._holders, self._places = found.pieces, found.holders, found.places
        texts = [each for each in found.texts if within in each.path]
        self._texts = [each for each in texts if len(each.numbers) > 1 and not self._is_constant(each)]
        self._alone = [each for each in texts if len(each.numbers) == 1 or self._is_constant(each)]
        self._joined = [each for each in _joined(texts) if not self._is_constant(each)]

    def __iter__(self) -> Iterator[Leaf]:
        """Iterate over the texts that span several chunks."""
        for each in (*self._texts, *self._joined):
            yield self._leaf(each)
        for each in (*self._joined, *self._texts, *self._alone):
            lines = self._lines(each)
            if lines is not None:
                yield from StreamTexts(lines.values)

    def edit(self, edits: Edits) -> None:
        """Make edits in the texts, and in texts that every chunk repeats, such as an id."""
        for text in (*self._joined, *self._texts, *self._alone):
            self._edit_lines(text, edits)
        texts = [*self._joined, *self._texts]
        repeated = [each for each in self._alone if len(self.pieces[each.numbers[0]]) >= _LONG]
        leaves = [self._leaf(each) for each in texts]
        leaves += [self._leaf(each, each.numbers[:1]) for each in repeated]
        made = _PieceEdits(self.pieces)
        for number, its in groupby(edits(leaves), _NUMBER):
            if number < len(texts):
                made.add(texts[number].numbers, its)
            else:
                made.repeat(repeated[number - len(texts)].numbers, [*its])
        self._put(made.made())

    def edit_pieces(self, edits: Edits) -> None:
        """Make edits in each piece of at least 12 characters that may be a text of its own."""
        whole = [(each, number) for each in self._texts for number in self._whole(each)]
        leaves = [self._leaf(each, [number]) for each, number in whole]
        made = _edited(lambda at: self.pieces[whole[at][1]], edits(leaves))
        self._put({whole[at][1]: piece for at, piece in made})

    def replace_pieces(self, replacements: Mapping[str, str]) -> None:
        """Replace each piece that is one of the texts."""
        for each in self._texts:
            if not replacements.keys().isdisjoint(self._pieces_of(each)):
                pairs = [(number, replacements.get(self.pieces[number])) for number in each.numbers]
                self._put({number: other for number, other in pairs if other is not None})

    def forget_bytes(self) -> None:
        """Drop the bytes and the alternatives of the tokens that were edited, which tell what these were."""
        if self.edited:
            _forget_bytes(self._given, self.chunks)

    def _put(self, pieces: Mapping[int, str]) -> None:
        self.edited |= pieces.keys()
        for number, piece in pieces.items():
            self.pieces[number] = self._holders[number][self._places[number]] = piece

    def _pieces_of(self, text: _Text) -> Iterator[str]:
        return map(self.pieces.__getitem__, text.numbers)

    def _leaf(self, text: _Text, numbers: Sequence[int] | None = None) -> Leaf:
        """Return a text as a leaf, or some of its pieces."""
        pieces = self._pieces_of(text) if numbers is None else (self.pieces[number] for number in numbers)
        return Leaf(text.path, text.name, "".join(pieces), is_named=names_secret(text.name))

    def _is_constant(self, text: _Text) -> bool:
        """Whether each piece is the same text."""
        first = self.pieces[text.numbers[0]]
        return all(map(first.__eq__, self._pieces_of(text)))

    def _whole(self, text: _Text) -> Iterator[int]:
        """Yield the number of each piece that is long enough to be a text of its own.

        A piece of whole lines is left out, since nothing in the text before or after it hides what is in it.
        """
        pieces = [*self._pieces_of(text)]
        for at, piece in enumerate(pieces):
            if len(piece) >= _LONG:
                is_begin = at == 0 or pieces[at - 1].endswith("\n")
                is_end = at == len(pieces) - 1 or piece.endswith("\n")
                if not (is_begin and is_end):
                    yield text.numbers[at]

    def _lines(self, text: _Text) -> JSONLines | None:
        """Return the lines of a text if they may be JSON. Without line breaks each piece is a line."""
        pieces = [*self._pieces_of(text)]
        joined = "".join(pieces)
        if '{"' not in joined:
            return None
        if "\n" in joined:
            return JSONLines(joined, (line.span() for line in _LINE.finditer(joined)))
        return JSONLines(joined, pairwise([0, *accumulate(map(len, pieces))])) if len(pieces) > 1 else None

    def _edit_lines(self, text: _Text, edits: Edits) -> None:
        """Make edits in the texts that the JSON values in the lines of a text make up."""
        lines = self._lines(text)
        if lines is not None:
            inner = StreamTexts(lines.values)
            inner.edit(edits)
            made = _PieceEdits(self.pieces)
            made.add(text.numbers, ((0, *lines.spans[number], inner.pieces[number]) for number in sorted(inner.edited)))
            self._put(made.made())


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
        pieces: the pieces.
        holders: the container of each piece.
        places: the place of each piece in its container.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.holders: list[Any] = []
        self.places: list[Any] = []
        self._by_spot: dict[tuple[Any, ...], _Text] = {}

    @property
    def texts(self) -> Iterable[_Text]:
        return self._by_spot.values()

    def collect_chunks(self, chunks: list[Any]) -> list[Any]:
        """Collect the texts of chunks, and return a copy of the chunks, which holds them."""
        made, spot = [*chunks], _Spot()
        for at, chunk in enumerate(chunks):
            if type(chunk) is str:
                self._add(spot, "$[]", "", made, at)
            elif type(chunk) in _CONTAINERS:
                made[at] = self._collect(chunk, spot, "$[]", "")
        return made

    def _add(self, spot: _Spot, path: str, name: str, holder: Any, place: Any) -> None:
        """Add the piece at a place in its container."""
        key = *spot.all, path
        text = self._by_spot.get(key)
        if text is None:
            text = self._by_spot[key] = _Text(path, name, spot.ids)
        text.numbers.append(len(self.pieces))
        self.pieces.append(holder[place])
        self.holders.append(holder)
        self.places.append(place)

    def _collect(self, value: Any, spot: _Spot, path: str, name: str) -> Any:
        """Collect the texts of a chunk, or of a part of it, by its path and name. Return the copy that holds them."""
        if type(value) is dict:
            made = {**value}
            told = _TOLD_BY & value.keys()
            if told:
                known = [(each, value[each]) for each in sorted(told) if isinstance(value[each], str | int)]
                ids = (item for each, item in known if each != "type")
                spot = _Spot((*spot.all, *(item for _, item in known)), (*spot.ids, *ids))
            for place, item in value.items():
                if type(item) is str:
                    self._add(spot, f"{path}.{place}", place, made, place)
                elif type(item) in _CONTAINERS:
                    made[place] = self._collect(item, spot, f"{path}.{place}", place)
            return made
        items = [*value]
        for place, item in enumerate(value):
            if type(item) is str:
                self._add(_Spot((*spot.all, place), spot.ids), f"{path}[]", name, items, place)
            elif type(item) in _CONTAINERS:
                is_told = type(item) is dict and "index" in item
                inner = spot if is_told else _Spot((*spot.all, place), spot.ids)
                items[place] = self._collect(item, inner, f"{path}[]", name)
        return items


class _PieceEdits:
    """Edits of texts, as edits of their pieces.

    A replacement goes into the piece where its part begins. Two texts with one piece may have edits there that overlap.
    Then one edit is made for all.

    Args:
        pieces: the pieces.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces
        self._edits: list[Part] = []
        self._emptied: set[int] = set()  # most pieces of a long secret

    def add(self, numbers: Sequence[int], edits: Iterable[Part]) -> None:
        """Add the edits of the text that some of the pieces make up."""
        ends = [*accumulate(map(len, map(self._pieces.__getitem__, numbers)))]
        for _, begin, end, other in edits:
            first, last = bisect(ends, begin), bisect_left(ends, end)
            before = ends[first - 1] if first else 0
            self._edits.append((numbers[first], begin - before, min(end, ends[first]) - before, other))
            if last > first:
                self._emptied.update(numbers[first + 1 : last])
                self._edits.append((numbers[last], 0, end - ends[last - 1], ""))

    def repeat(self, numbers: Iterable[int], edits: Sequence[Part]) -> None:
        """Add the same edits for each of some pieces."""
        self._edits += [(number, begin, end, other) for number in numbers for _, begin, end, other in edits]

    def made(self) -> dict[int, str]:
        """Return the edited pieces by their numbers."""
        emptied = self._emptied.intersection([number for number, *_ in self._edits])
        self._edits += [(number, 0, len(self._pieces[number]), "") for number in emptied]
        return {**dict.fromkeys(self._emptied, ""), **dict(_edited(self._pieces.__getitem__, _apart(self._edits)))}


def _apart(edits: Iterable[Part]) -> list[Part]:
    """Return edits in order, with those that overlap made one."""
    made: list[Part] = []
    for part in sorted(edits, key=_BEGIN):
        number, begin, end, other = part
        if made and number == made[-1][0] and begin < made[-1][2]:
            _, first, last, before = made.pop()
            made.append((number, first, max(last, end), before or other))
        else:
            made.append(part)
    return made


def _joined(texts: Iterable[_Text]) -> Iterator[_Text]:
    """Yield the texts that are made up of several of the texts; see the docstring of the module."""
    by_ids: dict[tuple[str, tuple[Any, ...]], list[_Text]] = {}
    for each in texts:
        if each.name not in _TOLD_BY:
            by_ids.setdefault((_FORM.sub("", each.path), each.ids), []).append(each)
    by_path: dict[str, list[_Text]] = {}
    for (path, _), group in by_ids.items():
        one = _united(group)
        by_path.setdefault(path, []).append(one)
        if len(group) > 1:
            yield one
    for group in by_path.values():
        if len(group) > 1:
            yield from (_united(chain) for chain in _chains(group) if len(chain) > 1)


def _chains(texts: list[_Text]) -> Iterable[list[_Text]]:
    """Return the texts in chains: each text of a chain begins after the end of the text before, the nearest one."""
    chains: dict[int, list[_Text]] = {}  # by their ends
    ends: list[int] = []
    for each in sorted(texts, key=lambda each: each.numbers[0]):
        at = bisect(ends, each.numbers[0])
        chain = chains.pop(ends.pop(at - 1)) if at else []
        chain.append(each)
        chains[each.numbers[-1]] = chain
        insort(ends, each.numbers[-1])
    return chains.values()


def _united(texts: list[_Text]) -> _Text:
    if len(texts) == 1:
        return texts[0]
    first = min(texts, key=lambda each: each.numbers[0])
    return _Text(first.path, first.name, first.ids, sorted([number for each in texts for number in each.numbers]))

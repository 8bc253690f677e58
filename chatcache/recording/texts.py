"""The texts of an answer. The texts of a stream are put together from its chunks. Pure.

The pieces of one text are at the same path in chunk after chunk. Several texts may take turns at one path, such as
those of several choices, tool calls or items. The numbers and ids beside them, such as ``index``, and the type of the
event tell them apart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["HOLDING", "Edit", "Leaf", "StreamTexts", "edited", "leaves", "mapped", "rewritten"]

Edit = tuple[int, int, str]
"""The begin and the end of a part of a text, and its replacement."""

Edits = Callable[[str, str, str], list[Edit]]
"""Returns the edits of a text in order. The arguments are the text, its name and its path."""

_TOLD_BY = frozenset({"index", "output_index", "content_index", "summary_index", "item_id", "type"})
_LONG = 12  # characters of a piece that may be a text of its own
_BETWEEN = '\n"\n'  # stands between pieces that are looked at together: no secret goes on after it
HOLDING = {str, dict, list, tuple}


class Leaf(NamedTuple):
    """A text, or a number, in a JSON value.

    Attributes:
        path: its path, such as ``$.messages[0].content``.
        name: its name; in a list, the name of the list.
        value: the text or number.
        is_place: whether it is in the place of a credential; see `chatcache.recording.secrets`.
    """

    path: str
    name: str
    value: Any
    is_place: bool = False


@dataclass(slots=True)
class _Pieces:
    """The pieces of one text of a stream: for each, its container and its place in that."""

    path: str
    name: str
    held: list[tuple[Any, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(holder[place] for holder, place in self.held)

    @property
    def is_constant(self) -> bool:
        """Whether each piece is the same text."""
        (holder, place), *others = self.held
        return all(other[at] == holder[place] for other, at in others)

    def edit(self, edits: Iterable[Edit]) -> None:
        """Replace parts of the text, in order. A replacement goes into the piece where the part begins."""
        waiting = iter(edits)
        edit = next(waiting, None)
        at = 0
        for holder, place in self.held:
            if edit is None:
                return
            piece = holder[place]
            end = at + len(piece)
            kept, parts = at, []
            while edit is not None and edit[0] < end:
                begin, last, other = edit
                parts += [piece[kept - at : max(begin, kept) - at], other if begin >= at else ""]
                kept = min(last, end)
                if last > end:
                    break
                edit = next(waiting, None)
            if parts:
                holder[place] = "".join([*parts, piece[kept - at :]])
            at = end

    def edit_each(self, edits: Edits) -> None:
        """Make the edits of the first piece in each, since all are the same."""
        holder, place = self.held[0]
        text = holder[place]
        made = edits(text, self.name, self.path) if len(text) >= _LONG else []
        if made:
            other = edited(text, made)
            for each, at in self.held:
                each[at] = other

    def edit_long(self, edits: Edits) -> None:
        """Make edits in each piece that is long enough to be a text of its own. All pieces are searched at once."""
        held = [(holder, place) for holder, place in self.held if len(holder[place]) >= _LONG]
        text = _BETWEEN.join(holder[place] for holder, place in held)
        waiting = iter(edits(text, self.name, self.path) if held else [])
        edit = next(waiting, None)
        at = 0
        for holder, place in held:
            if edit is None:
                return
            piece = holder[place]
            end = at + len(piece)
            own = list[Edit]()
            while edit is not None and edit[0] < end:
                if edit[0] >= at and edit[1] <= end:
                    own.append((edit[0] - at, edit[1] - at, edit[2]))
                edit = next(waiting, None)
            if own:
                holder[place] = edited(piece, own)
            at = end + len(_BETWEEN)

    def replace_whole(self, replacements: Mapping[str, str]) -> None:
        """Replace each piece that is one of the texts."""
        for holder, place in self.held:
            other = replacements.get(holder[place])
            if other is not None:
                holder[place] = other


def leaves(value: Any, path: str = "$", name: str = "") -> Iterator[Leaf]:
    """Yield the texts and numbers of a JSON value; the members of an object by their names."""
    waiting = [(path, name, value)]
    while waiting:
        path, name, value = waiting.pop()
        if type(value) is dict:
            waiting += [(f"{path}.{each}", each, item) for each, item in sorted(value.items(), reverse=True)]
        elif type(value) in {list, tuple}:
            items = [(f"{path}[{at}]", name, item) for at, item in enumerate(value)]
            waiting += reversed(items)
        elif isinstance(value, str) or (isinstance(value, int | float) and type(value) is not bool):
            yield Leaf(path, name, value)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with all of its texts changed, including the names of members."""
    match value:
        case str():
            return change(value)
        case dict():
            made = {
                name: (change(name), mapped(item, change) if type(item) in HOLDING else item)
                for name, item in sorted(value.items())  # so numbers do not depend on the order
            }
            return dict(made[name] for name in value)
        case list() | tuple():
            return [mapped(item, change) if type(item) in HOLDING else item for item in value]
        case _:
            return value


def rewritten(value: Any, edits: Edits) -> Any:
    """Return a JSON value with edits made in its texts.

    Args:
        value: the value.
        edits: returns the edits of a text.
    """
    return _rewritten(value, edits, "$", "")


def _rewritten(value: Any, edits: Edits, path: str, name: str) -> Any:
    kind = type(value)
    if kind is str:
        return edited(value, edits(value, name, path))
    if kind is dict:
        made = {
            each: _rewritten(item, edits, f"{path}.{each}", each) if type(item) in HOLDING else item
            for each, item in sorted(value.items())  # as in `mapped`
        }
        return {each: made[each] for each in value}
    if kind in {list, tuple}:
        return [
            _rewritten(item, edits, f"{path}[{at}]", name) if type(item) in HOLDING else item
            for at, item in enumerate(value)
        ]
    return value


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

    Attributes:
        chunks: a copy of them, which `edit` changes.
    """

    def __init__(self, chunks: list[Any]) -> None:
        self.chunks: list[Any] = _copied(chunks)
        found: dict[tuple[Any, ...], _Pieces] = {}
        for at, chunk in enumerate(self.chunks):
            if type(chunk) is str:
                _pieces(found, (), "$[]", "").held.append((self.chunks, at))
            else:
                _collect(found, chunk, (), "$[]", "")
        self._texts = [each for each in found.values() if len(each.held) > 1 and not each.is_constant]
        self._alone = [each for each in found.values() if len(each.held) == 1 or each.is_constant]

    def __iter__(self) -> Iterator[Leaf]:
        """Iterate over the texts that span several chunks."""
        return (Leaf(each.path, each.name, each.text) for each in self._texts)

    def edit(self, edits: Edits) -> None:
        """Make edits in the texts, and in texts that every chunk repeats, such as an id."""
        for pieces in self._alone:
            pieces.edit_each(edits)
        for pieces in self._texts:
            pieces.edit(edits(pieces.text, pieces.name, pieces.path))

    def edit_pieces(self, edits: Edits) -> None:
        """Make edits in each piece of at least 12 characters, which may be a text of its own."""
        for pieces in self._texts:
            pieces.edit_long(edits)

    def replace_pieces(self, replacements: Mapping[str, str]) -> None:
        """Replace each piece that is one of the texts."""
        for pieces in self._texts:
            pieces.replace_whole(replacements)


def _collect(found: dict[tuple[Any, ...], _Pieces], value: Any, spot: tuple[Any, ...], path: str, name: str) -> None:
    """Collect the texts of a chunk. A spot is a path with the numbers and ids that tell texts apart."""
    if type(value) is dict:
        told = _TOLD_BY & value.keys()
        if told:
            spot = (*spot, *(value[each] for each in sorted(told) if isinstance(value[each], str | int)))
        for place, item in value.items():
            if type(item) is str:
                _pieces(found, (*spot, path, place), f"{path}.{place}", place).held.append((value, place))
            elif type(item) is dict or type(item) is list:
                _collect(found, item, spot, f"{path}.{place}", place)
    else:
        for place, item in enumerate(value):
            if type(item) is str:
                _pieces(found, (*spot, path, place), f"{path}[]", name).held.append((value, place))
            elif type(item) is list or type(item) is dict:
                is_told = type(item) is dict and "index" in item
                _collect(found, item, spot if is_told else (*spot, place), f"{path}[]", name)


def _pieces(found: dict[tuple[Any, ...], _Pieces], spot: tuple[Any, ...], path: str, name: str) -> _Pieces:
    made = found.get(spot)
    if made is None:
        made = found[spot] = _Pieces(path, name)
    return made


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {name: _copied(item) if type(item) in HOLDING else item for name, item in value.items()}
    if type(value) in {list, tuple}:
        return [_copied(item) if type(item) in HOLDING else item for item in value]
    return value

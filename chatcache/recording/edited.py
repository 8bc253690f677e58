"""Records whose requests somebody edited in a bundle: their keys are those of what the requests said before.

That is certain if the sketch does not fit either. A differing key alone proves nothing: the program may have chosen
the keys of the whole store itself. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto

from chatcache.keys import request_key

from .bundle import Record
from .sketch import sketch_of

__all__ = ["Edits", "is_edited", "rekeyed"]

_EPOCHS, _SAMPLES = 10, 200  # the samples whose keys are known

Name = tuple[str, str, str, int]
"""As of `Record.name`."""


class _Key(Enum):
    OF_REQUEST = auto()
    EDITED = auto()
    UNCLEAR = auto()


@dataclass(slots=True)
class Edits:
    """Which records of a bundle were edited, as far as it is read."""

    _stores: set[str] = field(default_factory=set)  # whose keys are those of their requests
    _edited: list[Name] = field(default_factory=list)
    _unclear: list[Name] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Note a record."""
        kind = _key_of(record)
        if kind is _Key.UNCLEAR:
            self._unclear.append(record.name)
            return
        self._stores.add(record.store)
        if kind is _Key.EDITED:
            self._edited.append(record.name)

    def names(self) -> set[Name]:
        """Return the names of the edited records."""
        return {*self._edited, *(name for name in self._unclear if name[1] in self._stores)}


def is_edited(record: Record) -> bool:
    """Whether a record's key is not that of its request, in a store whose keys are."""
    return _key_of(record) is not _Key.OF_REQUEST


def rekeyed(records: Sequence[Record]) -> Iterable[Record]:
    """Yield the records of a bundle, the edited ones under the keys of what their requests say now."""
    edits = Edits()
    for record in records:
        edits.add(record)
    edited = edits.names()
    taken: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for record in records:
        if record.name not in edited:
            taken[record.name[:3]].add(record.number)
    for record in sorted(records, key=lambda each: each.place):
        sketch = record.sketch if record.request is None else sketch_of(record.request)
        if record.name not in edited:
            yield replace(record, sketch=sketch)
            continue
        key = request_key(record.request)
        numbers = taken[record.scope, record.store, key]
        number = record.number if record.number not in numbers else max(numbers) + 1
        numbers.add(number)
        yield replace(record, sketch=sketch, key=key, number=number)


def _key_of(record: Record) -> _Key:
    if record.request is None:
        return _Key.OF_REQUEST
    key = request_key(record.request)
    if record.key == key:
        return _Key.OF_REQUEST
    if record.sketch != sketch_of(record.request):
        return _Key.EDITED
    samples = (f"{epoch}.{number}" for epoch in range(_EPOCHS) for number in range(_SAMPLES))
    is_sample = any(request_key([sample, key]) == record.key for sample in samples)
    return _Key.OF_REQUEST if is_sample else _Key.UNCLEAR

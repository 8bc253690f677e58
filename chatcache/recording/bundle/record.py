"""One record of a bundle, and its text.

In the text its head comes first: whose it is, and what is known of the call. Then comes what was asked, with its names
sorted, and what was answered, with its names in their order, in which a replay returns them. Of a stream what all
chunks have in common is said once, under ``each``, and each chunk is a line: when it came, in seconds, and the rest of
it. If that would change the order of a chunk's names, ``order`` holds the names of all chunks in order. Pure.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from chatcache.cache import Form
from chatcache.errors import BundleError, shown
from chatcache.interrupts import raise_interrupt
from chatcache.mode import Refusal

from .layout import Blobs, restored, sorted_names, written

__all__ = ["STREAMS", "Record", "at_of", "form_of", "model_of", "name_of", "place_of", "problem_of", "unique"]

_FORMS = {Form.ANSWER: "answer", Form.STREAM: "stream", Form.STREAM_WITH_USAGE: "stream+usage", Form.FAILURE: "failure"}
_BY_NAME = {name: form for form, name in _FORMS.items()}
STREAMS = frozenset({Form.STREAM, Form.STREAM_WITH_USAGE})
"""The forms that are lists of chunks."""
_WIDE = 1_000  # columns of a chunk
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SKETCH = re.compile(r"[0-9a-fA-F]{16}")
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)  # that can be calculated with
_MOST = 10**15  # of an amount
_MOST_EXPANDED = 64 * 1024 * 1024  # characters of a stream's chunks
_NEEDED = {"test", "store", "key", "form", "at", "sketch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one call of a scope was answered.

    Attributes:
        scope: the test, or the fixture, that made the call; ``""`` for none.
        store: the store id of its cache.
        key: the key of its request, 64 hex digits.
        number: the how many-th answer it is to that request in that scope, from 1 on.
        form: the form that it is recorded in.
        request: the request, a JSON value, or None where it was not kept.
        answer: a JSON value; of a stream the list of its chunks.
        offsets: when each chunk came, in seconds since the stream was asked for; None for what is no stream.
        sketch: what the request looks like, 16 hex digits: see `chatcache.recording.sketch`.
        at: when it was recorded, in milliseconds since the epoch.
        tokens: how many tokens the provider counted.
        cost: what the call cost, in US dollars, as far as that is known.
        took: how long it took, in seconds.
        versions: the versions of the packages that recorded it.
        refusal: why a cache does not keep the answer by default, such as ``length``; ``""`` if it does.
    """

    scope: str
    store: str
    key: str
    number: int
    form: Form
    request: Any
    answer: Any
    offsets: list[float] | None = None
    sketch: str
    at: int
    tokens: int = 0
    cost: float = 0
    took: float = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""

    @property
    def place(self) -> tuple[str, int, str, str, str, int]:
        """Where it stands in its bundle: by test, and then in the order of the calls."""
        return self.scope, self.at, self.store, self.key, self.form, self.number

    @property
    def name(self) -> tuple[str, str, str, int]:
        """What no other record of its bundle has: it takes the place of one that has it."""
        return self.scope, self.store, self.key, self.number

    def stored(self, answer: Any, *, size: int, at: int | None = None) -> dict[str, Any]:
        """Return the record as a cache stores it, with an answer in the place of its own.

        Args:
            answer: the answer; of a stream the list of its chunks.
            size: how many bytes it takes.
            at: when it was recorded, in milliseconds since the epoch, if not when this one was.
        """
        held = {"answer": answer} if self.offsets is None else {"chunks": answer, "offsets": self.offsets}
        return {**held, "at": self.at if at is None else at, "saves": [size, self.tokens, self.cost, self.took]}

    def says(self, other: "Record") -> bool:
        """Whether another record says what this one says, if at another time."""
        return (self.request, self.answer, self.form) == (other.request, other.answer, other.form)

    def text(self, blobs: Blobs) -> str:
        """Return its text; what is too large to stand in it goes to `blobs`."""
        head = {
            "test": self.scope,
            "store": self.store,
            "key": self.key,
            "number": self.number if self.number != 1 else None,
            "form": _FORMS[self.form],
            "at": (_EPOCH + timedelta(milliseconds=self.at)).isoformat(timespec="milliseconds"),
            "took": self.took,
            "tokens": self.tokens,
            "cost": self.cost,
            "refusal": self.refusal,
            "versions": dict(sorted(self.versions.items())),
            "sketch": self.sketch,
        }
        lines = [f' "{name}": {json.dumps(value)}' for name, value in head.items() if value or name == "test"]
        lines.append(f' "request": {written(sorted_names(self.request), blobs, indent=" ")}')
        if self.offsets is None:
            lines.append(f' "answer": {written(self.answer, blobs, indent=" ")}')
        else:
            lines.append(f' "answer": {_streamed(self.answer, self.offsets, blobs)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def of(cls, said: Any, blob: Callable[[Any], Any] | None) -> "Record":
        """Return the record of a text.

        Args:
            said: the JSON of the text.
            blob: returns the value of a blob; None where nothing in it is written in a way of its own.

        Raises:
            BundleError: it is the text of no record.
        """
        read: Callable[[Any], Any] = _as_it_is if blob is None else partial(restored, blob=blob)
        try:
            form, content, offsets = _BY_NAME[said["form"]], said["answer"], None
            if form in STREAMS:
                each, order = read(content["each"]), _texts(read(content.get("order", [])))
                _check_expanded([each, order], len(content["chunks"]))
                offsets = [_offset(offset) for offset, _ in content["chunks"]]
                answer: Any = [_whole(each, read(rest), order) for _, rest in content["chunks"]]
            else:
                answer = read(content)
            return cls(
                scope=said["test"],
                store=said["store"],
                key=said["key"],
                number=said.get("number", 1),
                form=form,
                request=read(said["request"]),
                answer=answer,
                offsets=offsets,
                sketch=said["sketch"],
                at=at_of(said),
                tokens=said.get("tokens", 0),
                cost=said.get("cost", 0),
                took=said.get("took", 0),
                versions=said.get("versions", {}),
                refusal=said.get("refusal", ""),
            )
        except BundleError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise_interrupt(error)
            raise BundleError(f"{shown(said)} is no record: {type(error).__name__}: {error}") from error


def _as_it_is(value: Any) -> Any:
    return value


def form_of(said: Any) -> Form:
    """Return the form of a record by its head."""
    return _BY_NAME[said["form"]]


def model_of(request: Any) -> str | None:
    """Return the model that a request asks for, as far as it tells it in one of the ways of the adapters."""
    match request:
        case {"fields": asked} | {"llm": {"model": {"fields": asked}} | {"arguments": asked}} | {"arguments": asked}:
            pass
        case {"embeddings": {"fields": asked}}:
            pass
        case asked:
            pass
    match asked:
        case {"model": str(model)} | {"model": {"group": str(model)}} | {"model_name": str(model)}:
            return model
        case _:
            return None


def name_of(said: Any) -> tuple[str, str, str, int]:
    """Return the name of a record, by its head; see `Record.name`."""
    return said["test"], said["store"], said["key"], said.get("number", 1)


def place_of(said: Any) -> tuple[str, int, str, str, str, int]:
    """Return where a record stands in its bundle, by its head; see `Record.place`."""
    return said["test"], at_of(said), said["store"], said["key"], form_of(said), said.get("number", 1)


def at_of(said: Any) -> int:
    """Return when a record was recorded, in milliseconds since the epoch, by its head."""
    return round((datetime.fromisoformat(said["at"]) - _EPOCH).total_seconds() * 1000)


def problem_of(said: Any) -> str | None:
    """Return what keeps a JSON value from being the head of a record, or None where it is one."""
    if not isinstance(said, dict):
        return "it is no object"
    if not said.keys() >= _NEEDED:
        return f"{', '.join(sorted(_NEEDED - said.keys()))} is missing in it"
    for name, (is_right, wanted) in _FIELDS.items():
        if name in said and not is_right(said[name]):
            return f"{name!r} is {shown(said[name])}, and not {wanted}"
    return None


def unique(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is none, or a name is there twice in one of its objects.
    """

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise ValueError(f"the name {twice!r} is there twice")
        return value

    return json.loads(text, object_pairs_hook=checked)


def _streamed(chunks: list[Any], offsets: list[float], blobs: Blobs) -> str:
    each = _common(chunks)
    order = (
        _order_of(chunks) if any([*_whole(each, _rest(each, chunk))] != [*chunk] for chunk in chunks if each) else []
    )
    if order is None:
        each, order = {}, []
    lines = [
        f"   [{written(offset, blobs)}, {written(_rest(each, chunk), blobs, indent='   ', width=_WIDE)}]"
        for offset, chunk in zip(offsets, chunks, strict=True)
    ]
    shared = written(each, blobs, indent="  ")
    listed = "[\n" + ",\n".join(lines) + "\n  ]" if lines else "[]"
    ordered = f'\n  "order": {written(order, blobs, indent="  ")},' if order else ""
    return f'{{\n  "each": {shared},{ordered}\n  "chunks": {listed}\n }}'


def _order_of(chunks: list[Any]) -> list[str] | None:
    """Return the names of all chunks in an order that is that of each chunk, or None if there is none."""
    before: dict[str, dict[str, None]] = {}
    for chunk in chunks:
        for name in chunk:
            before.setdefault(name, {})
        for one, other in pairwise(chunk):
            before[other][one] = None
    try:
        return [*TopologicalSorter(before).static_order()]
    except CycleError as error:
        raise_interrupt(error)
        return None


def _common(chunks: list[Any]) -> dict[str, Any]:
    """Return what all chunks have in common, where they are objects."""
    if not all(isinstance(chunk, dict) for chunk in chunks) or not chunks:
        return {}
    first, *others = chunks
    return {
        name: value
        for name, value in first.items()
        if all(name in chunk and _same(chunk[name], value) for chunk in others)
    }


def _check_expanded(each: Any, number: int) -> None:
    """Raise `BundleError` if what all chunks have in common is too large for so many of them."""
    if any(each) and number > 1 and len(json.dumps(each)) * number > _MOST_EXPANDED:
        raise BundleError(f"its {number:,} chunks expand to more than {_MOST_EXPANDED:,} characters")


def _offset(value: Any) -> float:
    """Return when a chunk came.

    Raises:
        BundleError: it is no time.
    """
    if not _is_amount(value):
        raise BundleError(f"{shown(value)} is no time of a chunk, in seconds")
    offset: float = value
    return offset


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other and repr(one) == repr(other)  # 1 is not True, nor 1.0


def _rest(each: dict[str, Any], chunk: Any) -> Any:
    return {name: value for name, value in chunk.items() if name not in each} if each else chunk


def _whole(each: dict[str, Any], rest: Any, order: Sequence[str] = ()) -> Any:
    whole = {**each, **rest} if each else rest
    if not order:
        return whole
    return {**{name: whole[name] for name in order if name in whole}, **whole}


def _texts(value: Any) -> list[str]:
    """Return a list of names.

    Raises:
        BundleError: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BundleError(f"{shown(value)} is no list of the names of chunks")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_ordinal(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _MOST


def _is_amount(value: Any) -> bool:
    return type(value) in {int, float} and -_MOST <= value <= _MOST


def _is_form(value: Any) -> bool:
    return isinstance(value, str) and value in _BY_NAME


def _is_time(value: Any) -> bool:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise_interrupt(error)
        return False
    return time.tzinfo is not None and _FIRST <= time <= _LAST


def _is_sketch(value: Any) -> bool:
    return isinstance(value, str) and _SKETCH.fullmatch(value) is not None


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_refusal(value: Any) -> bool:
    return isinstance(value, str) and value in [*Refusal]


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "test": (_is_text, "a text"),
    "store": (_is_text, "a text"),
    "key": (_is_text, "a text"),
    "number": (_is_ordinal, "a number from 1 on"),
    "form": (_is_form, f"one of {', '.join(_BY_NAME)}"),
    "at": (_is_time, "a time with its zone"),
    "sketch": (_is_sketch, "16 hex digits"),
    "took": (_is_amount, "a number"),
    "tokens": (_is_amount, "a number"),
    "cost": (_is_amount, "a number"),
    "versions": (_is_object, "an object"),
    "refusal": (_is_refusal, f"one of {', '.join(Refusal)}"),
}

"""What is recorded of a call: its answer, or its chunks, and the story of how it came. Pure.

A record is what a hit reads, so it holds little beside the answer::

    {"answer": value, "at": ms, "saves": [bytes, tokens, dollars, seconds]}
    {"chunks": [value, ...], "offsets": [seconds, ...], "at": ms, "saves": [...]}

where the last says what each hit saves: the size of the answer, and what its call took, 0 where that is not known.

Its story is a note beside it (see `chatcache.BackingStore`), which is read only where somebody asks for it::

    {"request": value, "model": text, "answered_by": text, "usage": {...}, "versions": {"chatcache": text, ...}}
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from chatcache.clock import Clock
from chatcache.errors import InvalidInputError, shown
from chatcache.interrupts import raise_interrupt

from .usage import model_of, tokens_of, usage_of

__all__ = [
    "About",
    "Form",
    "Hit",
    "ProvidedHit",
    "Requests",
    "Story",
    "is_read",
    "parse_requests",
    "record_of",
    "redacted",
    "story_of",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_000_000_000_000, 253_000_000_000_000  # milliseconds since the epoch: from year 5 to year 9987
_LONGEST = 1e9  # seconds of a stream
_SAVES = 4  # numbers of what a hit saves
_NUMBERS = frozenset({int, float})
_NOT_OURS = "it is not what chatcache writes"
_NOT_REDACTED = {"model", "role", "type"}  # the names of fields whose text says nothing of anybody


class Form(StrEnum):
    """In what form a request is recorded: what the key of the record has behind that of the request."""

    ANSWER = ""
    """Its answer."""
    STREAM = "/stream"
    """The chunks of its answer."""
    STREAM_WITH_USAGE = "/stream+usage"
    """The chunks of its answer, where the request asked for a chunk that tells its tokens."""
    FAILURE = "/failure"
    """The error that its call raised."""


class Requests(StrEnum):
    """What is kept of the request beside its answer."""

    FULL = "full"
    """All of it, so that a miss can be compared with it, and the record be made again."""
    REDACTED = "redacted"
    """Its form: each text but those under ``model``, ``role`` and ``type`` is replaced by its length."""
    DIGEST = "digest"
    """Nothing but the key, which is a SHA-256 of it."""


def parse_requests(requests: str) -> Requests:
    """Return what is kept of requests, by its name.

    Raises:
        InvalidInputError: there is no such name.
    """
    try:
        return Requests(requests)
    except ValueError as error:
        raise_interrupt(error)
        names = ", ".join(repr(str(each)) for each in Requests)
        raise InvalidInputError(f"store_requests={shown(requests)}: use one of {names}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a call beside its answer; what is None is found out from the request and the answer.

    Attributes:
        request: the request, a JSON value.
        model: the model that was asked for.
        answered_by: the model that answered.
        usage: the tokens, as the provider counted them.
        cost: in US dollars.
        took: how long the call took, in seconds.
        versions: the versions of the packages that record it.
    """

    request: Any = None
    model: str | None = None
    answered_by: str | None = None
    usage: Mapping[str, Any] | None = None
    cost: float | None = None
    took: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


class Hit:
    """A record that answers a request.

    Attributes:
        key: the key of the record.
    """

    __slots__ = ("_clock", "_record", "key")

    def __init__(self, key: str, record: dict[str, Any], clock: Clock) -> None:
        self.key = key
        self._record = record
        self._clock = clock

    @classmethod
    def of(cls, key: str, record: Any, clock: Clock) -> Self:
        """Return the hit of what is stored under a key, which may be anything that somebody put there.

        Raises:
            ValueError: it is no record.
        """
        if type(record) is not dict or not _is_record(record):
            raise ValueError(_NOT_OURS)
        return cls(key, record, clock)

    @property
    def form(self) -> Form:
        """In what form the request was recorded."""
        return form_of(self.key)

    @property
    def is_provided(self) -> bool:
        """Whether a tape answers in the place of the provider, so that for the program it is no hit."""
        return False

    @property
    def answer(self) -> Any:
        """The answer; who changes it changes it in this hit only."""
        return self._record["answer"]

    @property
    def chunks(self) -> list[Any]:
        """The chunks of a stream."""
        chunks: list[Any] = self._record["chunks"]
        return chunks

    @property
    def offsets(self) -> list[float]:
        """When each chunk came, in seconds since the stream was asked for."""
        offsets: list[float] = self._record["offsets"]
        return offsets

    @property
    def recorded_at(self) -> datetime:
        """When it was recorded, in UTC."""
        return _EPOCH + timedelta(milliseconds=self._record["at"])

    @property
    def age(self) -> float:
        """How long ago that was, in seconds."""
        at: int = self._record["at"]
        return max(0.0, self._clock() - at / 1000)

    @property
    def took(self) -> float:
        """How long the call took, in seconds, as far as that is known."""
        took: float = self._record["saves"][3]
        return took

    @property
    def tokens(self) -> int:
        """How many tokens the provider counted."""
        tokens: int = self._record["saves"][1]
        return tokens

    @property
    def cost(self) -> float:
        """What the call cost, in US dollars, as far as that is known."""
        cost: float = self._record["saves"][2]
        return cost

    @property
    def record(self) -> dict[str, Any]:
        """The record as it is stored: a JSON value."""
        return dict(self._record)

    def holding(self, **content: Any) -> "Hit":
        """Return a hit that holds an answer, or chunks and offsets, which were made of what is recorded."""
        return type(self)(self.key, {**self._record, **content}, self._clock)

    def __repr__(self) -> str:
        return f"<Hit {self.key} recorded at {self.recorded_at:%Y-%m-%d %H:%M:%S} UTC>"


class ProvidedHit(Hit):
    """A record of a tape, which answers in the place of the provider."""

    __slots__ = ()

    @property
    def is_provided(self) -> bool:
        """Say so."""
        return True


@dataclass(frozen=True, slots=True)
class Story:
    """How a record came to be.

    Attributes:
        request: the request, as far as it is kept: see `Requests`.
        model: the model that was asked for, if that is known.
        answered_by: the model that answered, if that is known.
        usage: the tokens, as the provider counted them.
        versions: the versions of the packages that wrote it.
    """

    request: Any = None
    model: str | None = None
    answered_by: str | None = None
    usage: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, note: Any) -> "Story | None":
        """Return the story in the note of a record, or None where there is none."""
        if not isinstance(note, dict):
            return None
        known = {name: note[name] for name in cls.__dataclass_fields__ if note.get(name) is not None}
        return cls(**known)


def _is_record(record: dict[str, Any]) -> bool:
    """Whether each part of a record is of the type and within the limits that `Hit` and a replay calculate with."""
    at, saves = record.get("at"), record.get("saves")
    if type(at) is not int or not _FIRST <= at <= _LAST or type(saves) is not list or len(saves) < _SAVES:
        return False
    for each in saves:
        if type(each) not in _NUMBERS:
            return False
    if "answer" in record:
        return True
    chunks, offsets = record.get("chunks"), record.get("offsets")
    if type(chunks) is not list or type(offsets) is not list or len(chunks) != len(offsets):
        return False
    return all(type(each) in _NUMBERS and -_LONGEST <= each <= _LONGEST for each in offsets)


def form_of(key: str) -> Form:
    """Return the form of a record by its key."""
    if "/" not in key:  # as no form but this one has
        return Form.ANSWER
    return next(form for form in reversed(Form) if key.endswith(form))


def is_read(hit: Hit, read: Callable[[Hit], object]) -> bool:
    """Return whether an answer is one for who asks: one that cannot be read, or is too old, is a miss."""
    try:
        read(hit)
    except Exception as error:  # noqa: BLE001 - whatever it breaks
        raise_interrupt(error)
        return False
    return True


def record_of(answer: Any, offsets: Sequence[float] | None, about: About, *, at: int, size: int) -> dict[str, Any]:
    """Return the record of an answer.

    Args:
        answer: the answer, or the list of chunks of a stream.
        offsets: when each chunk came, in seconds since the stream was asked for; None for an answer.
        about: what else is known of the call.
        at: the time, in milliseconds since the epoch.
        size: how many bytes the answer takes.
    """
    tokens = tokens_of(answer if about.usage is None else {"usage": about.usage})
    saves = [size, tokens, about.cost or 0, round(about.took or 0, 6)]
    if offsets is None:
        return {"answer": answer, "at": at, "saves": saves}
    return {"chunks": answer, "offsets": [round(each, 6) for each in offsets], "at": at, "saves": saves}


def story_of(
    answer: Any, about: About, request: Any, requests: Requests, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Return the note of a record.

    Args:
        answer: the answer, or the list of chunks.
        about: what else is known of the call.
        request: the request, a JSON value, or None where it is not known.
        requests: what is to be kept of the request.
        versions: the versions of the packages that write it.

    Raises:
        RecursionError: the request nests too deeply.
    """
    asked = request.get("model") if isinstance(request, dict) else None
    story = {
        "request": _kept(request, requests),
        "model": about.model or (asked if isinstance(asked, str) else None),
        "answered_by": about.answered_by or model_of(answer),
        "usage": dict(about.usage) if about.usage is not None else usage_of(answer),
        "versions": dict(versions),
    }
    return {name: value for name, value in story.items() if value is not None}


def _kept(request: Any, requests: Requests) -> Any:
    match requests:
        case Requests.FULL:
            return request
        case Requests.REDACTED:
            return redacted(request)
        case Requests.DIGEST:
            return None


def redacted(value: Any) -> Any:
    """Return a request with its texts replaced by their lengths; see `Requests`."""
    match value:
        case str():
            return f"<{len(value)} characters>"
        case dict():
            return {
                name: item if name in _NOT_REDACTED and isinstance(item, str) else redacted(item)
                for name, item in value.items()
            }
        case list():
            return [redacted(item) for item in value]
        case _:
            return value

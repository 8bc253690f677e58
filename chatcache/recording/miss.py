"""Why there is nothing to replay: the reason, the nearest record, and what is not common to it and the request."""

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from chatcache.cache import Form
from chatcache.errors import BundleError, ReplayMiss, shortened
from chatcache.interrupts import raise_interrupt, suppress

from .bundle import STREAMS, Record
from .difference import Difference, differences, visible
from .edited import is_edited
from .shelf import Entry, Shelf
from .sketch import distance, sketch_of, words_of
from .volatile import Found

__all__ = [
    "BundleExplanation",
    "Candidate",
    "ExplainedMiss",
    "Explanation",
    "Nearest",
    "Reason",
    "StoreExplanation",
    "minute",
    "most_alike",
    "nearest",
    "other_form",
    "shown_path",
]

R = TypeVar("R")

_CANDIDATES = 24  # that are compared word by word
_LONGEST = 300  # characters of a request that is shown
_MOST_DIFFERENCES = 8  # that are shown
_LEAST_ALIKE = 0.2  # below which two requests have nothing to do with one another


class Reason(StrEnum):
    """Why there is nothing to replay."""

    NOTHING = "nothing is recorded"
    """Not in this bundle, or this store, by anything that is like the request."""
    EMPTY = "nothing is recorded in this store"
    """Nor was anything else."""
    DIFFERS = "the request differs from what was recorded"
    """There is one like it."""
    UNRECORDED = "nothing of this test is recorded"
    """There is one like it, of another test."""
    ELSEWHERE = "it is recorded, but by another test, or for another store"
    """The very request is."""
    EDITED = "its record was edited by hand, so that its key is that of another request"
    """The very request is recorded by this test for this store, under the key of what the record said before."""
    OTHER_KEY = "it is recorded under another key"
    """The very request is recorded in this store, but is not found by the key that was looked up."""
    OTHER_FORM = "it is recorded in another form"
    """As a stream, where an answer is asked for, or the other way round."""
    USED_UP = "it was asked more often than it was recorded"
    """Each of its records was replayed."""
    EXPIRED = "what was recorded is too old"
    """It is older than `max_age`, or has expired in a store."""
    UNREADABLE = "what was recorded cannot be read"
    """It is damaged, or of no use to who asks."""
    NO_KEY = "the request cannot be recorded"
    """It has no key, or no cache is asked for it."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The record that is most like a request.

    Attributes:
        scope: the test that it is of.
        store: its store.
        at: when it was recorded.
        alike: how much of the words is common, from 0 to 1.
        differences: what is not common.
        is_edited: whether its key is not that of what it says.
        by: the packages that recorded it, each with its version, where that is told.
        is_expired: whether it has expired.
    """

    scope: str
    store: str
    at: datetime
    alike: float
    differences: list[Difference]
    is_edited: bool = False
    by: Mapping[str, str] = field(default_factory=dict)
    is_expired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(ABC):
    """Why there is nothing to replay.

    Attributes:
        reason: in a few words.
        detail: what else there is to say of it, or ``""``.
        nearest: the nearest record, if one is near.
        ignored: the names that were left out of the key, as the test wants it.
        placeholders: what is volatile in the request, by its placeholders.
        command: what records it.
        hints: what else to do, in lines.
    """

    reason: Reason
    detail: str = ""
    nearest: Nearest | None = None
    ignored: tuple[str, ...] = ()
    placeholders: Found = field(default_factory=dict)
    command: str
    hints: tuple[str, ...] = ()

    @property
    def advice(self) -> list[str]:
        """What to do, in lines."""
        said = "Such a call cannot be recorded." if self.reason is Reason.NO_KEY else f"To record it: {self.command}"
        return [f"Nothing was called. {said}", *self.hints]

    @property
    @abstractmethod
    def where(self) -> str:
        """The file that was looked in."""

    @abstractmethod
    def _looked_in(self, miss: "ExplainedMiss") -> Iterable[str]:
        """Yield where it was looked, in lines."""

    @abstractmethod
    def _whose(self, near: Nearest) -> str:
        """Return whose the nearest record is, and when it was recorded."""

    def lines(self, miss: "ExplainedMiss") -> Iterable[str]:
        """Yield it in lines, in which what cannot be seen is escaped."""
        return map(visible, self._said(miss))

    def _said(self, miss: "ExplainedMiss") -> Iterable[str]:
        yield f"no record to replay: {self.reason.value}"
        if self.detail:
            yield f"  {self.detail}"
        yield from self._looked_in(miss)
        if self.nearest is None:
            yield f"  request  {shortened(repr(miss.request), _LONGEST)}"
        else:
            yield from self._of_nearest(self.nearest)
        names = [*self.ignored, *(name for name in miss.left_out if name not in self.ignored)]
        if names:
            yield f"  left out {shortened(', '.join(names), _LONGEST)}"
        for token, text in islice(self.placeholders.items(), _MOST_DIFFERENCES):
            yield f"  {token}  stands for {visible(shortened(text, 80))}"
        yield from self.advice

    def _of_nearest(self, near: Nearest) -> Iterable[str]:
        yield f"  nearest  {self._whose(near)}, {near.alike:.0%} alike"
        for each in near.differences[:_MOST_DIFFERENCES]:
            yield from (f"  {line}" for line in str(each).split("\n"))
        more = len(near.differences) - _MOST_DIFFERENCES
        if more > 0:
            yield f"  … and {more:,} more {'difference' if more == 1 else 'differences'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleExplanation(Explanation):
    """Why there is nothing to replay in a bundle.

    Attributes:
        scope: the test that asked.
        bundle: the file that was looked in.
        recorded: how many records of this test are in it.
        asked: how often this test had asked for this before.
    """

    scope: str
    bundle: str
    recorded: int
    asked: int = 0

    @property
    def where(self) -> str:
        """The bundle."""
        return self.bundle

    def _looked_in(self, miss: "ExplainedMiss") -> Iterable[str]:
        yield f"  test     {self.scope or 'none'}, store {miss.store_id!r}"
        yield f"  bundle   {self.bundle} ({_counted(self.recorded)} of this test)"

    def _whose(self, near: Nearest) -> str:
        whose = "this test" if near.scope == self.scope else near.scope or "no test"
        return f"of {whose}, recorded {minute(near.at)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreExplanation(Explanation):
    """Why there is nothing to replay in a store.

    Attributes:
        path: the file of the store.
        recorded: how many records the store has, also expired ones; None where it was not asked.
        compared: with how many records the request was compared, the newest ones, where that is not all of them.
    """

    path: str
    recorded: int | None
    compared: int | None = None

    @property
    def where(self) -> str:
        """The file of the store."""
        return self.path

    def _looked_in(self, miss: "ExplainedMiss") -> Iterable[str]:
        records = "" if self.recorded is None else f" ({_counted(self.recorded)})"
        yield f"  store    {miss.store_id!r} in {self.path}{records}"
        yield f"  key      {miss.key or 'none'}"
        if self.compared is not None:
            yield f"  compared with the newest {_counted(self.compared)} only"

    def _whose(self, near: Nearest) -> str:
        by = ", ".join(f"{name} {version}" for name, version in near.by.items())
        at = f"recorded {minute(near.at)}{' by ' if by else ''}{by}"
        return f"expired, {at}" if near.is_expired else at


class ExplainedMiss(ReplayMiss):
    """A miss in a bundle or a store, with all that is known of it.

    Attributes:
        explanation: why there is nothing to replay.
    """

    def __init__(self, *, key: str | None, request: Any, store_id: str, explanation: Explanation) -> None:
        self.explanation = explanation
        super().__init__(
            key=key,
            request=request,
            store_id=store_id,
            reason=explanation.reason.value,
            where=explanation.where,
        )

    def __str__(self) -> str:
        """Say it on one screen."""
        return "\n".join(self.explanation.lines(self))

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        said = asdict(self.explanation)
        near = self.explanation.nearest
        if near is not None:
            said["nearest"]["at"] = near.at.isoformat()
            said["nearest"]["differences"] = [each.to_dict() for each in near.differences]
        return {
            **super().to_dict(),
            **said,
            "advice": self.explanation.advice,
            "code": self.explanation.reason.name.lower(),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by keyword."""
        return _rebuilt, (self.key, self.request, self.store_id, self.explanation), {"left_out": self.left_out}


def _rebuilt(key: str | None, request: Any, store_id: str, explanation: Explanation) -> ExplainedMiss:
    return ExplainedMiss(key=key, request=request, store_id=store_id, explanation=explanation)


def nearest(
    shelf: Shelf, scope: str, request: Any, left_out: Callable[[Any], Any] = lambda value: value
) -> Nearest | None:
    """Return the record of a bundle that is most like a request, or None where none is like it.

    Args:
        shelf: the bundle.
        scope: the test that asks, whose own records come first.
        request: the request as it is recorded.
        left_out: leaves out of a request what does not count.
    """
    sketch = int(sketch_of(request), 16)

    def far(entry: Entry) -> tuple[int, bool, int]:
        return distance(entry.sketch, sketch), entry.scope != scope, -entry.at

    def of(entry: Entry) -> Candidate[Record] | None:
        with suppress(BundleError):
            record = shelf.record(entry)
            return Candidate(record, record.request, is_preferred=record.scope == scope)
        return None

    found = most_alike(request, map(of, heapq.nsmallest(_CANDIDATES, shelf, key=far)))
    if found is None:
        return None
    record = found.record
    told = [*differences(left_out(record.request), left_out(request))]
    at = datetime.fromtimestamp(record.at / 1000, UTC)
    return Nearest(record.scope, record.store, at, found.alike, told, is_edited=is_edited(record))


@dataclass(frozen=True, slots=True)
class Candidate(Generic[R]):
    """A record that may be the nearest.

    Attributes:
        record: the record.
        request: its request.
        is_preferred: whether it comes before others that are as near.
        alike: how much of the words is common.
    """

    record: R
    request: Any
    is_preferred: bool = False
    alike: float = 0.0


def most_alike(request: Any, candidates: Iterable[Candidate[R] | None]) -> Candidate[R] | None:
    """Return the candidate whose request has the most words in common with one, or None where none has enough."""
    words = Counter(words_of(request))
    compared = (replace(each, alike=_alike(words, Counter(words_of(each.request)))) for each in candidates if each)
    best = max(compared, key=lambda each: (each.alike, each.is_preferred), default=None)
    return None if best is None or best.alike < _LEAST_ALIKE else best


def other_form(forms: Iterable[Form]) -> dict[str, Any]:
    """Return the reason of a miss that is recorded in other forms, and its detail."""
    told = sorted({"a stream" if form in STREAMS else "a whole answer" for form in forms})
    return {"reason": Reason.OTHER_FORM, "detail": f"it is recorded as {' and as '.join(told)}"}


def _counted(records: int) -> str:
    """Return a number of records in words."""
    return "1 record" if records == 1 else f"{records:,} records"


def shown_path(path: Path) -> str:
    """Return a path as it is printed: from the working folder on, if it is in there."""
    try:
        here = Path.cwd()
    except OSError as error:  # it was deleted
        raise_interrupt(error)
        return str(path)
    path = here / path
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def minute(at: datetime) -> str:
    """Return a time in UTC as it is printed."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _alike(one: Counter[bytes], other: Counter[bytes]) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0

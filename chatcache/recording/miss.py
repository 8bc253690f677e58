"""Why there is nothing to replay: the reason, the nearest record, and what is not common to it and the request."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from chatcache.errors import BundleError, ReplayMiss, shortened

from .bundle import Record
from .difference import Difference, differences, visible
from .edited import is_edited
from .shelf import Entry, Shelf
from .sketch import distance, sketch_of, words_of
from .volatile import Found

__all__ = ["ExplainedMiss", "Explanation", "Nearest", "Reason", "nearest"]

_CANDIDATES = 24  # that are compared word by word
_LONGEST = 300  # characters of a request that is shown
_MOST_DIFFERENCES = 8  # that are shown
_LEAST_ALIKE = 0.2  # below which two requests have nothing to do with one another


class Reason(StrEnum):
    """Why there is nothing to replay."""

    NOTHING = "nothing is recorded"
    """Not in this bundle, by anything that is like the request."""
    DIFFERS = "the request differs from what was recorded"
    """There is one like it."""
    UNRECORDED = "nothing of this test is recorded"
    """There is one like it, of another test."""
    ELSEWHERE = "it is recorded, but by another test, or for another store"
    """The very request is."""
    EDITED = "its record was edited by hand, so that its key is that of another request"
    """The very request is recorded by this test for this store, under the key of what the record said before."""
    OTHER_FORM = "it is recorded in another form"
    """As a stream, where an answer is asked for, or the other way round."""
    USED_UP = "it was asked more often than it was recorded"
    """Each of its records was replayed."""
    EXPIRED = "what was recorded is too old"
    """It is older than `max_age`."""
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
    """

    scope: str
    store: str
    at: datetime
    alike: float
    differences: list[Difference]
    is_edited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why there is nothing to replay.

    Attributes:
        reason: in a few words.
        detail: what else there is to say of it, or ``""``.
        scope: the test that asked.
        bundle: the file that was looked in.
        recorded: how many records of this test are in it.
        asked: how often this test had asked for this before.
        nearest: the nearest record, if one is near.
        ignored: the names that were left out of the key, as the test wants it.
        placeholders: what is volatile in the request, by its placeholders.
        command: what records it.
    """

    reason: Reason
    detail: str = ""
    scope: str
    bundle: str
    recorded: int
    asked: int = 0
    nearest: Nearest | None = None
    ignored: tuple[str, ...] = ()
    placeholders: Found = field(default_factory=dict)
    command: str

    def lines(self, store_id: str, request: Any, left_out: Iterable[str]) -> Iterable[str]:
        """Yield it in lines, in which what cannot be seen is escaped."""
        return map(visible, self._said(store_id, request, left_out))

    def _said(self, store_id: str, request: Any, left_out: Iterable[str]) -> Iterable[str]:
        yield f"no record to replay: {self.reason.value}"
        if self.detail:
            yield f"  {self.detail}"
        records = "1 record" if self.recorded == 1 else f"{self.recorded:,} records"
        yield f"  test     {self.scope or 'none'}, store {store_id!r}"
        yield f"  bundle   {self.bundle} ({records} of this test)"
        if self.nearest is None:
            yield f"  request  {shortened(repr(request), _LONGEST)}"
        else:
            yield from self._of_nearest(self.nearest)
        names = [*self.ignored, *(name for name in left_out if name not in self.ignored)]
        if names:
            yield f"  left out {shortened(', '.join(names), _LONGEST)}"
        for token, text in islice(self.placeholders.items(), _MOST_DIFFERENCES):
            yield f"  {token}  stands for {visible(shortened(text, 80))}"
        if self.reason is Reason.NO_KEY:
            yield "Nothing was called. Such a call cannot be recorded."
        else:
            yield f"Nothing was called. To record it: {self.command}"

    def _of_nearest(self, near: Nearest) -> Iterable[str]:
        whose = "this test" if near.scope == self.scope else near.scope or "no test"
        yield f"  nearest  of {whose}, recorded {near.at:%Y-%m-%d %H:%M} UTC, {near.alike:.0%} alike"
        for each in near.differences[:_MOST_DIFFERENCES]:
            yield from (f"  {line}" for line in str(each).split("\n"))
        more = len(near.differences) - _MOST_DIFFERENCES
        if more > 0:
            yield f"  … and {more:,} more {'difference' if more == 1 else 'differences'}"


class ExplainedMiss(ReplayMiss):
    """A miss while a bundle is replayed, with all that is known of it.

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
            where=explanation.bundle,
        )

    def __str__(self) -> str:
        """Say it on one screen."""
        return "\n".join(self.explanation.lines(self.store_id, self.request, self.left_out))

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

    words = Counter(words_of(request))
    best: tuple[float, Record] | None = None
    for entry in heapq.nsmallest(_CANDIDATES, shelf, key=far):
        try:
            record = shelf.record(entry)
        except BundleError:
            continue
        alike = _alike(words, Counter(words_of(record.request)))
        if best is None or alike > best[0] or (alike == best[0] and record.scope == scope != best[1].scope):
            best = alike, record
    if best is None or best[0] < _LEAST_ALIKE:
        return None
    alike, record = best
    told = [*differences(left_out(record.request), left_out(request))]
    at = datetime.fromtimestamp(record.at / 1000, UTC)
    return Nearest(record.scope, record.store, at, alike, told, is_edited=is_edited(record))


def _alike(one: Counter[bytes], other: Counter[bytes]) -> float:
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 0.0

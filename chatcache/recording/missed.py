"""Why a store has no record for a request, and which of its records is nearest: as `miss` says it of a bundle.

Of the records that are looked through only the notes are read, of a long one its two ends, the newest first, for as
long as the cache gives. Their words tell which few are read and compared as a whole. Nothing is written.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from chatcache.backing import ObjectStore, Peeked
from chatcache.cache import Form, Hit, Story
from chatcache.cache.missed import Missed
from chatcache.cache.records import form_of, redacted
from chatcache.clock import monotonic, now
from chatcache.errors import CorruptRecordError
from chatcache.interrupts import suppress
from chatcache.keys import canonical_json

from .bundle.layout import DEEPEST, is_too_deep
from .difference import differences
from .miss import (
    Candidate,
    ExplainedMiss,
    Nearest,
    Reason,
    StoreExplanation,
    minute,
    most_alike,
    other_form,
    shown_path,
)
from .replaced import Replaced
from .secrets import scrubbed
from .sketch import words_in, words_of

__all__ = ["explain"]

_CANDIDATES = 24  # that are compared word by word
_SHARE = 0.6  # of the time to find them in
_OTHER_STORES = 100  # of the file that are asked for the key
_NOT_SHOWN = "what is recorded of other requests is not shown here, since others may have asked them"
_LENGTH = b" characters>"  # in place of a text
_TAPED = "while tests or a recording are under way, a cache begins empty, and in mode 'replay' it asks no bundle"
_TOO_DEEP = f"the request nests more than {DEEPEST} levels, so it is compared with none"
_NO_REQUESTS = "no record holds its request to compare with, as with store_requests='digest'"
_REDACTED = "the record holds lengths in place of texts, as with store_requests='redacted'"
_MASKED = "what differs is a secret, or looks like one, and is masked here"
_OTHER_KEY = "another version of chatcache made that key, the program chose it, or the record was edited"


@dataclass(frozen=True, slots=True)
class _Noted:
    """A record: how it came to be, when, whether it has expired, and whether its request is without its texts."""

    story: Story
    at: datetime
    is_expired: bool
    is_redacted: bool


def explain(missed: Missed) -> ExplainedMiss:
    """Return the error of a miss in a store.

    Raises:
        PersistenceError: the store cannot be read.
    """
    keyed = missed.key is not None
    explanation = StoreExplanation(
        path=shown_path(missed.path),
        recorded=missed.store.count() if keyed and missed.store is not None else None,
        command=missed.remedy,
        **_why(missed),
    )
    return ExplainedMiss(key=missed.key, request=_shown(missed), store_id=missed.store_id, explanation=explanation)


def _why(missed: Missed) -> dict[str, Any]:
    if missed.key is None:
        return {"reason": Reason.NO_KEY, "detail": missed.problem}
    if missed.store is None:
        return {"reason": Reason.NOTHING, "detail": _TAPED}
    if missed.problem:
        return {"reason": Reason.UNREADABLE, "detail": missed.problem}
    return _by_key(missed, missed.store, missed.key) or _by_words(missed, missed.store)


def _by_key(missed: Missed, store: ObjectStore, key: str) -> dict[str, Any] | None:
    """Return why a request is not answered whose very key is recorded, or None where it is not."""
    own = form_of(key)
    ident = key.removesuffix(own)
    wanted = [form_of(own + form) for form in missed.forms]
    there = _forms(store, ident)
    ended = next((found for form in wanted if (found := there.get(form)) and found.is_expired), None)
    if ended is not None and ended.expires is not None:
        at = datetime.fromtimestamp(ended.expires / 1000, UTC)
        return {"reason": Reason.EXPIRED, "detail": f"it expired {minute(at)}"}
    others = [form for form, found in there.items() if not found.is_expired]
    if others:
        return other_form(others)
    if not missed.shows_records:
        return {"reason": Reason.NOTHING, "detail": _NOT_SHOWN}
    for store_id in islice(missed.persistence.store_ids(), _OTHER_STORES):
        there = _forms(missed.persistence.make(store_id), ident) if store_id != missed.store_id else {}
        if any(form in there and not there[form].is_expired for form in wanted):
            return {"reason": Reason.ELSEWHERE, "detail": f"store {store_id!r} of the same file has it"}
    return None


def _forms(store: ObjectStore, key: str) -> dict[Form, Peeked]:
    """Return what is recorded of a key, by its form, also what has expired."""
    there = {}
    for form in Form:
        with suppress(CorruptRecordError):
            found = store.peek(key + form)
            if found is not None:
                there[form] = found
    return there


def _by_words(missed: Missed, store: ObjectStore) -> dict[str, Any]:
    """Return why a request is not answered whose key is not recorded, and what is nearest to it."""
    if not store.count():
        return {"reason": Reason.EMPTY}
    if is_too_deep(missed.request):
        return {"reason": Reason.NOTHING, "detail": _TOO_DEEP}
    asked, short = missed.request, redacted(missed.request)
    until = monotonic() + missed.seconds
    keys, compared = _promising(store, {*words_of(asked), *words_of(short)}, until - missed.seconds * (1 - _SHARE))
    noted = [Candidate(each, each.story.request) for each in _noted(store, keys, until)]
    if not noted:
        return {"reason": Reason.NOTHING, "detail": _NO_REQUESTS, "compared": compared}
    whole = most_alike(asked, (each for each in noted if not each.record.is_redacted))
    other = most_alike(short, (each for each in noted if each.record.is_redacted))
    best = max(filter(None, (whole, other)), key=lambda each: each.alike, default=None)
    if best is None:
        return {"reason": Reason.NOTHING, "compared": compared}
    reason, detail = Reason.DIFFERS, _REDACTED if best is other else ""
    told = [*differences(_masked(best.request), _masked(short if best is other else asked))]
    if not told and best is whole:
        reason, detail = (Reason.OTHER_KEY, _OTHER_KEY) if best.request == asked else (reason, _MASKED)
    record = best.record
    near = Nearest(
        "",
        missed.store_id,
        record.at,
        best.alike,
        told,
        by=record.story.versions,
        is_expired=record.is_expired,
    )
    return {"reason": reason, "detail": detail, "nearest": near, "compared": compared}


def _promising(store: ObjectStore, words: set[bytes], until: float) -> tuple[list[str], int | None]:
    """Return the keys of the records that have the most words in common with a request.

    Args:
        store: the store.
        words: the words of the request.
        until: when to end, on the monotonic clock; one page of records is looked through in any case.

    Returns:
        The keys, the most promising first, and how many records were looked through; None for all of them.
    """
    best: list[tuple[float, int, str]] = []
    compared = 0
    for page in store.newest_notes():
        if compared and monotonic() > until:
            break
        for key, data in page:
            said = words_in(data)
            score = len(words.intersection(said)) / (len(words) + len(said))
            compared += 1
            add = heapq.heappush if len(best) < _CANDIDATES else heapq.heappushpop
            add(best, (score, -compared, key))
    else:
        return [key for *_, key in sorted(best, reverse=True)], None
    return [key for *_, key in sorted(best, reverse=True)], compared


def _noted(store: ObjectStore, keys: list[str], until: float) -> Iterator[_Noted]:
    """Yield the records of some keys that can be read and hold their requests; one of them also if it is late."""
    late = False
    for key in keys:
        if late and monotonic() > until:
            return
        with suppress(CorruptRecordError, ValueError):
            value, note = store.peek(key), store.peek_note(key)
            story = None if note is None else Story.of(note.value)
            if value and story and story.request is not None and not is_too_deep(story.request):
                at = Hit.of(key, value.value, now).recorded_at
                yield _Noted(story, at, value.is_expired, _LENGTH in canonical_json(story.request))
                late = True


def _shown(missed: Missed) -> Any:
    """Return a request with its secrets masked, the very request if it has none."""
    if missed.key is None:
        return scrubbed(missed.request)
    if is_too_deep(missed.request):
        return f"<{type(missed.request).__name__}>"
    request = _masked(missed.request)
    return missed.request if canonical_json(request) == canonical_json(missed.request) else request


def _masked(request: Any) -> Any:
    return Replaced.of(request, None).request

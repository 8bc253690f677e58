"""What becomes of an answer: whether it is kept, and what of it and of its call goes into the store.

Whatever is wrong with an answer, or with the store, it was paid for: it is not kept then, and nobody's call fails.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from chatcache._bridge import CANCELLATIONS, LOGGER, Colour, Worker, awaiting, current_loop, off_loop
from chatcache.backing import ObjectStore
from chatcache.clock import Clock, milliseconds, monotonic
from chatcache.codec import encode, is_json, part_of
from chatcache.errors import (
    InvalidInputError,
    InvalidValueError,
    NotStoredError,
    TransactionError,
    printable,
    shortened,
    shown,
)
from chatcache.interrupts import raise_interrupt, suppress
from chatcache.keys import canonical_json
from chatcache.mode import Mode, Refusal
from chatcache.storage import Budget
from chatcache.store_errors import StoreErrors, as_persistence_error
from chatcache.ttl import TTL, parse_ttl

from .asked import Asked, Lookup, batch_key
from .calls import Answer, Call
from .held import HeldStore
from .leases import Lease
from .records import About, Requests, form_of, record_of, story_of
from .statistics import Counts, HeldCounts
from .taping import Replayed, Track
from .versions import learn_versions, versions_of

__all__ = ["Accept", "Made", "Recorder", "off_loop_if", "parse_accept"]

T = TypeVar("T")

Accept = Callable[[Any], object]
"""Is called with an answer, or a list of chunks; if it returns a false value or raises, that is not kept."""

_HEAVY = 256 * 1024  # bytes
_AWAITABLE = "accept= is to return whether to keep an answer, and not what is to be awaited: pass a sync function"


@dataclass(frozen=True, slots=True)
class Made:
    """What is to be recorded.

    Attributes:
        key: the key of the record.
        answer: the answer, or the list of chunks.
        about: what else is known of the call.
        canonical: the canonical form of the request, where that is known.
        accept: is asked whether to keep it; None accepts all.
        offsets: when each chunk came, of a stream.
        size: how many bytes the answer takes, where that is known.
        asked: the key that was looked up in vain, where a hook did so.
        budget: how long the cache may hold up the call.
        lease: that of the call, which is released when the answer is stored.
        is_provided: whether the provider made it, so that a tape that is in records it.
    """

    key: str
    answer: Any
    about: About
    canonical: bytes | None = None
    accept: Accept | None = None
    offsets: list[float] | None = None
    size: int = 0
    asked: str = ""
    budget: Budget = field(default_factory=Budget)
    lease: Lease | None = None
    is_provided: bool = True


class Recorder:
    """Keeps the answers of one cache.

    Args:
        errors: what is done where the store fails.
        asked: the lookups that had no answer.
        allowed: the reasons for which answers are not refused.
        requests: what is kept of a request.
        max_bytes: how many bytes the store may hold.
        packages: whose versions a record is to tell.
        clock: gives the time in seconds since the epoch.

    Attributes:
        store: where they are kept.
        counts: is told of what is kept, and of what is not.
        track: the tape that records what the provider answers, while one is in.
    """

    store: ObjectStore | HeldStore
    counts: Counts | HeldCounts
    track: Track | None = None

    def __init__(  # noqa: PLR0913 - one place makes it
        self,
        errors: StoreErrors,
        asked: Asked,
        *,
        allowed: Collection[Refusal],
        requests: Requests,
        max_bytes: int | None,
        packages: tuple[str, ...],
        clock: Clock,
    ) -> None:
        self._errors = errors
        self._asked = asked
        self._allowed = allowed
        self._requests = requests
        self._max_bytes = max_bytes
        self._packages = packages
        self._clock = clock
        self._logged: set[type[Exception]] = set()  # which errors of `accept`

    def refuses(self, refusal: Refusal) -> bool:
        """Return whether an answer is not to be kept for this reason, and count it if so."""
        if refusal in self._allowed:
            return False
        self.counts.refuse(refusal)
        return True

    async def keep_call(  # noqa: PLR0913, PLR0917 - what `Keep` takes
        self,
        colour: Colour,
        call: Call,
        lease: Lease | None,
        made: Answer | list[Answer],
        took: float,
        offsets: list[float] | None,
    ) -> bool:
        """Keep what a call made; see `chatcache.cache.calls.Keep`."""
        pieces = [made] if isinstance(made, Answer) else made
        size = sum(each.size for each in pieces)
        copied = await off_loop_if(colour, size, lambda: [each.copy() for each in pieces])
        answer = copied[0] if isinstance(made, Answer) else copied
        try:
            refusal = _checked_refusal(call.refuse(answer))
        except Exception as error:  # noqa: BLE001 - whatever the caller's function raises
            raise_interrupt(error)
            return self._unstored(answer, error, self._asked.pop(call.key))
        about = About(took=took)
        record = Made(call.key, answer, about, call.canonical, call.accept, offsets, size, call.key, call.budget, lease)
        return await self.keep(colour, record, refusal, call.ttl, call.mode)

    def keep_failure(self, call: Call, error: Exception) -> None:
        """Keep the error of a call, where a tape wants that; a store never does."""
        if self.track is not None and call.tape is not None:
            try:
                self.track.keep_failure(call.key, call.request, error)
            except Exception as problem:  # noqa: BLE001 - the caller gets the error of the call
                raise_interrupt(problem)
                self.track.reject(problem)

    def restore(self, key: str, request: Any, replayed: Replayed[Any], ttl: TTL, mode: Mode) -> bool:
        """Keep what a tape answered in the place of the provider; return whether it was kept.

        Args:
            key: the key of the record.
            request: the request.
            replayed: what it answered.
            ttl: how long the record lives.
            mode: that of the call.
        """
        self._asked.pop(key)
        if not isinstance(self.store, HeldStore) or not self._admits(replayed.refusal, ttl, mode):
            return False
        size: int = replayed.size
        if self._max_bytes is not None and size > self._max_bytes:
            self.refuses(Refusal.TOO_LARGE)
            return False

        def story() -> dict[str, Any]:
            record = replayed.stored()
            answer = record["answer" if "answer" in record else "chunks"]
            return story_of(answer, About(), request, self._requests, versions_of(self._packages))

        self.store.put(key, replayed.stored, ttl, note=story, size=size)
        self.counts.add(stores=1, bytes_stored=size)
        return True

    async def keep(self, colour: Colour, made: Made, refusal: Refusal | None, ttl: TTL, mode: Mode) -> bool:
        """Keep an answer, unless it is to be refused; return whether it was kept.

        Raises:
            NotStoredError: the store failed, and that is to be an error.
        """
        lookup = self._asked.pop(made.asked)
        about = _timed(lookup, made.about)
        if colour is awaiting:
            current_loop()  # not in `try`: without asyncio the caller is refused
            await learn_versions(self._packages)
        is_taped = self.track is not None and made.is_provided
        if is_taped and self._admits_taped(made, about, refusal, lookup, ttl, mode):
            made = replace(made, accept=None)  # it was asked
        elif is_taped or not self._admits(refusal, ttl, mode):
            return False
        try:
            record, story, size = await off_loop_if(colour, made.size, lambda: self._built(made, about))
            if self._max_bytes is not None and size > self._max_bytes:
                self.refuses(Refusal.TOO_LARGE)
                return False
            if not self._accepts(made):
                return False
            with made.budget.spent():
                stored = await self.store.keep(colour, made.key, record, ttl, note=story, lease=made.lease)
        except TransactionError:
            self._set_later(made.key, record, ttl, story, lookup)
        except CANCELLATIONS:  # what was begun is written all the same
            self.counts.add(stores=1, bytes_stored=made.size)
            raise
        except Exception as error:  # noqa: BLE001 - the answer was paid for, whatever is wrong with it
            return self._unstored(made.answer, as_persistence_error(error), lookup)
        if stored:
            self.counts.add(stores=1, bytes_stored=size)
        return stored

    def keep_many(self, answers: Mapping[str, Made], ttl: TTL, mode: Mode, budget: Budget) -> int:
        """Keep some answers in one step, all that are accepted or none; return how many were kept.

        Raises:
            NotStoredError: the store failed, and that is to be an error.
        """
        if self.track is not None:
            answers = {key: made for key, made in answers.items() if self._taped_one(self.track, key, made)}
        if not answers or not self._admits(None, ttl, mode):
            return 0
        lookup = self._asked.pop(batch_key(answers))
        entries, notes, stored = [], {}, 0
        try:
            for key, made in answers.items():
                record, note, size = self._built(made, _timed(self._asked.pop(key), made.about))
                if self._accepts(made):
                    entries.append((key, record, ttl))
                    notes[key] = note
                    stored += size
            if entries:
                with budget.spent():
                    self.store.set_many(entries, notes=notes)
        except Exception as error:  # noqa: BLE001 - the answers were paid for, whatever is wrong with them
            self._unstored([made.answer for made in answers.values()], as_persistence_error(error), lookup)
            return 0
        self.counts.add(stores=len(entries), bytes_stored=stored)
        return len(entries)

    def _admits_taped(  # noqa: PLR0913, PLR0917 - what `keep` knows
        self, made: Made, about: About, refusal: Refusal | None, lookup: Lookup | None, ttl: TTL, mode: Mode
    ) -> bool:
        """Record an answer on the tape, with why it is not to be kept; return whether the store is to keep it."""
        assert self.track is not None  # noqa: S101 - one is in
        admitted = self._admits(refusal, ttl, mode)
        if admitted and not self._accepts(made):
            admitted, refusal = False, Refusal.REJECTED
        return self._taped(self.track, made, about, refusal, lookup) and admitted

    def _taped_one(self, track: Track, key: str, made: Made) -> bool:
        """Record one of several answers on a tape; return whether it is accepted, too."""
        lookup = self._asked.pop(key)
        refusal = None if self._accepts(made) else Refusal.REJECTED
        return self._taped(track, made, _timed(lookup, made.about), refusal, lookup) and refusal is None

    def _taped(self, track: Track, made: Made, about: About, refusal: Refusal | None, lookup: Lookup | None) -> bool:
        """Record what the provider answered on a tape; return whether it was."""
        form = form_of(made.key)
        try:
            request = about.request if made.canonical is None else _request_of(about, made.canonical)
            about = replace(about, request=request, versions=versions_of(self._packages))
            return track.keep(made.key.removesuffix(form), form, made.answer, about, made.offsets, refusal)
        except Exception as error:  # noqa: BLE001 - the answer was paid for, whatever is wrong with it
            raise_interrupt(error)
            return self._unstored(made.answer, error, lookup)

    def record(self, made: Made) -> dict[str, Any]:
        """Return the record of an answer, as those who wait get it where it is not kept.

        Its size is 0 if the answer cannot be encoded.
        """
        size = made.size
        if not size:
            with suppress(Exception):
                size = len(encode(made.answer))
        return self._record(made, made.about, size)

    def _admits(self, refusal: Refusal | None, ttl: TTL, mode: Mode) -> bool:
        """Whether an answer is to be kept; a TTL that is not positive keeps nothing, and leaves what is there."""
        lives = parse_ttl(ttl)
        if not mode.writes or (lives is not None and lives <= 0):
            return False
        return refusal is None or not self.refuses(refusal)

    def _accepts(self, made: Made) -> bool:
        """Return whether the caller's predicate accepts an answer, which is encoded by now, and count it if not."""
        if made.accept is None:
            return True
        try:
            accepted = bool(_value(made.accept(made.answer)))
        except Exception as error:  # noqa: BLE001 - whatever the caller's function raises
            raise_interrupt(error)
            accepted = False
            if type(error) not in self._logged:
                self._logged.add(type(error))
                LOGGER.warning(
                    "accept= raised %s: %s\nThe answer is not kept. Later errors of this kind are counted, not logged.",
                    type(error).__name__,
                    shortened(printable(str(error)), 200),
                )
        if not accepted:
            self.counts.refuse(Refusal.REJECTED)
        return accepted

    def _built(self, made: Made, about: About) -> tuple[dict[str, Any], Any, int]:
        """Return a record and its story, of which all that is large is encoded, and the size of the answer."""
        data = encode(made.answer)
        size = made.size or len(data)
        record = self._record(made, about, size)
        record["answer" if made.offsets is None else "chunks"] = part_of(data)
        return record, self._story(made, about), size

    def _record(self, made: Made, about: About, size: int) -> dict[str, Any]:
        return record_of(made.answer, made.offsets, about, at=milliseconds(self._clock), size=size)

    def _story(self, made: Made, about: About) -> Any:
        """Return the story of a record, or None where it cannot be stored, as of a request that nests too deeply."""
        try:
            request = _request_of(about, made.canonical)
            return part_of(encode(story_of(made.answer, about, request, self._requests, versions_of(self._packages))))
        except (InvalidValueError, RecursionError):
            return None

    def _set_later(self, key: str, record: Any, ttl: TTL, story: Any, lookup: Lookup | None) -> None:
        """Write a record in a thread: a blocking call on the thread of a loop must not wait for tasks of that loop."""

        def write() -> None:
            try:
                self.store.set(key, record, ttl, note=story)
            except Exception as error:  # noqa: BLE001 - whatever the store raises, it is said
                self._errors.excuse(as_persistence_error(error), counts=_counts(lookup))

        worker = Worker()
        worker.submit(write)
        worker.stop()

    def _unstored(self, answer: Any, error: Exception, lookup: Lookup | None) -> bool:
        raise_interrupt(error)
        if self.track is not None:
            self.track.reject(error)
            return False
        if self._errors.raised:
            raise NotStoredError(answer, str(error)) from error
        self._errors.excuse(error, counts=_counts(lookup))
        return False


async def off_loop_if(colour: Colour, size: int, build: Callable[[], T]) -> T:
    """Return what is built, off the loop where there is one, and so much of it that the loop would stand still."""
    return await off_loop(build) if colour is awaiting and size > _HEAVY else build()


def _value(verdict: object) -> object:
    """Return what a predicate returned.

    Raises:
        InvalidInputError: it is to be awaited.
    """
    if inspect.isawaitable(verdict):
        raise InvalidInputError(_AWAITABLE)
    return verdict


def parse_accept(accept: Accept | None) -> Accept | None:
    """Return the predicate that a caller passed, if any.

    Raises:
        InvalidInputError: it cannot be called, or would have to be awaited.
    """
    if accept is not None and not callable(accept):
        raise InvalidInputError(f"accept={shown(accept)}: pass a function of the answer")
    if inspect.iscoroutinefunction(accept):
        raise InvalidInputError(_AWAITABLE)
    return accept


def _timed(lookup: Lookup | None, about: About) -> About:
    """Return what is known of a call, with how long it took since it was looked up, if nothing else tells."""
    return about if about.took is not None or lookup is None else replace(about, took=monotonic() - lookup.at)


def _counts(lookup: Lookup | None) -> bool:
    """Return whether a failure is the first one of its call, which counts the call as bypassed."""
    return lookup is None or not lookup.bypassed


def _request_of(about: About, canonical: bytes | None) -> Any:
    """Return a request as JSON has it, or None where it is not known.

    Raises:
        InvalidValueError: it is not JSON.
    """
    if canonical is None:
        if about.request is None or is_json(about.request):
            return about.request
        canonical = canonical_json(about.request)
    return json.loads(canonical.decode("utf-8", "surrogatepass"))


def _checked_refusal(refusal: Any) -> Refusal | None:
    if refusal is None:
        return None
    if isinstance(refusal, str):
        return Refusal(refusal)
    raise InvalidInputError(f"refuse() returned {shown(refusal)}: return one of chatcache.Refusal, or None")

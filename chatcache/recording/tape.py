"""What one scope, a test or a fixture, replays and records of the provider.

Equal requests of a scope are told apart by their numbers: the first that reaches the provider is answered by the first
record, and so on. A program's cache asks the provider once. A program without a cache, a cache that is to ask again,
and a `sample` ask each time.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from chatcache._bridge import RLock
from chatcache.cache import About, Form, Hit
from chatcache.cache.held import Held
from chatcache.cache.outcomes import Outcomes
from chatcache.cache.records import ProvidedHit, form_of, record_of
from chatcache.cache.taping import PROVIDING, Replayed, Track
from chatcache.clock import milliseconds
from chatcache.codec import decode, encode
from chatcache.errors import BundleError, InvalidValueError, NotRecordedError, SecretError
from chatcache.exit import Failure, outcome
from chatcache.interrupts import raise_interrupt
from chatcache.keys import request_key
from chatcache.mode import Refusal

from .bundle import STREAMS, Record, model_of
from .masks import has_marks
from .miss import BundleExplanation, ExplainedMiss, Reason, nearest, other_form, shown_path
from .policy import Exhausted, Policy, RecordMode
from .recordable import check_answer, check_request
from .replaced import Replaced
from .secrets import MASK, Masks, known_in, scrubbed, secrets_in_names, texts_of_places
from .shelf import Entry, Shelf
from .sketch import sketch_of
from .volatile import Found

__all__ = ["Advice", "Tape", "sample"]

T = TypeVar("T")

_DIGITS = 64  # of a key
_UNREAD = "its stream was not read to its end, so the answer is not known; read it, or close it after its last chunk"
_UNSTORED = "its answer did not reach the cache; where it has LiteLLM's no-store, call it without"
_SAMPLE: ContextVar[str] = ContextVar("chatcache_sample", default="")


@contextlib.contextmanager
def sample(number: int, *, epoch: int = 0) -> Iterator[None]:
    """Number the requests of a body on their own: for loops that ask the same again and again, at the same time, too.

    Each of them is the provider's to answer: no cache answers it from what it holds, or holds its answer.

    Args:
        number: the number of the sample.
        epoch: that of the round that it is of.
    """
    before = _SAMPLE.set(f"{epoch}.{number}")
    try:
        yield
    finally:
        _SAMPLE.reset(before)


@dataclass(frozen=True, slots=True)
class Advice:
    """What messages about a tape advise.

    Attributes:
        record: how to record a call that was missed.
        first: how to record the calls of a scope that has no records.
        errors: how to record the errors of a provider.
        allow: how to record an answer that holds a secret.
        mocked: what to do where a mock answers a call that cannot be recorded.
        varying: how to leave out of the key what is another in each run.
        listed: where to read why a call was made and not recorded.
    """

    record: str = "use mode 'refresh', where the provider can be reached"
    first: str = "use mode 'once', where the provider can be reached"
    errors: str = "Policy(errors=True) records errors"
    allow: str = (
        'If it is no secret: Policy(not_secret=[r"..."]). If the program does not need it: Policy(masked_answers=True).'
    )
    mocked: str = "leave the call out of the recording"
    varying: str = 'Policy(ignore=["name"]), or Policy(volatile=Volatile({"name": r"pattern"}))'
    listed: str = "the tape's `unrecorded` says why"


class Tape:
    """What a scope replays and records.

    Args:
        shelf: the bundle.
        scope: the test, or the fixture.
        policy: what is done with its calls.
        advice: returns what messages advise.

    Attributes:
        scope: as above.
        shelf: as above.
        mode: what is done with its calls, now that it is known whether there are records: never ``once``.
        made: what was recorded.
        used: the records that were replayed.
        misses: what was missed.
        problems: the errors of the calls that could not be recorded.
        unrecorded: why calls that were made have no record, a line each.
        saved: what was replayed would have taken: tokens, US dollars, seconds.
        hits: how many calls were replayed.
    """

    def __init__(self, shelf: Shelf, scope: str, policy: Policy, advice: Callable[[], Advice]) -> None:
        self.shelf = shelf
        self.scope = scope
        self.policy = policy
        self._advice = advice
        self.mode = policy.mode
        if self.mode is RecordMode.ONCE:
            self.mode = RecordMode.REPLAY if shelf.of_scope(scope) else RecordMode.REFRESH
        self.made: list[Record] = []
        self.used: set[str] = set()
        self.misses: list[ExplainedMiss] = []
        self.problems: list[NotRecordedError] = []
        self.saved = [0.0, 0.0, 0.0]
        self.hits = 0
        self._asked: dict[tuple[str, str], int] = {}  # how often, by store and key
        self._played: set[str] = set()  # the rows of the records that were replayed, in this round
        self._stale: dict[tuple[str, str], list[int]] = {}
        self._open: dict[tuple[str, str], list[str]] = {}  # why calls that were made have no record so far
        self._failed: dict[tuple[str, str], str] = {}
        self._held: dict[tuple[str, str], Held] = {}
        self._lock = RLock()

    sample = staticmethod(sample)

    def track(self, store_id: str, outcomes: Outcomes) -> Track:
        """Return what it holds for a store."""
        return _Track(self, store_id, outcomes)

    def held(self, location: str, store_id: str) -> Held:
        """Return what a store holds in memory; nothing at first."""
        held = self._held.get((location, store_id))
        return self._held.setdefault((location, store_id), Held()) if held is None else held

    def keyed(self, key: str, request: Any) -> tuple[str, Replaced]:
        """Return the key of a request on a tape, and the request as it is recorded."""
        replaced = Replaced.of(self.policy.counting(request), self.policy.volatile, self.policy.allowed)
        if replaced.request != request or len(key) != _DIGITS:
            key = request_key(replaced.request if _is_of(key, request) else key)
        sample = _SAMPLE.get()
        return request_key([sample, key]) if sample else key, replaced

    def known(self, store: str, key: str, request: Any) -> tuple[str, Replaced]:
        """Return what `keyed` does; a request that is recorded as it stands has nothing in it to be replaced."""
        if not _SAMPLE.get() and self.shelf.find(self.scope, store, key) and not has_marks(request):
            return key, Replaced(request, {}, Masks(), self.policy.allowed)
        return self.keyed(key, request)

    def next_of(self, store: str, key: str, forms: Collection[Form]) -> tuple[Entry | None, int]:
        """Return the record that a request is answered with next, and how often it was asked before."""
        with self._lock:
            asked = self._asked.get((store, key), 0)
            self._asked[store, key] = asked + 1
            entries = [entry for entry in self.shelf.find(self.scope, store, key) if entry.form in forms]
            left = [entry for entry in entries if entry.row not in self._played]
            if entries and not left and self.mode is RecordMode.REPLAY:
                match self.policy.exhausted:
                    case Exhausted.LAST:
                        left = entries[-1:]
                    case Exhausted.CYCLE:
                        self._played.difference_update(entry.row for entry in entries)
                        left = entries
            if not left:
                return None, asked
            self._played.add(left[0].row)
            return left[0], asked

    def add(self, store: str, key: str, made: Callable[[int], Record], lost: Sequence[str]) -> bool:
        """Record what has the next number of a request.

        Args:
            store: the store id.
            key: the key of the request.
            made: makes the record of a number.
            lost: the secrets in the answer that a replay cannot put back.
        """
        with self._lock:
            record = made(self._number(store, key))
            problem = self._problem(record, lost)
            if problem:
                self.problems.append(
                    SecretError(f"a call of store {store!r} was not recorded, it holds a secret: {problem}")
                )
                return False
            try:
                self.shelf.bundle.check_record(record)
            except BundleError as error:
                self.reject(store, error)
                return False
            self.made.append(record)
            return True

    def reject(self, store: str, problem: Exception) -> None:
        """Note that a call was made which cannot be recorded, and why."""
        raise_interrupt(problem)
        self.problems.append(NotRecordedError(f"a call of store {store!r} was not recorded: {problem}"))

    def _problem(self, record: Record, lost: Sequence[str]) -> str:
        """Return which secret keeps a call from being recorded, and what to do; nothing if none does."""
        named = [*secrets_in_names(record.request), *secrets_in_names(record.answer)]
        named += [f"{sort} in the name of its test" for sort in known_in(record.scope)]
        if named:
            return f"{named[0]}; a name cannot be masked: leave the secret out, or ignore what holds it"
        if lost and not self.policy.masked_answers:
            return (
                f"{lost[0]} of the answer; it is not in the request, so a replay would return {MASK} in its place. "
                f"{self._advice().allow}"
            )
        return ""

    def _number(self, store: str, key: str) -> int:
        """Return the number of the next record of a request: that of one that is too old, or one that is not taken."""
        stale = self._stale.get((store, key))
        if stale:
            return stale.pop(0)
        there = self.shelf.find(self.scope, store, key) if self.mode is RecordMode.AUTO else []
        made = [record.number for record in self.made if (record.store, record.key) == (store, key)]
        return max([entry.number for entry in there] + made, default=0) + 1

    @property
    def unrecorded(self) -> list[str]:
        """Why calls that were made have no record, a line each: they cannot be replayed."""
        with self._lock:
            told = [(store, why) for (store, _), each in self._open.items() for why in each]
            told += [(store, why) for (store, _), why in self._failed.items()]
        return [*map(str, self.problems), *(f"a call of store {store!r}: {why}" for store, why in told)]

    def begin(self, store: str, key: str, why: str) -> None:
        """Note that a call is made, and why it has no record if none follows."""
        with self._lock:
            self._open.setdefault((store, key), []).append(why)

    def leave_out(self, store: str, why: str) -> None:
        """Note that a call is made that no cache sees, and why."""
        self.begin(store, "", f"{why}; where a mock or a cassette answers it, {self._advice().mocked}")

    def end(self, store: str, key: str) -> None:
        """Note that a call was answered; if it failed before, a replay gives this answer at once."""
        with self._lock:
            self._failed.pop((store, key), None)
            calls = self._open.get((store, key))
            if calls:
                calls.pop()

    def failed(self, store: str, key: str, error: Exception) -> None:
        """Note that a call failed whose error is not recorded."""
        with self._lock:
            self.end(store, key)
            self._failed[store, key] = f"it failed with {type(error).__name__}; {self._advice().errors}"

    def renew(self, entry: Entry) -> None:
        """Have the next record of a request take the place of one that is too old."""
        with self._lock:
            self._stale.setdefault((entry.store, entry.key), []).append(entry.number)

    def replayed(self, record: Record, entry: Entry) -> None:
        """Note that a record was replayed."""
        with self._lock:
            self.hits += 1
            self.used.add(entry.row)
            for at, amount in enumerate((record.tokens, record.cost, record.took)):
                self.saved[at] += amount

    def missed(  # noqa: PLR0913 - what is known of a call
        self,
        store: str,
        key: str | None,
        request: Any,
        volatile: Found,
        *,
        reason: Reason,
        is_stream: bool = False,
        **why: Any,
    ) -> ExplainedMiss:
        """Return a miss, which is noted."""
        secret, advice = texts_of_places(request), self._advice()
        recorded = len(self.shelf.of_scope(self.scope))
        explanation = BundleExplanation(
            reason=reason,
            scope=self.scope,
            bundle=shown_path(self.shelf.bundle.path),
            recorded=recorded,
            ignored=self.policy.ignore,
            placeholders={token: text for token, text in volatile.items() if not any(token in each for each in secret)},
            command=advice.record if recorded else advice.first,
            hints=tuple(_hints(advice, reason, is_stream=is_stream)),
            **why,
        )
        miss = ExplainedMiss(key=key, request=request, store_id=store, explanation=explanation)
        with self._lock:
            self.misses.append(miss)
        return miss

    def raise_for_problems(self) -> None:
        """Raise `NotRecordedError` if a call could not be recorded, or `SecretError` if one holds a secret."""
        if self.problems:
            kind = max(map(type, self.problems), key=lambda each: issubclass(each, SecretError))
            raise kind("\n".join(map(str, self.problems)))


class _Track:
    """What a tape holds for one store."""

    def __init__(self, tape: Tape, store: str, outcomes: Outcomes) -> None:
        self.tape = tape
        self._store = store
        self._outcomes = outcomes
        self.calls = tape.mode is not RecordMode.REPLAY
        self.errors = tape.policy.errors
        self._replays = tape.mode is not RecordMode.REFRESH

    @property
    def is_numbered(self) -> bool:
        return bool(_SAMPLE.get())

    def look(self, key: str, request: Any, read: Callable[[Hit], T], forms: Sequence[Form]) -> Replayed[T] | None:
        found = self._look(key, request, read, forms)
        if found is None and not PROVIDING.get():
            own = form_of(key)
            is_stream = (own or forms[0]) in STREAMS
            self.tape.begin(self._store, key.removesuffix(own), _UNREAD if is_stream else _UNSTORED)
        return found

    def _look(self, key: str, request: Any, read: Callable[[Hit], T], forms: Sequence[Form]) -> Replayed[T] | None:
        tape = self.tape
        if PROVIDING.get() or not self._asks(request):
            return None
        try:
            check_request(request)
        except InvalidValueError as error:
            if tape.mode is RecordMode.AUTO:
                return None
            raise self.miss(None, f"<{type(request).__name__}>", error.problem) from None
        own = form_of(key)  # a stream's key says already that it is one
        wanted = [*(form_of(own + form) for form in forms), Form.FAILURE]
        ident, replaced = tape.known(self._store, key.removesuffix(own), request)
        entry, times = tape.next_of(self._store, ident, wanted)
        why: dict[str, Any]
        if entry is None:
            why = self._why(ident, replaced.request, wanted)
        elif self._is_too_old(entry):
            tape.renew(entry)
            why = {"reason": Reason.EXPIRED, "detail": f"max_age is {tape.policy.oldest:,.0f} s"}
        else:
            try:
                record = tape.shelf.record(entry)
                found = self._replayed(record, replaced, read)
            except _RaisedError as raised:
                tape.replayed(record, entry)
                raise raised.error from None
            except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
                raise_interrupt(error)
                why = {"reason": Reason.UNREADABLE, "detail": f"{type(error).__name__}: {error}"}
            else:
                tape.replayed(record, entry)
                return found
        if tape.mode is RecordMode.AUTO:
            return None
        why |= {"asked": times, "is_stream": wanted[0] in STREAMS}
        raise tape.missed(self._store, ident, replaced.request, replaced.volatile, **why)

    def keep(  # noqa: PLR0913, PLR0917 - as `Track`
        self,
        key: str,
        form: Form,
        answer: Any,
        about: About,
        offsets: list[float] | None,
        refusal: Refusal | None,
    ) -> bool:
        tape = self.tape
        if PROVIDING.get():
            return True
        if tape.mode is RecordMode.REPLAY:
            return False
        tape.end(self._store, key)
        check_answer(answer)
        check_request(about.request)
        ident, replaced = tape.keyed(key, about.request)
        lost: list[str] = []
        said = replaced.recorded(answer, is_stream=offsets is not None, lost=lost)
        at = milliseconds(tape.policy.clock)
        _, tokens, cost, took = record_of(answer, offsets, about, at=at, size=0)["saves"]

        def made(number: int) -> Record:
            return Record(
                scope=tape.scope,
                store=self._store,
                key=ident,
                number=number,
                form=form,
                request=replaced.request,
                answer=said,
                offsets=None if offsets is None else [round(each, 3) for each in offsets],
                sketch=sketch_of(replaced.request),
                at=at,
                tokens=tokens,
                cost=cost,
                took=round(took, 3),
                versions=about.versions,
                refusal="" if refusal is None else str(refusal),
            )

        return tape.add(self._store, ident, made, lost)

    def keep_failure(self, key: str, request: Any, error: Exception) -> None:
        self.fail(key, error)
        note = self._outcomes.written(Failure(error)) if self.errors else None
        if note is not None:
            self.keep(key.removesuffix(form_of(key)), Form.FAILURE, note, About(request=request), None, None)

    def fail(self, key: str, error: Exception) -> None:
        if not PROVIDING.get():
            self.tape.failed(self._store, key.removesuffix(form_of(key)), error)

    def share(self, keys: Collection[str]) -> None:
        for key in keys:
            self.tape.end(self._store, key.removesuffix(form_of(key)))

    def miss(self, key: str | None, request: Any, reason: str) -> ExplainedMiss:
        return self.tape.missed(self._store, key, scrubbed(request), {}, reason=Reason.NO_KEY, detail=reason)

    def reject(self, problem: Exception) -> None:
        if not PROVIDING.get():
            self.tape.reject(self._store, problem)

    def leave_out(self, reason: str) -> None:
        if not PROVIDING.get():
            self.tape.leave_out(self._store, reason)

    def _replayed(self, record: Record, replaced: Replaced, read: Callable[[Hit], T]) -> Replayed[T]:
        """Return what answers a request; raise `_RaisedError` if that is an error."""
        clock = self.tape.policy.clock
        at = milliseconds(clock)
        answer = replaced.put_back(record.answer)
        if record.form is Form.FAILURE and isinstance(answer, dict) and answer.get("_tag") == "Failure":
            try:
                outcome(self._outcomes.read(answer))
            except Exception as error:
                raise_interrupt(error)
                raise _RaisedError(error) from error
        data = encode(answer)
        size = len(data)
        result = read(ProvidedHit.of(record.key + record.form, record.stored(answer, size=size, at=at), clock))
        refusal = Refusal(record.refusal) if record.refusal else None
        return Replayed(result, record.form, lambda: record.stored(decode(data), size=size, at=at), size, refusal)

    def _is_too_old(self, entry: Entry) -> bool:
        policy = self.tape.policy
        return policy.oldest is not None and policy.clock() - entry.at / 1000 > policy.oldest

    def _why(self, ident: str, asked: Any, wanted: Collection[Form]) -> dict[str, Any]:
        tape = self.tape
        recorded = tape.shelf.find(tape.scope, self._store, ident)
        number = sum(entry.form in wanted for entry in recorded)
        if number:
            return {
                "reason": Reason.USED_UP,
                "detail": f"it is recorded {'once' if number == 1 else f'{number} times'}",
            }
        if recorded:
            return other_form(entry.form for entry in recorded)
        near = nearest(tape.shelf, tape.scope, asked, tape.policy.counting)
        if near is None:
            return {"reason": Reason.NOTHING}
        if not near.differences and near.is_edited and (near.scope, near.store) == (tape.scope, self._store):
            mended_by = f"chatcache migrate {shown_path(tape.shelf.bundle.path)}"
            return {"reason": Reason.EDITED, "nearest": near, "detail": f"this gives it its own key: {mended_by}"}
        if not near.differences:
            return {"reason": Reason.ELSEWHERE, "nearest": near}
        is_known = bool(tape.shelf.of_scope(tape.scope))
        return {"reason": Reason.DIFFERS if is_known else Reason.UNRECORDED, "nearest": near}

    def _asks(self, request: Any) -> bool:
        """Return whether a call may be answered by a record; raise what it is to fail with, if that is wanted."""
        for fault in self.tape.policy.faults:
            if fault.times > 0:
                fault.times -= 1
                raise fault.make(model_of(request))
        return self._replays


class _RaisedError(Exception):
    """A record is that of an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _is_of(key: str, request: Any) -> bool:
    """Whether a key is that of its request; else whoever asks has chosen it."""
    try:
        return request_key(request) == key
    except InvalidValueError:
        return False


def _hints(advice: Advice, reason: Reason, *, is_stream: bool) -> Iterator[str]:
    """Yield what helps where recording the call does not."""
    if reason is Reason.NO_KEY:
        yield f"Where a mock or a cassette answers it: {advice.mocked}"
        return
    if reason is Reason.DIFFERS:
        yield f"If it differs in each run: {advice.varying}"
    if is_stream:
        yield "A stream is recorded once it is read to its end."
    yield f"If that does not record it: {advice.listed}"

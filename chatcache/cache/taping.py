"""A tape between every cache and its provider: while one is in, it answers what it has recorded of the provider.

A cache works as usual: it finds what it holds, refuses what it would refuse, and lets records expire. But it holds its
records in memory, and begins empty (`chatcache.cache.held`). On a miss it asks the tape, and the provider only for what
the tape has not, and may have called. What the provider answers is recorded. What tapes are is said in
`chatcache.recording`.

A tape is in for the whole process, as that of a test is, or for a context: a thread or a task, and what it starts.
"""

from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakSet

from chatcache._bridge import RLock
from chatcache.errors import ReplayMiss
from chatcache.mode import Refusal

from .held import Held
from .outcomes import Outcomes
from .records import About, Form, Hit

__all__ = ["PROVIDING", "Follower", "Inserted", "Replayed", "Tape", "Track", "follow", "put_in", "take_out"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Replayed(Generic[T]):
    """What a tape answers in the place of the provider.

    Attributes:
        result: what `read` made of the record.
        form: the form of the record.
        stored: returns the record as a cache stores it, dated now, a new object each time.
        size: how many bytes the answer takes.
        refusal: why the answer was not worth keeping when it was recorded, if it was not.
    """

    result: T
    form: Form
    stored: Callable[[], dict[str, Any]]
    size: int
    refusal: Refusal | None


class Track(Protocol):
    """What a tape holds for one store."""

    @property
    def tape(self) -> "Tape":
        """The tape: calls of one tape share nothing with those of another."""
        ...

    @property
    def calls(self) -> bool:
        """Whether what is not recorded may be called."""
        ...

    @property
    def is_numbered(self) -> bool:
        """Whether each call of this context is the provider's, whatever the cache holds."""
        ...

    @property
    def errors(self) -> bool:
        """Whether the errors of its calls are to be recorded."""
        ...

    def look(self, key: str, request: Any, read: Callable[[Hit], T], forms: Sequence[Form]) -> Replayed[T] | None:
        """Return the next record of a request, or None: then the provider is to be called.

        Args:
            key: the key of the request.
            request: the request, a JSON value.
            read: makes the answer of a record; whatever it raises makes that record a miss.
            forms: in which forms it may be recorded.

        Raises:
            ReplayMiss: there is none, and nothing may be called.
            Exception: the record is that of an error.
        """

    def keep(  # noqa: PLR0913, PLR0917 - one place calls it
        self,
        key: str,
        form: Form,
        answer: Any,
        about: About,
        offsets: list[float] | None,
        refusal: Refusal | None,
    ) -> bool:
        """Record an answer of the provider; return whether it was.

        Args:
            key: the key of the request.
            form: the form of the answer.
            answer: a JSON value; of a stream the list of its chunks.
            about: what else is known of the call, its request among it.
            offsets: when each chunk of a stream came, in seconds since it was asked for.
            refusal: why a cache need not keep it, if it need not.
        """

    def keep_failure(self, key: str, request: Any, error: Exception) -> None:
        """Record the error of a call, where that is wanted."""

    def fail(self, key: str, error: Exception) -> None:
        """Note that a call failed, and that its error is not recorded."""

    def share(self, keys: Collection[str]) -> None:
        """Note that calls that were looked up were answered by another one that was under way."""

    def miss(self, key: str | None, request: Any, reason: str) -> ReplayMiss:
        """Return the miss of a request that has no key, or cannot be recorded, to be raised."""

    def reject(self, problem: Exception) -> None:
        """Note that a call was made which cannot be recorded, and why."""

    def leave_out(self, reason: str) -> None:
        """Note that a call is made which no cache sees, and why."""


class Tape(Protocol):
    """What is put in."""

    def track(self, store_id: str, outcomes: Outcomes) -> Track:
        """Return what it holds for a store.

        Args:
            store_id: its id.
            outcomes: makes errors of records, and records of errors.
        """
        ...

    def held(self, location: str, store_id: str) -> Held:
        """Return what a store holds in memory while the tape is in.

        Args:
            location: the file of the store.
            store_id: its id.
        """
        ...


class Follower(Protocol):
    """A cache."""

    def play(self, tape: Tape | None) -> None:
        """Ask a tape in the place of the provider from now on, or use its own store again."""
        ...


class Inserted:
    """A tape that is in, or was.

    Attributes:
        tape: the tape; None has every cache use its own store.
        of_context: whether it is for the thread or the task that put it in, and for what that starts; else it is for
            the whole process.
        outer: the tape that this context had before.
    """

    __slots__ = ("of_context", "outer", "tape")

    def __init__(self, tape: Tape | None, outer: "Inserted | None", *, of_context: bool) -> None:
        self.tape = tape
        self.outer = outer
        self.of_context = of_context


class _Deck:
    """The tapes that are in, and the caches that play them.

    Attributes:
        playing: what every cache plays: a tape, or what chooses one for each call, or None for their own stores.
    """

    def __init__(self) -> None:
        self.playing: Tape | None = None
        self._inserted: list[Inserted] = []  # the last one in is the last one
        self._last: Tape | None = None
        self._followers: WeakSet[Follower] = WeakSet()
        self._lock = RLock()

    def follow(self, cache: Follower) -> None:
        with self._lock:
            self._followers.add(cache)
            if self.playing is not None:
                cache.play(self.playing)

    def add(self, inserted: Inserted) -> None:
        with self._lock:
            self._inserted.append(inserted)
            self._last = inserted.tape or self._last
            self._play()

    def remove(self, inserted: Inserted) -> None:
        with self._lock:
            self._inserted.remove(inserted)
            self._play()

    def tape_of_context(self) -> Tape:
        """Return the tape for a call of this context, where there are several, or were when the call began."""
        with self._lock:
            choice = self._choice()
            own = _of_context.get()
            while own is not None and own not in choice:
                own = own.outer
            tape = (own or choice[-1]).tape if choice else self._last
        assert tape is not None  # noqa: S101 - a tape of a context is one
        return tape

    def _play(self) -> None:
        """Have every cache play the tape that is in, or choose for each call where there are several."""
        before = self.playing
        several = len(self._choice()) > 1
        self.playing = _BY_CONTEXT if several else self._inserted[-1].tape if self._inserted else None
        if self.playing is not before:
            for cache in [*self._followers]:
                cache.play(self.playing)

    def _choice(self) -> list[Inserted]:
        """Return the tapes of contexts that were put in after the last one of the process."""
        last = max((at for at, each in enumerate(self._inserted) if not each.of_context), default=-1)
        return self._inserted[last + 1 :]


_deck = _Deck()
_of_context: ContextVar[Inserted | None] = ContextVar("chatcache_tape", default=None)


def follow(cache: Follower) -> None:
    """Have a cache play whatever tape is in."""
    _deck.follow(cache)


def put_in(tape: Tape | None, *, of_context: bool = False) -> Inserted:
    """Put a tape in, over those that are in; return what `take_out` takes.

    Where several tapes of contexts are in at a time, as of concurrent tasks, each call goes to that of its own context.
    A call whose context has none, such as that of a thread, goes to the last one.

    Args:
        tape: the tape; None has every cache use its own store.
        of_context: whether it is for this thread or task; else it is for all of them.
    """
    inserted = Inserted(tape, _of_context.get(), of_context=of_context)
    if of_context:
        _of_context.set(inserted)
    _deck.add(inserted)
    return inserted


def take_out(inserted: Inserted) -> None:
    """Take a tape out, whichever others were put in or taken out in the meantime."""
    if _of_context.get() is inserted:
        _of_context.set(inserted.outer)
    _deck.remove(inserted)


PROVIDING: ContextVar[bool] = ContextVar("chatcache_providing", default=False)
"""Whether the provider's answer is being made, so that what is called on the way is no call of its own."""


class _ByContext:
    """The tapes of several contexts, each of which counts for the calls of its own."""

    def track(self, store_id: str, outcomes: Outcomes) -> Track:
        """Return a track that asks that of the right tape."""
        return _TrackByContext(store_id, outcomes)

    def held(self, location: str, store_id: str) -> Held:
        """Return what a store holds for the right tape."""
        return _deck.tape_of_context().held(location, store_id)


_BY_CONTEXT = _ByContext()


class _TrackByContext:
    """What the tapes of several contexts hold for one store."""

    def __init__(self, store_id: str, outcomes: Outcomes) -> None:
        self._store_id = store_id
        self._outcomes = outcomes

    @property
    def tape(self) -> Tape:
        return _deck.tape_of_context()

    @property
    def calls(self) -> bool:
        return self._track.calls

    @property
    def is_numbered(self) -> bool:
        return self._track.is_numbered

    @property
    def errors(self) -> bool:
        return self._track.errors

    def look(self, key: str, request: Any, read: Callable[[Hit], T], forms: Sequence[Form]) -> Replayed[T] | None:
        return self._track.look(key, request, read, forms)

    def keep(  # noqa: PLR0913, PLR0917 - as `Track`
        self,
        key: str,
        form: Form,
        answer: Any,
        about: About,
        offsets: list[float] | None,
        refusal: Refusal | None,
    ) -> bool:
        return self._track.keep(key, form, answer, about, offsets, refusal)

    def keep_failure(self, key: str, request: Any, error: Exception) -> None:
        self._track.keep_failure(key, request, error)

    def fail(self, key: str, error: Exception) -> None:
        self._track.fail(key, error)

    def share(self, keys: Collection[str]) -> None:
        self._track.share(keys)

    def miss(self, key: str | None, request: Any, reason: str) -> ReplayMiss:
        return self._track.miss(key, request, reason)

    def reject(self, problem: Exception) -> None:
        self._track.reject(problem)

    def leave_out(self, reason: str) -> None:
        self._track.leave_out(reason)

    @property
    def _track(self) -> Track:
        return self.tape.track(self._store_id, self._outcomes)

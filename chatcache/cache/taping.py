"""A tape in the place of every cache's store: what is recorded, and replayed, for as long as one is in.

A cache that is there when a tape is put in, and one that is made meanwhile, reads and writes nothing but the tape: it
is the tape that decides what a call finds, and whether it may be made. Its own records, modes and limits are as if they
were not there. What tapes are is said in `chatcache.recording`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

from chatcache._bridge import RLock
from chatcache.errors import ReplayMiss
from chatcache.mode import Mode

from .outcomes import Outcomes
from .records import About, Form, Hit

__all__ = ["Follower", "Tape", "Track", "follow", "put_in"]

T = TypeVar("T")


class Track(ABC):
    """What a tape holds for one store.

    Attributes:
        mode: what is done with its calls.
        errors: whether the errors of its calls are to be recorded.
    """

    mode: Mode
    errors: bool

    @abstractmethod
    def look(self, key: str, request: Any, read: Callable[[Hit], T], forms: Sequence[Form]) -> T | None:
        """Return what `read` makes of the next record of a request, or None: then the provider is to be called.

        Args:
            key: the key of the request.
            request: the request, a JSON value.
            read: makes the answer of a record; whatever it raises makes that record a miss.
            forms: in which forms it may be recorded.

        Raises:
            ReplayMiss: there is none, and nothing may be called.
            Exception: the record is that of an error.
        """

    @abstractmethod
    def keep(self, key: str, form: Form, answer: Any, about: About, offsets: list[float] | None) -> bool:
        """Record an answer; return whether it was.

        Args:
            key: the key of the request.
            form: the form of the answer.
            answer: a JSON value; of a stream the list of its chunks.
            about: what else is known of the call, its request among it.
            offsets: when each chunk of a stream came, in seconds since it was asked for.
        """

    @abstractmethod
    def keep_failure(self, key: str, request: Any, error: Exception) -> None:
        """Record the error of a call, where that is wanted."""

    @abstractmethod
    def miss(self, key: str | None, request: Any, reason: str) -> ReplayMiss:
        """Return the miss of a request that has no key, or cannot be recorded, to be raised."""


class Tape(Protocol):
    """What is put in."""

    def track(self, store_id: str, outcomes: Outcomes) -> Track:
        """Return what it holds for a store.

        Args:
            store_id: its id.
            outcomes: makes errors of records, and records of errors.
        """
        ...


class Follower(Protocol):
    """A cache."""

    def play(self, tape: Tape | None) -> None:
        """Read and write a tape from now on, or its own store again."""
        ...


_followers: "WeakSet[Follower]" = WeakSet()
_tape: Tape | None = None
_changing = RLock()


def follow(cache: Follower) -> None:
    """Have a cache play whatever tape is in."""
    with _changing:
        _followers.add(cache)
        if _tape is not None:
            cache.play(_tape)


def put_in(tape: Tape | None) -> Tape | None:
    """Put a tape in, in the place of the one that is in, or take that out; return that one."""
    global _tape  # there is one for the process, whose threads and tasks all belong to one test
    with _changing:
        before, _tape = _tape, tape
        for cache in [*_followers]:
            cache.play(tape)
    return before

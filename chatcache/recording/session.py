"""A run that replays and records: scopes, one within another, each with its tape."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from chatcache.cache.taping import put_in, take_out

from .policy import Policy, RecordMode
from .shelf import Shelves
from .tape import Advice, Tape

__all__ = ["Session"]


class Session:
    """What a run replays and records; `chatcache.recording.recording` is for one bundle and one scope."""

    def __init__(self) -> None:
        self.shelves = Shelves()

    def tape(self, name: str, path: Path, policy: Policy, *, advice: Callable[[], Advice] = Advice) -> Tape | None:
        """Return a tape, to be put in by `playing`, whose records are written by the caller; None in mode ``off``.

        Args:
            name: the test, or the fixture.
            path: its bundle.
            policy: what is done with its calls.
            advice: returns what messages advise; it is asked when there is something to say.

        Raises:
            BundleError: the bundle cannot be read.
        """
        return None if policy.mode is RecordMode.OFF else Tape(self.shelves.of(path), name, policy, advice)

    def idle(self, name: str, path: Path, policy: Policy, *, advice: Callable[[], Advice] = Advice) -> Tape:
        """Return a tape for mode ``off``, which is not put in; else as `tape`."""
        return Tape(self.shelves.of(path), name, policy, advice)

    @contextmanager
    def playing(self, tape: Tape | None, *, of_context: bool = False) -> Iterator[None]:
        """Have every cache replay and record a tape, or its own store, for as long as the body runs.

        Args:
            tape: the tape.
            of_context: whether that is for this thread or task, and what it starts; else it is for the process.
        """
        inserted = put_in(tape, of_context=of_context)
        try:
            yield
        finally:
            take_out(inserted)

    def close(self) -> None:
        """Release what was read."""
        self.shelves.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

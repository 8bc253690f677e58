"""A run that replays and records: scopes, one within another, each with its tape."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from chatcache.cache.taping import put_in
from chatcache.errors import InvalidInputError
from chatcache.storage.paths import expanded

from .policy import Policy, RecordMode
from .shelf import Shelves
from .tape import Tape

__all__ = ["Session", "recording"]

_COMMAND = "use mode 'refresh', where the provider can be reached"


class Session:
    """What a run replays and records; `recording` is for one bundle and one scope."""

    def __init__(self) -> None:
        self.shelves = Shelves()

    def tape(self, name: str, path: Path, policy: Policy, *, command: str = _COMMAND) -> Tape | None:
        """Return a tape, to be put in by `playing`, whose records are written by the caller; None in mode ``off``.

        Args:
            name: the test, or the fixture.
            path: its bundle.
            policy: what is done with its calls.
            command: what records it, as a miss says it.

        Raises:
            BundleError: the bundle cannot be read.
        """
        return None if policy.mode is RecordMode.OFF else Tape(self.shelves.of(path), name, policy, command)

    @contextmanager
    def playing(self, tape: Tape | None) -> Iterator[None]:
        """Have every cache replay and record a tape, or its own store, for as long as the body runs."""
        before = put_in(tape)
        try:
            yield
        finally:
            put_in(before)

    def close(self) -> None:
        """Release what was read."""
        self.shelves.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def recording(path: str | Path, policy: Policy | None = None, *, scope: str = "") -> Iterator[Tape]:
    """Replay and record a bundle by every cache of the process, for as long as the body runs.

    What was recorded is written when the body ends, unless it raises.

    Args:
        path: the bundle, ``*.chatcache``; it need not exist.
        policy: what is done with the calls; by default what is recorded is replayed, and the rest recorded.
        scope: whose records they are; other scopes in the same bundle are left alone.

    Raises:
        BundleError: the bundle cannot be read, or written.
        InvalidInputError: the mode is ``off``.
        SecretError: something was not recorded, because it holds a secret.
    """
    chosen = policy or Policy(mode=RecordMode.AUTO)
    if chosen.mode is RecordMode.OFF:
        raise InvalidInputError("recording() in mode 'off' has nothing to do: leave it out")
    with Session() as session:
        tape = session.tape(scope, expanded(path), chosen)
        assert tape is not None  # noqa: S101 - it is not off
        with session.playing(tape):
            yield tape
        tape.raise_for_problems()
        if tape.made:
            tape.shelf.bundle.revise(tape.made, replacing={scope} if chosen.mode is RecordMode.REFRESH else ())

"""The provider of a call, as a cache sees it while a tape is in: the tape answers first."""

from collections.abc import Callable, Sequence
from typing import Any

from chatcache._bridge import Colour, blocking

from .records import Form, Hit
from .replay import Pace, apaced, paced
from .taping import Replayed, Tape, Track

__all__ = ["TapedProvider"]


class TapedProvider:
    """The provider of one call, behind a tape.

    Args:
        track: what the tape holds for the store.
        key: the key of the request.
        reads: makes what the call is to return of a hit; whatever it raises makes the record a miss.
        raw: makes a hit that holds what the provider would have returned of a hit.
        forms: in which forms it may be recorded.
        pace: how quick a recorded stream is replayed.

    Attributes:
        track: as above.
        tape: the tape.
        is_replaying: whether what comes, an answer or an error, comes from the tape.
        replayed: what the tape answered, if it did.
    """

    def __init__(  # noqa: PLR0913 - one place for each kind of call makes it
        self,
        track: Track,
        key: str,
        reads: Callable[[Hit], Hit],
        raw: Callable[[Hit], Hit],
        forms: Sequence[Form],
        *,
        pace: Pace = "instant",
    ) -> None:
        self.track = track
        self.tape: Tape = track.tape
        self.is_replaying = False
        self.replayed: Replayed[Hit] | None = None
        self._key = key
        self._reads = reads
        self._raw = raw
        self._forms = forms
        self._pace = pace

    def answering(self, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that answers as the tape does, or else as `fn`."""

        def answer(request: Any) -> Any:
            hit = self._ask(request)
            return fn(request) if hit is None else hit.answer

        return answer

    def streaming(self, colour: Colour, fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that streams as the tape does, or else as `fn`."""

        def stream(request: Any) -> Any:
            hit = self._ask(request)
            if hit is None:
                return fn(request)
            replay = paced if colour is blocking else apaced
            return replay(hit.chunks, hit.offsets, self._pace)

        return stream

    def _ask(self, request: Any) -> Hit | None:
        self.is_replaying = True
        replayed = self.replayed = self.track.look(self._key, request, self._reads, self._forms)
        if replayed is None:
            self.is_replaying = False
            return None
        return self._raw(replayed.result.holding(**replayed.stored()))  # what was read may have been changed

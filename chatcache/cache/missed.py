"""A request that a store has no record for, where nothing may be called.

What is near to it in the store is found out by `chatcache.recording`, which explains the misses of bundles as well. It
stands above this package, so the package `chatcache` tells `EXPLAINER` of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatcache.backing import DurableObjectPersistence, ObjectStore
from chatcache.errors import ReplayMiss
from chatcache.interrupts import suppress

from .records import Form

__all__ = ["EXPLAINER", "Explainer", "Missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A request that has no record.

    Attributes:
        key: the key that was looked up, or None where the request has none.
        request: the request, a JSON value, or the name of its type if it has no key.
        forms: in which forms it might have been recorded.
        problem: what is wrong with its record, or with the request, or ``""``.
        store_id: the id of the store.
        path: the file of the store.
        store: the store; None where a tape is in, so that the file is not used.
        persistence: makes the other stores of the file.
        shows_records: whether the error may show what is recorded of other requests.
        seconds: how long to look for what is near.
        remedy: how to record the request.
    """

    key: str | None
    request: Any
    forms: Sequence[Form] = ()
    problem: str = ""
    store_id: str
    path: Path
    store: ObjectStore | None
    persistence: DurableObjectPersistence
    shows_records: bool
    seconds: float
    remedy: str


class Explainer:
    """Makes the error of a miss, of which it is told how to."""

    def __init__(self) -> None:
        self._explain: Callable[[Missed], ReplayMiss] | None = None

    def use(self, explain: Callable[[Missed], ReplayMiss]) -> None:
        """Explain misses by a function from now on; if it fails, a miss says only that there is no record."""
        self._explain = explain

    def explained(self, missed: Missed) -> ReplayMiss:
        """Return the error of a miss, to be raised. It reads the file, so it is no call for a loop's thread."""
        if self._explain is not None:
            with suppress(Exception):
                return self._explain(missed)
        return ReplayMiss(
            key=missed.key,
            request=f"<{type(missed.request).__name__}>",  # whose secrets nobody has masked
            store_id=missed.store_id,
            reason=missed.problem or "nothing is recorded under this key",
            where=str(missed.path),
        )


EXPLAINER = Explainer()

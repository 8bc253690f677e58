"""Calls between their lookup and their answer."""

from collections.abc import Iterable
from dataclasses import dataclass

from chatcache.clock import Clock, monotonic
from chatcache.keys import request_key
from chatcache.memory_tier import MemoryTier

from .records import form_of

__all__ = ["Asked", "Lookup", "batch_key"]

_MOST = 1_000  # lookups that are remembered until they are answered


@dataclass(slots=True)
class Lookup:
    """A lookup that did not answer its call.

    Attributes:
        at: when it ended, by the monotonic clock.
        bypassed: whether a step of the call failed, so that it is counted as bypassed.
    """

    at: float
    bypassed: bool = False


class Asked:
    """The last lookup of each request that has no answer so far.

    Args:
        clock: gives the time in seconds since the epoch.
    """

    def __init__(self, clock: Clock) -> None:
        self._lookups: MemoryTier[Lookup] = MemoryTier(_MOST, clock)

    def add(self, key: str, *, bypassed: bool = False) -> None:
        """Note that a lookup ended without an answer: the call takes from now on."""
        self._lookups.set(_request(key), Lookup(monotonic(), bypassed), None)

    def bypass(self, key: str) -> bool:
        """Note that a later step of a call failed; return whether it is the first one that did."""
        lookup = self._lookups.get(_request(key))
        if lookup is None:
            self.add(key, bypassed=True)
            return True
        is_first, lookup.bypassed = not lookup.bypassed, True
        return is_first

    def pop(self, key: str) -> Lookup | None:
        """Forget a lookup, since its call has an answer; return it, or None if it is not known."""
        return self._lookups.pop(_request(key))


def batch_key(keys: Iterable[str]) -> str:
    """Return the key of a call that asks for several records at once."""
    return request_key(sorted(keys))


def _request(key: str) -> str:
    """Return the key of a request, given that of a record."""
    return key.removesuffix(form_of(key))

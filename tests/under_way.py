"""Who waits for what is under way in a cache, so that a test lets a call end only when everybody waits for it."""

from chatcache import ResponseCache

__all__ = ["leads_elsewhere", "waiting"]


def waiting(cache: ResponseCache) -> int:
    """Return how many callers of this process wait for a call, or read a stream, that another caller began."""
    sharing = cache._sharing
    ends = [flight.over for flight in [*sharing.flights._flights.values()]]
    callers = sum(len(end._bells) + sum(map(len, [*end._waiting.values()])) for end in ends)
    return callers + sum(max(0, len(stream.readers) - 1) for stream in [*sharing.broadcasts._streams.values()])


def leads_elsewhere(cache: ResponseCache) -> bool:
    """Return whether somebody waits for a call that another process makes."""
    leases = cache._object.storage.list(prefix="%lease:")
    return any(waited_for for _owner, _ends, waited_for, *_ in leases.values())

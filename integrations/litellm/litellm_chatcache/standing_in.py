"""Caches that stand in for a test: of a program without a cache, and of one that uses LiteLLM's own.

LiteLLM's own cache keeps what a provider answered, and no tape can come between the two. So a `DOCache` takes its
place: it begins each test empty, in memory, and does what the other one was set to do.
"""

from collections.abc import Mapping
from typing import Any

import litellm
from litellm.caching.caching import Cache

from .cache import DOCache
from .call import Call
from .hook import Hook, StandIn, stand_in
from .kinds import FUNCTIONS
from .seams.replacing import replace_everywhere

__all__ = ["StandInCaches"]


class StandInCaches(StandIn):
    """A cache in the place of none, and one for each of LiteLLM's own.

    Args:
        path: the folder of their stores, in which nothing is written as long as a tape is in.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._plain = DOCache("litellm", path=path, mode="off")
        self._instead: dict[int, tuple[Cache, DOCache]] = {}  # by the id of the cache that is kept beside
        replace_everywhere(litellm, ["enable_cache"], self._enabling)

    def begin(self) -> None:
        """Stand in, as soon as LiteLLM is called, for whatever cache it has then."""
        stand_in(self)

    def end(self) -> None:
        """Stand in no more; the program's cache is back."""
        stand_in(None)
        self._step_aside()

    def put_in_place_of(self, cache: object) -> Hook | None:
        """Set a cache of ours instead of none, or of one of LiteLLM's own that finds equal requests."""
        if cache is None:
            ours = self._plain
        elif type(cache) is Cache and not cache._is_semantic_cache():  # noqa: SLF001 - the only way to know
            if id(cache) not in self._instead:
                self._instead[id(cache)] = cache, self._like(cache)
            ours = self._instead[id(cache)][1]
        else:
            return None
        litellm.cache = ours  # type: ignore[assignment]  # LiteLLM asks for no class
        return ours

    def leave_out(self, call: Call, arguments: Mapping[str, Any]) -> None:
        """Raise a miss for a call that is made with a cache of another make, or tell a tape that is in of it."""
        kind = type(litellm.cache)
        why = f"LiteLLM's cache is a {kind.__module__}.{kind.__qualname__}; in tests, use a DOCache, or no cache"
        self._plain.leave_out(call, arguments, why)

    def _like(self, cache: Cache) -> DOCache:
        """Return a cache that does what one of LiteLLM's is set to do."""
        supported = cache.supported_call_types
        ours = DOCache(
            cache.namespace or "litellm",
            path=self._path,
            object=f"own-{len(self._instead)}",
            ttl=cache.ttl,
            max_messages=getattr(cache, "max_messages", None),
            supported_call_types=None if supported is None else [each for each in supported if each in FUNCTIONS],
            default_off=cache.mode == "default_off",
        )
        assigned = vars(cache).get("get_cache_key")
        if assigned is not None:
            ours.get_cache_key = assigned
        return ours

    def _step_aside(self) -> None:
        """Set the program's cache again, if one of these is in its place."""
        present: object = litellm.cache
        if present is self._plain:
            litellm.cache = None
        for cache, ours in self._instead.values():
            if present is ours:
                litellm.cache = cache

    def _enabling(self, original: Any) -> Any:
        """Have LiteLLM enable a cache of its own where it has none but ours."""

        def enable(*args: Any, **kwargs: Any) -> None:
            self._step_aside()
            original(*args, **kwargs)

        return enable

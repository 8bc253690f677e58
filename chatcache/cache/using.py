"""The mode of a block: ``with cache.using(mode="refresh"):``."""

from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType

from chatcache.mode import Mode

__all__ = ["MODES", "Using"]

MODES: ContextVar[Mapping[object, Mode]] = ContextVar("chatcache_modes", default={})  # noqa: B039 - never changed
"""The modes of the blocks that this thread or task is in, by cache."""


class Using:
    """A block in which a cache has another mode, for this thread or task and for the tasks that it starts.

    Args:
        cache: the cache.
        mode: its mode in the block.
    """

    __slots__ = ("_cache", "_mode", "_modes", "_outer")

    def __init__(self, cache: object, mode: Mode) -> None:
        self._cache = cache
        self._mode = mode

    def __enter__(self) -> None:
        self._outer = MODES.get()
        self._modes = {**self._outer, self._cache: self._mode}
        MODES.set(self._modes)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if MODES.get() is self._modes:  # else the block ends in another context, as that of an async fixture may
            MODES.set(self._outer)

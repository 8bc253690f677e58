"""What the cache of an adapter offers of its engine."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from chatcache.mode import Mode, ModeName

from .environment import SETTINGS, Setting, from_environment
from .responses import ResponseCache
from .statistics import Statistics
from .using import Using

__all__ = ["Facade"]


class Facade:
    """The methods of an adapter's cache that are those of its engine.

    Attributes:
        engine: the engine.
        settings: the variables of the environment that `from_env` reads, by name.
    """

    __slots__ = ()
    engine: ResponseCache
    settings: ClassVar[Mapping[str, Setting]] = SETTINGS

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Return a cache with the options that the environment names: ``CHATCACHE_STORE``, ``CHATCACHE_TTL`` and more.

        docs/cache.md lists the variables. ``CHATCACHE_STORE`` has to be set, unless `store_id` is passed.

        Args:
            options: arguments of the class, which count more than the environment.

        Raises:
            InvalidInputError: a variable or an argument cannot be right, or the store has no name.
        """
        return cls(**from_environment(cls.settings, options))

    def using(self, *, mode: ModeName | Mode) -> Using:
        """Return a block in which this cache has another mode: ``with cache.using(mode="refresh"):``.

        It is for this thread or task, and for the tasks that it starts; see `chatcache.ResponseCache.using`.

        Raises:
            InvalidModeError: there is no such mode.
        """
        return self.engine.using(mode=mode)

    def disabled(self) -> Using:
        """Return a block in which calls are made without this cache, as `using` does with mode ``off``."""
        return self.engine.disabled()

    def stats(self) -> Statistics:
        """Return what was ever counted for this store, in every process; see `chatcache.Statistics`."""
        return self.engine.stats()

    async def astats(self) -> Statistics:
        """Awaiting twin of `stats`."""
        return await self.engine.astats()

    def clear(self) -> None:
        """Remove every record of this store, and of no other.

        Raises:
            StorageError: the records could not be removed.
        """
        self.engine.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self.engine.aclear()

    def close(self) -> None:
        """Write the counts and release the file, as the end of ``with`` does. The next use opens it again."""
        self.engine.close()

    async def aclose(self) -> None:
        """Awaiting twin of `close`."""
        await self.engine.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.aclose()

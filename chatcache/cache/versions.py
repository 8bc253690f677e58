"""Which versions of packages wrote a record."""

from collections.abc import Mapping
from functools import cache, partial

from chatcache._bridge import born_daemon, off_loop
from chatcache.interrupts import suppress

__all__ = ["learn_versions", "versions_of"]

_LEARNED: set[tuple[str, ...]] = set()


async def learn_versions(packages: tuple[str, ...]) -> None:
    """Read the versions of some packages off the loop, so that `versions_of` finds them without reading files."""
    if packages not in _LEARNED:
        await off_loop(versions_of, packages)
        _LEARNED.add(packages)


@cache
def versions_of(packages: tuple[str, ...]) -> Mapping[str, str]:
    """Return the versions of some packages by their names, as far as they are known.

    They are read in another thread. Signal handlers run in the main thread, and the exception of one that comes within
    an import may leave the lock of that import taken for good.
    """
    return born_daemon(partial(_read, packages))


def _read(packages: tuple[str, ...]) -> Mapping[str, str]:
    found = {}
    for package in packages:
        with suppress(Exception):  # one that is not installed, or whose metadata cannot be read
            from importlib.metadata import version  # here, since it takes a tenth of the time of all imports

            found[package] = version(package)
    return found

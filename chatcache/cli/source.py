"""Where records are read from: bundles in a folder, or the store of a cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from chatcache.cache import ResponseCache
from chatcache.recording import SUFFIX, Bundle, Record, from_store

__all__ = ["Source", "bundles_in", "sources", "store_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """A record, and where it is.

    Attributes:
        where: the bundle, or the file of the store.
        record: the record.
    """

    where: Path
    record: Record

    @property
    def name(self) -> str:
        """What a person calls it: the first digits of its key, and its number where it is not the first."""
        number = f"#{self.record.number}" if self.record.number > 1 else ""
        return f"{self.record.key[:12]}{number}"


def bundles_in(paths: tuple[Path, ...]) -> list[Bundle]:
    """Return the bundles that are named, and those in the folders that are.

    Raises:
        click.UsageError: there is none.
    """
    found: list[Path] = []
    for path in paths or (Path(),):
        if path.is_dir():
            found += sorted(path.rglob(f"*{SUFFIX}"))
        elif path.exists():
            found.append(path)
        else:
            raise click.UsageError(f"{path} does not exist")
    if not found:
        raise click.UsageError(f"no *{SUFFIX} in {', '.join(map(str, paths or (Path.cwd(),)))}")
    return [Bundle(path) for path in dict.fromkeys(found)]


def store_of(store: str, folder: Path | None, thing: str) -> ResponseCache:
    """Return a cache of a store.

    Raises:
        click.UsageError: there is no such file.
    """
    cache = ResponseCache(store, path=folder, object=thing, mode="read_only")
    if not cache.location.exists():
        raise click.UsageError(f"nothing is recorded in {cache.location}: pass --path, or --object")
    return cache


def sources(paths: tuple[Path, ...], store: str | None, folder: Path | None, thing: str) -> Iterator[Source]:
    """Yield the records of a store, if one is named, or else those of bundles."""
    if store is None:
        for bundle in bundles_in(paths):
            for record in bundle.read():
                yield Source(bundle.path, record)
        return
    cache = store_of(store, folder, thing)
    for record in from_store(cache):
        yield Source(cache.location, record)

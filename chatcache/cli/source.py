"""Where records are read from: bundles in a folder, or the store of a cache."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from chatcache.cache import ResponseCache
from chatcache.recording import SUFFIX, Bundle, Record, scrubbed
from chatcache.recording.bundle import BLOBS, is_leftover, locked
from chatcache.recording.stores import as_stored

from .output import progress

__all__ = ["Source", "bundles_in", "called", "records_of", "remove_leftovers", "sources", "store_of"]


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
        """What a person calls it."""
        return called(self.record.key, self.record.number)


def called(key: str, number: int) -> str:
    """Return what a person calls a record: the first digits of its key, and its number where it is not the first."""
    return f"{key[:12]}#{number}" if number > 1 else key[:12]


def bundles_in(paths: tuple[Path, ...]) -> list[Bundle]:
    """Return the bundles that are named, and those in the folders that are.

    Raises:
        click.UsageError: there is none.
    """
    found: list[Path] = []
    for path in paths or (Path(),):
        if path.is_dir():
            found += sorted(each for each in path.rglob(f"*{SUFFIX}") if not each.is_dir())
        elif path.exists():
            found.append(path)
        else:
            raise click.UsageError(f"{path} does not exist")
    if not found:
        raise click.UsageError(f"no *{SUFFIX} in {', '.join(map(str, paths or (Path.cwd(),)))}")
    return [Bundle(path) for path in dict.fromkeys(found)]


def remove_leftovers(paths: tuple[Path, ...]) -> None:
    """Remove what killed writers left in the folders that are named, and in those within them.

    Raises:
        BundleError: a folder is locked, or cannot be written to.
    """
    for path in paths or (Path(),):
        folders = {file.parent for file in path.rglob(".*") if is_leftover(file.name)} if path.is_dir() else ()
        for folder in {each.parent if each.name == BLOBS else each for each in folders}:
            with locked(folder):  # which removes them
                pass


def store_of(store: str, folder: Path | None, thing: str) -> ResponseCache:
    """Return a cache of a store.

    Raises:
        click.UsageError: there is no such file.
    """
    cache = ResponseCache(store, path=folder, object=thing, mode="read_only")
    if not cache.location.exists():
        raise click.UsageError(
            f"nothing is recorded in {cache.location}, there is no store there: check --path and --object"
        )
    return cache


def records_of(bundle: Bundle, *, with_blobs: bool = True) -> Iterator[Record]:
    """Yield the records of a bundle, and show that it is read where there are many.

    Args:
        bundle: the bundle.
        with_blobs: as `Bundle.records` takes it.

    Raises:
        BundleError: it cannot be read.
    """
    yield from progress(bundle.records(with_blobs=with_blobs), f"reading {bundle.path}")


def sources(  # noqa: PLR0913 - the options of a command, and two of its own
    paths: tuple[Path, ...],
    store: str | None,
    folder: Path | None,
    thing: str,
    *,
    raw: bool = False,
    with_blobs: bool = True,
) -> Iterator[Source]:
    """Yield the records of a store, if one is named, or else those of bundles.

    Args:
        paths: the bundles, or folders of them.
        store: the id of the store.
        folder: the folder of its object.
        thing: the name of its object.
        raw: whether the secrets in the records of a store are left in them.
        with_blobs: as `Bundle.records` takes it.

    Raises:
        click.UsageError: there is no such bundle or store.
    """
    if store is None:
        for bundle in bundles_in(paths):
            for record in records_of(bundle, with_blobs=with_blobs):
                yield Source(bundle.path, record)
        return
    cache = store_of(store, folder, thing)
    for record in progress(as_stored(cache), f"reading store {cache.store_id}"):
        yield Source(cache.location, record if raw else _masked(record))


def _masked(record: Record) -> Record:
    return replace(record, request=scrubbed(record.request), answer=scrubbed(record.answer, random=False))

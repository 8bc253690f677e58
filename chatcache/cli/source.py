"""Where records are read from: bundles, and the stores of caches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click

from chatcache.cache import ResponseCache, stores_in
from chatcache.recording import SUFFIX, Bundle, Record, scrubbed
from chatcache.recording.bundle import BLOBS, is_leftover, locked
from chatcache.recording.stores import as_stored
from chatcache.storage.paths import DEFAULT_FOLDER, default_folder

from .output import progress

__all__ = [
    "Places",
    "Source",
    "called",
    "name_of_store",
    "places",
    "records_of",
    "remove_leftovers",
    "sources",
    "store_of",
]


@dataclass(frozen=True, slots=True)
class Source:
    """A record, and where it is.

    Attributes:
        where: the path of the bundle, or the name of the store.
        record: the record.
    """

    where: str
    record: Record

    @property
    def name(self) -> str:
        """What a person calls it."""
        return called(self.record.key, self.record.number)


def called(key: str, number: int) -> str:
    """Return what a person calls a record: the first digits of its key, and its number where it is not the first."""
    return f"{key[:12]}#{number}" if number > 1 else key[:12]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a command finds records.

    Attributes:
        bundles: the bundles.
        stores: caches of the stores, which only read.
    """

    bundles: list[Bundle]
    stores: list[ResponseCache]


def places(
    paths: tuple[Path, ...] = (), store: str | None = None, folder: Path | None = None, thing: str | None = None
) -> Places:
    """Return where there are records.

    Args:
        paths: bundles, and folders of bundles and stores; by default the working folder, and the folder of stores.
        store: the id of a store, which is then all that is taken.
        folder: the folder of stores, or of the one store.
        thing: the name of their object.

    Raises:
        click.UsageError: there is nothing.
    """
    if store is not None:
        return Places([], [store_of(store, folder, thing or "default")])
    if folder is not None or thing is not None:
        return _told(Places([], [*stores_in(folder, thing)]), f"no store in {folder or default_folder()}")
    if not paths:
        looked_in = f"no *{SUFFIX} in {Path.cwd()}, and no store in {default_folder()}"
        return _told(Places(_bundles_below(Path()), [*stores_in()]), looked_in)
    bundles: dict[Path, Bundle] = {}
    stores: dict[tuple[Path, str], ResponseCache] = {}
    for path in paths:
        if path.is_dir():
            bundles.update((bundle.path, bundle) for bundle in _bundles_below(path))
            for each in (path, path / DEFAULT_FOLDER):
                stores.update(((cache.location, cache.store_id), cache) for cache in stores_in(each))
        elif path.exists():
            bundles[path] = Bundle(path)
        else:
            raise click.UsageError(f"{path} does not exist")
    looked_in = f"no *{SUFFIX} in {', '.join(map(str, paths))}, and no store"
    return _told(Places([*bundles.values()], [*stores.values()]), looked_in)


def _told(found: Places, problem: str) -> Places:
    if not found.bundles and not found.stores:
        raise click.UsageError(problem)
    return found


def _bundles_below(folder: Path) -> list[Bundle]:
    return [Bundle(path) for path in sorted(folder.rglob(f"*{SUFFIX}")) if not path.is_dir()]


def name_of_store(cache: ResponseCache) -> str:
    """Return what a person calls a store: its id, and where it is."""
    folder = cache.location.parent.parent
    if folder.is_relative_to(Path.cwd()):
        folder = folder.relative_to(Path.cwd())
    within = "" if cache.object == "default" else f"object {cache.object} of "
    return f"{cache.store_id} in {within}{folder}"


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


def sources(taken: Places, *, raw: bool = False, with_blobs: bool = True) -> Iterator[Source]:
    """Yield the records of what a command takes.

    Args:
        taken: from `places`.
        raw: whether the secrets in the records of a store are left in them.
        with_blobs: as `Bundle.records` takes it.

    Raises:
        BundleError: a bundle cannot be read.
        PersistenceError: a store cannot be read.
    """
    for bundle in taken.bundles:
        for record in records_of(bundle, with_blobs=with_blobs):
            yield Source(str(bundle.path), record)
    for cache in taken.stores:
        name = name_of_store(cache)
        for record in progress(as_stored(cache), f"reading store {name}"):
            yield Source(name, record if raw else _masked(record))


def _masked(record: Record) -> Record:
    return replace(record, request=scrubbed(record.request), answer=scrubbed(record.answer, random=False))

"""Commands that take records from one place to another."""

from pathlib import Path

import click

from chatcache.recording import Bundle, Head, Skipped, from_store, name_of, rekeyed

from .group import FOLDER, OBJECT, PATHS, ExpandedPath, chatcache
from .intake import as_data, checked, told
from .output import as_json, count, printable, progress, say
from .source import places, records_of, store_of

__all__ = ["export", "merge", "migrate"]


_Block = tuple[Head, bytes]


@chatcache.command()
@click.argument("target", type=ExpandedPath(path_type=Path))
@click.option("--store", required=True, help="The store to export.")
@FOLDER
@OBJECT
@click.option("--test", default="", help="What the records are to be called in the bundle.")
@as_json
def export(target: Path, store: str, folder: Path | None, thing: str, test: str, as_json: bool) -> None:  # noqa: FBT001, PLR0913, PLR0917
    """Write the records of a store into the bundle TARGET, their secrets masked.

    They take the place of those of the same store and test in TARGET; what is there of others stays. A record whose
    request is not stored in full (store_requests) is left out.
    """
    cache = store_of(store, folder, thing)
    skipped: list[Skipped] = []
    found = from_store(cache, test, as_on_tape=True, skipped=skipped)
    records = checked(progress(found, f"exporting store {store}"))
    about = told(skipped, len(records) + len(skipped))
    if not records:
        raise click.ClickException(f"store {store!r} in {cache.location} has no records to export{about}")
    bundle = Bundle(target)
    with bundle.locked():
        kept = [block for block in bundle.blocks() if (block[0]["test"], block[0]["store"]) != (test, store)]
        bundle.write([*kept, *records])
    say(
        {"exported": len(records), **as_data(skipped), "target": str(target)},
        f"{count(len(records), 'record')} in {target}{about}",
        as_json=as_json,
    )


@chatcache.command()
@click.argument("base", type=ExpandedPath(path_type=Path))
@click.argument("ours", type=ExpandedPath(path_type=Path))
@click.argument("theirs", type=ExpandedPath(path_type=Path))
@as_json
def merge(base: Path, ours: Path, theirs: Path, as_json: bool) -> None:  # noqa: FBT001
    """Merge two bundles record by record: for git, which then has no conflicts in bundles.

    BASE is what both were made of, an empty file where that was nothing; the outcome is written to OURS. Of a record
    that both changed, the later recording is kept; one that only one of them removed is gone. To have git use it: git
    config merge.chatcache.driver "chatcache merge %O %A %B", and "*.chatcache merge=chatcache" in .gitattributes.
    """
    before = {} if base.exists() and not base.stat().st_size else _by_name(base)
    other, target = _by_name(theirs), Bundle(ours)
    with target.locked():
        one = _by_name(ours)
        kept = [each for name in {*one, *other} if (each := _merged(before.get(name), one.get(name), other.get(name)))]
        target.write(kept)
    say({"records": len(kept), "target": str(ours)}, f"{count(len(kept), 'record')} in {ours}", as_json=as_json)


@chatcache.command()
@PATHS
@as_json
def migrate(paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Write bundles anew in the present layout, whichever version wrote them, or whoever edited them.

    A record whose request was edited gets the key of what it says now, so that it is replayed to that. Stores have one
    layout so far, and stay as they are.
    """
    changed = [str(bundle.path) for bundle in places(paths).bundles if _migrated(bundle)]
    say(changed, "\n".join([*map(printable, changed), f"{count(len(changed), 'bundle')} changed"]), as_json=as_json)


def _migrated(bundle: Bundle) -> bool:
    """Write a bundle anew; return whether that changed anything."""
    with bundle.locked():
        return bundle.write(rekeyed([*records_of(bundle)]))


def _by_name(path: Path) -> dict[tuple[str, str, str, int], _Block]:
    return {name_of(head): (head, text) for head, text in Bundle(path).blocks()}


def _merged(base: _Block | None, one: _Block | None, other: _Block | None) -> _Block | None:
    """Return what a merge keeps of a record, which may be gone on one side, or on both."""
    if one is None or other is None:
        left = one or other
        return None if base == left else left
    if base in (one, other):
        return other if base == one else one
    return max(one, other, key=lambda block: str(block[0]["at"]))

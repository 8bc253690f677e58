"""Commands that take records from one place to another."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from chatcache.cache import ResponseCache
from chatcache.recording import Bundle, Head, Record, from_store, from_vcr, into_store, name_of, sketch_of

from .group import FOLDER, OBJECT, PATHS, chatcache
from .output import as_json, progress, say
from .source import bundles_in, store_of

__all__ = ["export", "import_", "merge", "migrate"]


_Block = tuple[Head, bytes]


@chatcache.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--store", required=True, help="The store to export.")
@FOLDER
@OBJECT
@click.option("--test", default="", help="What the records are to be called in the bundle.")
@as_json
def export(target: Path, store: str, folder: Path | None, thing: str, test: str, as_json: bool) -> None:  # noqa: FBT001, PLR0913, PLR0917
    """Write the records of a store into the bundle TARGET, their secrets masked. What is there of others stays."""
    records = [*from_store(store_of(store, folder, thing), test)]
    Bundle(target).revise(progress(records, "exporting"), replacing={test})
    say({"exported": len(records), "target": str(target)}, f"{len(records):,} records in {target}", as_json=as_json)


@chatcache.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--store", required=True, help="The store id of the records.")
@FOLDER
@OBJECT
@click.option("--from", "origin", help="The store to import from, in a folder of stores; by default of the same id.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Import into this bundle, and no store.")
@click.option("--test", help="The test that the records are to be of; by default those of a bundle stay as they are.")
@as_json
def import_(  # noqa: PLR0913, PLR0917
    source: Path,
    store: str,
    folder: Path | None,
    thing: str,
    origin: str | None,
    target: Path | None,
    test: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take the records of SOURCE into a store, or into a bundle.

    SOURCE is a bundle, or a folder of stores, such as another one's .chatcache, or a cassette of vcrpy or
    pytest-recording (YAML) with calls of the form of OpenAI's or Anthropic's. The request of such a call is the body
    that was sent, as ResponseCache.call takes it.
    """
    if source.is_dir():
        records = [*from_store(store_of(origin or store, source, "default"))]
    elif source.suffix in {".yaml", ".yml"}:
        records = [*from_vcr(source, store)]
    else:
        records = Bundle(source).read()
    if not records:
        raise click.ClickException(
            f"{source} has no records" + (f" of store {origin or store!r}" if source.is_dir() else "")
        )
    if target is not None:
        if test is not None:
            records = [*_of_test(test, records)]
        Bundle(target).revise(records)
        number, where = len(records), target
    else:
        cache = ResponseCache(store, path=folder, object=thing)
        number, where = into_store(cache, progress(records, "importing")), cache.location
        cache.close()
    say({"imported": number, "target": str(where)}, f"{number:,} records in {where}", as_json=as_json)


def _of_test(test: str, records: Iterable[Record]) -> Iterator[Record]:
    """Yield records as those of one test, numbered anew."""
    numbers: Counter[tuple[str, str]] = Counter()
    for record in records:
        name = record.store, record.key
        numbers[name] += 1
        yield replace(record, scope=test, number=numbers[name])


@chatcache.command()
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("theirs", type=click.Path(path_type=Path))
@as_json
def merge(base: Path, ours: Path, theirs: Path, as_json: bool) -> None:  # noqa: FBT001
    """Merge two bundles record by record: for git, which then has no conflicts in bundles.

    BASE is what both were made of; the outcome is written to OURS. Of a record that both changed, the later recording
    is kept; one that only one of them removed is gone. To have git use it: git config merge.chatcache.driver
    "chatcache merge %O %A %B", and "*.chatcache merge=chatcache" in .gitattributes.
    """
    before, one, other = (
        {name_of(head): (head, text) for head, text in Bundle(path).blocks()} for path in (base, ours, theirs)
    )
    kept = [each for name in {*one, *other} if (each := _merged(before.get(name), one.get(name), other.get(name)))]
    Bundle(ours).write(kept)
    say({"records": len(kept), "target": str(ours)}, f"{len(kept):,} records in {ours}", as_json=as_json)


@chatcache.command()
@PATHS
@as_json
def migrate(paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Write bundles anew in the present layout, whichever version wrote them, or whoever edited them."""
    changed = []
    for bundle in bundles_in(paths):
        records = bundle.read()
        anew = [each if each.request is None else _sketched(each) for each in records]
        if bundle.write(anew):
            changed.append(str(bundle.path))
    say(changed, "\n".join([*changed, f"{len(changed)} bundles changed"]), as_json=as_json)


def _sketched(record: Record) -> Record:
    return replace(record, sketch=sketch_of(record.request))


def _merged(base: _Block | None, one: _Block | None, other: _Block | None) -> _Block | None:
    """Return what a merge keeps of a record, which may be gone on one side, or on both."""
    if one is None or other is None:
        left = one or other
        return None if base == left else left
    if base in (one, other):
        return other if base == one else one
    return max(one, other, key=lambda block: str(block[0]["at"]))

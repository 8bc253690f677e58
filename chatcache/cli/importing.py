"""The command that takes records over from elsewhere."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from chatcache.cache import ResponseCache
from chatcache.recording import Bundle, Record, from_store, from_vcr, into_store

from .group import FOLDER, ExpandedPath, chatcache
from .intake import beside, checked, reasons, told
from .output import as_json, count, progress, say
from .source import records_of, store_of

__all__ = ["import_"]

_CASSETTES = {".yaml", ".yml"}


@chatcache.command("import")
@click.argument("source", type=ExpandedPath(path_type=Path, exists=True))
@click.option("--store", help="The store id of the records; by default, in a bundle, the one that they have.")
@FOLDER
@click.option(
    "--object",
    "thing",
    default="default",
    show_default=True,
    help="The object of the store, and of the one in a folder of stores.",
)
@click.option("--from", "origin", help="The store to import from, in a folder of stores; by default of the same id.")
@click.option("--to", "target", type=ExpandedPath(path_type=Path), help="Import into this bundle, and no store.")
@click.option(
    "--test", help="The test that the records are to be of in a bundle; by default those of a bundle stay as they are."
)
@as_json
@click.pass_context
def import_(  # noqa: PLR0913, PLR0917
    context: click.Context,
    source: Path,
    store: str | None,
    folder: Path | None,
    thing: str,
    origin: str | None,
    target: Path | None,
    test: str | None,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take the records of SOURCE into a store, or into a bundle.

    SOURCE is a bundle, or a folder of stores, such as another one's .chatcache, or a cassette of vcrpy or
    pytest-recording (YAML) with calls of the form of OpenAI's or Anthropic's, or a folder of cassettes. The request of
    such a call is the body that was sent, as ResponseCache.call takes it.

    Nothing in a bundle is overwritten: a record that says what one of the same test says is there already, and another
    answer to the same request has the next number.
    """
    wanted = _Wanted(source, _cassettes_in(source), store, origin, thing)
    _check(wanted, target, folder, test, names_object=_is_given(context, "thing"))
    left_out: list[str] = []
    records = checked(wanted.records(left_out, as_on_tape=target is not None))
    about = told(left_out, len(records) + len(left_out))
    if not records:
        of = f" of store {origin or store!r}" if wanted.is_of_stores else ""
        raise click.ClickException(f"{source} has no records{of}{about}")
    more: dict[str, Any] = {}
    if target is not None:
        bundle = Bundle(target)
        with bundle.locked():
            new = beside(bundle, records if test is None else _of_test(test, records))
            bundle.revise(new)
        number, there, where = len(new), len(records) - len(new), target
        more["already_there"] = there
        about = f"{f'; {there:,} more are there already' if there else ''}{about}"
    else:
        cache = ResponseCache(wanted.id, path=folder, object=thing)
        total = len(records) + len(left_out)
        number = into_store(cache, progress(records, f"importing {source}"), left_out=left_out)
        where, about = cache.location, told(left_out, total)
        cache.close()
    more |= {"left_out": len(left_out), "reasons": reasons(left_out)}
    say(
        {"imported": number, **more, "target": str(where)},
        f"{count(number, 'record')} in {where}{about}",
        as_json=as_json,
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be imported.

    Attributes:
        source: a bundle, a cassette, or a folder of cassettes or of stores.
        cassettes: the cassettes, if it is one, or a folder of some.
        store: the store id that the records are to have, or None for their own.
        origin: the store to read, in a folder of stores, if it is not the one of that id.
        thing: the object of that store.
    """

    source: Path
    cassettes: list[Path]
    store: str | None
    origin: str | None
    thing: str

    @property
    def id(self) -> str:
        """The store id that is asked for."""
        return self.store or ""

    @property
    def is_of_stores(self) -> bool:
        """Whether it is a folder of stores."""
        return self.source.is_dir() and not self.cassettes

    def records(self, left_out: list[str], *, as_on_tape: bool) -> Iterator[Record]:
        """Yield the records.

        Args:
            left_out: takes for each call that cannot be taken over why.
            as_on_tape: as `from_store` takes it.
        """
        for record in self._found(left_out, as_on_tape):
            yield record if self.store is None else replace(record, store=self.store)

    def _found(self, left_out: list[str], as_on_tape: bool) -> Iterator[Record]:  # noqa: FBT001
        if self.is_of_stores:
            cache = store_of(self.origin or self.id, self.source, self.thing)
            found = from_store(cache, as_on_tape=as_on_tape, left_out=left_out)
            yield from progress(found, f"reading store {cache.store_id}")
        elif self.cassettes:
            for path in self.cassettes:
                found = from_vcr(path, self.id, as_on_tape=as_on_tape, left_out=left_out)
                yield from progress(found, f"reading {path}")
        else:
            yield from records_of(Bundle(self.source))


def _cassettes_in(source: Path) -> list[Path]:
    files = source.rglob("*") if source.is_dir() else [source]
    return sorted(path for path in files if path.suffix in _CASSETTES)


def _check(wanted: _Wanted, target: Path | None, folder: Path | None, test: str | None, *, names_object: bool) -> None:
    """Raise `click.UsageError` where options are missing, or have nothing to do with what is asked for."""
    source, into_bundle = wanted.source, target is not None
    problems = {
        "pass --store, the store to import into, or --to, a bundle": not wanted.store and not into_bundle,
        f"pass --store, the store id that the calls in {source} are to have": not wanted.store and wanted.cassettes,
        f"pass --from, the store in {source} to import": wanted.is_of_stores and not (wanted.store or wanted.origin),
        f"--from is the store in a folder of stores, which {source} is not": wanted.origin and not wanted.is_of_stores,
        "--test is for a bundle, see --to: what is in a store is of no test": test is not None and not into_bundle,
        "--path is for a store: with --to nothing is imported into one": folder and into_bundle,
        "--object is for a store: none is read here, and none written": (
            names_object and into_bundle and not wanted.is_of_stores
        ),
    }
    for problem, is_so in problems.items():
        if is_so:
            raise click.UsageError(problem)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def _of_test(test: str, records: Iterable[Record]) -> Iterator[Record]:
    """Yield records as those of one test, numbered anew."""
    numbers: Counter[tuple[str, str]] = Counter()
    for record in records:
        name = record.store, record.key
        numbers[name] += 1
        yield replace(record, scope=test, number=numbers[name])

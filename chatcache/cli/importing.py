"""The command that takes records over from elsewhere."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from chatcache.cache import ResponseCache
from chatcache.errors import BundleError
from chatcache.recording import (
    SUFFIX,
    Bundle,
    CassetteTest,
    Record,
    Skipped,
    from_store,
    from_vcr,
    into_store,
    model_of,
)

from .group import FOLDER, ExpandedPath, chatcache
from .intake import as_data, beside, checked, told
from .output import as_json, count, progress, say
from .source import records_of, store_of

__all__ = ["import_"]

_CASSETTES = {".yaml", ".yml", ".json"}
_HEAD = 200  # bytes, within which a cassette in JSON says that it is one
_CALLERS = "ResponseCache({store!r}).call and .stream of the bodies that were sent"
_OF_NO_MODULE = "its path names no file of tests, and so no bundle in the folder; pass --to BUNDLE"
_OTHER_CALLERS = (
    "They do not answer calls through LiteLLM or LangChain, which have other keys. To take over their tests: "
    "pytest --chatcache-from-cassettes"
)


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
@click.option(
    "--to",
    "target",
    type=ExpandedPath(path_type=Path),
    help="Import into this bundle, and no store; of cassettes, into the bundles of their tests in this folder.",
)
@click.option(
    "--test",
    help="The test that the records are to be of in a bundle; by default those of a bundle stay as they are, and those "
    "of a cassette are of the test that its path names.",
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

    SOURCE is a bundle, or a folder of stores, such as another one's .chatcache, or a cassette of vcrpy,
    pytest-recording or pytest-vcr (YAML, JSON) with calls of the form of OpenAI's or Anthropic's, or a folder of
    cassettes. The request of such a call is the body that was sent, as ResponseCache.call takes it: the records answer
    no other caller. The calls that are left out are listed, each with the reason.

    A record of cassettes/<module>/<test>.yaml is of that test, as pytest-chatcache names it. Its time is that of the
    call in the cassette.

    Nothing in a bundle is overwritten: a record that says what one of the same test says is there already, and another
    answer to the same request has the next number.
    """
    wanted = _Wanted(source, _cassettes_in(source), store, origin, thing)
    _check(wanted, target, folder, test, names_object=_is_given(context, "thing"))
    skipped: list[Skipped] = []
    found = {where: checked(records) for where, records in wanted.records(target, skipped)}
    records = [record for each in found.values() for record in each]
    calls = len(records) + len(skipped)
    if not records:
        of = f" of store {origin or store!r}" if wanted.is_of_stores else ""
        raise click.ClickException(f"{source} has no records{of}{told(skipped, calls)}")
    more: dict[str, Any] = {}
    about = ""
    if target is not None:
        number = sum(_add(Bundle(bundle), found[bundle], test) for bundle in found if bundle is not None)
        more["already_there"] = there = len(records) - number
        about, where = f"; {there:,} more are there already" if there else "", target
    else:
        cache = ResponseCache(wanted.id, path=folder, object=thing)
        number, where = into_store(cache, progress(records, f"importing {source}"), skipped=skipped), cache.location
        cache.close()
    about += told(skipped, calls)
    if wanted.cassettes:
        more["answers"] = _CALLERS.format(store=wanted.id)
        about += _said_of(records, more["answers"], is_of_tests=target is not None and test is None)
    more |= as_data(skipped)
    say(
        {"imported": number, **more, "target": str(where)},
        f"{count(number, 'record')} in {where}{about}",
        as_json=as_json,
    )


def _said_of(records: Iterable[Record], answers: str, *, is_of_tests: bool) -> str:
    """Return which tests and callers the records of cassettes are for, a line each."""
    nameless = sum(not record.scope for record in records) if is_of_tests else 0
    of_none = f"\n{count(nameless, 'record')} of no test: the path of the cassette names none; --test names one"
    return f"{of_none if nameless else ''}\nThe records answer {answers}.\n{_OTHER_CALLERS}"


def _add(bundle: Bundle, records: Sequence[Record], test: str | None) -> int:
    """Add records to a bundle, as those of a test if one is given; return how many were not there."""
    with bundle.locked():
        new = beside(bundle, records if test is None else _of_test(test, records))
        bundle.revise(new)
    return len(new)


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

    def records(self, target: Path | None, skipped: list[Skipped]) -> Iterator[tuple[Path | None, Iterable[Record]]]:
        """Yield records, with the bundle that they are for, or None for a store.

        Args:
            target: that bundle; of cassettes also the folder of the bundles of their tests.
            skipped: collects the calls that are left out.
        """
        if self.cassettes:
            yield from self._of_cassettes(target, skipped)
        else:
            yield target, self._renamed(self._found(skipped, as_on_tape=target is not None))

    def _found(self, skipped: list[Skipped], *, as_on_tape: bool) -> Iterable[Record]:
        if not self.is_of_stores:
            return records_of(Bundle(self.source))
        cache = store_of(self.origin or self.id, self.source, self.thing)
        found = from_store(cache, as_on_tape=as_on_tape, skipped=skipped)
        return progress(found, f"reading store {cache.store_id}")

    def _of_cassettes(
        self, target: Path | None, skipped: list[Skipped]
    ) -> Iterator[tuple[Path | None, Iterable[Record]]]:
        found: dict[Path | None, list[Record]] = defaultdict(list)
        for path in self.cassettes:
            try:
                for where, record in self._of_cassette(path, target, skipped):
                    found[where].append(record)
            except BundleError as error:
                if not self.source.is_dir():
                    raise
                skipped.append(Skipped(str(path), str(error).removeprefix(f"{path} ")))
        yield from found.items()

    def _of_cassette(
        self, path: Path, target: Path | None, skipped: list[Skipped]
    ) -> Iterator[tuple[Path | None, Record]]:
        test = CassetteTest.of(path)
        where = target
        if target is not None and target.is_dir():
            if test is None or test.module is None:
                left = [*from_vcr(path, self.id, skipped=skipped)]
                skipped += [Skipped(f"{path}, model {model_of(each.request)}", _OF_NO_MODULE) for each in left]
                return
            where = target / f"{test.module.stem}{SUFFIX}"
        scope = "" if test is None or where is None else test.scope_in(where)
        records = from_vcr(path, self.id, scope, as_on_tape=where is not None, skipped=skipped)
        for record in progress(records, f"reading {path}"):
            problem = "" if where is None else _problem_of(record, Bundle(where))
            if problem:
                skipped.append(Skipped(f"{path}, model {model_of(record.request)}", problem))
            else:
                yield where, record

    def _renamed(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            yield record if self.store is None else replace(record, store=self.store)


def _problem_of(record: Record, bundle: Bundle) -> str:
    """Return why a bundle cannot hold a record; nothing if it can."""
    try:
        bundle.check_record(record)
    except BundleError as error:
        return str(error)
    return ""


def _cassettes_in(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source] if source.suffix in _CASSETTES else []
    return sorted(path for path in source.rglob("*") if path.suffix in _CASSETTES and _is_cassette(path))


def _is_cassette(path: Path) -> bool:
    """Whether a file in a folder is a cassette, by its name; one of JSON also by how it begins."""
    if path.suffix != ".json":
        return not path.is_dir()
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"interactions"' in file.read(_HEAD)


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

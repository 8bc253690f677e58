"""The commands."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from rich.progress import track

from chatcache.errors import BundleError
from chatcache.recording import Bundle, Record, differences, from_store, from_vcr, into_store, secrets_in, sketch_of

from .output import as_json, console, say_json, table
from .source import Source, bundles_in, sources, store_of

__all__ = ["chatcache"]

_PATHS = click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
_STORE = click.option("--store", help="Read the store of this id, and no bundles.")
_FOLDER = click.option("--path", "folder", type=click.Path(path_type=Path), help="The folder of the store's object.")
_OBJECT = click.option("--object", "thing", default="default", show_default=True, help="The object of the store.")
_MANY = 2_000  # records from which on progress is shown


def _reading(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (as_json, _OBJECT, _FOLDER, _STORE, _PATHS):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="chatcache")
def chatcache() -> None:
    """Look into recorded LLM calls, and take care of them.

    PATHS are bundles (*.chatcache), or folders with bundles in them; by default the working folder. With --store the
    records of a cache are read instead.
    """


@chatcache.command("ls")
@_reading
def list_records(as_json: bool, **where: Any) -> None:  # noqa: FBT001 - click's
    """List records: whose they are, what they ask, and what they cost."""
    found = [*sources(**where)]
    if as_json:
        say_json([_summary(each) for each in found])
        return
    table(
        ["record", "test", "store", "form", "model", "recorded", "tokens", "cost"],
        ([*_summary(each).values()][1:] for each in found),
        numbers=["tokens", "cost"],
    )
    console.print(f"{len(found):,} records")


@chatcache.command()
@click.argument("record")
@_reading
def show(record: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Show RECORD, by the first digits of its key, or by the name of its test."""
    found = _named(record, sources(**where))
    if as_json:
        say_json([_whole(each.record) for each in found])
    else:
        for each in found:
            console.print(f"[dim]{each.where}[/dim]")
            click.echo(each.record.text({}))
    _exit(bool(found), f"no record {record!r}")


@chatcache.command()
@click.argument("pattern")
@_reading
def grep(pattern: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Find the records whose request or answer holds PATTERN, a regular expression."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise click.UsageError(f"{pattern!r} is no regular expression: {error}") from error
    found = []
    for each in sources(**where):
        for side, value in (("request", each.record.request), ("answer", each.record.answer)):
            match = wanted.search(json.dumps(value, ensure_ascii=False))
            if match is not None:
                found.append({**_summary(each), "in": side, "text": _around(match)})
    if as_json:
        say_json(found)
    else:
        table(
            ["record", "test", "in", "text"],
            ([row[name] for name in ("record", "test", "in", "text")] for row in found),
        )
    _exit(bool(found), f"nothing holds {pattern!r}")


@chatcache.command()
@click.argument("one")
@click.argument("other")
@_reading
def diff(one: str, other: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Show what two records, ONE and OTHER, or two bundles, do not have in common."""
    if Path(one).is_file() and Path(other).is_file():
        told = _between_bundles(Bundle(one), Bundle(other))
    else:
        found = [*sources(**where)]
        first, second = _single(one, found).record, _single(other, found).record
        told = [
            {**each.to_dict(), "text": str(each)}
            for side in ("request", "answer")
            for each in differences(getattr(first, side), getattr(second, side), f"${side}")
        ]
    if as_json:
        say_json([{name: value for name, value in each.items() if name != "text"} for each in told])
    else:
        for each in told:
            click.echo(each["text"])
    sys.exit(1 if told else 0)


@chatcache.command()
@_reading
def stats(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Count records, tokens and costs, by bundle, or by store."""
    counted: dict[Path, Counter[str]] = defaultdict(Counter)
    for each in sources(**where):
        of = counted[each.where]
        of.update(records=1, tokens=each.record.tokens, streams=each.record.offsets is not None)
        of["cost"] += each.record.cost  # type: ignore[assignment]  # a Counter of dollars, too
        of["seconds"] += each.record.took  # type: ignore[assignment]
    names = ["records", "streams", "tokens", "cost", "seconds"]
    if as_json:
        say_json({str(path): {name: of[name] for name in names} for path, of in counted.items()})
        return
    rows = [[path, *(_number(name, of[name]) for name in names)] for path, of in counted.items()]
    if len(rows) > 1:
        total = sum(counted.values(), Counter[str]())
        rows.append(["all", *(_number(name, total[name]) for name in names)])
    table(["where", *names], rows, numbers=names)


@chatcache.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--store", required=True, help="The store to export.")
@_FOLDER
@_OBJECT
@click.option("--test", default="", help="What the records are to be called in the bundle.")
@as_json
def export(target: Path, store: str, folder: Path | None, thing: str, test: str, as_json: bool) -> None:  # noqa: FBT001, PLR0913, PLR0917
    """Write the records of a store into the bundle TARGET, their secrets masked. What is there of others stays."""
    records = [*from_store(store_of(store, folder, thing), test)]
    Bundle(target).revise(test, _progress(records, "exporting"), replace=True)
    _say({"exported": len(records), "target": str(target)}, f"{len(records):,} records in {target}", as_json=as_json)


@chatcache.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--store", required=True, help="The store id of the records.")
@_FOLDER
@_OBJECT
@click.option("--to", "target", type=click.Path(path_type=Path), help="Import into this bundle, and no store.")
@click.option("--test", default="", help="What the records are to be called in the bundle.")
@as_json
def import_(  # noqa: PLR0913, PLR0917
    source: Path,
    store: str,
    folder: Path | None,
    thing: str,
    target: Path | None,
    test: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take the records of SOURCE into a store, or into a bundle.

    SOURCE is a bundle, or a cassette of vcrpy or pytest-recording (YAML) with calls of the form of OpenAI's or
    Anthropic's. The request of such a call is the body that was sent, as ResponseCache.call takes it.
    """
    is_cassette = source.suffix in {".yaml", ".yml"}
    records = [*from_vcr(source, store, test)] if is_cassette else Bundle(source).read()
    if target is not None:
        Bundle(target).revise(test, records, replace=False)
        number, where = len(records), target
    else:
        from chatcache.cache import ResponseCache

        cache = ResponseCache(store, path=folder, object=thing)
        number, where = into_store(cache, _progress(records, "importing")), cache.location
        cache.close()
    _say({"imported": number, "target": str(where)}, f"{number:,} records in {where}", as_json=as_json)


@chatcache.command()
@_PATHS
@click.option("--older-than", type=float, metavar="DAYS", help="Remove records that are older.")
@click.option("--test", help="Remove the records of a test.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@as_json
def prune(paths: tuple[Path, ...], older_than: float | None, test: str | None, dry_run: bool, as_json: bool) -> None:  # noqa: FBT001
    """Remove records from bundles, and blobs that no bundle refers to. Unused ones: pytest --chatcache-prune."""
    bundles = bundles_in(paths)
    limit = None if older_than is None else datetime.now(UTC).timestamp() * 1000 - older_than * 86_400_000
    removed: dict[str, int] = {}
    for bundle in bundles:
        records = bundle.read()
        kept = [each for each in records if each.scope != test and (limit is None or each.at >= limit)]
        if len(kept) < len(records):
            removed[str(bundle.path)] = len(records) - len(kept)
            if not dry_run:
                bundle.write(kept)
    for folder in {bundle.folder for bundle in bundles}:
        used = {digest for path in folder.parent.glob("*.chatcache") for digest in Bundle(path).blobs()}
        for blob in [each for each in folder.glob("*.json") if each.stem not in used]:
            removed[str(blob)] = 1
            if not dry_run:
                blob.unlink()
    word = "would be removed" if dry_run else "removed"
    _say(
        removed,
        "\n".join([*(f"{path}: {n}" for path, n in removed.items()), f"{sum(removed.values())} {word}"]),
        as_json=as_json,
    )


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
    before, one, other = ({each.name: each for each in Bundle(path).read()} for path in (base, ours, theirs))
    kept = [each for name in {*one, *other} if (each := _merged(before.get(name), one.get(name), other.get(name)))]
    Bundle(ours).write(kept)
    _say({"records": len(kept), "target": str(ours)}, f"{len(kept):,} records in {ours}", as_json=as_json)


@chatcache.command()
@_PATHS
@as_json
def verify(paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Check bundles: that each record can be read, its blobs are there, and it parses with the installed SDKs."""
    problems: list[dict[str, str]] = []
    number = 0
    for bundle in bundles_in(paths):
        try:
            blocks = [*bundle.blocks()]
        except BundleError as error:
            problems.append({"where": str(bundle.path), "problem": str(error)})
            continue
        names: set[Any] = set()
        for _, text in _progress(blocks, f"verifying {bundle.path}"):
            number += 1
            try:
                record = bundle.record(text)
            except BundleError as error:
                problems.append({"where": str(bundle.path), "problem": str(error)})
                continue
            said = [*_drift(record)]
            if record.name in names:
                said.append("it is there twice, as after a merge: keep one of them")
            names.add(record.name)
            where = f"{bundle.path}: {record.key[:12]} of {record.scope or 'no test'}"
            problems += [{"where": where, "problem": each} for each in said]
    if as_json:
        say_json({"records": number, "problems": problems})
    else:
        for each in problems:
            click.echo(f"{each['where']}: {each['problem']}")
        click.echo(f"{number:,} records, {len(problems):,} problems")
    sys.exit(1 if problems else 0)


@chatcache.command()
@_reading
def scan(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Look for secrets in records."""
    found = [
        {"where": str(each.where), "record": each.name, "test": each.record.scope, "secret": secret}
        for each in sources(**where)
        for secret in secrets_in([each.record.request, each.record.answer])
    ]
    if as_json:
        say_json(found)
    else:
        for each in found:
            click.echo(f"{each['where']}: {each['record']} of {each['test'] or 'no test'}: {each['secret']}")
        click.echo(f"{len(found):,} secrets")
    sys.exit(1 if found else 0)


@chatcache.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@as_json
def plan(arguments: tuple[str, ...], as_json: bool) -> None:  # noqa: FBT001
    """Say which tests would miss now, and what it would cost to record them anew.

    The tests are run, strictly replayed; nothing is called. ARGUMENTS are pytest's. The cost is that of what was
    recorded of these tests before.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--chatcache=replay",
            f"--chatcache-report={report}",
            "-q",
            *arguments,
        ]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - what the user asked for
        if not report.exists():
            raise click.ClickException(f"pytest gave no report: run {' '.join(command)}")
        missed = [each for each in json.loads(report.read_text()) if each["misses"]]
    for each in missed:
        of = [record for record in Bundle(each["path"]).read() if record.scope == each["scope"]]
        each.update(tokens=sum(record.tokens for record in of), cost=sum(record.cost for record in of))
    if as_json:
        say_json([{name: each[name] for name in ("node", "misses", "tokens", "cost")} for each in missed])
    else:
        rows = [[each["node"], each["misses"][0]["reason"], each["tokens"], f"{each['cost']:.4f}"] for each in missed]
        table(["test", "why", "tokens", "cost"], rows, numbers=["tokens", "cost"])
        total = sum(each["cost"] for each in missed)
        console.print(f"{len(missed):,} tests would miss; to record them anew cost ${total:,.4f} the last time")
    sys.exit(1 if missed else 0)


@chatcache.command()
@_PATHS
@as_json
def migrate(paths: tuple[Path, ...], as_json: bool) -> None:  # noqa: FBT001
    """Write bundles anew in the present layout, whichever version wrote them, or whoever edited them."""
    changed = []
    for bundle in bundles_in(paths):
        records = bundle.read()
        anew = [each if each.request is None else _sketched(each) for each in records]
        if bundle.write(anew):
            changed.append(str(bundle.path))
    _say(changed, "\n".join([*changed, f"{len(changed)} bundles changed"]), as_json=as_json)


def _sketched(record: Record) -> Record:
    return replace(record, sketch=sketch_of(record.request))


def _summary(each: Source) -> dict[str, Any]:
    record = each.record
    return {
        "where": str(each.where),
        "record": each.name,
        "test": record.scope,
        "store": record.store,
        "form": "stream" if record.offsets is not None else str(record.form).removeprefix("/") or "answer",
        "model": _model(record.request) or "",
        "recorded": datetime.fromtimestamp(record.at / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        "tokens": record.tokens,
        "cost": round(record.cost, 6),
    }


def _whole(record: Record) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _model(request: Any) -> str | None:
    match request:
        case {"model": str(model)} | {"arguments": {"model": str(model)}} | {"fields": {"model_name": str(model)}}:
            return model
        case _:
            return None


def _named(name: str, found: Iterator[Source] | list[Source]) -> list[Source]:
    return [each for each in found if name in {each.record.scope, each.name} or each.record.key.startswith(name)]


def _single(name: str, found: list[Source]) -> Source:
    named = _named(name, found)
    if len(named) != 1:
        raise click.UsageError(f"{name!r} is the name of {len(named)} records; see chatcache ls")
    return named[0]


def _between_bundles(one: Bundle, other: Bundle) -> list[dict[str, Any]]:
    """Return which records were added, removed and changed between two bundles."""
    before, after = ({each.name: each for each in bundle.read()} for bundle in (one, other))
    told = []
    for name in sorted({*before, *after}):
        kind = "added" if name not in before else "removed" if name not in after else "changed"
        if kind == "changed" and before[name].says(after[name]):
            continue
        text = f"{kind:8} {name[2][:12]}{f'#{name[3]}' if name[3] > 1 else ''} of {name[0] or 'no test'}"
        told.append({"kind": kind, "test": name[0], "store": name[1], "key": name[2], "number": name[3], "text": text})
    return told


def _merged(base: Record | None, one: Record | None, other: Record | None) -> Record | None:
    """Return what a merge keeps of a record, which may be gone on one side, or on both."""
    if one is None or other is None:
        left = one or other
        return None if base is not None and left is not None and base.says(left) else left
    if base is not None and base.says(one):
        return other
    if base is not None and base.says(other):
        return one
    return max(one, other, key=lambda each: each.at)


def _drift(record: Record) -> Iterator[str]:
    """Yield what the installed SDK has to say against a record, by the adapter that wrote it, if that is installed."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # to verify asks nobody
    client = record.request.get("client") if isinstance(record.request, dict) else None
    for reader in entry_points(group="chatcache.readers", name=str(client)):
        try:
            reader.load()(record)
        except Exception as error:  # noqa: BLE001 - whatever the SDK breaks at
            wrote = ", ".join(f"{name} {version}" for name, version in record.versions.items())
            yield f"the installed {client} cannot read it ({type(error).__name__}: {error}), written by {wrote}"


def _around(match: re.Match[str]) -> str:
    begin, end = max(match.start() - 30, 0), match.end() + 30
    return match.string[begin:end].replace("\n", " ")


def _number(name: str, value: float) -> str:
    return f"{value:,.4f}" if name == "cost" else f"{value:,.1f}" if name == "seconds" else f"{value:,}"


def _progress(items: list[Any], what: str) -> Any:
    return track(items, what, console=console, transient=True) if len(items) >= _MANY else items


def _say(value: Any, text: str, *, as_json: bool) -> None:
    if as_json:
        say_json(value)
    else:
        click.echo(text)


def _exit(good: bool, problem: str) -> None:  # noqa: FBT001
    if not good:
        click.echo(problem, err=True)
        sys.exit(1)

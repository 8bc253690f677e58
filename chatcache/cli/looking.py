"""Commands that look into records."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import click

from chatcache.recording import Bundle, Record, differences, model_of
from chatcache.storage.paths import expanded

from .group import chatcache, reading
from .output import count, printable, say_json, say_line, table
from .source import Source, called, places, records_of, sources

__all__ = ["diff", "grep", "list_records", "show", "stats"]


@chatcache.command("ls")
@reading
def list_records(as_json: bool, **where: Any) -> None:  # noqa: FBT001 - click's
    """List records: whose they are, what they ask, and what they cost."""
    records = [
        {**_summary(each), "exact cost": each.record.cost} for each in sources(places(**where), with_blobs=False)
    ]
    if as_json:
        say_json([{name: value for name, value in each.items() if name != "exact cost"} for each in records])
    else:
        columns = ["record", "test", "store", "form", "model", "recorded", "tokens", "cost"]
        rows = [{**each, "cost": f"{each['exact cost']:.6f}"} for each in records]
        _table(columns, rows, numbers=["tokens", "cost"])
        click.echo(count(len(records), "record"))
    _exit(bool(records), "there are no records")


@chatcache.command()
@click.argument("record")
@reading
def show(record: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Show RECORD, by its name in chatcache ls, by the first digits of its key, or by the name of its test."""
    found = _named(record, sources(places(**where)))
    if as_json:
        say_json([_whole(each.record) for each in found])
    else:
        for each in found:
            say_line(printable(each.where))
            say_line(each.record.text({}))
    _exit(bool(found), f"no record {record!r}: `chatcache ls` lists them")


@chatcache.command()
@click.argument("pattern")
@reading
def grep(pattern: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Find the records whose request or answer holds PATTERN, a regular expression.

    The texts in them are searched, each by itself, and of a stream also what its chunks say together.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise click.UsageError(f"{pattern!r} is no regular expression: {error}") from error
    found = []
    for each in sources(places(**where)):
        for side, texts in (("request", _texts(each.record.request)), ("answer", _answered(each.record))):
            match = next(filter(None, map(wanted.search, texts)), None)
            if match is not None:
                found.append({**_summary(each), "in": side, "text": _around(match)})
    if as_json:
        say_json(found)
    else:
        _table(["record", "test", "in", "text"], found)
    _exit(bool(found), f"nothing holds {pattern!r}")


@chatcache.command()
@click.argument("one")
@click.argument("other")
@reading
def diff(one: str, other: str, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Show what two records, ONE and OTHER, or two bundles, do not have in common."""
    if all(expanded(each).exists() and not expanded(each).is_dir() for each in (one, other)):
        told = _between_bundles(Bundle(one), Bundle(other))
    else:
        first, second = (_single(name, sources(places(**where))).record for name in (one, other))
        told = [
            {**each.to_dict(), "text": str(each)}
            for side in ("request", "answer")
            for each in differences(getattr(first, side), getattr(second, side), f"${side}")
        ]
    if as_json:
        say_json([{name: value for name, value in each.items() if name != "text"} for each in told])
    else:
        for each in told:
            say_line(each["text"])
    sys.exit(1 if told else 0)


@chatcache.command()
@reading
def stats(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Count records, tokens and costs, by bundle and by store."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for each in sources(places(**where), with_blobs=False):
        of = counted[each.where]
        of.update(records=1, tokens=each.record.tokens, streams=each.record.offsets is not None)
        of["cost"] += each.record.cost  # type: ignore[assignment]  # a Counter of dollars, too
        of["seconds"] += each.record.took  # type: ignore[assignment]
    names = ["records", "streams", "tokens", "cost", "seconds"]
    if as_json:
        say_json({where: {name: of[name] for name in names} for where, of in counted.items()})
        return
    rows = [[where, *(_number(name, of[name]) for name in names)] for where, of in counted.items()]
    if len(rows) > 1:
        total = sum(counted.values(), Counter[str]())
        rows.append(["all", *(_number(name, total[name]) for name in names)])
    table(["where", *names], rows, numbers=names)


def _summary(each: Source) -> dict[str, Any]:
    record = each.record
    return {
        "where": each.where,
        "record": each.name,
        "test": record.scope,
        "store": record.store,
        "form": "stream" if record.offsets is not None else str(record.form).removeprefix("/") or "answer",
        "model": model_of(record.request) or "",
        "recorded": datetime.fromtimestamp(record.at / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        "tokens": record.tokens,
        "cost": round(record.cost, 6),
    }


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]], *, numbers: Sequence[str] = ()) -> None:
    """Write a table of records, which says where each of them is if they are not all in one place."""
    if len({row["where"] for row in rows}) > 1:
        columns = ["where", *columns]
    table(columns, ([row[name] for name in columns] for row in rows), numbers=numbers)


def _whole(record: Record) -> dict[str, Any]:
    return {each.name: getattr(record, each.name) for each in fields(record)}


def _named(name: str, found: Iterable[Source]) -> list[Source]:
    """Return the records that have a name; if there are none, those whose key begins so, or whose test is called so."""
    alike = [each for each in found if name in {each.name, each.record.scope} or each.record.key.startswith(name)]
    return [each for each in alike if each.name == name] or alike


def _single(name: str, found: Iterable[Source]) -> Source:
    those = _named(name, found)
    if len(those) != 1:
        raise click.UsageError(f"{name!r} is the name of {count(len(those), 'record')}: `chatcache ls` lists them")
    return those[0]


def _between_bundles(one: Bundle, other: Bundle) -> list[dict[str, Any]]:
    """Return which records were added, removed and changed between two bundles."""
    before, after = ({each.name: each for each in records_of(bundle)} for bundle in (one, other))
    told = []
    for name in sorted({*before, *after}):
        kind = "added" if name not in before else "removed" if name not in after else "changed"
        if kind == "changed" and before[name].says(after[name]):
            continue
        text = printable(f"{kind:8} {called(*name[2:])} of {name[0] or 'no test'}")
        told.append({"kind": kind, "test": name[0], "store": name[1], "key": name[2], "number": name[3], "text": text})
    return told


def _answered(record: Record) -> Iterator[str]:
    """Yield the texts of an answer; of a stream first what those at one place in its chunks say together."""
    if record.offsets is not None:
        said: dict[str, list[str]] = defaultdict(list)
        for chunk in record.answer:
            for path, text in _texts_by_path(chunk, ""):
                said[path].append(text)
        yield from map("".join, said.values())
    yield from _texts(record.answer)


def _texts(value: Any) -> Iterator[str]:
    return (text for _, text in _texts_by_path(value, ""))


def _texts_by_path(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the texts of a JSON value, each with its path."""
    match value:
        case str():
            yield path, value
        case dict():
            for name, item in value.items():
                yield from _texts_by_path(item, f"{path}.{name}")
        case list():
            for at, item in enumerate(value):
                yield from _texts_by_path(item, f"{path}[{at}]")


def _around(match: re.Match[str]) -> str:
    begin, end = max(match.start() - 30, 0), match.end() + 30
    return match.string[begin:end].replace("\n", " ")


def _number(name: str, value: float) -> str:
    return f"{value:,.4f}" if name == "cost" else f"{value:,.1f}" if name == "seconds" else f"{value:,}"


def _exit(good: bool, problem: str) -> None:  # noqa: FBT001
    if not good:
        click.echo(problem, err=True)
        sys.exit(1)

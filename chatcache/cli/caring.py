"""Commands that take care of records."""

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from chatcache.cache import ResponseCache
from chatcache.clock import real_time
from chatcache.errors import BundleError, CorruptRecordError
from chatcache.interrupts import raise_interrupt
from chatcache.mode import Mode
from chatcache.recording import Bundle, Edits, Head, Record, secrets_of
from chatcache.recording.bundle import at_of
from chatcache.recording.stores import as_stored
from chatcache.ttl import parse_duration

from .group import chatcache, reading
from .output import as_json, count, printable, progress, say, say_json, say_line, table
from .source import called, name_of_store, places, remove_leftovers, sources

__all__ = ["plan", "prune", "scan", "verify"]

Name = tuple[str, str, str, int]
"""The name of a record in its bundle."""

_EDITED = "its request was edited, so that its key is that of another one: run chatcache migrate"
_RAN = {0, 1}  # what pytest ends with where the tests ran: well, or not


def _seconds(_context: click.Context, _option: click.Parameter, age: str | None) -> float | None:
    """Return the seconds of an age; a number without a unit is one of days."""
    if age is None:
        return None
    try:
        seconds = parse_duration(age) if age[-1:].isalpha() else float(age) * 86_400
    except ValueError as error:
        raise_interrupt(error)
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise click.BadParameter(f"{age} is no age: pass a number of days, or a number and a unit, such as 12h or 90d")
    return seconds


@chatcache.command()
@click.option(
    "--older-than",
    callback=_seconds,
    metavar="AGE",
    help="Remove records that are older: 90d, 12h, or a number of days.",
)
@click.option("--test", help="Remove the records of a test; a store has none.")
@click.option(
    "--dry-run", is_flag=True, help="Say which records would be removed, and remove nothing; of blobs it says nothing."
)
@reading
def prune(older_than: float | None, test: str | None, dry_run: bool, as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Remove records from bundles and stores, and blobs that no bundle refers to.

    What a killed writer left in the folders of bundles is removed as well. Unused records: pytest --chatcache-prune.
    """
    found = places(**where)
    limit = None if older_than is None else real_time() * 1000 - older_than * 1000
    removed: dict[str, int] = {}
    tests: set[str] = set()
    for bundle in found.bundles:
        with nullcontext() if dry_run else bundle.locked():
            blocks = [*progress(bundle.blocks(), f"reading {bundle.path}")]
            tests.update(head["test"] for head, _ in blocks)
            kept = [each for each in blocks if each[0]["test"] != test and (limit is None or at_of(each[0]) >= limit)]
            if len(kept) < len(blocks):
                removed[str(bundle.path)] = len(blocks) - len(kept)
                if not dry_run:
                    bundle.write(kept)
    if limit is not None:
        pruned = {name_of_store(cache): _prune_store(cache, limit, dry_run=dry_run) for cache in found.stores}
        removed.update({name: number for name, number in pruned.items() if number})
    if not dry_run:
        remove_leftovers(where["paths"])
    blobs = {} if dry_run else {"blobs": sum(bundle.sweep_blobs() for bundle in found.bundles)}
    counted = {**removed, **{name: number for name, number in blobs.items() if number}}
    word = "would be removed" if dry_run else "removed"
    lines = [f"{printable(name)}: {number}" for name, number in counted.items()]
    lines.append(f"{sum(counted.values()) or 'no records'} {word}")
    say({"records": removed, **blobs}, "\n".join(lines), as_json=as_json)
    if test is not None and test not in tests:
        raise click.ClickException(f"there are no records of a test {test!r}")


def _prune_store(cache: ResponseCache, limit: float, *, dry_run: bool) -> int:
    """Remove the records of a store that were made before a time in milliseconds; return how many they are."""
    hits = progress((hit for hit, _ in cache.records([])), f"reading store {name_of_store(cache)}")
    old = [hit for hit in hits if hit.record["at"] < limit]
    if old and not dry_run:
        with ResponseCache(
            cache.store_id, path=cache.location.parent.parent, object=cache.object, mode=Mode.REFRESH
        ) as store:
            for hit in old:
                store.remove(hit.key.removesuffix(hit.form))
    return len(old)


@chatcache.command()
@reading
def verify(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Check records: that each can be read, its blobs are there, and it parses with the installed SDKs."""
    found = places(**where)
    problems: list[dict[str, str]] = []
    number = 0
    for bundle in found.bundles:
        try:
            blocks = [*bundle.check()]
        except BundleError as error:
            problems.append(_problem(bundle, error))
            continue
        number += len(blocks)
        problems += _problems(bundle, progress(blocks, f"verifying {bundle.path}"))
    for store in found.stores:
        name = name_of_store(store)
        damaged: list[CorruptRecordError] = []
        for record in progress(as_stored(store, damaged), f"verifying store {name}"):
            number += 1
            of = f"{name}: {called(record.key, record.number)}"
            problems += ({"where": of, "problem": problem} for problem in _drift(record))
        number += len(damaged)
        problems += ({"where": name, "problem": str(error)} for error in damaged)
    if as_json:
        say_json({"records": number, "problems": problems})
    else:
        for each in problems:
            say_line(": ".join(printable(each[name]) for name in ("where", "problem")))
        click.echo(f"{count(number, 'record')}, {count(len(problems), 'problem')}")
    sys.exit(1 if problems else 0)


@chatcache.command()
@reading
def scan(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Look for secrets in records, those of a store as they are in there."""
    found = [
        {"where": each.where, "record": each.name, "test": each.record.scope, "secret": secret}
        for each in sources(places(**where), raw=True)
        for secret in secrets_of(each.record.request, each.record.answer)
    ]
    if as_json:
        say_json(found)
    else:
        for each in found:
            of = f"{each['record']} of {each['test'] or 'no test'}"
            say_line(": ".join(map(printable, (each["where"], of, each["secret"]))))
        click.echo(count(len(found), "secret"))
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
        done = subprocess.run(  # noqa: S603 - what the user asked for
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        if done.returncode not in _RAN or not report.exists():
            click.echo(printable(done.stdout, keep="\n\t"), err=True)
            raise _NotRunError(f"the tests did not run: {printable(shlex.join(command))} ended with {done.returncode}")
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
        say_line(f"{count(len(missed), 'test')} would miss; to record them again cost ${total:,.4f} the last time")
    sys.exit(1 if missed else 0)


class _NotRunError(click.ClickException):
    """The tests did not run, so that nothing is known of what they would miss."""

    exit_code = 2


def _problem(bundle: Bundle, error: BundleError) -> dict[str, str]:
    return {"where": str(bundle.path), "problem": str(error).removeprefix(f"{printable(str(bundle.path))}: ")}


def _problems(bundle: Bundle, blocks: Iterable[tuple[Head, bytes] | BundleError]) -> Iterator[dict[str, str]]:
    """Yield what is wrong with the records of a bundle."""
    found: list[tuple[dict[str, str], Name | None]] = []  # of a name only if that of an edited record
    names: set[Name] = set()
    edits = Edits()
    for block in blocks:
        try:
            if isinstance(block, BundleError):
                raise block
            record = bundle.record(block[1])
        except BundleError as error:
            found.append((_problem(bundle, error), None))
            continue
        where = f"{bundle.path}: {called(record.key, record.number)} of {record.scope or 'no test'}"
        found += [({"where": where, "problem": problem}, None) for problem in _drift(record)]
        found.append(({"where": where, "problem": _EDITED}, record.name))
        if record.name in names:
            twice = "it is there twice, as after a merge: keep one of them"
            found.append(({"where": where, "problem": twice}, None))
        names.add(record.name)
        edits.add(record)
    edited = edits.names()
    return (problem for problem, name in found if name is None or name in edited)


@cache
def _readers(client: str) -> list[EntryPoint]:
    return [*entry_points(group="chatcache.readers", name=client)]


def _drift(record: Record) -> Iterator[str]:
    """Yield what the installed SDK has to say against a record, by the adapter that wrote it, if that is installed."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # to verify asks nobody
    client = record.request.get("client") if isinstance(record.request, dict) else None
    for reader in _readers(str(client)):
        try:
            reader.load()(record)
        except Exception as error:  # noqa: BLE001 - whatever the SDK breaks at
            wrote = ", ".join(f"{name} {version}" for name, version in record.versions.items())
            yield f"the installed {client} cannot read it ({type(error).__name__}: {error}), written by {wrote}"

"""Commands that take care of records."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from chatcache.errors import BundleError
from chatcache.recording import Bundle, Record, secrets_in

from .group import PATHS, chatcache, reading
from .output import as_json, console, progress, say, say_json, table
from .source import bundles_in, sources

__all__ = ["plan", "prune", "scan", "verify"]


@chatcache.command()
@PATHS
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
    if not dry_run:
        blobs = sum(bundle.sweep_blobs() for bundle in bundles)
        removed.update({"blobs": blobs} if blobs else {})
    word = "would be removed" if dry_run else "removed"
    say(
        removed,
        "\n".join([*(f"{path}: {n}" for path, n in removed.items()), f"{sum(removed.values())} {word}"]),
        as_json=as_json,
    )


@chatcache.command()
@PATHS
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
        for _, text in progress(blocks, f"verifying {bundle.path}"):
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
@reading
def scan(as_json: bool, **where: Any) -> None:  # noqa: FBT001
    """Look for secrets in records."""
    found = [
        {"where": str(each.where), "record": each.name, "test": each.record.scope, "secret": secret}
        for each in sources(**where)
        for secret in [*secrets_in(each.record.request), *secrets_in(each.record.answer, random=False)]
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

"""How commands say what they found: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence, Sized
from itertools import chain, islice
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

__all__ = ["as_json", "console", "printable", "progress", "say", "say_json", "say_line", "table"]

T = TypeVar("T")

_MANY = 2_000  # records

_WIDE = 160  # columns, where nobody looks at it

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
_beside = Console(stderr=True)

as_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def printable(text: str) -> str:
    """Return a text with its lone surrogates, which have no form in UTF-8, escaped as in JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def say_line(text: str) -> None:
    """Write a line."""
    click.echo(printable(text))


def say_json(value: Any) -> None:
    """Write a value as JSON, as it is."""
    say_line(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def say(value: Any, text: str, *, as_json: bool) -> None:
    """Write a value as JSON, or a text for people."""
    if as_json:
        say_json(value)
    else:
        say_line(text)


def progress(items: Iterable[T], what: str) -> Iterable[T]:
    """Return items, and show how far they are read where there are many."""
    rest = iter(items)
    first = [*islice(rest, _MANY)]
    if len(first) < _MANY:
        return first
    total = len(items) if isinstance(items, Sized) else None
    return track(chain(first, rest), escape(printable(what)), total, console=_beside, transient=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """Write a table; the columns of `numbers` stand to the right."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(printable(str(each))) for each in row))
    console.print(drawn)

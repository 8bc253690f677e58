"""How commands say what they found: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

__all__ = ["as_json", "console", "progress", "say", "say_json", "table"]

T = TypeVar("T")

_MANY = 2_000  # records

_WIDE = 160  # columns, where nobody looks at it

console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
_beside = Console(stderr=True)

as_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def say_json(value: Any) -> None:
    """Write a value as JSON, as it is."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def say(value: Any, text: str, *, as_json: bool) -> None:
    """Write a value as JSON, or a text for people."""
    if as_json:
        say_json(value)
    else:
        click.echo(text)


def progress(items: Sequence[T], what: str) -> Iterable[T]:
    """Return items, and show how far they are read where there are many."""
    return track(items, what, console=_beside, transient=True) if len(items) >= _MANY else items


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """Write a table; the columns of `numbers` stand to the right."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(escape(str(each)) for each in row))
    console.print(drawn)

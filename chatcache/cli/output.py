"""How commands say what they found: tables for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import chain, islice
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from chatcache.errors import printable

__all__ = ["as_json", "count", "printable", "progress", "say", "say_json", "say_line", "table"]

T = TypeVar("T")

_MANY = 2_000  # records

_WIDE = 160  # columns, where nobody looks at it
_NOT_ASCII = re.compile(r"[\x7f-\U0010ffff]")
_COMMAND = re.compile(r"##(?=[\w.]*\[)")  # of a CI's log

_console = Console(highlight=False, color_system=None, width=None if sys.stdout.isatty() else _WIDE)
_beside = Console(stderr=True)

as_json: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")


def say_line(text: str) -> None:
    """Write a line, or several; what cannot be seen in them is escaped."""
    click.echo(printable(text, keep="\n"))


def say_json(value: Any) -> None:
    """Write a value as JSON, as it is; what cannot be seen in it is escaped as JSON has it."""
    lines = json.dumps(value, indent=2, ensure_ascii=False, default=str).split("\n")
    text = "\n".join(line if printable(line) == line else _NOT_ASCII.sub(_as_json, line) for line in lines)
    click.echo(_COMMAND.sub(r"\\u0023#", text))


def _as_json(match: "re.Match[str]") -> str:
    character = match.group()
    return character if printable(character) == character else json.dumps(character)[1:-1]


def say(value: Any, text: str, *, as_json: bool) -> None:
    """Write a value as JSON, or a text for people."""
    if as_json:
        say_json(value)
    else:
        say_line(text)


def count(number: int, thing: str) -> str:
    """Return how many things there are, such as ``1 record`` or ``2,000 records``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def progress(items: Iterable[T], what: str) -> Iterator[T]:
    """Yield items, and show how far they are read where there are many."""
    rest = iter(items)
    yield from islice(rest, _MANY)
    total = len(items) - _MANY if isinstance(items, Sized) else None
    for first in islice(rest, 1):
        yield from track(chain([first], rest), escape(printable(what)), total, console=_beside, transient=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """Write a table; the columns of `numbers` stand to the right."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        drawn.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(str(each))) for each in row))
    with _console.capture() as drawing:
        _console.print(drawn)
    click.echo(printable(drawing.get(), keep="\n"), nl=False)  # a cell that is wrapped may begin a line with a command

"""The table: all rows, or those whose names hold one of the words that were passed.

Exits with 1 where a row falls short of what is asked, with 2 where no row has such a name.
"""

import sys

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import (
    imports,
    langchain,
    langchain_stores,
    langchain_streams,
    litellm,
    litellm_embeddings,
    litellm_misses,
    litellm_proxy,
    litellm_streams,
    many,
    recordings,
    responses,
    storage,
    sweeping,
)
from .measure import Amount, Line, Measured, measure

ROWS: list[Line] = [
    *langchain.ROWS,
    *langchain_streams.ROWS,
    *langchain_stores.ROWS,
    *litellm.ROWS,
    *litellm_streams.ROWS,
    *litellm_embeddings.ROWS,
    *litellm_misses.ROWS,
    *litellm_proxy.ROWS,
    *imports.ROWS,
    *responses.ROWS,
    *many.ROWS,
    *sweeping.ROWS,
    *storage.ROWS,
    *recordings.ROWS,
]

_WIDTH = 110  # where the table is not shown on a terminal


def main(words: list[str]) -> int:
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    chosen = [row for row in ROWS if not words or any(word.lower() in row.name.lower() for word in words)]
    if not chosen:
        console.print("no row has such a name; there are:", *(row.name for row in ROWS), sep="\n  ")
        return 2
    outcomes = [measure(row) for row in track(chosen, console=console, transient=True)]
    console.print(_table(outcomes))
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def _table(outcomes: list[Measured]) -> Table:
    table = Table("measured in one run")
    for heading in ("at most", "measured", "ours, µs", "theirs, µs", "holds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        most = outcome.row.most
        table.add_row(
            outcome.row.name,
            "reported" if most is None else _figure(outcome.row, most),
            outcome.absent if outcome.figure is None else _figure(outcome.row, outcome.figure, ".2f"),
            _time(outcome.ours),
            _time(outcome.theirs),
            "" if most is None else "yes" if outcome.holds else "[bold red]no",
        )
    return table


def _figure(row: Line, figure: float, form: str = "g") -> str:
    return f"{figure:{form}} {row.unit}" if isinstance(row, Amount) else f"{figure:{form}}"


def _time(took: float | None) -> str:
    return "" if took is None else f"{took:,.1f}" if took < 100 else f"{took:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

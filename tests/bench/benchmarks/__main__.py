"""The table: all rows, or those whose names hold one of the words that were passed.

Exits with 1 where a row falls short of what is asked, with 2 where no row has such a name.
"""

import sys

from rich.console import Console
from rich.progress import track
from rich.table import Table

from . import imports, langchain, litellm
from .measure import Measured, measure

ROWS = [*langchain.ROWS, *litellm.ROWS, *imports.ROWS]

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
    for heading in ("at most", "ratio", "ours, µs", "theirs, µs", "holds"):
        table.add_column(heading, justify="right")
    for outcome in outcomes:
        most = outcome.row.most
        table.add_row(
            outcome.row.name,
            "reported" if most is None else f"{most:g}",
            f"{outcome.ratio:.2f}",
            f"{outcome.ours:,.0f}",
            f"{outcome.theirs:,.0f}",
            "" if most is None else "yes" if outcome.holds else "[bold red]no",
        )
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The tables of ``docs/*-differences.md``, which say what may differ."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

__all__ = ["Difference", "Shown", "read_differences"]

L = TypeVar("L")

_DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class Difference:
    """One row.

    Attributes:
        id: what the tests call it.
        tested: ``yes``, or ``no:`` and why not.
    """

    id: str
    operation: str
    theirs: str
    chatcache: str
    why: str
    tested: str


def read_differences(page: str = "storage-differences.md", theirs: str = "workerd") -> dict[str, Difference]:
    """Return the rows of a page by their ids; one column is named after whom we differ from."""
    text = (_DOCS / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head == ["id", "operation", theirs, "chatcache", "why", "tested"], f"{page}: the columns are {head}"
    differences = [Difference(row[0].strip("`"), *row[1:]) for row in rows]
    by_id = {each.id: each for each in differences}
    assert len(by_id) == len(differences), f"{page}: an id is there twice"
    return by_id


class Shown(Generic[L]):
    """Registers what shows in a laboratory, row by row, that a table is true: a decorator.

    Attributes:
        by_id: what was registered.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Callable[[L], None]] = {}

    def __call__(self, identifier: str) -> Callable[[Callable[[L], None]], Callable[[L], None]]:
        """Register what shows a row."""

        def register(function: Callable[[L], None]) -> Callable[[L], None]:
            assert identifier not in self.by_id
            self.by_id[identifier] = function
            return function

        return register

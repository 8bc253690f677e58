"""The table of ``docs/storage-differences.md``, which says what may differ."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Difference", "read_differences"]

_PAGE = Path(__file__).parents[2] / "docs" / "storage-differences.md"
_COLUMNS = ["id", "operation", "workerd", "chatcache", "why", "tested"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row.

    Attributes:
        id: what the tests call it.
        tested: ``yes``, or ``no:`` and why not.
    """

    id: str
    operation: str
    workerd: str
    chatcache: str
    why: str
    tested: str


def read_differences() -> dict[str, Difference]:
    """Return the rows by their ids."""
    lines = [line for line in _PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head == _COLUMNS, f"{_PAGE}: the columns are {head}"
    differences = [Difference(row[0].strip("`"), *row[1:]) for row in rows]
    by_id = {each.id: each for each in differences}
    assert len(by_id) == len(differences), f"{_PAGE}: an id is there twice"
    return by_id

"""A call that is not imported or exported, and why."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Skipped", "reasons_of"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A call that is not imported or exported.

    Attributes:
        call: names it: where it stands, and what was called.
        reason: why it is left out.
    """

    call: str
    reason: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.call}: {self.reason}"


def reasons_of(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Return how many calls each reason kept out, the most frequent first."""
    return dict(Counter(each.reason for each in skipped).most_common())

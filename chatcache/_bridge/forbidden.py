"""Tools such as blockbuster, which `langgraph dev` turns on, forbid calls that block on the thread of an event loop.

Reads take microseconds, so they are made in place until a tool forbids one; from then on they are made in a thread.
"""

import sys

__all__ = ["forbidden_errors", "learn_from", "reads_apart"]

_forbade: list[str] = []  # what was forbidden


def forbidden_errors() -> tuple[type[Exception], ...]:
    """Return the classes of what such tools raise, for an ``except`` clause, as far as they are loaded."""
    tool = sys.modules.get("blockbuster")
    return () if tool is None else (tool.BlockingError,)


def reads_apart() -> bool:
    """Return whether a tool forbade a read on the thread of an event loop."""
    return bool(_forbade)


def learn_from(error: BaseException) -> None:
    """Have reads made in a thread from now on if a tool forbade one; raise any other error."""
    cause: BaseException | None = error
    while not isinstance(cause, forbidden_errors()):
        if cause is None:
            raise error
        cause = cause.__cause__
    _forbade.append(str(cause))

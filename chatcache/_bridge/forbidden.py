"""Tools such as blockbuster, which `langgraph dev` turns on, forbid calls that block on the thread of an event loop.

Reads take microseconds, so they are made in place until a tool forbids one; from then on they are made in a thread.
"""

__all__ = ["learn_from", "reads_apart"]

_forbade: list[type[BaseException]] = []  # what was raised


def reads_apart() -> bool:
    """Return whether a tool forbade a read on the thread of an event loop."""
    return bool(_forbade)


def learn_from(error: BaseException) -> None:
    """Have reads made in a thread from now on if a tool forbade one; raise any other error."""
    cause: BaseException | None = error
    while cause is not None and type(cause).__module__.partition(".")[0] != "blockbuster":
        cause = cause.__cause__
    if cause is None:
        raise error
    _forbade.append(type(cause))

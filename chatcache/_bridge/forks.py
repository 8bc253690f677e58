"""What a child process does about locks that threads of its parent held when it was forked."""

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["anew_in_children"]


class _Anew(Protocol):
    def begin_anew(self) -> None: ...


_all: WeakSet[_Anew] = WeakSet()


def anew_in_children(owner: _Anew) -> None:
    """Have ``owner.begin_anew()`` called in every child process, for as long as there is the owner."""
    _all.add(owner)


def _after_fork_in_child() -> None:
    for each in _all:
        each.begin_anew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)

"""What it costs to import the engine: the time on a processor of a whole Python that imports it and ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from .measure import Rounds, Row

__all__ = ["ROWS"]


@contextmanager
def _programs(ours: str, theirs: str) -> Iterator[Rounds]:
    yield partial(_processor_time, ours), partial(_processor_time, theirs)


def _processor_time(program: str) -> float:
    """Return the µs, in user code and in the kernel, of a whole Python that runs a program."""
    # -I: neither the folder it runs in nor the environment decides what is imported
    child = os.posix_spawn(sys.executable, [sys.executable, "-I", "-c", program], os.environ)
    _, status, used = os.wait4(child, 0)
    assert status == 0
    return (used.ru_utime + used.ru_stime) * 1e6


ROWS = [
    Row(
        "import chatcache : import sqlite3, asyncio, json",
        2.5,
        partial(_programs, "import chatcache", "import sqlite3, asyncio, json"),
        rounds=25,
    ),
]

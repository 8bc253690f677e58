"""Waiting for an event, up to a limit that only a hang reaches: a busy machine may take long for any step."""

import asyncio
import time
from collections.abc import Callable

__all__ = ["HANG", "PATIENT", "auntil", "until"]

HANG = 300.0
"""Seconds after which a step counts as hanging. The limit of a whole test (`timeout` in pyproject.toml) is longer."""

PATIENT = """
import logging
logging.getLogger("asyncio").setLevel(logging.ERROR)
"""
"""Begins a program that runs with ``-X dev``: on a busy machine asyncio would warn that a callback was slow."""

_PAUSE = 0.002


def until(condition: Callable[[], object]) -> None:
    """Wait in a thread until a condition holds."""
    late = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < late, f"nothing happens within {HANG:.0f} seconds"
        time.sleep(_PAUSE)


async def auntil(condition: Callable[[], object]) -> None:
    """Wait in a task until a condition holds; other tasks of the loop run meanwhile."""
    async with asyncio.timeout(HANG):
        while not condition():
            await asyncio.sleep(_PAUSE)

"""Waiting for a time to pass."""

import asyncio
import time

from chatcache.clock import is_frozen

from .loops import off_loop

__all__ = ["apause", "pause"]


def pause(seconds: float) -> None:
    """Wait so many seconds."""
    time.sleep(seconds)


async def apause(seconds: float) -> None:
    """Awaiting twin of `pause`."""
    if is_frozen():  # so is the loop's clock, and a sleep by it has no end
        await off_loop(time.sleep, seconds)
    else:
        await asyncio.sleep(seconds)

"""Waiting for a time to pass."""

import asyncio
import time

__all__ = ["apause", "pause"]


def pause(seconds: float) -> None:
    """Wait so many seconds."""
    time.sleep(seconds)


async def apause(seconds: float) -> None:
    """Awaiting twin of `pause`."""
    await asyncio.sleep(seconds)

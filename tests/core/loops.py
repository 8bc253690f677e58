"""Loops that run in threads of their own, and waiting for what happens there."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def loops(number: int) -> Iterator[list[asyncio.AbstractEventLoop]]:
    made = [asyncio.new_event_loop() for _ in range(number)]
    threads = [threading.Thread(target=loop.run_forever, daemon=True) for loop in made]
    for thread in threads:
        thread.start()
    yield made
    for loop, thread in zip(made, threads, strict=True):
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)

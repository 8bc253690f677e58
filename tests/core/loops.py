"""Event loops that run in threads of their own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.waiting import HANG


@contextmanager
def loops(number: int) -> Iterator[list[asyncio.AbstractEventLoop]]:
    made = [asyncio.new_event_loop() for _ in range(number)]
    threads = [threading.Thread(target=loop.run_forever, daemon=True) for loop in made]
    for thread in threads:
        thread.start()
    yield made
    for loop, thread in zip(made, threads, strict=True):
        asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(HANG)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(HANG)
        loop.close()

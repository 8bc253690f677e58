"""The lookup of the suites: it counts its calls, and answers when it is told to."""

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

from .requests import Ask

__all__ = ["Lookup"]

_PATIENCE = 20  # seconds


class Lookup:
    """Answers a request with how many calls were made, or with what `answer` gives or raises.

    Attributes:
        calls: the requests that were asked for.
        answer: is called with the request for each call.
        asked: set when a call was made.
        go_on: a call waits for it.
    """

    def __init__(self) -> None:
        self.calls: list[Ask] = []
        self.answer: Callable[[Ask], Any] = lambda _request: len(self.calls)
        self.asked = Event()
        self.go_on = Event()
        self.go_on.set()

    def call(self, request: Ask) -> Any:
        """Answer."""
        self.calls.append(request)
        self.asked.set()
        if not self.go_on.wait(_PATIENCE):
            raise TimeoutError
        return self.answer(request)

    async def acall(self, request: Ask) -> Any:
        """Answer, awaited."""
        self.calls.append(request)
        self.asked.set()
        async with asyncio.timeout(_PATIENCE):
            while not self.go_on.is_set():
                await asyncio.sleep(0.001)
        return self.answer(request)

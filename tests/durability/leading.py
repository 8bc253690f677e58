"""A program that asks a cache for one thing, and may be killed at any moment.

It is told what to do as JSON: the folder, who it is, how long a lease lasts, and whether its call waits to be killed.
It prints that it calls, what it is answered, and how many of its calls were bypassed, a line each.
"""

import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from chatcache import ResponseCache, StreamInterruptedError, request_key
from chatcache.cache import responses
from chatcache.cache.leading import Leader
from chatcache.cache.leases import Leases

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
NOBODY_WAITS = 600.0  # seconds: whoever waits for a file for so long hangs


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - it is the program's output


class Program:
    """What one process does."""

    def __init__(self, path: str, name: str, length: float, form: str, stops: str) -> None:
        responses.Leases = partial(Leases, length=length)  # type: ignore[assignment, attr-defined]
        self.cache = ResponseCache("shop", path=path, timeout=NOBODY_WAITS)
        self.name = name
        self._form = form
        self._stops = stops

    def run(self) -> None:
        answer = {"call": self._call, "stream": self._stream, "hook": self._hook}[self._form]()
        say("answered", json.dumps(answer), self.cache._counts.counted()["bypasses"])

    def _call(self) -> Any:
        return self.cache.call(REQUEST, lambda _request: self._made())

    def _stream(self) -> Any:
        try:
            return [*self.cache.stream(REQUEST, self._chunks)]
        except StreamInterruptedError:
            return self._stream()

    def _chunks(self, _request: Any) -> Iterator[Any]:
        yield "first"
        yield self._made()

    def _hook(self) -> Any:
        key = request_key(REQUEST)
        found = self.cache.lookup(key, REQUEST, lambda hit: hit.answer)
        led = found or self.cache.lead(key, lambda hit: hit.answer)
        if not isinstance(led, Leader | None):
            return led
        self.cache.update(key, answer := self._made(), leader=led)
        return answer

    def _made(self) -> str:
        say("calls")
        if self._stops == "waits":
            time.sleep(NOBODY_WAITS)
        return f"the answer of {self.name}"


if __name__ == "__main__":
    Program(**json.loads(sys.argv[1])).run()

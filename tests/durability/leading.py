"""A program that asks a cache for one thing, and may be killed, or stop itself, at a known moment.

It is told what to do as JSON: the folder, who it is, how long a lease lasts, how long the cache may hold up its call,
and when it stops. It prints that it calls, what it hears of a stream, what it is answered, and how many of its calls
were bypassed, a line each. A call that waits ends when a line comes in.
"""

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

from chatcache import ResponseCache, StreamInterruptedError, request_key
from chatcache.cache import responses
from chatcache.cache.leading import Leader
from chatcache.cache.leases import Lease, Leases

REQUEST = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
NOBODY_WAITS = 600.0  # seconds: whoever waits for a file for so long hangs

STOPS = {"as its lease is taken": "take", "as its lease is renewed": "renew", "as its answer is stored": "_store"}
"""The steps of a lease at whose ends the program stops: within the transaction, so that it holds the file's lock."""

IDLE = {"in its call": 1, "later in its call": 2}
"""From which wait on nothing is done beside the call, such as renewing its lease, that a signal might interrupt."""

WAITS = {*IDLE, "as its lease is renewed"}
"""When the call waits for lines."""


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 - it is the program's output


def stop() -> None:
    """Stop the process in this very thread: a signal to the process might reach another one, and this one go on."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def stop_after(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a step at whose first end the program stops."""
    moments = iter([stop])

    @wraps(step)
    def stepped(*arguments: Any) -> Any:
        result = step(*arguments)
        next(moments, int)()
        return result

    return stepped


def do_not_renew(self: Lease) -> None:
    """Stand in for `Lease.renew_soon`."""


class Program:
    """What one process does."""

    def __init__(self, path: str, name: str, length: float, timeout: float, form: str, stops: str) -> None:
        responses.Leases = partial(Leases, length=length)  # type: ignore[assignment, attr-defined]
        if stops in STOPS:
            setattr(Lease, STOPS[stops], stop_after(getattr(Lease, STOPS[stops])))
        self.cache = ResponseCache("shop", path=path, timeout=timeout)
        self.name = name
        self._form = form
        self._waits = stops in WAITS
        self._before_idle = IDLE.get(stops, 0)

    def run(self) -> None:
        answer = {"call": self._call, "stream": self._stream, "hook": self._hook}[self._form]()
        say("answered", json.dumps(answer), self.cache._own_counts.counted()["bypasses"])

    def _call(self) -> Any:
        return self.cache.call(REQUEST, lambda _request: self._made())

    def _stream(self) -> Any:
        chunks = []
        try:
            for chunk in self.cache.stream(REQUEST, self._chunks):
                say("hears", chunk)
                chunks.append(chunk)
        except StreamInterruptedError:
            return self._stream()
        return chunks

    def _chunks(self, _request: Any) -> Iterator[Any]:
        yield "first"
        self._wait()
        yield "second"
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
        self._wait()
        return f"the answer of {self.name}"

    def _wait(self) -> None:
        self._before_idle -= 1
        if self._before_idle == 0:
            Lease.renew_soon = do_not_renew  # type: ignore[method-assign]
            self.cache._leases.batch.run(lambda _transaction: None)  # what was begun before is committed then
        say("calls")
        if self._waits:
            sys.stdin.readline()


if __name__ == "__main__":
    Program(**json.loads(sys.argv[1])).run()

"""A program that has suspended calls collected in the middle of every line that is run with a lock of `_bridge` held.

The collector may end a suspended call at any line, in any thread, and so run its ``finally`` there. If that waits for a
lock that the same thread holds, the thread stands still for good. This prints each such place, and how many lines it
visited.
"""

import asyncio
import logging
import os
import sys
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from importlib import import_module
from itertools import count
from types import FrameType
from typing import Any

_ROUNDS = 12
_AT_ONCE = 40  # suspended calls of each kind
import_module("chatcache")  # what it imports has locks of its own
_MODULES = [name for name in sys.modules if name.split(".")[0] == "chatcache"]
_held: defaultdict[int, list[Any]] = defaultdict(list)  # the locks that each thread holds


class _Lock:
    """A lock that raises where its own thread would wait for itself."""

    def __init__(self) -> None:
        self._lock = _thread_lock()
        self.acquire, self.release, self.locked = self._lock.acquire, self._lock.release, self._lock.locked

    def __enter__(self) -> None:
        mine = _held[threading.get_ident()]
        if self in mine:
            caller = sys._getframe(1)
            raise AssertionError(f"{caller.f_code.co_qualname} waits for itself")
        self._lock.acquire()
        mine.append(self)

    def __exit__(self, *_: object) -> None:
        _held[threading.get_ident()].remove(self)
        self._lock.release()


_thread_lock = threading.Lock
for _name in _MODULES:
    del sys.modules[_name]
threading.Lock = _Lock  # type: ignore[assignment]
import chatcache  # noqa: E402 - again, with locks that are watched

threading.Lock = _thread_lock


class Calls:
    """Suspended calls of a cache, each of which is collected once."""

    def __init__(self, folder: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = folder
        self.cache = chatcache.ResponseCache("store", path=folder)
        self._numbers = count()
        self._tasks: list[asyncio.Task[Any]] = []

    def acall(self) -> Callable[[], object]:
        return self._pending(self.cache.acall(self.request(), never))

    def follower(self) -> Callable[[], object]:
        request = self.request()
        self._pending(self.cache.acall(request, never))
        return self._pending(self.cache.acall(request, never))

    def stream(self) -> Callable[[], object]:
        stream: Any = self.cache.stream(self.request(), lambda _: iter("ab"))
        next(stream)
        return stream.close  # type: ignore[no-any-return]

    def astream(self) -> Callable[[], object]:
        async def fn(_: object) -> AsyncIterator[str]:
            yield "a"
            await asyncio.Future()

        async def read(stream: AsyncIterator[str]) -> None:
            async for _ in stream:
                pass

        return self._pending(read(self.cache.astream(self.request(), fn)))

    def leader(self) -> Callable[[], object]:
        return [self.cache.lead(chatcache.request_key(self.request()), lambda hit: hit.answer)].clear

    def other_cache(self) -> Callable[[], object]:
        cache = chatcache.ResponseCache("store", path=self.folder, object=f"o{next(self._numbers)}")
        cache.call(1, lambda _: 1)
        return [cache].clear

    def request(self) -> dict[str, int]:
        return {"number": next(self._numbers)}

    def _pending(self, coroutine: Coroutine[Any, Any, Any]) -> Callable[[], object]:
        """Begin a task, and return what ends it as the collector does."""
        self._tasks.append(self.loop.create_task(coroutine))
        for _ in range(30):
            self.loop.run_until_complete(asyncio.sleep(0))
        return coroutine.close


async def never(_: object) -> Any:
    """Make a call that does not end."""
    await asyncio.Future()


def work(calls: Calls) -> None:
    """Do what calls do, in all forms."""
    cache, request = calls.cache, calls.request()

    async def fn(_: object) -> int:
        return 1

    async def afn(_: object) -> AsyncIterator[int]:
        yield 1

    async def awaited() -> None:
        await asyncio.gather(*(cache.acall({"three": request}, fn) for _ in range(3)))
        async for _ in cache.astream({"awaited": request}, afn):
            pass

    for _ in range(2):
        cache.call(request, lambda _: "a")
    assert [*cache.stream({"stream": request}, lambda _: iter("a"))] == ["a"]
    calls.loop.run_until_complete(awaited())
    other = chatcache.ResponseCache("other", path=calls.folder, object=f"of{request['number'] % 7}")
    other.call(request, lambda _: 1)
    other.stats()
    other.close()


class Collector:
    """Collects a suspended call of each kind at each line, once."""

    def __init__(self, calls: Calls) -> None:
        self._kinds = [calls.acall, calls.follower, calls.stream, calls.astream, calls.leader, calls.other_cache]
        self._ready: dict[Any, list[Callable[[], object]]] = {kind: [] for kind in self._kinds}
        self._collecting = False
        self.visited: set[tuple[str, int, Any]] = set()
        self.faults: set[str] = set()

    def fill(self) -> None:
        for kind, ready in self._ready.items():
            while len(ready) < _AT_ONCE:
                ready.append(kind())

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if "_bridge" not in frame.f_code.co_filename:
            return self.trace if "chatcache" in frame.f_code.co_filename else None
        if event == "line" and not self._collecting and _held[threading.get_ident()]:
            self._visit(frame)
        return self.trace

    def _visit(self, frame: FrameType) -> None:
        for kind, ready in self._ready.items():
            place = frame.f_code.co_filename, frame.f_lineno, kind
            if place not in self.visited and ready:
                self.visited.add(place)
                self._collecting = True
                try:
                    with suppress(RuntimeError, ValueError):  # as of a coroutine that another thread has just begun
                        ready.pop()()
                except AssertionError as error:
                    self.faults.add(f"{error} in the middle of {frame.f_code.co_qualname}, where {kind.__name__} ends")
                finally:
                    self._collecting = False
                return


def main(folder: str) -> None:
    calls = Calls(folder)
    collector = Collector(calls)
    for _ in range(_ROUNDS):
        collector.fill()
        sys.settrace(collector.trace)
        threading.settrace(collector.trace)
        try:
            work(calls)
        finally:
            sys.settrace(None)
            threading.settrace(None)
    sys.stdout.writelines(f"{line}\n" for line in (*sorted(collector.faults), len(collector.visited)))
    sys.stdout.flush()
    os._exit(0)  # the tasks that are left are pending


if __name__ == "__main__":
    logging.disable()
    main(sys.argv[1])

"""A program that forks processes which ask one store, each with many threads or tasks, and may be killed at any moment.

Each line of its input is the arguments of one process; it says the id of the process, and, when its input is over, the
id and the exit code of each. What was called, and what was answered, is appended to two files: a line each.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from chatcache import Refusal, ResponseCache, StreamInterruptedError
from chatcache.cache import responses
from chatcache.cache.leases import Leases

LENGTH = 3.0  # seconds that a lease lasts, instead of ten; a busy machine still renews it in time
responses.Leases = partial(Leases, length=LENGTH)  # type: ignore[assignment, attr-defined]

PERIOD = 0.2  # seconds for which everybody asks for a few keys
KEYS = 4  # of each period
CHUNKS = 30  # of a stream

Ask = Callable[[str], None]
AAsk = Callable[[str], Awaitable[None]]


def append(path: Path, *words: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{' '.join(words)}\n".encode())
    os.close(file)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class Client:
    """Asks a cache, and calls a provider that takes some seconds, and counts its calls.

    Args:
        folder: where the cache is, and the files of what happens.
        delay: how long a call takes, or a chunk, in seconds.
        refuses: the share of the answers that are not kept.
        held: whether a call, and the last chunk of a stream, waits until there is a file ``go on``.
    """

    def __init__(self, folder: Path, delay: float, refuses: float = 0.0, *, held: bool = False) -> None:
        self._cache = ResponseCache("shop", path=folder / "cache", object="thing", on_store_error="raise")
        self._folder = folder
        self._delay = delay
        self._refuses = refuses
        self._held = held

    def ask(self, key: str) -> None:
        append(self._folder / "asked", key)
        append(self._folder / "answers", key, self._cache.call({"key": key}, self._call, refuse=self._refuse))

    async def aask(self, key: str) -> None:
        append(self._folder / "asked", key)
        answer = await self._cache.acall({"key": key}, self._acall, refuse=self._refuse)
        append(self._folder / "answers", key, answer)

    def hear(self, key: str) -> None:
        heard: list[str] = []
        try:
            for chunk in self._cache.stream({"key": key}, self._stream):
                self._hears(key, chunk, heard)
        except StreamInterruptedError:
            append(self._folder / "lost", key, ",".join(heard))
            self.hear(key)
        else:
            append(self._folder / "answers", key, ",".join(heard))

    async def ahear(self, key: str) -> None:
        heard: list[str] = []
        try:
            async for chunk in self._cache.astream({"key": key}, self._astream):
                self._hears(key, chunk, heard)
        except StreamInterruptedError:
            append(self._folder / "lost", key, ",".join(heard))
            await self.ahear(key)
        else:
            append(self._folder / "answers", key, ",".join(heard))

    def _hears(self, key: str, chunk: str, heard: list[str]) -> None:
        if not heard and not (self._folder / "ended").exists():
            append(self._folder / "live", key)
        heard.append(chunk)

    def _refuse(self, _answer: str) -> Refusal | None:
        return Refusal.LENGTH if random.random() < self._refuses else None  # noqa: S311

    def _call(self, request: dict[str, str]) -> str:
        answer = self._called(request)
        while not self._goes_on():
            time.sleep(0.005)
        time.sleep(self._delay)
        return answer

    async def _acall(self, request: dict[str, str]) -> str:
        answer = self._called(request)
        while not self._goes_on():
            await asyncio.sleep(0.005)
        await asyncio.sleep(self._delay)
        return answer

    def _stream(self, request: dict[str, str]) -> Iterator[str]:
        name = self._called(request)
        for number in range(CHUNKS):
            while number == CHUNKS - 1 and not self._goes_on():
                time.sleep(0.005)
            time.sleep(self._delay)
            yield f"{name}-{number}"
        append(self._folder / "ended", name)

    async def _astream(self, request: dict[str, str]) -> AsyncIterator[str]:
        name = self._called(request)
        for number in range(CHUNKS):
            while number == CHUNKS - 1 and not self._goes_on():
                await asyncio.sleep(0.005)
            await asyncio.sleep(self._delay)
            yield f"{name}-{number}"
        append(self._folder / "ended", name)

    def _goes_on(self) -> bool:
        return not self._held or (self._folder / "go on").exists()

    def _called(self, request: dict[str, str]) -> str:
        answer = token_hex(8)
        append(self._folder / "calls", request["key"], answer)
        return answer


def all_at_once(ask: Ask, aask: AAsk, threads: int, tasks: int, key: str) -> None:
    """Ask for one key in so many threads and tasks."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        asked = [pool.submit(ask, key) for _ in range(threads)]

        async def main() -> None:
            await asyncio.gather(*(aask(key) for _ in range(tasks)))

        asyncio.run(main())
        for each in asked:
            each.result()


def again_and_again(client: Client, threads: int, tasks: int, over: Path) -> None:
    """Ask for one of the keys of the moment until there is a file."""

    def key() -> str:
        return f"key-{int(time.time() / PERIOD)}-{random.randrange(KEYS)}"  # noqa: S311

    def ask() -> None:
        while not over.exists():
            client.ask(key())
            time.sleep(0.005)

    async def aask() -> None:
        while not over.exists():
            await client.aask(key())
            await asyncio.sleep(0.005)

    async def main() -> None:
        await asyncio.gather(*(aask() for _ in range(tasks)))

    with ThreadPoolExecutor(max(1, threads)) as pool:
        asked = [pool.submit(ask) for _ in range(threads)]
        asyncio.run(main())
        for each in asked:
            each.result()


def process(folder: Path, *, threads: int, tasks: int, key: str = "", stream: str = "", **how: Any) -> None:
    client = Client(folder, **how)
    if stream:
        all_at_once(client.hear, client.ahear, threads, tasks, stream)
    elif key:
        all_at_once(client.ask, client.aask, threads, tasks, key)
    else:
        again_and_again(client, threads, tasks, folder / "over")


def main(folder: Path) -> None:
    children = []
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(0)
            process(folder, **json.loads(line))
            sys.stderr.flush()
            os._exit(0)
        children.append(child)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    for child in children:
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{child} {os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

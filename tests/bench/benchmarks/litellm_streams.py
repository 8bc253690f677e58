"""Streamed hits through LiteLLM.

What a caller waits for is the last chunk. The loop that reads a stream goes on to its end, where LiteLLM puts the
answer together for its callbacks; how long that takes is told as well.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

from .hits import Ask
from .litellm_caches import CHAT, Asked, hits, settled, threads_settled
from .measure import Row
from .provider import PIECES, Provider

__all__ = ["ROWS"]

_HEAD_AND_TAIL = 2  # chunks that hold no content: LiteLLM's local cache forgets the first one
_AT_A_TIME = 1  # what the local cache leaves to threads, a task for each chunk, would outweigh the next stream


def _reading(begin: Callable[[], Iterator[Any]], *, to_end: bool) -> Ask:
    """Read streams; for each one the clock stops at its last chunk, or at its end."""

    def repeat(times: int) -> tuple[list[Any], float]:
        chunks: list[Any] = []
        took = 0.0
        for _ in range(times):
            chunks = []
            began = last = perf_counter()
            for chunk in begin():
                last = perf_counter()
                chunks.append(chunk)
            took += (perf_counter() if to_end else last) - began
            threads_settled()
        return chunks, took / times * 1e6

    return repeat


def _areading(runner: asyncio.Runner, begin: Callable[[], Awaitable[AsyncIterator[Any]]], *, to_end: bool) -> Ask:
    """Awaiting twin of `_reading`."""

    async def repeat(times: int) -> tuple[list[Any], float]:
        chunks: list[Any] = []
        took = 0.0
        for _ in range(times):
            chunks = []
            began = last = perf_counter()
            async for chunk in await begin():
                last = perf_counter()
                chunks.append(chunk)
            took += (perf_counter() if to_end else last) - began
            await settled()
        return chunks, took / times * 1e6

    return lambda times: runner.run(repeat(times))


def _blocking(server: Provider, _runner: asyncio.Runner, *, to_end: bool) -> Asked:
    import litellm

    def begin() -> Any:
        return litellm.completion(stream=True, **CHAT, **server.address)

    return Asked(_reading(begin, to_end=to_end), _AT_A_TIME, _content, "".join(PIECES))


def _awaiting(server: Provider, runner: asyncio.Runner, *, to_end: bool) -> Asked:
    import litellm

    async def begin() -> Any:
        return await litellm.acompletion(stream=True, **CHAT, **server.address)

    return Asked(_areading(runner, begin, to_end=to_end), _AT_A_TIME, _content, "".join(PIECES))


def _content(chunks: list[Any]) -> str:
    assert len(PIECES) + _HEAD_AND_TAIL - 1 <= len(chunks) <= len(PIECES) + _HEAD_AND_TAIL
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def _row(name: str, most: float | None, asked: Callable[..., Asked], *, to_end: bool) -> Row:
    until = "end" if to_end else "last chunk"
    prepare = partial(hits, partial(asked, to_end=to_end))
    return Row(
        f"litellm {name} of 160 chunks, hit until the {until}, DOCache : LiteLLM local", most, prepare, rounds=40
    )


ROWS = [
    _row("stream", 0.12, _blocking, to_end=False),
    _row("awaited stream", 0.18, _awaiting, to_end=False),
    _row("stream", None, _blocking, to_end=True),
    _row("awaited stream", None, _awaiting, to_end=True),
]

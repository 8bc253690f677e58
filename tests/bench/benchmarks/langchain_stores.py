"""Conversations and bytes that LangChain keeps in objects."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from .measure import Rounds, Row
from .provider import ANSWER

__all__ = ["ROWS"]

_SHORT, _LONG = 10, 10_000  # messages
_EMBEDDINGS, _DIMENSIONS = 1_000, 1_536


@contextmanager
def _appending(*, awaited: bool) -> Iterator[Rounds]:
    """A message added to a long conversation, and one to a short one."""
    from langchain_core.messages import AIMessage

    from langchain_chatcache import DOChatMessageHistory

    message = AIMessage(ANSWER)
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:

        def history(name: str, size: int) -> DOChatMessageHistory:
            made = DOChatMessageHistory(name, path=Path(folder, name))
            made.add_messages([message] * size)
            return made

        long, short = history("long", _LONG), history("short", _SHORT)

        def add(to: DOChatMessageHistory) -> float:
            began = perf_counter()
            to.add_messages([message])
            return (perf_counter() - began) * 1e6

        async def aadd(to: DOChatMessageHistory) -> float:
            began = perf_counter()
            await to.aadd_messages([message])
            return (perf_counter() - began) * 1e6

        if awaited:
            yield lambda: runner.run(aadd(long)), lambda: runner.run(aadd(short))
        else:
            yield partial(add, long), partial(add, short)


@contextmanager
def _reading(*, awaited: bool) -> Iterator[Rounds]:
    """A thousand embeddings, of a byte store and of LangChain's store of files."""
    import json

    from langchain_classic.storage import LocalFileStore

    from langchain_chatcache import DOByteStore

    random = Random(2026)  # noqa: S311 - no secrets
    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        vectors = [
            (f"model{number:064x}", json.dumps([random.uniform(-1, 1) for _ in range(_DIMENSIONS)]).encode())
            for number in range(_EMBEDDINGS)
        ]
        keys = [key for key, _ in vectors]
        stores: list[Any] = [DOByteStore("bench", path=Path(folder, "ours")), LocalFileStore(Path(folder, "theirs"))]
        for store in stores:
            store.mset(vectors)
            if store.mget(keys) != [value for _, value in vectors]:
                raise AssertionError("these are not the embeddings that were stored")

        def read(store: Any) -> float:
            began = perf_counter()
            store.mget(keys)
            return (perf_counter() - began) * 1e6

        async def aread(store: Any) -> float:
            began = perf_counter()
            await store.amget(keys)
            return (perf_counter() - began) * 1e6

        if awaited:
            yield lambda: runner.run(aread(stores[0])), lambda: runner.run(aread(stores[1]))
        else:
            yield partial(read, stores[0]), partial(read, stores[1])


ROWS = [
    Row(
        "langchain history, appending message 10,000 : message 10", 1.3, partial(_appending, awaited=False), rounds=300
    ),
    Row("langchain history, awaited, message 10,000 : message 10", 1.3, partial(_appending, awaited=True), rounds=300),
    Row("langchain mget of 1,000 embeddings : LocalFileStore", 0.3, partial(_reading, awaited=False), rounds=30),
    Row("langchain amget of 1,000 embeddings : LocalFileStore", None, partial(_reading, awaited=True), rounds=30),
]

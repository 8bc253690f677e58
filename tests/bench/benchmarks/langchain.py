"""Hits through LangChain's ``ChatOpenAI``.

LangChain is imported where a row needs it, so that the other rows need not wait for it.
"""

import asyncio
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import SecretStr

from .hits import Ask, Contender, awaiting, blocking, proven
from .measure import Rounds, Row
from .provider import ANSWER, MESSAGES, provider

if TYPE_CHECKING:
    from langchain_core.caches import BaseCache

__all__ = ["ROWS"]


@contextmanager
def _hits(
    other: "Callable[[Path], BaseCache]", *, awaited: bool = False, turns: int = 1, wrapped: bool = False
) -> Iterator[Rounds]:
    os.environ["LANGSMITH_TRACING"] = "false"  # or each hit would be told to a server
    from langchain_core.globals import set_llm_cache
    from langchain_openai import ChatOpenAI

    from langchain_chatcache import DOCache, cached

    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        ours = DOCache("bench", path=folder)
        with provider() as server:
            model = ChatOpenAI(
                model="gpt-4o-mini",
                base_url=server.base_url,
                api_key=SecretStr("none"),
                temperature=0.2,
                max_retries=0,
            )

            said = [*MESSAGES[1:], {"role": "assistant", "content": ANSWER}]
            conversation = [MESSAGES[0], *said * (turns - 1), MESSAGES[1]]

            def asking(it: ChatOpenAI) -> Ask:
                def ask() -> str:
                    return str(it.invoke(conversation).content)

                async def aask() -> str:
                    return str((await it.ainvoke(conversation)).content)

                return awaiting(runner, aask) if awaited else blocking(ask)

            by_hook = Contender(partial(set_llm_cache, ours), asking(model))
            by_wrapper = Contender(partial(set_llm_cache, None), asking(cached(model, ours)))
            theirs = Contender(partial(set_llm_cache, other(Path(folder))), asking(model))
            contenders = (by_wrapper if wrapped else by_hook, theirs)
            rounds = proven(server, *contenders)
        yield rounds
        set_llm_cache(None)
        ours.engine.close()


def _in_memory(_folder: Path) -> "BaseCache":
    from langchain_core.caches import InMemoryCache

    return InMemoryCache()


def _sqlite(folder: Path) -> "BaseCache":
    # It warns of itself when imported, and of `loads` at each hit: to print that would be counted as its time.
    warnings.filterwarnings("ignore", module="langchain_community")
    from langchain_community.cache import SQLiteCache

    return SQLiteCache(str(folder / "community.db"))


ROWS = [
    Row("langchain invoke hit, DOCache : InMemoryCache", 0.9, partial(_hits, _in_memory), rounds=300),
    Row("langchain ainvoke hit, DOCache : InMemoryCache", 0.9, partial(_hits, _in_memory, awaited=True), rounds=300),
    Row(
        "langchain invoke hit, cached(model) : InMemoryCache", 1.0, partial(_hits, _in_memory, wrapped=True), rounds=300
    ),
    Row("langchain invoke hit, DOCache : SQLiteCache", 0.25, partial(_hits, _sqlite), rounds=100),
    Row("langchain ainvoke hit, DOCache : SQLiteCache", None, partial(_hits, _sqlite, awaited=True), rounds=100),
    Row(
        "langchain invoke hit of a conversation of 50 turns, DOCache : InMemoryCache",
        0.35,
        partial(_hits, _in_memory, turns=50),
        rounds=100,
    ),
]

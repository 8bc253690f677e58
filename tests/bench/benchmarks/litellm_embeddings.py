"""Hits through LiteLLM's ``embedding`` and ``aembedding``: a hundred inputs, each of which is recorded.

LiteLLM's local cache keeps the answer of a blocking call as one text. Of an awaited call it keeps each input's list of
floats itself, and hands that very list to everyone who asks.
"""

import asyncio
from functools import partial
from typing import Any

from .hits import awaiting, blocking
from .litellm_caches import Asked, hits, settled, threads_settled
from .measure import Row
from .provider import INPUTS, Provider, vectors

__all__ = ["ROWS"]

_CALL: dict[str, Any] = {"model": "openai/text-embedding-3-small", "input": INPUTS, "num_retries": 0}
_AT_A_TIME = 1


def _blocking(server: Provider, _runner: asyncio.Runner) -> Asked:
    import litellm

    def ask() -> Any:
        return litellm.embedding(**_CALL, **server.address)

    return Asked(blocking(ask, threads_settled), _AT_A_TIME, _vectors, vectors())


def _awaiting(server: Provider, runner: asyncio.Runner) -> Asked:
    import litellm

    async def ask() -> Any:
        return await litellm.aembedding(**_CALL, **server.address)

    return Asked(awaiting(runner, ask, settled), _AT_A_TIME, _vectors, vectors())


def _vectors(answer: Any) -> list[list[float]]:
    return [each["embedding"] for each in answer.data]


ROWS = [
    Row("litellm embedding of 100 inputs, all hits, DOCache : LiteLLM local", 1.0, partial(hits, _blocking), rounds=60),
    Row(
        "litellm aembedding of 100 inputs, all hits, DOCache : LiteLLM local", 1.0, partial(hits, _awaiting), rounds=60
    ),
]

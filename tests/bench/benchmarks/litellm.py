"""Hits through LiteLLM's ``completion`` and ``acompletion``."""

import asyncio
from functools import partial

from .hits import at_once, awaiting, blocking
from .litellm_caches import CHAT, Asked, hits, settled, threads_settled
from .measure import Row
from .provider import Provider

__all__ = ["ROWS"]

_AT_ONCE = 500


def _blocking(server: Provider, _runner: asyncio.Runner) -> Asked:
    import litellm

    def ask() -> str:
        return str(litellm.completion(**CHAT, **server.address).choices[0].message.content)

    return Asked(blocking(ask, threads_settled))


def _awaiting(server: Provider, runner: asyncio.Runner, *, once: bool = False) -> Asked:
    import litellm

    async def ask() -> str:
        return str((await litellm.acompletion(**CHAT, **server.address)).choices[0].message.content)

    if once:
        return Asked(at_once(runner, ask, settled), _AT_ONCE)
    return Asked(awaiting(runner, ask, settled))


ROWS = [
    Row("litellm completion hit, DOCache : LiteLLM local", 0.45, partial(hits, _blocking), rounds=150),
    Row("litellm acompletion hit, DOCache : LiteLLM local", 0.5, partial(hits, _awaiting), rounds=150),
    Row(
        "litellm acompletion hit, 500 at once, DOCache : LiteLLM local",
        0.9,
        partial(hits, partial(_awaiting, once=True)),
        rounds=20,
    ),
]

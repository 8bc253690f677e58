"""Hits through LiteLLM's ``completion`` and ``acompletion``."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from .hits import Contender, awaiting, blocking, proven
from .measure import Rounds, Row
from .provider import MESSAGES, provider

__all__ = ["ROWS"]


@contextmanager
def _hits(*, awaited: bool) -> Iterator[Rounds]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm  # here, so that the other rows need not wait for it
    from litellm.caching.caching import Cache
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
    from litellm.types.caching import LiteLLMCacheType

    from litellm_chatcache import DOCache

    with TemporaryDirectory() as folder, asyncio.Runner() as runner:
        ours = DOCache("bench", path=folder)  # first: it repairs what makes LiteLLM's own cache fail at a hit
        theirs = Cache(type=LiteLLMCacheType.LOCAL)
        # A `Cache` also registers a callback "cache", which nothing listens to any more. With it, the success handler
        # of each blocking hit runs in a thread, beside the next hit, and blurs it by more than the contenders differ.
        # This takes the callback away again. LiteLLM's own cache is the faster for it: in use, it has the callback.
        litellm.disable_cache()
        with provider() as server:
            call: dict[str, Any] = {
                "model": "openai/gpt-4o-mini",
                "messages": MESSAGES,
                "temperature": 0.2,
                "max_tokens": 1000,
                "api_base": server.base_url,
                "api_key": "none",
                "num_retries": 0,
            }

            def ask() -> str:
                return str(litellm.completion(**call).choices[0].message.content)

            async def aask() -> str:
                return str((await litellm.acompletion(**call)).choices[0].message.content)

            # An awaited hit leaves its success handler in a queue of the loop, to be worked off while another one hits:
            # it is worked off after each round instead.
            asking = awaiting(runner, aask, GLOBAL_LOGGING_WORKER.flush) if awaited else blocking(ask)
            contenders = (Contender(partial(setattr, litellm, "cache", each), asking) for each in (ours, theirs))
            rounds = proven(server, *contenders)
        yield rounds
        litellm.cache = None
        ours.engine.close()


ROWS = [
    Row("litellm completion hit, DOCache : LiteLLM local", 1.1, partial(_hits, awaited=False), rounds=150),
    Row("litellm acompletion hit, DOCache : LiteLLM local", 1.1, partial(_hits, awaited=True), rounds=150),
]

"""DOCache and LiteLLM's own local cache, one as ready as the other, for the rows of LiteLLM.

LiteLLM is imported where a row needs it, so that the other rows need not wait for it.

The local cache holds 200 entries for ten minutes, and requests of no more than four messages where it is not told
otherwise: the rows stay within that, or tell it.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

from .hits import Ask, Contender, proven
from .measure import Rounds
from .provider import ANSWER, MESSAGES, Provider, provider

__all__ = ["CHAT", "Asked", "Used", "caches", "hits", "settled", "threads_settled"]

CHAT: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "messages": MESSAGES,
    "temperature": 0.2,
    "max_tokens": 1000,
    "num_retries": 0,
}

Use = Callable[[], object]


@dataclass(frozen=True)
class Used:
    """How each cache is put to use.

    Attributes:
        ours: puts DOCache to use.
        theirs: puts LiteLLM's local cache to use.
        none: has nothing cached.
    """

    ours: Use
    theirs: Use
    none: Use


@contextmanager
def caches() -> Iterator[Used]:
    """Give the caches, both empty."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.caching.caching import Cache
    from litellm.types.caching import LiteLLMCacheType

    from litellm_chatcache import DOCache

    with TemporaryDirectory() as folder:
        ours = DOCache("bench", path=folder)  # first: it repairs what makes LiteLLM's own cache fail at a hit
        theirs = Cache(type=LiteLLMCacheType.LOCAL, max_messages=None)
        # A `Cache` also registers a callback "cache", which nothing listens to any more. With it, the success handler
        # of each blocking hit runs in a thread, beside the next hit, and blurs it by more than the contenders differ.
        # This takes the callback away again. LiteLLM's own cache is the faster for it: in use, it has the callback.
        litellm.disable_cache()
        use = partial(setattr, litellm, "cache")
        yield Used(partial(use, ours), partial(use, theirs), partial(use, None))
        litellm.cache = None
        ours.engine.close()


@dataclass(frozen=True)
class Asked:
    """What both caches are asked.

    Attributes:
        ask: asks it.
        at_a_time: how often in a round.
        holds: returns what is to be alike in both answers.
        expected: what that is.
    """

    ask: Ask
    at_a_time: int = 10
    holds: Callable[[Any], Any] = str
    expected: Any = ANSWER


@contextmanager
def hits(asked: Callable[[Provider, asyncio.Runner], Asked]) -> Iterator[Rounds]:
    """Give rounds in which each cache is asked what it has recorded, when the provider is gone."""
    with caches() as used, asyncio.Runner() as runner:
        with provider() as server:
            question = asked(server, runner)
            contenders = (Contender(use, question.ask, question.at_a_time) for use in (used.ours, used.theirs))
            rounds = proven(server, *contenders, holds=question.holds, expected=question.expected)
        yield rounds


def threads_settled() -> None:
    """Wait until LiteLLM's threads have told the callbacks of what was asked."""
    from litellm.constants import LOGGING_EXECUTOR_MAX_PENDING_TASKS
    from litellm.litellm_core_utils.thread_pool_executor import executor

    while executor._pending_slots._value < LOGGING_EXECUTOR_MAX_PENDING_TASKS:
        sleep(0.0005)


async def settled() -> None:
    """Wait until all that LiteLLM left to the loop and to threads is done: else it is done while the next one asks."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    def left() -> "set[asyncio.Task[Any]]":  # the worker never ends, and is begun by the first of the others
        return asyncio.all_tasks() - {asyncio.current_task(), GLOBAL_LOGGING_WORKER._worker_task}

    while doing := left():
        await asyncio.wait(doing)
        await GLOBAL_LOGGING_WORKER.flush()
    threads_settled()

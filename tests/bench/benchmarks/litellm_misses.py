"""What a cache adds to a call that it has no record of: the lookup, and the store.

Each time a call with the cache is set against one without any, right after it, when the threads of LiteLLM are done
with the call before: an answer takes longer to come than they do. Ours is in the file before the caller goes on, where
it survives a killed process; LiteLLM's local cache keeps a dictionary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median
from time import perf_counter
from typing import Any

from .litellm_caches import CHAT, Use, caches, threads_settled
from .measure import Rounds, Row
from .provider import ANSWER

__all__ = ["ROWS"]

_TIMES = 20


@contextmanager
def _misses() -> Iterator[Rounds]:
    numbers = count()

    def taken() -> float:
        import litellm

        question = {"role": "user", "content": f"This is question {next(numbers)}."}
        call: dict[str, Any] = {**CHAT, "messages": [*CHAT["messages"], question], "mock_response": ANSWER}
        threads_settled()
        began = perf_counter()
        litellm.completion(**call)
        return (perf_counter() - began) * 1e6

    with caches() as used:

        def added(use: Use) -> Callable[[], float]:
            def one() -> float:
                use()
                with_it = taken()
                used.none()
                return with_it - taken()

            return lambda: median(one() for _ in range(_TIMES))

        yield added(used.ours), added(used.theirs)


ROWS = [Row("litellm completion miss, added by the cache, DOCache : LiteLLM local", 1.5, _misses, rounds=15)]

"""Rate limiters of cached models: calls wait for them, and replays do not."""

from langchain_core.rate_limiters import BaseRateLimiter

__all__ = ["await_call", "for_calls", "of_calls", "wait_for_call"]


class _ForCalls(BaseRateLimiter):
    """A rate limiter that lets LangChain pass, which asks it before it is known whether a call is made.

    Attributes:
        inner: what calls wait for.
    """

    def __init__(self, inner: BaseRateLimiter) -> None:
        self.inner = inner

    def acquire(self, *, blocking: bool = True) -> bool:  # noqa: ARG002 - as LangChain has it
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:  # noqa: ARG002
        return True


def for_calls(limiter: BaseRateLimiter | None) -> BaseRateLimiter | None:
    """Return a limiter that lets LangChain pass, and that calls wait for by `wait_for_call`."""
    return limiter if limiter is None or isinstance(limiter, _ForCalls) else _ForCalls(limiter)


def of_calls(limiter: BaseRateLimiter | None) -> BaseRateLimiter | None:
    """Return the limiter that `for_calls` was given."""
    return limiter.inner if isinstance(limiter, _ForCalls) else limiter


def wait_for_call(limiter: BaseRateLimiter | None) -> None:
    """Wait until a call may be made."""
    if isinstance(limiter, _ForCalls):
        limiter.inner.acquire(blocking=True)


async def await_call(limiter: BaseRateLimiter | None) -> None:
    """Awaiting twin of `wait_for_call`."""
    if isinstance(limiter, _ForCalls):
        await limiter.inner.aacquire(blocking=True)

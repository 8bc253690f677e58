"""What the seams in LiteLLM want of the cache that is set as ``litellm.cache``."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import litellm

from .call import Call

__all__ = ["Hook", "StandIn", "guard", "hooked", "stand_in"]


class Hook(ABC):
    """A cache that is told of all that LiteLLM does."""

    @abstractmethod
    def guard(self, call: Call, arguments: dict[str, Any]) -> None:
        """See to it that a call in mode ``replay`` is looked up, whatever it says, or is not made.

        While a tape is in, it sees to it that each call is looked up.

        Args:
            call: the call.
            arguments: its arguments, which are changed so that LiteLLM asks the cache.

        Raises:
            ReplayMiss: LiteLLM asks no cache for it.
            InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
        """

    @abstractmethod
    def leave_out(self, call: Call, arguments: Mapping[str, Any], why: str) -> None:
        """Raise a miss for a call that is made without this cache, or tell a tape that is in of it.

        Args:
            call: the call.
            arguments: its arguments.
            why: why no cache sees it.

        Raises:
            ReplayMiss: nothing may be called.
            InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
        """

    @abstractmethod
    def replays(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether a call with these arguments may not reach a provider."""

    @abstractmethod
    def keeps(self, call: Call) -> bool:
        """Return whether the stream of a call is to be kept."""

    @abstractmethod
    def freeze(self, call: Call, arguments: Mapping[str, Any]) -> bool:
        """Fix the key and the request of a call that LiteLLM is about to make. Never raises.

        Args:
            call: the call, which may not have been looked up, as with ``no-cache``.
            arguments: what is passed to the function of LiteLLM, by name.

        Returns:
            Whether the call has a key. If so, LiteLLM must not edit the arguments: a later call may pass them again.
        """

    @abstractmethod
    def keep(self, call: Call, answer: Any, arguments: Mapping[str, Any]) -> None:
        """Record the answer of a call. Never raises."""

    @abstractmethod
    def recorded_since(self, call: Call) -> bool:
        """Wait for whoever just asks for the embeddings that a call lacks; return whether they are recorded now.

        Raises:
            Exception: what the call of another one raised.
        """

    @abstractmethod
    async def arecorded_since(self, call: Call) -> bool:
        """Awaiting twin of `recorded_since`."""

    @abstractmethod
    def recorded_failure(self, call: Call) -> Exception | None:
        """Return the recorded error of a call for embeddings in mode ``replay``, or None."""

    @abstractmethod
    def keep_stream(self, call: Call, chunks: list[Any], offsets: list[float], *, ended: bool) -> None:
        """Record a stream that was read to its end, chunk by chunk. Never raises.

        Args:
            call: what asked for it.
            chunks: the records of its chunks.
            offsets: when each of them came, in seconds since it was asked for.
            ended: whether the provider said that it is the end.
        """

    @abstractmethod
    def briefly(self, call: Call, work: Callable[[], None]) -> None:
        """Do work that records a call, and hold up the running event loop only for a moment.

        Who asks for the same before it is done waits for it.
        """

    @abstractmethod
    def keep_failure(self, call: Call, error: Exception, chunks: Sequence[Any] = ()) -> None:
        """Record the error of a call, where that is wanted, and tell those who wait for it. Never raises.

        Args:
            call: the call.
            error: what it raised.
            chunks: the records of the chunks that came before.
        """


class StandIn(ABC):
    """What puts a cache of ours in the place of none, or of LiteLLM's own, when LiteLLM is called."""

    @abstractmethod
    def put_in_place_of(self, cache: object) -> Hook | None:
        """Set a cache of ours as that of LiteLLM instead of another one, and return it; None if it leaves that one.

        Args:
            cache: the cache of LiteLLM, which is none of ours.
        """

    @abstractmethod
    def leave_out(self, call: Call, arguments: Mapping[str, Any]) -> None:
        """Raise a miss for a call that is made with the cache that was left, or tell a tape that is in of it.

        Raises:
            ReplayMiss: nothing may be called.
        """


_stand_in: StandIn | None = None


def stand_in(what: StandIn | None) -> None:
    """Have a stand-in asked when LiteLLM is called and its cache is none of ours, or no stand-in any more."""
    global _stand_in  # noqa: PLW0603 - LiteLLM is there once
    _stand_in = what


def hooked() -> Hook | None:
    """Return the cache of LiteLLM, if it is one of ours."""
    cache: object = litellm.cache
    if isinstance(cache, Hook):
        return cache
    return None if _stand_in is None else _stand_in.put_in_place_of(cache)


def guard(call: Call, arguments: dict[str, Any]) -> None:
    """Have a call guarded that is about to be made: see `Hook.guard`.

    Raises:
        ReplayMiss: LiteLLM asks no cache of ours for it, and nothing may be called.
        InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
    """
    hook = hooked()
    if hook is not None:
        hook.guard(call, arguments)
    elif _stand_in is not None:
        _stand_in.leave_out(call, arguments)

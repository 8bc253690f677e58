"""Recorded streams, of the kinds that callers of LiteLLM expect."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any
from warnings import catch_warnings

import litellm
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.responses.streaming_iterator import CachedResponsesAPIStreamingIterator

__all__ = ["ReplayedMessages", "ReplayedResponses", "ReplayedStream"]


_HOMES = tuple(
    f"litellm.llms.anthropic.{home}.streaming_iterator"
    for home in ("messages.native", "pass_through.messages", "experimental_pass_through.messages")
)
"""Where LiteLLM has its streams of messages, over its versions."""


class ReplayedStream(CustomStreamWrapper):
    """LiteLLM's own kind of stream over recorded chunks, for ``for`` and for ``async for``.

    LiteLLM knows by the class that the callbacks of a hit wait until the stream was read; then they are called here,
    once.

    Args:
        chunks: the chunks.
        error: what is raised after them, if it broke off.
        whole: makes the answer that was streamed, for the callbacks.
        arguments: those of the call.
    """

    def __init__(
        self, chunks: list[Any], error: Exception | None, whole: Callable[[], Any], arguments: Mapping[str, Any]
    ) -> None:
        super().__init__(
            completion_stream=None,
            model=arguments["model"],
            logging_obj=arguments["litellm_logging_obj"],
            custom_llm_provider="cached_response",
            stream_options=arguments.get("stream_options"),
        )
        self._error = error
        self._whole: Callable[[], Any] | None = whole
        self._began = datetime.now()  # noqa: DTZ005 - LiteLLM subtracts it from its own naive times
        self._replayed: Iterator[Any] = iter(chunks)

    def __contains__(self, _item: object) -> bool:
        """Say no: LiteLLM asks whether ``detail`` is in it, which would mark an error, and must not read the stream."""
        return False

    def __next__(self) -> Any:
        """Return the next chunk; after the last one, tell the callbacks."""
        for chunk in self._replayed:
            return chunk
        self._tell_once(awaited=False)
        raise StopIteration

    async def __anext__(self) -> Any:
        """Awaiting twin of `__next__`."""
        for chunk in self._replayed:
            return chunk
        self._tell_once(awaited=True)
        raise StopAsyncIteration

    def _tell_once(self, *, awaited: bool) -> None:
        if self._error is not None:
            raise self._error
        whole, self._whole = self._whole, None
        if whole is not None and _is_anybody_told(
            self.logging_obj
        ):  # to put the chunks together takes twice as long as all the rest
            tell(self.logging_obj, whole(), self._began, awaited=awaited)


class ReplayedMessages:
    """The bytes of a recorded event stream of Anthropic's Messages API, for ``async for``.

    Args:
        chunks: the pieces of the event stream.
        error: what is raised after them, if it broke off.
        arguments: those of the call.
    """

    def __init__(self, chunks: list[Any], error: Exception | None, arguments: Mapping[str, Any]) -> None:
        self._error = error
        self._replayed = iter(chunks)
        self._chunks = chunks
        self._arguments = arguments
        self._hidden_params: dict[str, Any] = {"cache_hit": True}
        self._told = False

    def __contains__(self, _item: object) -> bool:
        """Say no, as `ReplayedStream` does."""
        return False

    def __aiter__(self) -> "ReplayedMessages":
        return self

    async def __anext__(self) -> Any:
        """Return the next piece; after the last one, tell the callbacks."""
        for chunk in self._replayed:
            return chunk
        if self._error is not None:
            raise self._error
        if not self._told:
            self._told = True
            await self._tell()
        raise StopAsyncIteration

    async def _tell(self) -> None:
        iterator = _messages_iterator()
        if iterator is None:
            return
        logging: Any = self._arguments["litellm_logging_obj"]
        teller: Any = iterator(litellm_logging_obj=logging, request_body=dict(self._arguments))
        await teller._handle_streaming_logging(self._chunks)  # noqa: SLF001 - as LiteLLM's own cached stream does


class ReplayedResponses(CachedResponsesAPIStreamingIterator):
    """The events of a recorded stream of the Responses API, for ``for`` and for ``async for``.

    Args:
        whole: the answer that was streamed.
        events: its events.
        error: what is raised after them, if it broke off.
        arguments: those of the call.
        function: the function of LiteLLM that was called.
    """

    def __init__(
        self, whole: Any, events: list[Any], error: Exception | None, arguments: Mapping[str, Any], function: str
    ) -> None:
        super().__init__(
            response=whole,
            logging_obj=arguments["litellm_logging_obj"],
            request_data=dict(arguments),
            call_type=function,
        )
        self._events = events  # instead of those that LiteLLM makes up
        self.completed_response = events[-1]
        self._error = error

    def __next__(self) -> Any:
        """Return the next event; LiteLLM tells the callbacks at the last one."""
        self._break_off()
        return super().__next__()

    async def __anext__(self) -> Any:
        """Awaiting twin of `__next__`."""
        self._break_off()
        return await super().__anext__()

    def _break_off(self) -> None:
        if self._error is not None and self._idx >= len(self._events):
            raise self._error

    def __contains__(self, _item: object) -> bool:
        """Say no, as `ReplayedStream` does."""
        return False


@cache
def _messages_iterator() -> Any:
    """Return LiteLLM's class that logs event streams of messages, or None without what comes with its proxy."""
    for home in _HOMES:
        with suppress(ImportError), catch_warnings(action="ignore"):  # its old homes say that they are old
            return import_module(home).BaseAnthropicMessagesStreamingIterator
    return None


def _is_anybody_told(logging: Any) -> bool:
    own = logging.dynamic_success_callbacks, logging.dynamic_async_success_callbacks
    everybodys = litellm.callbacks, litellm.success_callback, litellm._async_success_callback  # noqa: SLF001 - its name
    return any((*own, *everybodys))


def tell(logging: Any, whole: Any, began: datetime, *, awaited: bool) -> None:
    """Tell LiteLLM's callbacks of a hit."""
    handler = logging._llm_caching_handler  # noqa: SLF001 - its name in every version
    if handler is None:
        return
    ended = datetime.now()  # noqa: DTZ005 - LiteLLM subtracts naive times
    if awaited:
        handler._async_log_cache_hit_on_callbacks(logging, whole, began, ended, cache_hit=True)  # noqa: SLF001 - as LiteLLM tells a hit
    else:
        names = ("handle_sync_cache_hit_success_callbacks", "handle_sync_success_callbacks_for_async_calls")
        told = next(getattr(logging, name) for name in names if hasattr(logging, name))
        told(whole, began, ended, cache_hit=True)

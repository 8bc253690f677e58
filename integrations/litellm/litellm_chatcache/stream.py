"""A recorded chat completion as the stream that a caller of LiteLLM expects."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.types.utils import ModelResponse, ModelResponseStream

from .responses import chunks_of

__all__ = ["ReplayedStream"]


class ReplayedStream(CustomStreamWrapper):
    """LiteLLM's own kind of stream over recorded chunks, for ``for`` and for ``async for``.

    LiteLLM knows by the class that the callbacks of a hit wait until the stream was read; then they are called here,
    once.
    """

    def __init__(self, response: ModelResponse, arguments: dict[str, Any]) -> None:
        logging = arguments["litellm_logging_obj"]
        logging.model_call_details["cache_hit"] = True  # else LiteLLM counts the tokens of the prompt, to price nothing
        options = arguments.get("stream_options")
        super().__init__(
            completion_stream=None,
            model=arguments["model"],
            logging_obj=logging,
            custom_llm_provider="cached_response",
            stream_options=options,
        )
        self._response: ModelResponse | None = response
        self._began = datetime.now()  # noqa: DTZ005 - LiteLLM subtracts it from its own naive times
        self._replayed: Iterator[ModelResponseStream] = chunks_of(
            response, with_usage=bool(options and options.get("include_usage"))
        )

    def __contains__(self, _item: object) -> bool:
        """Say no: LiteLLM asks whether ``detail`` is in it, which would mark an error, and must not read the stream."""
        return False

    def __next__(self) -> ModelResponseStream:
        """Return the next chunk; after the last one, tell the callbacks."""
        for chunk in self._replayed:
            return chunk
        self._tell_once(awaited=False)
        raise StopIteration

    async def __anext__(self) -> ModelResponseStream:
        """Awaiting twin of `__next__`."""
        for chunk in self._replayed:
            return chunk
        self._tell_once(awaited=True)
        raise StopAsyncIteration

    def _tell_once(self, *, awaited: bool) -> None:
        response, self._response = self._response, None
        handler = self.logging_obj._llm_caching_handler  # noqa: SLF001 - its name in every version
        if response is None or handler is None:
            return
        ended = datetime.now()  # noqa: DTZ005 - as above
        if awaited:
            handler._async_log_cache_hit_on_callbacks(self.logging_obj, response, self._began, ended, cache_hit=True)  # noqa: SLF001 - as LiteLLM tells a hit
        else:
            self.logging_obj.handle_sync_success_callbacks_for_async_calls(response, self._began, ended, cache_hit=True)

"""The streams of LiteLLM, which are recorded as they are read."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from litellm.caching.caching_handler import LLMCachingHandler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.utils import TextCompletionStreamWrapper

from litellm_chatcache.call import Call
from litellm_chatcache.hook import hooked
from litellm_chatcache.kinds import CHAT, MESSAGES, RESPONSES, TEXT, Kind
from litellm_chatcache.streams import Tape

from .handler import call_of
from .replacing import replace
from .writes import briefly, nothing_left

__all__ = ["install"]

_TAPE = "_chatcache_tape"
_RESPONSES = (
    ("litellm.responses.streaming_iterator", "ResponsesAPIStreamingIterator"),
    ("litellm.responses.streaming_iterator", "SyncResponsesAPIStreamingIterator"),
    ("litellm.responses.streaming_iterator", "MockResponsesAPIStreamingIterator"),
    ("litellm.responses.litellm_completion_transformation.streaming_iterator", "LiteLLMCompletionStreamingIterator"),
)


def install() -> None:
    """Have streams recorded, and nothing that LiteLLM makes of them."""
    _tap(CustomStreamWrapper, CHAT, lambda stream: stream)
    _tap(TextCompletionStreamWrapper, TEXT, lambda stream: stream.completion_stream)
    for module, name in _RESPONSES:
        _tap(getattr(_imported(module), name, None), RESPONSES, lambda stream: stream)
    replace(LLMCachingHandler, "wrap_streaming_result_for_cache", _messages)
    replace(CustomStreamWrapper, "cache_streaming_response", _nothing)
    replace(CustomStreamWrapper, "async_cache_streaming_response", _nothing_awaited)


def _imported(module: str) -> Any:
    __import__(module)
    return sys.modules[module]


def _tap(stream: type | None, kind: Kind, chat_of: Callable[[Any], Any]) -> None:
    """Have the streams of a class recorded that calls of a kind are answered with.

    Args:
        stream: the class, if this LiteLLM has it.
        kind: the kind of calls.
        chat_of: gives the stream that knows the call, and whether it ended.
    """
    if stream is not None:
        replace(stream, "__next__", partial(_next, kind, chat_of))
        replace(stream, "__anext__", partial(_anext, kind, chat_of))


def _next(kind: Kind, chat_of: Callable[[Any], Any], original: Callable[..., Any]) -> Callable[..., Any]:
    def next_chunk(self: Any) -> Any:
        tape = _tape_of(self, kind, chat_of)
        if tape is None:
            return original(self)
        try:
            chunk = original(self)
        except StopIteration:
            tape.end(ended=_ended(chat_of(self)))
            raise
        except Exception as error:
            tape.fail(error)
            raise
        tape.add(chunk)
        return chunk

    return next_chunk


def _anext(kind: Kind, chat_of: Callable[[Any], Any], original: Callable[..., Any]) -> Callable[..., Any]:
    async def next_chunk(self: Any) -> Any:
        tape = _tape_of(self, kind, chat_of)
        if tape is None:
            return await original(self)
        try:
            chunk = await original(self)
        except StopAsyncIteration:
            ended = _ended(chat_of(self))
            briefly(lambda: tape.end(ended=ended))
            raise
        except Exception as error:
            tape.fail(error)
            raise
        tape.add(chunk)
        return chunk

    return next_chunk


def _tape_of(stream: Any, kind: Kind, chat_of: Callable[[Any], Any]) -> Tape | None:
    known = vars(stream)
    if _TAPE not in known:
        logging = getattr(chat_of(stream), "logging_obj", None)
        known[_TAPE] = _tape(call_of(logging), kind, logging)
    tape: Tape | None = known[_TAPE]
    return tape


def _tape(call: Call | None, kind: Kind, logging: Any) -> Tape | None:
    """Return what a call's stream is to be recorded on, or None where it is not to be."""
    hook = hooked()
    if hook is None or call is None or call.kind is not kind or call.over:
        return None
    handler = getattr(logging, "_llm_caching_handler", None)
    arguments = getattr(handler, "request_kwargs", None) or {}
    try:
        keeps = call.key is not None or ("model" in arguments and hook.may_keep(call, arguments))
    except Exception:  # noqa: BLE001 - it has no key, which was said when it was looked up
        return None
    return Tape(call, hook) if keeps and call.key and call.mode.writes and call.controls.stores else None


def _ended(stream: Any) -> bool | None:
    """Return whether the provider gave a reason to finish, or None where the stream does not know."""
    known = vars(stream)
    reasons = [known[name] for name in ("received_finish_reason", "intermittent_finish_reason") if name in known]
    return any(reasons) if reasons else None


class _Recorded:
    """The event stream of a message of Anthropic, recorded as it is read."""

    def __init__(self, stream: Any, tape: Tape) -> None:
        self._stream = stream
        self._tape = tape
        self._hidden_params = dict(getattr(stream, "_hidden_params", None) or {})

    def __aiter__(self) -> "_Recorded":
        return self

    async def __anext__(self) -> Any:
        try:
            chunk = await anext(self._stream)
        except StopAsyncIteration:
            briefly(self._tape.end)
            raise
        except Exception as error:
            self._tape.fail(error)
            raise
        self._tape.add(chunk)
        return chunk

    async def aclose(self) -> None:
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _messages(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(self: Any, result: Any, call_type: str) -> Any:
        if hooked() is None:
            return original(self, result, call_type)
        call: Call | None = getattr(self, "_chatcache_call", None)
        tape = None
        if call is not None and call.within is None and hasattr(result, "__anext__"):
            tape = _tape(call, MESSAGES, None)
        return result if tape is None else _Recorded(result, tape)

    return wrap


def _nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, processed_chunk: Any, cache_hit: bool) -> None:  # noqa: FBT001 - LiteLLM's
        if hooked() is None:
            original(self, processed_chunk, cache_hit)

    return method


def _nothing_awaited(original: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, processed_chunk: Any, cache_hit: bool) -> Any:  # noqa: FBT001 - LiteLLM's
        return original(self, processed_chunk, cache_hit) if hooked() is None else nothing_left()

    return method

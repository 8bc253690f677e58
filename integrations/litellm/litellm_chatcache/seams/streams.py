"""The streams of LiteLLM, which are recorded as they are read."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from litellm.caching.caching_handler import LLMCachingHandler
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper
from litellm.utils import TextCompletionStreamWrapper

from litellm_chatcache.call import BEGUN, Call
from litellm_chatcache.hook import hooked
from litellm_chatcache.kinds import CHAT, MESSAGES, RESPONSES, TEXT, Kind
from litellm_chatcache.streams import Tape

from .handler import call_of
from .replacing import replace
from .writes import nothing_left

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
    _tap(CustomStreamWrapper, CHAT)
    _tap(TextCompletionStreamWrapper, TEXT)
    for module, name in _RESPONSES:
        stream = getattr(_imported(module), name, None)
        if stream is not None:
            _tap(stream, RESPONSES)
    replace(TextCompletionStreamWrapper, "__init__", _knows_its_call)
    replace(LLMCachingHandler, "wrap_streaming_result_for_cache", _messages)
    replace(CustomStreamWrapper, "cache_streaming_response", _nothing)
    replace(CustomStreamWrapper, "async_cache_streaming_response", _nothing_awaited)


def _imported(module: str) -> Any:
    __import__(module)
    return sys.modules[module]


def _tap(stream: type, kind: Kind) -> None:
    """Have the streams of a class recorded that calls of a kind are answered with."""
    replace(stream, "__next__", partial(_next, kind))
    replace(stream, "__anext__", partial(_anext, kind))


def _next(kind: Kind, original: Callable[..., Any]) -> Callable[..., Any]:
    def next_chunk(self: Any) -> Any:
        tape = _tape_of(self, kind)
        if tape is None:
            return original(self)
        try:
            chunk = original(self)
        except StopIteration:
            tape.end(ended=_ended(self))
            raise
        except Exception as error:
            tape.fail(error)
            raise
        tape.add(chunk)
        return chunk

    return next_chunk


def _anext(kind: Kind, original: Callable[..., Any]) -> Callable[..., Any]:
    async def next_chunk(self: Any) -> Any:
        tape = _tape_of(self, kind)
        if tape is None:
            return await original(self)
        try:
            chunk = await original(self)
        except StopAsyncIteration:
            ended = _ended(self)
            tape.end_briefly(ended=ended)
            raise
        except Exception as error:
            tape.fail(error)
            raise
        tape.add(chunk)
        return chunk

    return next_chunk


def _knows_its_call(original: Callable[..., Any]) -> Callable[..., Any]:
    def begin(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        call = BEGUN.get()
        self._chatcache_call = call and (call.within or call)

    return begin


def _tape_of(stream: Any, kind: Kind) -> "Tape | _Within | None":
    known = vars(stream)
    if _TAPE not in known:
        logging = known.get("logging_obj")
        call = known.get("_chatcache_call") or call_of(logging)
        known[_TAPE] = _tape(call, kind)
    tape: Tape | _Within | None = known[_TAPE]
    return tape


def _tape(call: Call | None, kind: Kind) -> "Tape | _Within | None":
    """Return what a call's stream is to be recorded on, or None where it is not to be."""
    hook = hooked()
    if hook is None or call is None or call.over:
        return None
    if call.kind is not kind:
        return _Within(call) if kind is CHAT else None
    return Tape(call, hook) if call.key and hook.keeps(call) else None


def _ended(stream: Any) -> bool | None:
    """Return whether the provider gave a reason to finish, or None where the stream does not know."""
    known = vars(stream)
    reasons = [known[name] for name in ("received_finish_reason", "intermittent_finish_reason") if name in known]
    return any(reasons) if reasons else None


class _Within:
    """A stream of a chat completion out of which LiteLLM makes the stream of a call of another kind."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def add(self, chunk: Any) -> None:
        """Leave it to the other stream."""

    def end(self, *, ended: bool | None) -> None:
        """Take note whether it came to its end."""
        self._call.cut = ended is False

    def end_briefly(self, *, ended: bool | None) -> None:
        """As `end`."""
        self.end(ended=ended)

    def fail(self, error: Exception) -> None:
        """Leave it to the other stream."""


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
            self._tape.end_briefly(ended=None)
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
        tape: Any = None
        if call is not None and call.within is None and hasattr(result, "__anext__"):
            tape = _tape(call, MESSAGES)
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

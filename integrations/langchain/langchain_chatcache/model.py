"""``cached(model, cache)``: a chat model whose calls and streams are recorded, and which is still what it was."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import aclosing, closing, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from chatcache import InvalidInputError, InvalidValueError, LeftOut, Mode, Refusal, raise_interrupt, request_key

from .answers import (
    ChunkRecorder,
    chunk_of,
    chunks_of_result,
    names_of_a_replay,
    record_of_result,
    refusal_of_chunks,
    result_of,
    result_of_chunks,
)
from .cache import DOCache
from .generations import Name, refusal_of, same_id
from .keys import UnkeyableError, asks_for_several, left_out_of, request_of
from .limiter import await_call, for_calls, of_calls, wait_for_call

__all__ = ["cached"]

M = TypeVar("M", bound=BaseChatModel)


def cached(model: M, cache: DOCache, *, ignore: Collection[str] = ()) -> M:
    """Return a copy of a chat model whose calls and streams are recorded by a cache, and replayed.

    It is of the model's own type, so it takes ``bind_tools``, ``with_structured_output``, ``with_retry`` and the like,
    and works in agents and graphs. A stream is replayed in the very chunks that were recorded, also where LangChain
    streams behind the scenes (``astream_events``, LangGraph's ``messages`` mode). A call is answered by a recorded
    stream, and a stream by a recorded call, in one chunk, where there is no record of its own kind. Whoever asks for
    the same at the same time shares one call. Its key is made of what the model holds at the moment of the call, and of
    the JSON schemas of classes that it is to answer with. Neither LangChain's own cache nor, on a hit, the model's rate
    limiter has any part in it.

    Args:
        model: the model, which stays as it is.
        cache: keeps the records, by its mode, its TTL and its limits.
        ignore: the names of fields of the model, and of arguments of calls, that do not change an answer.

    Raises:
        InvalidInputError: it is no chat model; bind tools and arguments afterwards.
        ReplayMiss: from the copy, in mode ``replay``, there is no record.
    """
    if not isinstance(model, BaseChatModel):
        raise InvalidInputError(
            f"cached() was passed a {type(model).__name__}, which is no chat model: pass the model itself, "
            "and bind tools, retries and the like to what it returns"
        )
    if isinstance(ignore, str):
        raise InvalidInputError(f"ignore={ignore!r}: pass a list of names")
    before: _Replay | None = getattr(model, "_replay", None)
    kind = type(model) if before is None else before.inner  # what is cached already is cached anew
    copy = model.model_copy(update={"cache": False, "rate_limiter": for_calls(model.rate_limiter)})
    copy.__dict__.pop("_serialized", None)  # which LangChain keeps, also where a field was changed
    object.__setattr__(copy, "__class__", _replaying(cache, kind, frozenset(ignore)))
    return copy


class _Replay:
    """What models of one class are replayed by.

    Args:
        inner: the class of the model.
        cache: keeps the records.
        ignore: what does not change an answer.
    """

    def __init__(self, inner: type[BaseChatModel], cache: DOCache, ignore: frozenset[str]) -> None:
        self.inner = inner
        self.cache = cache
        self.engine = cache.engine
        self.ignore = ignore

    def asks(
        self, model: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> "_Asked | None":
        """Return what a model is asked, or None where the call is made without the cache.

        Raises:
            ReplayMiss: in mode ``replay``, the request has no key.
        """
        if self.engine.mode_of(None) is Mode.OFF:
            return None
        try:
            request = request_of(model, self.inner, messages, stop, arguments, self.ignore)
            name = f"lc_run--{request_key(request)[:32]}" if self.cache.stable_ids else None
        except (UnkeyableError, InvalidValueError) as error:
            if self.engine.mode_of(None) is Mode.REPLAY:
                raise self.engine.miss(None, repr(messages), str(error)) from error
            self.engine.bypass(error)
            return None
        return _Asked(request, name, LeftOut(lambda: left_out_of(model, arguments, self.ignore)))

    def is_within(self, model: BaseChatModel) -> bool:
        """Return whether it is the model itself that calls one of its methods."""
        return any(each is model for each in _WITHIN.get())

    @contextmanager
    def within(self, model: BaseChatModel) -> Iterator[None]:
        """Have the model's own methods call each other without the cache: what they make is one call."""
        before = _WITHIN.set((*_WITHIN.get(), model))
        try:
            yield
        finally:
            _WITHIN.reset(before)


class _Asked:
    """One request to a model, and what becomes of the ids of its answer.

    Args:
        request: the request.
        stable: the id of messages without one, where a replay is to have the same ids, or None.
        left_out: has a miss say what does not count.

    Attributes:
        request: as above.
        left_out: as above.
        result: what the model returned, where it was called for it.
        from_chunks: makes a recorded result of recorded chunks, unless there are several choices.
        to_chunks: makes recorded chunks of a recorded result, the same.
    """

    def __init__(self, request: dict[str, Any], stable: str | None, left_out: LeftOut) -> None:
        self.request = request
        self.left_out = left_out
        self.result: ChatResult | None = None
        several = asks_for_several(request)
        self.from_chunks = None if several else result_of_chunks
        self.to_chunks = None if several else chunks_of_result
        self._stable = stable
        self._name: Name = names_of_a_replay() if stable is None else same_id
        self._recorder = ChunkRecorder()

    def made(self, result: ChatResult) -> Any:
        """Note what the model returned, and return its record, or itself where it has none."""
        self.result = result
        for number, each in enumerate(result.generations):
            if each.message.id is None and self._stable is not None:
                each.message.id = f"{self._stable}-{number}" if number else self._stable
        try:
            return record_of_result(result)
        except ValueError as error:
            raise_interrupt(error)
            return result

    def refuses(self, _record: Any) -> Refusal | None:
        """Return why the result is not worth keeping, if it is not."""
        return None if self.result is None else refusal_of(self.result.generations)

    def returned(self, record: Any) -> ChatResult:
        """Return the result of a record, or that of the call that was made just now."""
        if self.result is not None:
            return self.result
        return record if isinstance(record, ChatResult) else result_of(record, self._name)

    def streamed(self, chunk: ChatGenerationChunk) -> Any:
        """Return the record of a chunk that the model streamed, or itself where it has none."""
        self._name = same_id  # it is no replay
        chunk.message.id = chunk.message.id or self._stable
        try:
            return self._recorder.record(chunk)
        except ValueError as error:
            raise_interrupt(error)
            return chunk

    def passed_on(self, record: Any) -> ChatGenerationChunk:
        """Return the chunk of a record."""
        return record if isinstance(record, ChatGenerationChunk) else chunk_of(record, self._name)


_WITHIN: ContextVar[tuple[BaseChatModel, ...]] = ContextVar("langchain_chatcache_within", default=())


class _Replaying:
    """What a model's class is given to look for a record first, before a method of its own is called."""

    _replay: _Replay

    def __reduce__(self: Any) -> tuple[Any, ...]:
        """Have one that was pickled made of its model, if that can be; its class is made at run time."""
        plain = self.model_copy(update={"rate_limiter": of_calls(self.rate_limiter)})
        object.__setattr__(plain, "__class__", self._replay.inner)
        return partial(cached, ignore=sorted(self._replay.ignore)), (plain, self._replay.cache)

    def _generate(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any) -> ChatResult:
        replay: _Replay = self._replay
        method = partial(replay.inner._generate, self, messages, stop=stop, **arguments)
        given = _accepted(replay.inner._generate, run_manager=run_manager)
        if replay.is_within(self):
            return method(**given)
        asked = replay.asks(self, messages, stop, arguments)

        def make(_request: object) -> Any:
            wait_for_call(self.rate_limiter)
            with replay.within(self):
                result = method(**given)
            return result if asked is None else asked.made(result)

        if asked is None:
            return make(None)  # type: ignore[no-any-return]
        with asked.left_out:
            result: ChatResult = replay.engine.call(
                asked.request, make, refuse=asked.refuses, read=asked.returned, from_chunks=asked.from_chunks
            )
        return result

    async def _agenerate(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> ChatResult:
        replay: _Replay = self._replay
        method = partial(replay.inner._agenerate, self, messages, stop=stop, **arguments)
        given = _accepted(replay.inner._agenerate, run_manager=run_manager)
        if replay.is_within(self):
            return await method(**given)
        asked = replay.asks(self, messages, stop, arguments)

        async def make(_request: object) -> Any:
            await await_call(self.rate_limiter)
            with replay.within(self):
                result = await method(**given)
            return result if asked is None else asked.made(result)

        if asked is None:
            return await make(None)  # type: ignore[no-any-return]
        with asked.left_out:
            return await replay.engine.acall(
                asked.request, make, refuse=asked.refuses, read=asked.returned, from_chunks=asked.from_chunks
            )


class _ReplayingStreams(_Replaying):
    """As well, where the class has streams of its own: LangChain looks whether it has."""

    def _astream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        replay: _Replay = self._replay
        given = {} if run_manager is None else {"run_manager": run_manager}
        method = partial(replay.inner._astream, self, messages, stop=stop, **arguments, **given)
        if replay.is_within(self):
            return method()
        return _astreamed(replay, replay.asks(self, messages, stop, arguments), method, self)


class _ReplayingBlockingStreams(_ReplayingStreams):
    """As well, where they can be read without awaiting."""

    def _stream(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> Iterator[ChatGenerationChunk]:
        replay: _Replay = self._replay
        given = {} if run_manager is None else {"run_manager": run_manager}
        method = partial(replay.inner._stream, self, messages, stop=stop, **arguments, **given)
        if replay.is_within(self):
            return method()
        return _streamed(replay, replay.asks(self, messages, stop, arguments), method, self)


def _streamed(
    replay: _Replay,
    asked: _Asked | None,
    method: Callable[[], Iterator[ChatGenerationChunk]],
    model: BaseChatModel,
) -> Iterator[ChatGenerationChunk]:
    def make(_request: object) -> Iterator[Any]:
        wait_for_call(model.rate_limiter)
        stream = method()
        with closing(stream) if isinstance(stream, Generator) else nullcontext():
            while True:
                with replay.within(model):  # no longer, or it would be for whoever reads the stream, too
                    chunk = next(stream, None)
                if chunk is None:
                    return
                yield chunk if asked is None else asked.streamed(chunk)

    if asked is None:
        yield from make(None)
        return
    stream = replay.engine.stream(
        asked.request, make, refuse=refusal_of_chunks, read=asked.passed_on, to_chunks=asked.to_chunks
    )
    with asked.left_out, closing(stream) as chunks:
        yield from chunks


async def _astreamed(
    replay: _Replay,
    asked: _Asked | None,
    method: Callable[[], AsyncIterator[ChatGenerationChunk]],
    model: BaseChatModel,
) -> AsyncIterator[ChatGenerationChunk]:
    async def make(_request: object) -> AsyncIterator[Any]:
        await await_call(model.rate_limiter)
        stream = method()
        async with aclosing(stream) if isinstance(stream, AsyncGenerator) else nullcontext():
            while True:
                with replay.within(model):
                    chunk = await anext(stream, None)
                if chunk is None:
                    return
                yield chunk if asked is None else asked.streamed(chunk)

    if asked is None:
        async for chunk in make(None):
            yield chunk
        return
    stream = replay.engine.astream(
        asked.request, make, refuse=refusal_of_chunks, read=asked.passed_on, to_chunks=asked.to_chunks
    )
    with asked.left_out:
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                yield chunk


def _replaying(cache: DOCache, kind: type[BaseChatModel], ignore: frozenset[str]) -> type[BaseChatModel]:
    """Return the class of the copies of models of a class.

    It is the class that knows the cache: LangChain makes new models of it, where their fields are configurable.
    """
    known: type[BaseChatModel] | None = cache._kinds.get((kind, ignore))
    if known is not None:
        return known
    replays: type[_Replaying] = _Replaying
    if kind._stream is not BaseChatModel._stream:
        replays = _ReplayingBlockingStreams
    elif kind._astream is not BaseChatModel._astream:
        replays = _ReplayingStreams
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made: Any = type(kind.__name__, (replays, kind), named)
    for events in ("_stream_chat_model_events", "_astream_chat_model_events"):
        if hasattr(kind, events):  # which would pass its streams by: LangChain makes events of chunks, too
            setattr(made, events, None)
    made._replay = _Replay(kind, cache, ignore)
    cache._kinds[kind, ignore] = made
    return made  # type: ignore[no-any-return]


def _accepted(method: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Return those of some arguments that a method takes."""
    taken = _parameters(method)
    return {name: value for name, value in arguments.items() if name in taken}


@cache
def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)

"""Classes of models that ask a cache before one of their own methods is called.

Such a class derives from the class of a model, and knows its cache. `copy_of` makes a copy of a model of this class,
which `cached` returns. `view_of` makes a view of a model for one call under LangChain's hook.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import aclosing, closing, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableBinding

from chatcache import Accept, InvalidInputError, InvalidValueError

from .answers import refusal_of_chunks
from .asked import Asked
from .keys import SettingsReader, UnkeyableError, keyed_request, left_out_of
from .limiter import await_call, for_calls, of_calls, wait_for_call
from .retries import pass_through_graphs

if TYPE_CHECKING:
    from .cache import DOCache

__all__ = ["Replaying", "copy_of", "key_of_call", "view_of"]

M = TypeVar("M", bound=BaseChatModel)

_set = object.__setattr__  # as pydantic's own `__setstate__` fills a model
_HAS_EVENTS = hasattr(BaseChatModel, "_should_use_protocol_streaming")  # which are newer than chunks
_SHARED = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def copy_of(model: M, cache: "DOCache", ignore: Collection[str], accept: Accept | None = None) -> M:
    """Return a copy of a model that is replayed by a cache; one that is replayed already has this cache instead."""
    copy = model.model_copy()
    copy.__dict__.pop("_serialized", None)  # which LangChain keeps, also if a field was changed
    kind = model._replay.inner if isinstance(model, Replaying) else type(model)
    _set(copy, "__class__", _class_of(cache, kind, frozenset(ignore), accept))
    return copy


def view_of(model: M, cache: "DOCache", *, beneath: bool = False) -> M:
    """Return a model that is replayed by a cache, and holds what a model holds: what is set of one is set of both.

    Args:
        model: the model.
        cache: keeps the records.
        beneath: whether LangChain asks the cache that it has for the model first.
    """
    kind = _class_of(cache, type(model), frozenset(), free=True, beneath=beneath)
    view = object.__new__(kind)
    for name in _SHARED:
        _set(view, name, getattr(model, name))
    return view  # type: ignore[return-value]  # its class derives from that of the model


def key_of_call(
    model: Any, cache: "DOCache", asked: LanguageModelInput, stop: list[str] | None, arguments: dict[str, Any]
) -> str:
    """Return the key of a call of a model, which may have tools and arguments bound to it.

    Raises:
        InvalidInputError: it is no chat model, or the call has no key.
    """
    while isinstance(model, RunnableBinding):
        arguments = {**model.kwargs, **arguments}
        model = model.bound
    if not isinstance(model, BaseChatModel):
        raise InvalidInputError(
            f"a {type(model).__name__} was passed, which is no chat model: pass the model, or what bind_tools returns"
        )
    kind: Any = type(model) if isinstance(model, Replaying) else _class_of(cache, type(model), frozenset(), free=True)
    replay: _Replay = kind._replay
    arguments = {name: value for name, value in arguments.items() if name != "ls_structured_output_format"}
    stop = arguments.pop("stop", stop)
    return replay.key_of(model, model._convert_input(asked).to_messages(), stop, arguments)


class _Replay:
    """What models of one class are replayed by.

    Args:
        inner: the class of the model.
        cache: keeps the records.
        ignore: what does not change an answer.
        accept: is asked whether to keep a message; None stands for the predicate of the cache.
        free: see `Asked`.
    """

    def __init__(
        self,
        inner: type[BaseChatModel],
        cache: "DOCache",
        ignore: frozenset[str],
        *,
        accept: Accept | None,
        free: bool,
    ) -> None:
        self.inner = inner
        self.cache = cache
        self.engine = cache.engine
        self.ignore = ignore
        self.accept = accept
        self._free = free
        self._settings = SettingsReader(inner, ignore)

    def asks(
        self, model: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> Asked | None:
        """Return what a model is asked, or None if the call is made without the cache.

        Raises:
            ReplayMiss: in mode ``replay``, the request has no key.
        """
        pass_through_graphs()
        mode = self.engine.mode_of(None)
        if not (self.engine.asks(mode) or mode.writes):
            return None
        try:
            return self._asked(model, messages, stop, arguments)
        except (UnkeyableError, InvalidValueError) as error:
            if not self.engine.calls(mode):
                raise self.engine.miss(None, repr(messages), str(error)) from error
            self.engine.bypass(error)
            return None

    def recall(
        self, model: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> ChatResult | None:
        """Return the result of a record that is in memory as LangChain returns it, or None: then call the model."""
        try:
            asked = self._asked(model, messages, stop, arguments)
        except (UnkeyableError, InvalidValueError):  # `asks` says so
            return None
        return self.engine.recall(asked.key, asked.completed, mode=self.engine.mode_of(None))

    def key_of(
        self, model: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> str:
        """Return the key of a call.

        Raises:
            InvalidInputError: it has none.
        """
        try:
            return keyed_request(self._settings, model, messages, stop, arguments, self.ignore)[0]
        except UnkeyableError as error:
            raise InvalidInputError(str(error)) from error

    def _asked(
        self, model: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, arguments: dict[str, Any]
    ) -> Asked:
        key, request = keyed_request(self._settings, model, messages, stop, arguments, self.ignore)
        stable = f"lc_run--{key[:32]}" if self.cache.stable_ids else None
        left_out = partial(left_out_of, model, arguments, self.ignore)
        return Asked(key, request, stable, left_out, accept=self.accept or self.cache.accept, free=self._free)

    def is_within(self, model: BaseChatModel) -> bool:
        """Return whether it is the model itself that calls one of its methods."""
        return any(each is vars(model) for each in _WITHIN.get())

    @contextmanager
    def within(self, model: BaseChatModel) -> Iterator[None]:
        """Have the model's own methods call each other without the cache: what they make is one call."""
        before = _WITHIN.set((*_WITHIN.get(), vars(model)))
        try:
            with self.engine.providing():
                yield
        finally:
            _WITHIN.reset(before)


_WITHIN: ContextVar[tuple[dict[str, Any], ...]] = ContextVar("langchain_chatcache_within", default=())
"""What the models hold that are being called: views of one model share it."""


class Replaying:
    """What a model's class is given to look for a record first, before a method of its own is called."""

    _replay: _Replay

    def __reduce__(self: Any) -> tuple[Any, ...]:
        """Have one that was pickled made of its model, if that can be; its class is made at run time."""
        plain = self.model_copy()
        _set(plain, "__class__", self._replay.inner)
        return copy_of, (plain, self._replay.cache, sorted(self._replay.ignore), self._replay.accept)

    def __repr_args__(self: Any) -> Iterator[tuple[str | None, Any]]:
        """Show the cache."""
        yield from ((name, value) for name, value in super().__repr_args__() if name != "cache")  # type: ignore[misc]
        yield "cache", self._replay.cache

    def _generate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> ChatResult:
        """Answer from memory at once; the rest takes LangChain's way, which calls one of the methods below."""
        found = None
        if not _streams(self, run_manager, arguments, async_api=False):
            found = self._replay.recall(self, messages, stop, arguments)
        if found is not None:
            return found  # type: ignore[no-any-return]
        method = super()._generate_with_cache  # type: ignore[misc]
        return method(messages, stop=stop, run_manager=run_manager, **arguments)  # type: ignore[no-any-return]

    async def _agenerate_with_cache(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> ChatResult:
        found = None
        if not _streams(self, run_manager, arguments, async_api=True):
            found = self._replay.recall(self, messages, stop, arguments)
        if found is not None:
            return found  # type: ignore[no-any-return]
        method = super()._agenerate_with_cache  # type: ignore[misc]
        return await method(messages, stop=stop, run_manager=run_manager, **arguments)  # type: ignore[no-any-return]

    def _generate(self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any) -> ChatResult:
        replay: _Replay = self._replay
        method = _method(replay.inner._generate, self, messages, stop, run_manager, arguments)
        if replay.is_within(self):
            return method()  # type: ignore[no-any-return]
        asked = replay.asks(self, messages, stop, arguments)

        def make(_request: object) -> Any:
            wait_for_call(self.rate_limiter)
            with replay.within(self):
                result = method()
            return result if asked is None else asked.made(result)

        if asked is None:
            return make(None)  # type: ignore[no-any-return]
        with asked.left_out:
            result: ChatResult = replay.engine.call(
                asked.request,
                make,
                refuse=asked.refuses,
                accept=asked.accept,
                read=asked.returned,
                from_chunks=asked.from_chunks,
            )
        return result

    async def _agenerate(
        self: Any, messages: Any, stop: Any = None, run_manager: Any = None, **arguments: Any
    ) -> ChatResult:
        replay: _Replay = self._replay
        method = _method(replay.inner._agenerate, self, messages, stop, run_manager, arguments)
        if replay.is_within(self):
            return await method()  # type: ignore[no-any-return]
        asked = replay.asks(self, messages, stop, arguments)

        async def make(_request: object) -> Any:
            await await_call(self.rate_limiter)
            with replay.within(self):
                result = await method()
            return result if asked is None else asked.made(result)

        if asked is None:
            return await make(None)  # type: ignore[no-any-return]
        with asked.left_out:
            return await replay.engine.acall(
                asked.request,
                make,
                refuse=asked.refuses,
                accept=asked.accept,
                read=asked.returned,
                from_chunks=asked.from_chunks,
            )


class _ReplayingStreams(Replaying):
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
    asked: Asked | None,
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
        asked.request,
        make,
        refuse=refusal_of_chunks,
        accept=asked.accept_chunks,
        read=asked.passed_on,
        to_chunks=asked.to_chunks,
    )
    with asked.left_out, closing(stream) as chunks:
        yield from chunks


async def _astreamed(
    replay: _Replay,
    asked: Asked | None,
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
        asked.request,
        make,
        refuse=refusal_of_chunks,
        accept=asked.accept_chunks,
        read=asked.passed_on,
        to_chunks=asked.to_chunks,
    )
    with asked.left_out:
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                yield chunk


def _class_of(  # noqa: PLR0913 - what tells the classes of one class apart
    cache: "DOCache",
    kind: type[BaseChatModel],
    ignore: frozenset[str],
    accept: Accept | None = None,
    *,
    free: bool = False,
    beneath: bool = False,
) -> type[BaseChatModel]:
    """Return the class of the models of a class that are replayed by a cache.

    It is the class that knows the cache: LangChain makes new models of it, where their fields are configurable.
    """
    classes: Any = cache.classes if accept is None else cache.accepting_classes
    name = kind, ignore, accept, free, beneath
    known: type[BaseChatModel] | None = classes.get(name)
    if known is not None:
        return known
    replays: type[Replaying] = Replaying
    if kind._stream is not BaseChatModel._stream:
        replays = _ReplayingBlockingStreams
    elif kind._astream is not BaseChatModel._astream:
        replays = _ReplayingStreams
    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    made: Any = type(kind.__name__, (replays, kind), named)
    for events in ("_stream_chat_model_events", "_astream_chat_model_events"):
        if hasattr(kind, events):  # which would pass its streams by: LangChain makes events of chunks, too
            setattr(made, events, None)
    # only now, since pydantic would take them for the defaults of the fields
    if not beneath:
        made.cache = _NO_CACHE
    made.rate_limiter = _LIMITER
    made._replay = _Replay(kind, cache, ignore, accept=accept, free=free)
    classes[name] = made
    return made  # type: ignore[no-any-return]


def _limiter_of(model: BaseChatModel) -> BaseRateLimiter | None:
    return for_calls(vars(model).get("rate_limiter"))


def _set_limiter(model: BaseChatModel, limiter: BaseRateLimiter | None) -> None:
    vars(model)["rate_limiter"] = of_calls(limiter)


def _set_cache(model: BaseChatModel, cache: Any) -> None:
    vars(model)["cache"] = cache


_NO_CACHE = property(lambda _model: False, _set_cache)
"""LangChain asks no cache for a model that has one of ours."""
_LIMITER = property(_limiter_of, _set_limiter)
"""LangChain waits for the limiter before it is known whether a call is made."""


def _streams(model: Any, run_manager: Any, arguments: dict[str, Any], *, async_api: bool) -> bool:
    """Return whether LangChain makes a call of a stream, or changes the form of its answer."""
    if model.output_version == "v1" or model._should_stream(async_api=async_api, run_manager=run_manager, **arguments):
        return True
    if not _HAS_EVENTS:
        return False
    streams: bool = model._should_use_protocol_streaming(async_api=async_api, run_manager=run_manager, **arguments)
    return streams


def _method(  # noqa: PLR0913, PLR0917 - what LangChain passes
    method: Callable[..., Any],
    model: BaseChatModel,
    messages: list[BaseMessage],
    stop: list[str] | None,
    run_manager: Any,
    arguments: dict[str, Any],
) -> Callable[[], Any]:
    """Return the call of a model's own method, which need not take a run manager."""
    given = {"run_manager": run_manager} if "run_manager" in _parameters(method) else {}
    return partial(method, model, messages, stop=stop, **arguments, **given)


@cache
def _parameters(method: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(method).parameters)

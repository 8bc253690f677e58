"""LiteLLM's cache hook.

LiteLLM asks no class of the cache, only attributes, which over its versions it spelt with and without an underscore.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from os import PathLike
from threading import Thread
from typing import Any, Literal
from weakref import ref

from chatcache import (
    TTL,
    About,
    Accept,
    Allowed,
    Facade,
    Form,
    Hit,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    Leader,
    LeftOut,
    Mode,
    ModeName,
    PersistenceError,
    Refusal,
    ResponseCache,
    is_interrupt,
    parse_accept,
    raise_interrupt,
)

from .call import CURRENT, Call
from .controls import Controls
from .copies import copied, copies_of
from .explanation import Explanation
from .failures import record_of
from .found import Answer, Failure, Found, Stream, found_in, fresh
from .hook import Hook
from .kinds import EMBEDDINGS, FUNCTIONS, KINDS
from .prices import billed, cost_of
from .request import keyed, left_out, model_asked, own_key, shown
from .seams import briefly, install, nothing_left
from .settings import SETTINGS

__all__ = ["DOCache"]

_LOGGER = logging.getLogger("chatcache")


class DOCache(Facade, Hook):
    """A cache for ``litellm.cache`` that keeps its records in one SQLite file.

    It serves chat and text completions, embeddings, transcriptions, reranking, responses and Anthropic messages,
    blocking and awaited, streamed and not. What is replayed is what was recorded: of a stream each chunk. A stream also
    answers a call that does not stream, and the other way round. Each hit is made of new objects, and says so in its
    ``_hidden_params``: ``cache_hit``, ``cache_key``, ``cache_age`` in seconds, and a ``response_cost`` of 0.

    ``cache={...}`` of one call takes ``mode``, ``ttl``, ``namespace``, ``s-maxage`` (how old a record may be, in
    seconds), and LiteLLM's ``no-cache``, ``no-store`` and ``use-cache``. LiteLLM's ``ttl=``, ``redis_namespace`` in the
    metadata, ``cache_key=`` and an assigned `get_cache_key` are honoured. Anything else is an `InvalidInputError`.

    In mode ``replay`` nothing is called: whatever LiteLLM function is called, with whatever arguments, gets its record,
    or raises `chatcache.ReplayMiss`.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, a text such as ``90d`` or ``12h``, or None for
            no limit.
        mode: ``auto``, ``read_only``, ``refresh``, ``replay`` or ``off``; see `chatcache.Mode`. In mode ``auto``,
            ``CHATCACHE_MODE`` decides where it is set.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``,
            ``interrupted``.
        accept: is called with LiteLLM's response before it is kept: a ``ModelResponse`` of a chat completion, also of a
            stream, and an ``EmbeddingResponse`` of each single input. If it returns a false value or raises, the
            response is returned but not kept, and counted as refused (``rejected``). Each kind of error is logged once.
        max_entries: how many records there may be in the store; those not used for longest go first.
        max_bytes: how many bytes they may take.
        store_requests: what is kept of a request beside its answer: ``full``, ``redacted`` or ``digest``; see
            `chatcache.ResponseCache`.
        on_store_error: ``bypass`` or ``raise``; see `chatcache.ResponseCache`.
        timeout: how many seconds the cache may add to one call while others hold or write the file.
        max_messages: requests of more messages are not cached; None for any number.
        key: is called with the arguments that count, a dictionary, and returns what is to count instead, a JSON value.
        ignore: the names of arguments that do not count, beside those that never do; ``extra_body.user`` is one within
            another.
        supported_call_types: the functions of LiteLLM whose calls are cached; by default all that can be.
        default_off: only calls with ``cache={"use-cache": True}`` are cached. In mode ``replay`` all are replayed.
        single_flight: whoever asks for what is just being asked for waits for that one answer, in whatever thread, task
            or process. `enable` does so by default.
        record_errors: errors of a provider are recorded, to be raised again in mode ``replay``, and in no other.
        tenant: is called for each call, and returns whose records it may share; if that is None, it is not cached. Only
            a digest of it is stored. A miss in mode ``replay`` then shows nothing of other requests.

    Attributes:
        engine: the `chatcache.ResponseCache` underneath.

    Raises:
        InvalidInputError: an argument or the environment cannot be right.
        StorageError: `path` is a file.
    """

    __slots__ = ("cache", "engine")  # not in vars(), which the proxy shows whoever has a key, at /cache/ping
    settings = SETTINGS
    type = "local"  # what the proxy is told; "redis" would make it ask for more

    def __init__(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        store_id: str,
        *,
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        ttl: TTL = None,
        mode: ModeName | Mode = "auto",
        allow: Collection[Allowed | Refusal] = (),
        accept: Accept | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        store_requests: Literal["full", "redacted", "digest"] = "full",
        on_store_error: Literal["bypass", "raise"] = "bypass",
        timeout: float = 10.0,
        max_messages: int | None = None,
        key: Callable[[dict[str, Any]], Any] | None = None,
        ignore: Collection[str] = (),
        supported_call_types: Collection[str] | None = None,
        default_off: bool = False,
        single_flight: bool = False,
        record_errors: bool = False,
        tenant: Callable[[], str | None] | None = None,
    ) -> None:
        self.engine = ResponseCache(
            store_id,
            path=path,
            object=object,
            ttl=ttl,
            mode=mode,
            allow=allow,
            max_entries=max_entries,
            max_bytes=max_bytes,
            store_requests=store_requests,
            on_store_error=on_store_error,
            timeout=timeout,
            writers=["litellm", "litellm-chatcache"],
        )
        self.max_messages = max_messages
        self._supported = _supported(supported_call_types)
        self.single_flight = single_flight
        self.record_errors = record_errors
        self.cache = self
        self._writing: dict[str, Thread] = {}  # what is just being written, by the keys of its requests
        self._accept = parse_accept(accept)
        self._key = key
        self._assigned: Callable[..., str] | None = None
        self._ignore = _names(ignore)
        self._default_off = default_off
        self._tenant = tenant
        self.engine.shows_records = tenant is None
        install()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_LITELLM:
            raise InvalidInputError(f"{name} of a DOCache cannot be assigned: pass {_OF_LITELLM[name]}= to DOCache()")
        super().__setattr__(name, value)

    @property
    def supported_call_types(self) -> list[str]:
        """The functions of LiteLLM whose calls it sees: while a tape is in, all that can be recorded."""
        return [*FUNCTIONS] if self.engine.is_taped else self._supported

    @supported_call_types.setter
    def supported_call_types(self, functions: Collection[str] | None) -> None:
        self._supported = _supported(functions)

    @property
    def get_cache_key(self) -> Callable[..., str]:
        """A function that returns the key of a call: 64 hex digits, or the caller's own, or ``""`` if it has none.

        Assign another function to make keys by it, as LiteLLM documents it. It is called with the arguments of a call.
        """
        return partial(self._cache_key, self._assigned)

    @get_cache_key.setter
    def get_cache_key(self, function: Callable[..., str]) -> None:
        self._assigned = function

    def _cache_key(self, assigned: Callable[..., str] | None, /, **arguments: Any) -> str:
        call = self._call(arguments)
        if arguments.get("cache_key"):
            return str(arguments["cache_key"])
        if call.within is not None or call.kind is None:
            return ""
        if call.key is not None and call.function != "aembedding":
            return call.key
        self._note(call, arguments)
        try:
            key, request = self._keyed(call, arguments, assigned)
        except InvalidValueError:
            return ""
        if call.function == "aembedding":  # LiteLLM asks for the key of each input, and then passes nothing but that
            call.items[key] = request
        else:
            call.keyed = key, request
        return key

    def explain(self, function: str | None = None, /, **arguments: Any) -> Explanation:
        """Return what the key of a call is made of, and what not: print it.

        Args:
            function: the function of LiteLLM; by default the one that is told by its arguments: of ``messages`` it is
                ``completion``, of ``prompt`` ``text_completion``, of ``input`` ``embedding``.
            arguments: as they would be passed to that function.

        Raises:
            InvalidInputError: there is no such function, or its calls cannot be cached.
        """
        call = Call(_supported([function])[0] if function is not None else _function(arguments))
        assert call.kind is not None  # noqa: S101 - it is one of ours
        omitted = left_out(arguments, self._ignore)
        self._note(call, arguments)
        try:
            key, request = self._keyed(call, arguments, self._assigned)
        except InvalidValueError as error:
            return Explanation(None, {"arguments": shown(arguments)}, omitted, str(error), [])
        stories = {form: self.engine.story(f"{key}{form}") for form in Form}
        recorded = [str(form).removeprefix("/") or "answer" for form, story in stories.items() if story is not None]
        return Explanation(key, request, omitted, None, recorded)

    def invalidate(self, function: str | None = None, /, **arguments: Any) -> None:
        """Remove the records of a call: of embeddings those of each input.

        Args:
            function: as for `explain`.
            arguments: as they would be passed to that function.

        Raises:
            InvalidInputError: there is no such function, its calls cannot be cached, or the call has no key.
            StorageError: the records could not be removed.
        """
        for key in self._keys(function, arguments):
            self.engine.remove(key)

    async def ainvalidate(self, function: str | None = None, /, **arguments: Any) -> None:
        """Awaiting twin of `invalidate`."""
        for key in self._keys(function, arguments):
            await self.engine.aremove(key)

    def get_cache(self, /, **arguments: Any) -> Any:
        """Return the recorded response, as a stream where one was asked for, or None.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record.
            PersistenceError: in mode ``replay``, the records could not be read.
            InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
            Exception: in mode ``replay``, the recorded error of the call.
        """
        with self._left_out(arguments):
            call = self._asked(arguments)
            if call is None:
                return None
            if call.kind is EMBEDDINGS:
                return self._joined(call, arguments)
            key, read = call.key or "", self._reader(call)
            self._wait(key)
            try:
                found = self.engine.lookup(key, call.request, read, **self._looking(call), forms=call.forms)
                if found is None:
                    call.request = copied(call.request)
                if found is None and self._is_shared(call):
                    found = self._led(call, self.engine.lead(key, read, mode=call.mode, forms=call.forms))
            except InvalidNameError as error:  # the caller's own cache_key
                self.engine.bypass(error)
                return None
            return self._replayed(found, call, arguments)

    async def async_get_cache(self, /, dynamic_cache_object: Any = None, **arguments: Any) -> Any:  # noqa: ARG002 - LiteLLM's
        """Awaiting twin of `get_cache`; of ``aembedding`` it returns what LiteLLM wants of one input."""
        call = CURRENT.get()
        if call is not None and call.function == "aembedding" and "input" not in arguments:
            with self._left_out(call.asked):
                return await self._entry(call, arguments.get("cache_key") or "")
        with self._left_out(arguments):
            call = self._asked(arguments)
            if call is None:
                return None
            key, read = call.key or "", self._reader(call)
            await self._await(key)
            try:
                found = await self.engine.alookup(key, call.request, read, **self._looking(call), forms=call.forms)
                if found is None:
                    call.request = copied(call.request)
                if found is None and self._is_shared(call):
                    found = self._led(call, await self.engine.alead(key, read, mode=call.mode, forms=call.forms))
                    _end_with_its_task(call)
            except InvalidNameError as error:
                self.engine.bypass(error)
                return None
            return self._replayed(found, call, arguments)

    def add_cache(self, /, result: Any, **arguments: Any) -> None:
        """Record a response under the key that was looked up. Never raises: LiteLLM would lose the response.

        Of a stream nothing is recorded here, but chunk by chunk as it is read.
        """
        if arguments.get("stream") is not True:
            self.keep(CURRENT.get() or Call(_function(arguments, result), is_made=False), result, arguments)

    def async_add_cache(self, /, result: Any, dynamic_cache_object: Any = None, **arguments: Any) -> Awaitable[None]:  # noqa: ARG002 - LiteLLM's
        """Record a response before this returns, and return what there is left to await: nothing.

        LiteLLM awaits it in a task that nobody waits for, and that ends with the loop. So the write does not wait for
        the task. It holds up the loop for one commit; where another process holds the file, for a tenth of a second.
        """
        if arguments.get("stream") is not True:
            call = self._call(arguments)
            self.briefly(call, lambda: self.keep(call, result, arguments))
        return nothing_left()

    async_add_cache_pipeline = async_add_cache

    def briefly(self, call: Call, work: Callable[[], None]) -> None:
        """Do work that records a call, and hold up the running event loop only for a moment.

        Who asks for the same before it is done waits for it.
        """

        def logged() -> None:
            try:
                work()
            except PersistenceError as error:  # with on_store_error="raise"; LiteLLM gives it to nobody here
                _LOGGER.warning("%s", error)

        writing = briefly(logged)
        if writing is not None:
            self._writing = {key: each for key, each in self._writing.items() if each.is_alive()}
            self._writing.update(dict.fromkeys(call.items or [call.key or ""], writing))

    def keep(self, call: Call, answer: Any, arguments: Mapping[str, Any]) -> None:
        """Record the answer of a call. Never raises."""
        try:
            if call.within is None and self._may_keep(call, arguments):
                self._keep(call, answer, arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is
            raise_interrupt(error)
            self.engine.bypass(error)
        finally:
            call.end()

    def keep_stream(self, call: Call, chunks: list[Any], offsets: list[float], *, ended: bool) -> None:
        """Record a stream that was read to its end, chunk by chunk. Never raises.

        Args:
            call: what asked for it.
            chunks: the records of its chunks.
            offsets: when each of them came, in seconds since it was asked for.
            ended: whether the provider said that it is the end.
        """
        try:
            kind = call.kind
            if kind is None or kind.streams is None or call.key is None:
                return
            refusal = _stream_refusal(call, chunks, ended=ended)
            whole = kind.streams.whole
            usage = kind.streams.usage(chunks)
            about = About(
                request=call.request,
                model=call.model,
                usage=usage,
                cost=cost_of(kind, {"usage": usage, "model": call.model}, call.model),
                took=offsets[-1] if offsets else None,
            )
            self.engine.update(
                call.key,
                chunks,
                about=about,
                refusal=refusal,
                accept=self._accepts(lambda: kind.answer(whole(chunks))),
                ttl=call.controls.ttl,
                mode=call.mode,
                form=call.stream_form,
                offsets=offsets,
                leader=call.leader,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is
            raise_interrupt(error)
            self.engine.bypass(error)
        finally:
            call.end()

    def keep_failure(self, call: Call, error: Exception, chunks: Sequence[Any] = ()) -> None:
        """Record the error of a call, where that is wanted, and tell those who wait for it. Never raises.

        Args:
            call: the call.
            error: what it raised.
            chunks: the records of the chunks that came before.
        """
        leader, call.leader = call.leader, None
        if leader is not None:
            leader.failed(error)
        wanted = (self.record_errors or self.engine.records_errors) and call.within is None and not is_interrupt(error)
        record = record_of(error) if wanted else None
        for key in [call.key] if call.key is not None else [*call.missing]:
            self.engine.fail(key, error)
        if record is not None and (call.key is not None or call.asked):
            record["chunks"] = [*chunks]
            try:
                key, request = self._whole(call)
                about = About(request=request, model=call.model)
                self.engine.update(key, record, about=about, ttl=call.controls.ttl, mode=call.mode, form=Form.FAILURE)
            except Exception as problem:  # noqa: BLE001 - whatever it is
                raise_interrupt(problem)
                self.engine.bypass(problem)
        call.end()

    def freeze(self, call: Call, arguments: Mapping[str, Any]) -> bool:
        """Fix the key and the request of a call that LiteLLM is about to make. Never raises.

        Args:
            call: the call, which may not have been looked up, as with ``no-cache``.
            arguments: what is passed to the function of LiteLLM, by name.

        Returns:
            Whether the call has a key. If so, LiteLLM must not edit the arguments: a later call may pass them again.
        """
        try:
            if call.key is None and self._may_keep(call, arguments):
                if call.kind is EMBEDDINGS:
                    call.inputs = copied(self._keyed_inputs(call, arguments))
                else:
                    call.request = copied(call.request)
        except Exception as error:  # noqa: BLE001 - it has no key, which is said when it is not stored
            raise_interrupt(error)
        call.asked = copies_of(call.asked)
        return call.key is not None or bool(call.inputs or call.asked)

    def guard(self, call: Call, arguments: dict[str, Any]) -> None:
        """See to it that a call in mode ``replay``, or while a tape is in, is looked up, whatever it says, or not made.

        Args:
            call: the call.
            arguments: its arguments, which are changed so that LiteLLM asks the cache.

        Raises:
            ReplayMiss: LiteLLM asks no cache for it.
            InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
        """
        controls = Controls.of(arguments)
        if call.kind is EMBEDDINGS and own_key(arguments):
            raise InvalidInputError(
                f"the key {own_key(arguments)!r:.200}: each input of embeddings has a key of its own"
            )
        mode = self._mode(controls)
        calls = self.engine.calls(mode)
        if calls and not self.engine.is_taped:
            return
        if call.function not in self.supported_call_types:
            why = "LiteLLM asks no cache for them" if call.kind is None else "supported_call_types does not name them"
            self.leave_out(call, arguments, why)
            return
        given = arguments.get("cache")
        call.is_left_out = self.engine.is_taped and (
            call.function not in self._supported or self._is_too_long(arguments)
        )
        call.passes_by = mode.calls and (arguments.get("caching") is False or bool(given and given.get("no-cache")))
        arguments["caching"] = True
        if given and "no-cache" in given:
            arguments["cache"] = {name: value for name, value in given.items() if name != "no-cache"}
        if calls:
            return
        arguments.pop("context_window_fallback_dict", None)  # it would call another model, past the cache
        if call.kind is EMBEDDINGS and not arguments.get("input", True):
            raise self.engine.miss(None, shown(arguments), "it has no input")

    def leave_out(self, call: Call, arguments: Mapping[str, Any], why: str) -> None:
        """Do what `Hook.leave_out` says."""
        reason = f"calls of {call.function} are not recorded: {why}"
        if self.replays(arguments):
            raise self.engine.miss(None, shown(arguments), reason)
        self.engine.leave_out(reason)

    def replays(self, arguments: Mapping[str, Any]) -> bool:
        """Return whether a call may not reach a provider."""
        return not self.engine.calls(self._mode(Controls.of(arguments)))

    def keeps(self, call: Call) -> bool:
        """Return whether the stream of a call is to be kept."""
        return self.engine.keeps(call.mode) and call.controls.stores

    def recorded_since(self, call: Call) -> bool:
        """Wait for whoever just asks for the embeddings that a call lacks; return whether they are recorded now."""
        if not call.missing or not self._is_shared(call):
            return False
        return self._led_rest(call, self.engine.lead_many(call.missing, mode=call.mode))

    async def arecorded_since(self, call: Call) -> bool:
        """Awaiting twin of `recorded_since`."""
        if not call.missing or not self._is_shared(call):
            return False
        recorded = self._led_rest(call, await self.engine.alead_many(call.missing, mode=call.mode))
        _end_with_its_task(call)
        return recorded

    def recorded_failure(self, call: Call) -> Exception | None:
        """Return the recorded error of a call for embeddings in mode ``replay``, or None."""
        try:
            key, request = self._whole(call)
        except InvalidValueError:
            return None
        read = self._reader(call)
        found = self.engine.lookup(key, request, read, mode=Mode.READ_ONLY, forms=[Form.FAILURE])
        return found.error if isinstance(found, Failure) else None

    def supports_async(self) -> bool:
        """Say that `async_get_cache` is there."""
        return True

    def get_preset_cache_key_from_kwargs(self, /, **arguments: Any) -> str | None:
        """Return the key that was looked up, for LiteLLM's logs; before 1.102 it asks for it here."""
        parked: str | None = (arguments.get("litellm_params") or {}).get("preset_cache_key")
        call = CURRENT.get()
        return parked or (None if call is None else call.key)

    async def ping(self) -> bool:
        """Say that the cache is there."""
        return True

    async def delete_cache_keys(self, keys: Collection[str]) -> None:
        """Remove records by the keys of their requests, as LiteLLM's proxy asks for it."""
        for key in keys:
            await self.engine.aremove(key)

    async def disconnect(self) -> None:
        """Release the file. The cache opens it again when it is used."""
        self.engine.close()

    _supports_async = supports_async
    _get_preset_cache_key_from_kwargs = get_preset_cache_key_from_kwargs

    def _call(self, arguments: Mapping[str, Any]) -> Call:
        """Return the call that LiteLLM is about, or one for who asks without LiteLLM."""
        return CURRENT.get() or Call(_function(arguments), is_made=False)

    def _looking(self, call: Call) -> dict[str, Any]:
        """Return how a call is looked up."""
        return {"mode": call.mode, "ttl": call.controls.ttl, "asks_tape": call.is_made}

    def _asked(self, arguments: dict[str, Any]) -> Call | None:
        """Return a call that is to be looked up, with its key, or None where it is none of the cache's."""
        call = self._call(arguments)
        if call.kind is None or call.within is not None:
            return None
        known = call.keyed  # LiteLLM asks for the key of most calls just before it looks them up by it
        if known is None or known[0] != arguments.get("cache_key"):
            known = None
            self._note(call, arguments)
        if not self.engine.asks(call.mode) and not call.mode.writes:
            return None
        if self._too_long(arguments):
            if not self.engine.calls(call.mode):
                raise self.engine.miss(None, shown(arguments), f"it has more than max_messages={self.max_messages}")
            return None
        try:
            call.key, call.request = known or self._keyed(call, arguments, self._assigned)
        except InvalidValueError as error:
            if not self.engine.calls(call.mode):
                raise self.engine.miss(None, shown(arguments), str(error)) from error
            self.engine.bypass(error)
            return None
        return call

    def _keys(self, function: str | None, arguments: dict[str, Any]) -> list[str]:
        """Return the keys of a call, of which one for embeddings has one for each input."""
        call = Call(_supported([function])[0] if function is not None else _function(arguments))
        self._note(call, arguments)
        asked = [arguments]
        if call.kind is EMBEDDINGS:
            asked += [{**arguments, "input": value} for value in EMBEDDINGS.inputs(arguments)]
        return [self._keyed(call, each, self._assigned)[0] for each in asked]

    def _left_out(self, arguments: Mapping[str, Any]) -> LeftOut:
        return LeftOut(lambda: left_out(arguments, self._ignore))

    def _note(self, call: Call, arguments: Mapping[str, Any]) -> None:
        """Note what a call asks for, and how."""
        call.controls = Controls.of(arguments)
        call.mode = self._mode(call.controls)
        if self._default_off and not call.controls.opted_in and call.mode is not Mode.REPLAY:
            call.mode = Mode.OFF
        if call.is_left_out:
            call.mode = Mode.OFF
        elif call.passes_by:
            call.mode = Mode.REFRESH if call.mode.writes else Mode.OFF
        call.model = model_asked(arguments)
        call.streamed = arguments.get("stream") is True
        call.with_usage = bool((arguments.get("stream_options") or {}).get("include_usage"))
        call.several = (arguments.get("n") or 1) > 1

    def _keyed(
        self, call: Call, arguments: Mapping[str, Any], assigned: Callable[..., str] | None
    ) -> tuple[str, dict[str, Any]]:
        """Return the key of a call, and its request.

        Raises:
            InvalidValueError: the call has no key.
        """
        assert call.kind is not None  # noqa: S101 - who calls this has looked
        tenant = None
        if self._tenant is not None:
            tenant = self._tenant()
            if tenant is None:
                raise InvalidValueError("nobody says whose records it may share; see CHATCACHE_SCOPE, or tenant=")
            if not isinstance(tenant, str) or not tenant:
                raise InvalidValueError(
                    f"tenant= returned {tenant!r:.60}: return a text that names the tenant, such as str(number)"
                )
        key, request = keyed(
            arguments,
            call.kind,
            namespace=call.controls.namespace,
            tenant=tenant,
            ignore=self._ignore,
            key=self._key,
        )
        own = own_key(arguments)
        if not own:
            own = key
            if assigned is not None:
                own = assigned(**arguments)
                if own and tenant is not None:
                    own = f"{request['tenant']}:{own}"
        if not isinstance(own, str) or not own:
            raise InvalidValueError(f"get_cache_key returned {own!r:.100}, which is no key: return a text")
        return own, request

    def _keyed_inputs(self, call: Call, arguments: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Return the key and the request of each input of a call for embeddings."""
        return [
            self._keyed(call, {**arguments, "input": value}, self._assigned) for value in EMBEDDINGS.inputs(arguments)
        ]

    def _wait(self, key: str) -> None:
        """Wait for what is just being written under a key."""
        writing = self._writing.get(key)
        if writing is not None:
            writing.join()

    async def _await(self, key: str) -> None:
        """Awaiting twin of `_wait`."""
        writing = self._writing.get(key)
        if writing is not None:
            await asyncio.to_thread(writing.join)

    def _reader(self, call: Call) -> Callable[[Hit], Found]:
        return partial(found_in, call=call)

    def _is_shared(self, call: Call) -> bool:
        return self.single_flight and call.controls.stores

    def _led(self, call: Call, led: Found | Leader | None) -> Found | None:
        if isinstance(led, Leader):
            call.leader = led
            return None
        return led

    def _led_rest(self, call: Call, led: Leader | bool) -> bool:  # noqa: FBT001 - what `lead_many` returns
        call.leader = led if isinstance(led, Leader) else None
        return led is True

    def _whole(self, call: Call) -> tuple[str, dict[str, Any] | None]:
        """Return the key of a call, and its request; of one for embeddings that of all its inputs together."""
        return (call.key, call.request) if call.key is not None else self._keyed(call, call.asked, self._assigned)

    def _replayed(self, found: Found | None, call: Call, arguments: Mapping[str, Any]) -> Any:
        """Return what LiteLLM is to have of what was found."""
        if found is None:
            return None
        call.over = True
        call.is_provided = not isinstance(found, Failure) and found.is_provided
        logging = arguments.get("litellm_logging_obj")
        if (
            logging is not None and not call.is_provided
        ):  # then LiteLLM prices nothing, neither for the caller nor for callbacks
            logging.model_call_details["cache_hit"] = True
        if isinstance(found, Failure):
            raise found.error
        if not call.is_provided:
            call.ages.append(found.age)
        return found.replay(arguments) if isinstance(found, Stream) else found.marked()

    def _joined(self, call: Call, arguments: Mapping[str, Any]) -> Any:
        """Return the embeddings of a call, if there is a record of each of its inputs; else None, and note which."""
        keyed = self._keyed_inputs(call, arguments)
        requests = dict(keyed)
        for key in requests:
            self._wait(key)
        hits = self.engine.lookup_many(requests, partial(fresh, call=call), **self._looking(call))
        found = {key: hit for key, hit in zip(requests, hits, strict=True) if hit is not None}
        call.missing = requests.keys() - found.keys()
        if not found or len(found) < len(requests):
            call.known = {place: found[key].answer for place, (key, _) in enumerate(keyed) if key in found}
            call.ages += [None if hit is None else hit.age for hit in hits]
            return None
        joined = EMBEDDINGS.joined([found[key].answer for key, _ in keyed])
        return self._replayed(Answer(joined, max(hit.age for hit in found.values())), call, arguments)

    async def _entry(self, call: Call, key: str) -> Any:
        """Return what LiteLLM wants of one input of an awaited call, or None."""
        request = call.items.get(key)
        if request is None or not (self.engine.asks(call.mode) or call.mode.writes):
            if not self.engine.calls(call.mode):
                raise self.engine.miss(None, repr(key), "its arguments have no key")
            return None
        await self._await(key)
        hit = await self.engine.alookup(key, request, partial(fresh, call=call), **self._looking(call))
        call.ages.append(None if hit is None else hit.age)
        if hit is None:
            call.missing.add(key)
        return None if hit is None else EMBEDDINGS.entry(hit.answer)

    def _may_keep(self, call: Call, arguments: Mapping[str, Any]) -> bool:
        """Return whether the answer of a call is to be kept, even if it was not looked up, as with ``no-cache``."""
        if call.key is None:
            self._note(call, arguments)
        if call.kind is None or not self.engine.keeps(call.mode) or self._too_long(arguments):
            return False
        if call.key is None and call.kind is not EMBEDDINGS:
            call.key, call.request = self._keyed(call, arguments, self._assigned)
        return True

    def _keep(self, call: Call, result: Any, arguments: Mapping[str, Any]) -> None:
        kind = call.kind
        if kind is EMBEDDINGS:
            self._keep_each(call, result, arguments)
        elif kind is not None and call.key is not None:
            record = kind.record(result)
            cost = billed(call.answer or result, arguments) or cost_of(kind, record, call.model)
            about = About(request=call.request, model=call.model, cost=cost, took=call.took)
            self.engine.update(
                call.key,
                record,
                about=about,
                refusal=kind.refusal(record),
                accept=self._accepts(lambda: kind.answer(record)),
                ttl=call.controls.ttl,
                mode=call.mode,
                leader=call.leader,
                is_provided=call.is_made,
            )

    def _keep_each(self, call: Call, result: Any, arguments: Mapping[str, Any]) -> None:
        inputs = call.inputs or self._keyed_inputs(call, arguments)
        records = EMBEDDINGS.split(result, len(inputs))
        whole = cost_of(EMBEDDINGS, {"model": result.model, "usage": result.usage}, call.model)
        cost = whole and whole / len(inputs)
        answers = {
            key: (record, About(request=request, model=call.model, cost=cost))
            for (key, request), record in zip(inputs, records, strict=True)
        }
        accept = self._accept
        each = None if accept is None else lambda record: accept(EMBEDDINGS.joined([record]))
        self.engine.update_many(answers, accept=each, ttl=call.controls.ttl, mode=call.mode)
        leader, call.leader = call.leader, None
        if leader is not None:
            leader.recorded()

    def _mode(self, controls: Controls) -> Mode:
        return self.engine.mode_of(controls.mode)

    def _accepts(self, response: Callable[[], Any]) -> Accept | None:
        """Return what asks the caller's predicate about a response, which is made for it alone, if there is one."""
        accept = self._accept
        return None if accept is None else lambda _record: accept(response())

    def _too_long(self, arguments: Mapping[str, Any]) -> bool:
        return not self.engine.is_taped and self._is_too_long(arguments)

    def _is_too_long(self, arguments: Mapping[str, Any]) -> bool:
        return self.max_messages is not None and len(arguments.get("messages") or ()) > self.max_messages

    def __repr__(self) -> str:
        return f"<litellm_chatcache.DOCache {self.engine.store_id!r} in {str(self.engine.location)!r}>"


def _end_with_its_task(call: Call) -> None:
    """Have nobody wait for a call whose task was cancelled, of which LiteLLM tells nothing."""
    task = asyncio.current_task()
    if call.leader is None or task is None:
        return
    loop = task.get_loop()
    known = ref(call)  # the task may live on when the call is dropped with its stream

    def end(ended: "asyncio.Task[Any]") -> None:
        kept = known()
        if kept is not None and ended.cancelled():
            kept.end()

    def forget() -> None:  # on whatever thread the call ends; its task may make a great many of them
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(task.remove_done_callback, end)

    task.add_done_callback(end)
    call.forget = forget


def _stream_refusal(call: Call, chunks: list[Any], *, ended: bool) -> Refusal | None:
    """Return why a stream is not worth keeping, if it is not."""
    kind = call.kind
    if kind is None or kind.streams is None or not chunks:
        return Refusal.EMPTY
    if not ended:
        return Refusal.INTERRUPTED
    return kind.refusal(kind.streams.whole(chunks))


def _supported(functions: Collection[str] | None) -> list[str]:
    if functions is None:
        return [*FUNCTIONS]
    unknown = sorted({*functions} - FUNCTIONS.keys())
    if isinstance(functions, str) or unknown:
        given = functions if isinstance(functions, str) else unknown
        raise InvalidInputError(
            f"supported_call_types: {given!r:.200} cannot be cached; pass a list of some of {', '.join(FUNCTIONS)}"
        )
    return [*functions]


def _names(ignore: Collection[str]) -> tuple[str, ...]:
    if isinstance(ignore, str) or not all(isinstance(each, str) and each for each in ignore):
        raise InvalidInputError(f"ignore={ignore!r:.200}: pass a list of names of arguments, such as ['seed']")
    return tuple(ignore)


def _function(arguments: Mapping[str, Any], answer: Any = None) -> str:
    """Return the function of LiteLLM that takes these arguments, and gives this answer, for who does not say it."""
    known = next((kind for kind in KINDS if kind.model is not None and isinstance(answer, kind.model)), None)
    if known is not None:
        return known.functions[0]
    named = getattr(arguments.get("litellm_logging_obj"), "call_type", None)
    if named in FUNCTIONS:
        return str(named)
    return next((function for name, function in _TOLD_BY.items() if name in arguments), "completion")


_OF_LITELLM = {"mode": "mode", "namespace": "store_id", "ttl": "ttl"}
"""What a program may assign to LiteLLM's own cache, and the argument of `DOCache` for it."""

_TOLD_BY = {
    "messages": "completion",
    "prompt": "text_completion",
    "file": "transcription",
    "documents": "rerank",
    "input": "embedding",
}

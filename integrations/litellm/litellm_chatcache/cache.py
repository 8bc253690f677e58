"""LiteLLM's cache hook.

LiteLLM asks no class of the cache, only attributes, which over its versions it spelt with and without an underscore.
"""

from collections.abc import Awaitable, Collection
from functools import partial
from os import PathLike
from typing import Any, Literal
from weakref import WeakKeyDictionary

from litellm.types.utils import ModelResponse

from chatcache import (
    TTL,
    About,
    Hit,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    Mode,
    ResponseCache,
    parse_mode,
)

from .repairs import briefly, nothing_left, repair
from .request import keyed, request_of
from .responses import cost_of, from_record, refusal_of, to_record
from .stream import ReplayedStream

__all__ = ["DOCache"]

_MAX_AGE = ("s-maxage", "s-max-age")


class DOCache:
    """A cache for ``litellm.cache`` that keeps its records in one SQLite file.

    It serves ``completion`` and ``acompletion``, streamed and not, with any number of messages. Each hit is made of new
    objects. A recorded stream is replayed whole, word by word: LiteLLM does not show a cache where its chunks ended.

    ``cache={...}`` of one call takes ``mode``, ``ttl``, ``namespace``, ``s-maxage`` (how old a record may be, in
    seconds), and LiteLLM's ``no-cache`` and ``no-store``.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, or None for ever.
        mode: ``auto``, ``read_only``, ``refresh``, ``replay`` or ``off``; see `chatcache.Mode`. In mode ``auto``,
            ``CHATCACHE_MODE`` decides where it is set.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``,
            ``interrupted``.
        max_entries: how many records there may be in the store; those not used for longest go first.
        max_bytes: how many bytes they may take.
        store_requests: what is kept of a request beside its answer: ``full``, ``redacted`` or ``digest``; see
            `chatcache.ResponseCache`.
        max_messages: requests of more messages are not cached; None for any number.

    Attributes:
        engine: the `chatcache.ResponseCache` underneath.

    Raises:
        InvalidInputError: an argument or the environment cannot be right.
        StorageError: `path` is a file.
    """

    type = "local"  # what the proxy is told; "redis" would make it ask for more

    def __init__(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        store_id: str,
        *,
        path: str | PathLike[str] | None = None,
        object: str = "default",  # noqa: A002 - Cloudflare's word for it
        ttl: TTL = None,
        mode: str = "auto",
        allow: Collection[str] = (),
        max_entries: int | None = None,
        max_bytes: int | None = None,
        store_requests: Literal["full", "redacted", "digest"] = "full",
        max_messages: int | None = None,
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
            writers=["litellm", "litellm-chatcache"],
        )
        self.max_messages = max_messages
        self.supported_call_types = ["completion", "acompletion"]
        self.cache = self
        # keys and requests that were looked up, by the logging object of the call
        self._keys: WeakKeyDictionary[Any, tuple[str, dict[str, Any]]] = WeakKeyDictionary()
        repair(lambda cache: cache.engine if isinstance(cache, DOCache) else None)

    def get_cache_key(self, **arguments: Any) -> str:
        """Return the key of a call: 64 hex digits, the caller's own ``cache_key``, or ``""`` where it has none."""
        given: str | None = arguments.get("cache_key")
        if given:
            return given
        try:
            return keyed(arguments)[0]
        except InvalidValueError:
            return ""

    def get_cache(self, **arguments: Any) -> Any:
        """Return the recorded response, as a stream where one was asked for, or None.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record.
            PersistenceError: in mode ``replay``, the records could not be read.
            InvalidInputError: the call's own mode, or its ``s-maxage``, is none.
        """
        found = self._asked(arguments)
        if found is None:
            return None
        key, request, mode = found
        read = partial(_response, max_age=_max_age(arguments))
        try:
            return self._answer(self.engine.lookup(key, request, read, mode=mode), arguments)
        except InvalidNameError as error:  # the caller's own cache_key
            self.engine.bypass(error)
            return None

    async def async_get_cache(self, dynamic_cache_object: Any = None, **arguments: Any) -> Any:  # noqa: ARG002 - LiteLLM's
        """Awaiting twin of `get_cache`."""
        found = self._asked(arguments)
        if found is None:
            return None
        key, request, mode = found
        read = partial(_response, max_age=_max_age(arguments))
        try:
            return self._answer(await self.engine.alookup(key, request, read, mode=mode), arguments)
        except InvalidNameError as error:
            self.engine.bypass(error)
            return None

    def add_cache(self, result: Any, **arguments: Any) -> None:
        """Record a response under the key that was looked up. Never raises: LiteLLM would lose the response."""
        try:
            mode, controls = self._mode(arguments), arguments.get("cache") or {}
            call = arguments.get("litellm_logging_obj")  # not there after a stream, whose key is in the arguments
            known = self._keys.get(call) if call is not None else None
            key, request = known or self._keyed_late(arguments)
            if key and mode.writes and not self._too_long(arguments):
                record = to_record(result)
                model = arguments.get("model")
                about = About(request=request, model=model, cost=cost_of(record, model))
                self.engine.update(
                    key, record, about=about, refusal=refusal_of(record), ttl=controls.get("ttl"), mode=mode
                )
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.engine.bypass(error)

    def async_add_cache(self, result: Any, dynamic_cache_object: Any = None, **arguments: Any) -> Awaitable[None]:  # noqa: ARG002 - LiteLLM's
        """Record a response before this returns, and return what there is left to await: nothing.

        LiteLLM awaits it in a task that nobody waits for, and that ends with the loop. So the write does not wait for
        the task. It holds up the loop for one fsync; where another process holds the file, for a tenth of a second.
        """
        briefly(lambda: self.add_cache(result, **arguments))
        return nothing_left()

    def supports_async(self) -> bool:
        """Say that `async_get_cache` is there."""
        return True

    def get_preset_cache_key_from_kwargs(self, **arguments: Any) -> str | None:
        """Return the key that LiteLLM left in the arguments, for its logs."""
        parked: str | None = (arguments.get("litellm_params") or {}).get("preset_cache_key")
        return parked

    async def ping(self) -> bool:
        """Say that the cache is there."""
        return True

    async def disconnect(self) -> None:
        """Release the file. The cache opens it again when it is used."""
        self.engine.close()

    _supports_async = supports_async
    _get_preset_cache_key_from_kwargs = get_preset_cache_key_from_kwargs

    def _asked(self, arguments: dict[str, Any]) -> tuple[str, Any, Mode] | None:
        """Return the key, the request and the mode of a call, or None where it is none of the cache's."""
        mode = self._mode(arguments)
        if mode is Mode.OFF:
            return None
        if self._too_long(arguments):
            if mode is Mode.REPLAY:
                raise self.engine.miss(None, _shown(arguments), f"it has more than max_messages={self.max_messages}")
            return None
        try:
            key, request = keyed(arguments)
        except InvalidValueError as error:
            if mode is Mode.REPLAY:
                raise self.engine.miss(None, _shown(arguments), str(error)) from error
            self.engine.bypass(error)
            return None
        key = arguments.get("cache_key") or key
        if arguments.get("litellm_logging_obj") is not None:
            # for the update: a provider may change the arguments before the response is stored
            self._keys[arguments["litellm_logging_obj"]] = key, request
        return key, request, mode

    def _keyed_late(self, arguments: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """Return the key of a call that was not looked up, or whose lookup is not known any more, and its request."""
        try:
            key, request = keyed(arguments)
        except InvalidValueError:
            return self.get_cache_key(**arguments), None
        return arguments.get("cache_key") or key, request

    def _mode(self, arguments: dict[str, Any]) -> Mode:
        controls = arguments.get("cache") or {}
        return self.engine.mode if "mode" not in controls else parse_mode(controls["mode"], "mode in cache=")

    def _too_long(self, arguments: dict[str, Any]) -> bool:
        return self.max_messages is not None and len(arguments.get("messages") or ()) > self.max_messages

    def _answer(self, response: Any, arguments: dict[str, Any]) -> Any:
        if response is not None and arguments.get("stream") is True:
            return ReplayedStream(response, arguments)
        return response

    def __repr__(self) -> str:
        return f"<litellm_chatcache.DOCache {self.engine.store_id!r} in {str(self.engine.location)!r}>"


def _max_age(arguments: dict[str, Any]) -> float | None:
    """Return how old a record may be at most for a call, in seconds, if the call says so."""
    controls = arguments.get("cache") or {}
    asked = next((controls[name] for name in _MAX_AGE if controls.get(name) is not None), None)
    if asked is None or (isinstance(asked, int | float) and not isinstance(asked, bool)):
        return asked
    raise InvalidInputError(f"s-maxage={asked!r:.100} in cache=: pass a number of seconds")


def _response(hit: Hit, *, max_age: float | None) -> ModelResponse:
    if max_age is not None and hit.age >= max_age:
        raise ValueError(f"it is {hit.age:.0f} s old, and s-maxage is {max_age:g}")
    return from_record(hit.answer)


def _shown(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return a request that has no key, to be shown."""
    return {name: repr(value) for name, value in request_of(arguments)["arguments"].items()}

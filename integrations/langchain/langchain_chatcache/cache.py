"""LangChain's cache hook."""

from collections.abc import Collection, Sequence
from functools import cached_property, partial
from os import PathLike
from typing import Any, Literal
from weakref import WeakValueDictionary

from langchain_core.caches import BaseCache
from langchain_core.language_models import LanguageModelInput
from langchain_core.outputs import Generation

from chatcache import (
    TTL,
    About,
    Accept,
    Allowed,
    Facade,
    Hit,
    LeftOut,
    Mode,
    ModeName,
    Refusal,
    ResponseCache,
    parse_accept,
    raise_interrupt,
)

from . import retries
from .generations import accepts, answered_by, from_record, refusal_of, same_id, to_record, usage_of
from .hook import IN_CALL, install
from .keys import UnkeyableError, keyed, left_out_of_texts, model_of
from .replaying import key_of_call

__all__ = ["DOCache"]


class DOCache(Facade, BaseCache):
    """A cache for ``set_llm_cache``, or for the ``cache=`` of one model, that keeps its records in one SQLite file.

    The calls and streams of a chat model are those of `cached`: see there. For that, methods of ``BaseChatModel`` are
    wrapped when the first one of these is made. LangChain's own `lookup` and `update` are for language models of texts.
    Each hit is made of new objects, and its message has an id of its own, since LangGraph takes two messages of one id
    for one message.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, a text such as ``90d`` or ``12h``, or None for
            no limit.
        mode: ``auto``, ``read_only``, ``refresh``, ``replay`` or ``off``; see `chatcache.Mode`. In mode ``auto``,
            ``CHATCACHE_MODE`` decides where it is set.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``.
        accept: is called with a message that a chat model made, also of a stream, or with the text of another model,
            before it is kept. If it returns a false value or raises, the answer is returned but not kept, and counted
            as refused (``rejected``). Each kind of error is logged once.
        max_entries: how many records there may be in the store; those not used for longest go first.
        max_bytes: how many bytes they may take.
        store_requests: what is kept of a request beside its answer: ``full``, ``redacted`` or ``digest``; see
            `chatcache.ResponseCache`.
        on_store_error: ``bypass`` or ``raise``; see `chatcache.ResponseCache`.
        timeout: how many seconds the cache may add to one call while others hold or write the file.
        stable_ids: whether a replayed message has the id that it was recorded with, for runs that are to be equal to
            the byte. LangGraph takes two messages of one id for one message, so that a graph that asks the same twice
            would lose one of them.

    Attributes:
        stable_ids: as above.
        accept: as above.
        engine: the `chatcache.ResponseCache` underneath.
        classes: those of the models that are replayed by this cache.
        accepting_classes: those of models with predicates of their own, as long as there are such models.

    Raises:
        InvalidInputError: an argument or the environment cannot be right.
        StorageError: `path` is a file.
    """

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
        stable_ids: bool = False,
    ) -> None:
        install(DOCache)
        retries.install()
        self.stable_ids = stable_ids
        self._read = partial(from_record, name=same_id) if stable_ids else from_record
        self.classes: dict[Any, Any] = {}
        self.accepting_classes: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        options: dict[str, Any] = {
            "path": path,
            "object": object,
            "ttl": ttl,
            "mode": mode,
            "allow": allow,
            "max_entries": max_entries,
            "max_bytes": max_bytes,
            "store_requests": store_requests,
            "on_store_error": on_store_error,
            "timeout": timeout,
        }
        self._again = partial(type(self), store_id, **options, accept=accept, stable_ids=stable_ids)
        self.accept = parse_accept(accept)
        self.engine = ResponseCache(store_id, **options, writers=["langchain-chatcache", "langchain-core"])

    @cached_property
    def passing(self) -> "DOCache":
        """A cache of the same store that holds nothing, for recording the calls of models that want no cache."""
        passing: DOCache = self._again(mode="off")
        return passing

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Return the recorded generations, or None.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record.
            PersistenceError: in mode ``replay``, the records could not be read.
        """
        try:
            key, request = keyed(prompt, llm_string)
        except UnkeyableError as error:
            self._unkeyed(error, llm_string)
            return None
        found = self.engine.recall(key, self._read)
        if found is not None:
            return found
        with LeftOut(lambda: left_out_of_texts(llm_string)):
            return self.engine.lookup(key, request, self._generations, asks_tape=IN_CALL.get())

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Awaiting twin of `lookup`."""
        try:
            key, request = keyed(prompt, llm_string)
        except UnkeyableError as error:
            self._unkeyed(error, llm_string)
            return None
        found = self.engine.recall(key, self._read)
        if found is not None:
            return found
        with LeftOut(lambda: left_out_of_texts(llm_string)):
            return await self.engine.alookup(key, request, self._generations, asks_tape=IN_CALL.get())

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Record generations. Never raises: an answer that was paid for is returned whatever becomes of its record."""
        made = self._made(prompt, llm_string, return_val)
        if made is not None:
            key, record, about, refusal = made
            accept, made_now = self._accepts(return_val), IN_CALL.get()
            self.engine.update(key, record, about=about, refusal=refusal, accept=accept, is_provided=made_now)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Awaiting twin of `update`."""
        made = self._made(prompt, llm_string, return_val)
        if made is not None:
            key, record, about, refusal = made
            accept, made_now = self._accepts(return_val), IN_CALL.get()
            await self.engine.aupdate(key, record, about=about, refusal=refusal, accept=accept, is_provided=made_now)

    def invalidate(
        self, model: Any, asked: LanguageModelInput, *, stop: list[str] | None = None, **arguments: Any
    ) -> None:
        """Remove the records of a call of a chat model, whether it was streamed or not.

        Args:
            model: the model, whether `cached` returned it or not, or what its ``bind_tools`` returns.
            asked: as for the model's ``invoke``.
            stop: as for the model's ``invoke``.
            arguments: as for the model's ``invoke``.

        Raises:
            InvalidInputError: it is no chat model, or the call has no key.
            StorageError: the records could not be removed.
        """
        self.engine.remove(key_of_call(model, self, asked, stop, arguments))

    async def ainvalidate(
        self, model: Any, asked: LanguageModelInput, *, stop: list[str] | None = None, **arguments: Any
    ) -> None:
        """Awaiting twin of `invalidate`."""
        await self.engine.aremove(key_of_call(model, self, asked, stop, arguments))

    def clear(self, **_kwargs: Any) -> None:
        """Remove every record of this store, and of no other.

        Raises:
            StorageError: the records could not be removed.
        """
        self.engine.clear()

    async def aclear(self, **_kwargs: Any) -> None:
        """Awaiting twin of `clear`."""
        await self.engine.aclear()

    def leave_out(self, asked: Any, reason: str) -> None:
        """Raise a miss for a call that is made without this cache, or tell a tape that is in of it.

        Args:
            asked: what is asked.
            reason: why it is not recorded.

        Raises:
            ReplayMiss: nothing may be called.
        """
        if not self.engine.calls(self.engine.mode):
            raise self.engine.miss(None, asked, reason)
        self.engine.leave_out(reason)

    def _accepts(self, generations: Sequence[Generation]) -> Accept | None:
        accept = self.accept
        return None if accept is None else lambda _record: accepts(accept, generations)

    def _unkeyed(self, error: UnkeyableError, llm_string: str) -> None:
        """Let a call that has no key be made, or raise where none may be."""
        mode = self.engine.mode_of(None)
        if not self.engine.calls(mode):
            raise self.engine.miss(None, llm_string, str(error)) from error
        if self.engine.asks(mode) or mode.writes:
            self.engine.bypass(error)

    def _made(
        self, prompt: str, llm_string: str, generations: Sequence[Generation]
    ) -> tuple[str, list[Any], About, Refusal | None] | None:
        """Return the key and the record of generations, what is known of them, and why they are not worth keeping."""
        if not self.engine.keeps(self.engine.mode):
            return None
        try:
            key, request = keyed(prompt, llm_string)
            about = About(
                request=request,
                model=model_of(request),
                answered_by=answered_by(generations),
                usage=usage_of(generations),
            )
            return key, to_record(generations), about, refusal_of(generations)
        except Exception as error:  # noqa: BLE001 - whatever a provider made of its answer
            raise_interrupt(error)
            self.engine.bypass(error)
            return None

    def _generations(self, hit: Hit) -> list[Generation]:
        return self._read(hit.answer)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have one that was pickled made anew, of the same arguments; it finds the same records."""
        return self._again, ()

    def __deepcopy__(self, _memo: object) -> "DOCache":
        """Return itself, where a model that has it is copied: there is one file."""
        return self

    def __repr__(self) -> str:
        return f"<langchain_chatcache.DOCache {self.engine.store_id!r} in {str(self.engine.location)!r}>"

"""LangChain's cache hook."""

from collections.abc import Collection, Sequence
from os import PathLike
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

from chatcache import TTL, Mode, ResponseCache

from .generations import from_record, refusal_of, to_record
from .request import UnkeyableError, keyed

__all__ = ["DOCache"]


class DOCache(BaseCache):
    """A cache for ``set_llm_cache``, or for the ``cache=`` of one model, that keeps its records in one SQLite file.

    It serves ``invoke``, ``ainvoke``, ``batch``, ``abatch``, ``generate`` and ``agenerate``. LangChain does not ask a
    cache in ``stream`` and ``astream``. Each hit is made of new objects, and its message has an id of its own, since
    LangGraph takes two messages of one id for one message.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, or None for ever.
        mode: ``auto``, ``read_only``, ``refresh``, ``replay`` or ``off``; see `chatcache.Mode`. In mode ``auto``,
            ``CHATCACHE_MODE`` decides where it is set.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``.

    Attributes:
        engine: the `chatcache.ResponseCache` underneath.

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
        mode: str = "auto",
        allow: Collection[str] = (),
    ) -> None:
        self.engine = ResponseCache(store_id, path=path, object=object, ttl=ttl, mode=mode, allow=allow)

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Return the recorded generations, or None.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record.
            PersistenceError: in mode ``replay``, the records could not be read.
        """
        keyed = self._keyed(prompt, llm_string)
        return None if keyed is None else self.engine.lookup(*keyed, from_record)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Awaiting twin of `lookup`."""
        keyed = self._keyed(prompt, llm_string)
        return None if keyed is None else await self.engine.alookup(*keyed, from_record)

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Record generations. Never raises: an answer that was paid for is returned whatever becomes of its record."""
        keyed = self._keyed(prompt, llm_string) if self.engine.mode.writes else None
        record = None if keyed is None else self._record(return_val)
        if keyed is not None and record is not None:
            self.engine.update(keyed[0], record, refusal=refusal_of(return_val))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Awaiting twin of `update`."""
        keyed = self._keyed(prompt, llm_string) if self.engine.mode.writes else None
        record = None if keyed is None else self._record(return_val)
        if keyed is not None and record is not None:
            await self.engine.aupdate(keyed[0], record, refusal=refusal_of(return_val))

    def clear(self, **_kwargs: Any) -> None:
        """Remove every record of this store, and of no other.

        Raises:
            StorageError: the records could not be removed.
        """
        self.engine.clear()

    async def aclear(self, **_kwargs: Any) -> None:
        """Awaiting twin of `clear`."""
        await self.engine.aclear()

    def _keyed(self, prompt: str, llm_string: str) -> tuple[str, dict[str, Any]] | None:
        """Return the key of a request and the request, or None where it has none."""
        if self.engine.mode is Mode.OFF:
            return None
        try:
            return keyed(prompt, llm_string)
        except UnkeyableError as error:
            if self.engine.mode is Mode.REPLAY:
                raise self.engine.miss(None, llm_string, str(error)) from error
            self.engine.bypass(error)
            return None

    def _record(self, generations: Sequence[Generation]) -> list[Any] | None:
        try:
            return to_record(generations)
        except ValueError as error:
            self.engine.bypass(error)
            return None

    def __repr__(self) -> str:
        return f"<langchain_chatcache.DOCache {self.engine.store_id!r} in {str(self.engine.location)!r}>"

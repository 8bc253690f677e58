"""The engine under every adapter: look up a request, keep its answer, by the rules of a mode.

A hook of a framework gives an adapter two moments, before a call and after it, so there are two methods: `lookup` and
`update`. For who makes the calls there is one, `call`, which is shared by those who ask for the same at the same time.

None of them takes an LLM call down: where the cache cannot be read or written the call goes on without it, which is
counted, and said once, as a warning of the logger ``chatcache``. In mode ``replay`` it is the other way round: whatever
is not replayed is raised, since nothing may be called.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from copy import deepcopy
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from chatcache._bridge import Flights
from chatcache.backing import DurableObjectPersistence
from chatcache.clock import Clock
from chatcache.errors import InvalidValueError, PersistenceError, ReplayMiss
from chatcache.keys import request_key
from chatcache.mode import Mode, Refusal, parse_mode, parse_refusals
from chatcache.storage import ObjectNamespace
from chatcache.ttl import TTL, parse_ttl

__all__ = ["ResponseCache"]

T = TypeVar("T")

_logger = logging.getLogger("chatcache")
_ABSENT: Any = object()
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_LONGEST_RECORD = 256 * 1024 * 1024  # bytes: a long answer, or one with images, is worth keeping as well


class ResponseCache:
    """Records of one store, each an answer under the key of its request.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, or None for ever.
        mode: see `Mode`. In mode ``auto``, which is the default, ``CHATCACHE_MODE`` decides where it is set.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``,
            ``interrupted``.
        clock: gives the time in seconds since the epoch.

    Attributes:
        store_id: as above.
        ttl: as above.
        mode: the mode of calls that name none.
        location: the file of the records, which exists from the first record on.
        refused: how many answers were not kept, by `Refusal`.
        bypassed: how many lookups and updates went on without the cache, because it failed.
        joined: how many calls were answered by that of another thread or task, which was under way.

    Raises:
        InvalidInputError: an argument, ``CHATCACHE_MODE`` or ``CHATCACHE_DIR`` cannot be right.
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
        clock: Clock = time.time,
    ) -> None:
        folder = path if path is not None else os.environ.get("CHATCACHE_DIR") or ".chatcache"
        self._object = ObjectNamespace(folder, longest_row=_LONGEST_RECORD).get_by_name(object)
        self._store = DurableObjectPersistence(self._object.storage, clock=clock).make(store_id)
        self._allowed = parse_refusals(allow)
        self.store_id = store_id
        self.ttl = _checked(ttl)
        self.mode = _mode_of(mode)
        self.refused: Counter[Refusal] = Counter()
        self.bypassed = self.joined = 0
        self._flights: Flights[Any] = Flights()
        self._said: set[type[Exception]] = set()

    @property
    def location(self) -> Path:
        """The file of the records."""
        return self._object.path

    def call(
        self,
        request: Any,
        fn: Callable[[Any], T],
        *,
        refuse: Callable[[T], Refusal | None] | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
    ) -> T:
        """Return the recorded answer of a request, or else call, record what that returns, and return it.

        Threads and tasks of this process that ask for the same at the same time share one call, its answer, each a
        copy of its own, and its error. An error is not recorded, nor is a call that was cancelled.

        Args:
            request: a JSON value; it is the key.
            fn: makes the call: it is called with the request, and returns a JSON value.
            refuse: says why an answer is not worth keeping, or None; by default only an empty one is refused.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record; nothing was called.
            PersistenceError: in mode ``replay``, the records could not be read.
            Exception: whatever `fn` raises.
        """
        mode = mode or self.mode
        key = self._key(request, mode)
        if key is None:
            return fn(request)
        found: tuple[T] | None = self.lookup(key, request, _answer, mode=mode)
        if found is not None:
            return found[0]

        def led() -> T:
            again: tuple[T] | None = self.lookup(key, request, _answer, mode=mode)  # it may have been recorded since
            if again is not None:
                return again[0]
            answer = fn(request)
            self.update(key, answer, refusal=_refusal(answer, refuse), ttl=ttl, mode=mode)
            return answer

        return self._landed(*self._flights.run((key, mode), led)) if mode.reads else led()

    async def acall(
        self,
        request: Any,
        fn: Callable[[Any], Awaitable[T]],
        *,
        refuse: Callable[[T], Refusal | None] | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
    ) -> T:
        """Awaiting twin of `call`; `fn` is awaited. A task that is cancelled leaves the call to those who share it."""
        mode = mode or self.mode
        key = self._key(request, mode)
        if key is None:
            return await fn(request)
        found: tuple[T] | None = await self.alookup(key, request, _answer, mode=mode)
        if found is not None:
            return found[0]

        async def led() -> T:
            again: tuple[T] | None = await self.alookup(key, request, _answer, mode=mode)
            if again is not None:
                return again[0]
            answer = await fn(request)
            await self.aupdate(key, answer, refusal=_refusal(answer, refuse), ttl=ttl, mode=mode)
            return answer

        return self._landed(*await self._flights.arun((key, mode), led)) if mode.reads else await led()

    def lookup(self, key: str, request: Any, read: Callable[[Any], T], *, mode: Mode | None = None) -> T | None:
        """Return what `read` makes of the record of a request, or None: then the provider is to be called.

        Args:
            key: the key of the request, from `chatcache.request_key`.
            request: the request, to be named where there is no record to replay.
            read: makes the answer of a record; whatever it raises makes that record a miss.
            mode: instead of the mode of the cache.

        Raises:
            ReplayMiss: in mode ``replay``, there is no such record.
            PersistenceError: in mode ``replay``, the records could not be read.
        """
        mode = mode or self.mode
        if not mode.reads:
            return None
        try:
            record = self._store.get(key, _ABSENT)
        except PersistenceError as error:
            self._unread(error, mode)
            return None
        if record is _ABSENT:
            self._missed(key, request, mode, "nothing is recorded under this key")
            return None
        try:
            return read(record)
        except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
            self._missed(key, request, mode, f"the record cannot be read ({type(error).__name__}: {error})")
            return None

    async def alookup(self, key: str, request: Any, read: Callable[[Any], T], *, mode: Mode | None = None) -> T | None:
        """Awaiting twin of `lookup`."""
        mode = mode or self.mode
        if not mode.reads:
            return None
        try:
            record = await self._store.aget(key, _ABSENT)
        except PersistenceError as error:
            self._unread(error, mode)
            return None
        if record is _ABSENT:
            self._missed(key, request, mode, "nothing is recorded under this key")
            return None
        try:
            return read(record)
        except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
            self._missed(key, request, mode, f"the record cannot be read ({type(error).__name__}: {error})")
            return None

    def update(
        self,
        key: str,
        record: Any,
        *,
        refusal: Refusal | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
    ) -> bool:
        """Keep an answer under a key; return whether it was kept. Where the cache cannot, the call is bypassed.

        Args:
            key: the key of the request.
            record: the answer, a JSON value.
            refusal: why the answer is not worth keeping, if it is not.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.
        """
        if not self._admits(refusal, ttl, mode):
            return False
        try:
            self._store.set(key, record, self.ttl if ttl is None else ttl)
        except PersistenceError as error:
            self.bypass(error)
            return False
        return True

    async def aupdate(
        self,
        key: str,
        record: Any,
        *,
        refusal: Refusal | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
    ) -> bool:
        """Awaiting twin of `update`."""
        if not self._admits(refusal, ttl, mode):
            return False
        try:
            await self._store.aset(key, record, self.ttl if ttl is None else ttl)
        except PersistenceError as error:
            self.bypass(error)
            return False
        return True

    def clear(self) -> None:
        """Remove every record of this store.

        Raises:
            StorageError: the records could not be removed.
        """
        self._store.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._store.aclear()

    def close(self) -> None:
        """Release the file. The cache opens it again when it is used."""
        self._object.close()

    def miss(self, key: str | None, request: Any, reason: str) -> ReplayMiss:
        """Return the miss of a request in mode ``replay``, to be raised."""
        return ReplayMiss(key=key, request=request, store_id=self.store_id, reason=reason, where=str(self._object.path))

    def refuses(self, refusal: Refusal) -> bool:
        """Return whether an answer is not to be kept for this reason, and count it if so."""
        if refusal in self._allowed:
            return False
        self.refused[refusal] += 1
        return True

    def bypass(self, problem: Exception) -> None:
        """Count a call that goes on without the cache, and say why the first time for each kind of problem."""
        self.bypassed += 1
        if type(problem) not in self._said:
            self._said.add(type(problem))
            _logger.warning(
                "store %r is not used for a call: %s\n"
                "Calls go on without it; this is said once for each kind of problem.",
                self.store_id,
                problem,
            )

    def _key(self, request: Any, mode: Mode) -> str | None:
        """Return the key of a request, or None where the call goes on without the cache."""
        if mode is Mode.OFF:
            return None
        try:
            return request_key(request)
        except InvalidValueError as error:
            if not mode.calls:
                raise self.miss(None, repr(request), f"the request has no key: {error}") from error
            self.bypass(error)
            return None

    def _landed(self, answer: T, joined: bool) -> T:  # noqa: FBT001 - what a flight gives
        if not joined:
            return answer
        self.joined += 1
        return deepcopy(answer)

    def _unread(self, error: PersistenceError, mode: Mode) -> None:
        """Go on without records that could not be read, or raise where nothing may be called."""
        if not mode.calls:
            raise error
        self.bypass(error)

    def _missed(self, key: str, request: Any, mode: Mode, reason: str) -> None:
        """Let the provider be called, or raise where nothing may be."""
        if not mode.calls:
            raise self.miss(key, request, reason)

    def _admits(self, refusal: Refusal | None, ttl: TTL, mode: Mode | None) -> bool:
        """Whether an answer is to be kept; a TTL that is not positive keeps nothing, and leaves what is there."""
        lives = parse_ttl(self.ttl if ttl is None else ttl)
        if not (mode or self.mode).writes or (lives is not None and lives <= 0):
            return False
        return refusal is None or not self.refuses(refusal)


def _answer(record: T) -> tuple[T]:
    return (record,)  # a recorded None is no miss


def _refusal(answer: T, refuse: Callable[[T], Refusal | None] | None) -> Refusal | None:
    if refuse is not None:
        return refuse(answer)
    return Refusal.EMPTY if answer in _EMPTY else None


def _checked(ttl: TTL) -> TTL:
    parse_ttl(ttl)
    return ttl


def _mode_of(mode: str) -> Mode:
    chosen = parse_mode(mode)
    from_environment = os.environ.get("CHATCACHE_MODE")
    if chosen is Mode.AUTO and from_environment:
        return parse_mode(from_environment, "CHATCACHE_MODE")
    return chosen

"""The engine under every adapter: look up a request, keep its answer, by the rules of a mode.

A hook of a framework gives an adapter two moments, before a call and after it, so there are two methods: `lookup` and
`update`. For who makes the calls there are `call` and `stream`, which are shared by all those who ask for the same at
the same time, in this process and in others.

A cache failure never fails a call. If the cache cannot be read or written, the call proceeds without it. The call is
counted, and the failure logged once by the logger ``chatcache``. With ``on_store_error="raise"`` it is raised. In mode
``replay`` it is always raised, and so is a miss, since nothing may be called.
"""

import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from functools import partial
from math import inf
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

from chatcache._bridge import Colour, awaiting, blocking, drive, each, off_loop, steps
from chatcache.backing import DurableObjectPersistence, Limits, ObjectStore, sweep_expired
from chatcache.clock import Clock, monotonic, now, real_time
from chatcache.errors import (
    CorruptRecordError,
    InvalidValueError,
    PersistenceError,
    ReplayMiss,
    TransactionError,
)
from chatcache.interrupts import raise_interrupt
from chatcache.keys import canonical_json, key_of, request_key
from chatcache.mode import Allowed, Mode, ModeName, Refusal, parse_mode, parse_refusals
from chatcache.storage import Budget, ObjectNamespace
from chatcache.store_errors import OnStoreError, StoreErrors, as_persistence_error
from chatcache.ttl import TTL, parse_ttl

from .asked import Asked, batch_key
from .calls import Answer, Call, Calls, items_of
from .environment import SETTINGS, from_environment
from .held import HeldStore
from .leading import Leader, Leading
from .leases import Leases
from .missed import EXPLAINER, Missed
from .outcomes import Errors, Outcomes
from .recorder import Accept, Made, Recorder, off_loop_if, parse_accept
from .records import About, Form, Hit, Story, form_of, is_read, parse_requests
from .replay import Pace, apaced, paced, parse_pace
from .sharing import Sharing
from .statistics import Counts, HeldCounts, Statistics
from .taping import PROVIDING, Tape, Track, follow
from .using import MODES, Using

__all__ = ["NAMESPACE", "ResponseCache"]

T = TypeVar("T")
C = TypeVar("C")

_ABSENT: Any = object()
NAMESPACE = "calls"  # not the one that a program gets by default, whose objects may have alarms of their own
_SIZED = {str, list, dict}
_ANSWER, _ANSWER_OR_STREAM, _STREAM_OR_ANSWER = (Form.ANSWER,), (Form.ANSWER, Form.STREAM), (Form.STREAM, Form.ANSWER)
_SHORTEST_SEARCH, _LONGEST_SEARCH = 0.05, 1.5  # seconds for what is near to a request that is missed
_REPAIR = "To replace it, run once in mode auto or refresh, or call cache.invalidate(request)"
_ONCE = "once"  # a mode of `chatcache.recording`


class ResponseCache:
    """Records of one store, each an answer under the key of its request.

    What is recorded is in the file before its caller goes on, and survives a killed process. Where the machine itself
    goes down, the last records may be lost: there is no fsync for each of them.

    Args:
        store_id: the namespace of these records within the object: 1 to 512 bytes of UTF-8.
        path: the folder of the objects; by default ``CHATCACHE_DIR``, or else ``.chatcache``.
        object: the name of the object, which is one SQLite file.
        ttl: how long a record lives: seconds, a timedelta, a text such as ``90d`` or ``12h``, or None for
            no limit.
        mode: see `Mode`. In mode ``auto``, which is the default, ``CHATCACHE_MODE`` decides if it is set. Its value
            ``once``, which is a mode of test suites, means ``auto`` here.
        allow: which answers to keep that are refused by default: some of ``length``, ``content_filter``, ``empty``,
            ``interrupted``.
        accept: is called with an answer before it is kept, of a stream with the list of its chunks. If it returns a
            false value or raises, the answer is returned but not kept, and counted as refused (``rejected``). Each kind
            of error is logged once. No tape asks it (see `chatcache.recording`).
        max_entries: how many records the store may hold; least recently used records are evicted first. See `Limits`.
        max_bytes: how many bytes they may take.
        store_requests: what is kept of a request beside its answer: ``full``, all of it; ``redacted``, its form without
            its texts; ``digest``, its key alone.
        on_store_error: what to do if the store fails. ``bypass``: the call proceeds without it and is counted; the
            failure is logged once per kind by the logger ``chatcache``. ``raise``: a failed read is raised before the
            call, and an answer that cannot be stored raises `NotStoredError`, which holds it. A failed lease is only
            logged.
        timeout: how many seconds the cache may add to one call, in all of its steps, while others hold or write the
            file; then the call proceeds without the cache. A file that stays locked costs this process one such wait:
            later calls proceed at once until it is free again. If others hold the locks of SQLite's readers, that wait
            takes ten seconds, whatever `timeout` is. The wait for another caller's answer is not counted.
        errors: the exception classes that are made again where the call of another process failed, which this one
            waited for; of any other error it is a `ReplayedError`. As in `Persistence.make`.
        writers: the names of further packages whose versions records are to tell.
        clock: gives the time in seconds since the epoch. By default records expire by the time that the program sees,
            which freezegun and time-machine set, and are dated by the real time.

    Attributes:
        store_id: as above.
        ttl: as above.
        object: as above.
        location: the file of the records, which exists from the first call on.
        shows_records: whether a miss in mode ``replay`` shows the recorded request that is nearest. Set it to False if
            those who see the miss must not see what others asked.

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
        mode: ModeName | Mode = "auto",
        allow: Collection[Allowed | Refusal] = (),
        accept: Accept | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        store_requests: Literal["full", "redacted", "digest"] = "full",
        on_store_error: OnStoreError = "bypass",
        timeout: float = 10.0,
        errors: Errors = (),
        writers: Collection[str] = (),
        clock: Clock = now,
    ) -> None:
        dating = real_time if clock is now else clock
        self.store_id = store_id
        self.object = object
        self.ttl = _checked(ttl)
        self._own_mode = _mode_of(mode)
        self._set_mode = parse_mode(mode)
        writes = self._own_mode.writes
        handler = sweep_expired if writes else None
        namespace = ObjectNamespace(path, NAMESPACE, alarm=handler, durability="normal", timeout=timeout, clock=clock)
        self._object = namespace.get_by_name(object)
        self._timeout = timeout
        self._persistence = DurableObjectPersistence(self._object.storage, clock=clock, sweeps=writes, tidies=writes)
        self._limits, self._clock = Limits(max_entries, max_bytes), dating
        self._own_store = self._persistence.make(store_id, limits=self._limits, evicted=self._evicted)
        self._own_counts = Counts.of(self._object, store_id, writes=writes)
        self._expires_by = clock
        self.shows_records = True
        self._explained_at = -inf
        self._unlimited = max_entries is None and max_bytes is None  # else each use is to be noted
        self._errors = StoreErrors(store_id, on_store_error, self._bypassed)
        self._accept = parse_accept(accept)
        self._asked = Asked(dating)
        self._leases = Leases(self._object.storage, store_id, failed=self._unleased)
        self._sharing = Sharing.of(str(self._object.path), store_id)
        self._outcomes = outcomes = Outcomes(errors)
        self._recorder = Recorder(
            self._errors,
            self._asked,
            allowed=parse_refusals(allow),
            requests=parse_requests(store_requests),
            max_bytes=max_bytes,
            packages=("chatcache", *writers),
            clock=dating,
        )
        self._calls = Calls(
            self._look,
            self._recorder.keep_call,
            self._recorder.keep_failure,
            self._joined,
            self._interrupted,
            self._leases,
            outcomes,
        )
        self._leading = Leading(self._sharing.flights, self._leases, outcomes, self._joined, dating, timeout)
        self.play(None)
        follow(self)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """Return a cache with the options that the environment names: ``CHATCACHE_STORE``, ``CHATCACHE_TTL`` and more.

        docs/cache.md lists the variables. ``CHATCACHE_STORE`` has to be set, unless `store_id` is passed.

        Args:
            options: arguments of the class, which count more than the environment.

        Raises:
            InvalidInputError: a variable or an argument cannot be right, or the store has no name.
        """
        return cls(**from_environment(SETTINGS, options))

    @property
    def location(self) -> Path:
        """The file of the records."""
        return self._object.path

    @property
    def mode(self) -> Mode:
        """The mode of calls that name none: that of the innermost `using` block, or of the cache.

        Setting it sets that of the cache. While a tape is in, ``CHATCACHE_MODE`` is the tape's, and no cache's.
        """
        own = self._own_mode if self._track is None else self._set_mode
        modes = MODES.get()
        return modes.get(self, own) if modes else own

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._own_mode = self._set_mode = parse_mode(mode)

    def using(self, *, mode: ModeName | Mode) -> Using:
        """Return a block in which calls that name no mode have this one: ``with cache.using(mode="refresh"):``.

        The block is for this thread or task, and for the tasks and ``asyncio.to_thread`` calls that it starts. Other
        threads and tasks keep the mode that they had. In a generator, a block around a ``yield`` is also for whoever
        reads the generator, until it goes on: read it to its end, or leave ``yield`` out of the block.

        Args:
            mode: a mode; ``CHATCACHE_MODE`` has no part in it.

        Raises:
            InvalidModeError: there is no such mode.
        """
        return Using(self, parse_mode(mode))

    def disabled(self) -> Using:
        """Return a block in which calls are made without this cache, as `using` does with mode ``off``."""
        return Using(self, Mode.OFF)

    def call(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        request: Any,
        fn: Callable[[Any], T],
        *,
        refuse: Callable[[T], Refusal | None] | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: ModeName | Mode | None = None,
        on_hit: Callable[[Hit], object] | None = None,
        read: Callable[[Any], T] | None = None,
        from_chunks: Callable[[list[Any]], Any] | None = None,
    ) -> T:
        """Return the recorded answer of a request, or else call, record what that returns, and return it.

        Whoever asks for the same at the same time, in whatever thread, task or process, shares one call, its answer,
        each a copy of its own, and its error. An error is not recorded, nor is a call that was cancelled. Where the
        process that makes the call is killed, another one makes it within a second; where it is stopped, within ten.

        Args:
            request: a JSON value; it is the key.
            fn: makes the call: it is called with the request, and returns a JSON value.
            refuse: says why an answer is not worth keeping, or None; by default only an empty one is refused.
            accept: instead of the predicate of the cache.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.
            on_hit: is called with the record, if the answer is from one: how old it is, when it was recorded, its key.
            read: makes what is returned of an answer, as it is recorded; a record of which it cannot is a miss.
            from_chunks: makes an answer, as one is recorded, of the chunks of a stream of this request, where that is
                what is recorded. By default a call is not answered by a stream.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record; nothing was called.
            NotStoredError: with ``on_store_error="raise"``, the answer could not be stored; it holds the answer.
            PersistenceError: in mode ``replay``, or with ``on_store_error="raise"``, the records could not be read.
            Exception: whatever `fn` raises.
        """
        if ttl is not None:
            parse_ttl(ttl)
        chosen = self.mode if mode is None and self._track is None else self.mode_of(mode)
        canonical = self._canonical(request, chosen)
        if canonical is None:
            return fn(request)
        key = key_of(canonical)
        if on_hit is None:
            answer: T | None = self.recall(key, read or _as_it_is, mode=chosen)
            if answer is not None:
                return answer
        if read is from_chunks is None:
            hit = self.lookup(key, request, _answered, mode=chosen, ttl=ttl)
        else:
            forms = _ANSWER if from_chunks is None else _ANSWER_OR_STREAM
            reads = partial(_as_answer, read, from_chunks)
            hit = self.lookup(key, request, reads, mode=chosen, forms=forms, ttl=ttl)
        if hit is None:
            whole = partial(_as_answer, read, None)
            call = self._to_make(key, request, canonical, refuse, accept, ttl, chosen, on_hit, whole)
            made, joined = self._flown(call, lambda: drive(self._calls.lead(blocking, call, fn)))
            answer = made.copy() if joined else made.original
            return answer if read is None else read(answer)
        if on_hit is not None and not hit.is_provided:
            on_hit(hit)
        return cast(T, hit.answer)

    async def acall(  # noqa: PLR0913 - as `call`
        self,
        request: Any,
        fn: Callable[[Any], Awaitable[T]],
        *,
        refuse: Callable[[T], Refusal | None] | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: ModeName | Mode | None = None,
        on_hit: Callable[[Hit], object] | None = None,
        read: Callable[[Any], T] | None = None,
        from_chunks: Callable[[list[Any]], Any] | None = None,
    ) -> T:
        """Awaiting twin of `call`; `fn` is awaited. A task that is cancelled leaves the call to those who share it."""
        if ttl is not None:
            parse_ttl(ttl)
        chosen = self.mode if mode is None and self._track is None else self.mode_of(mode)
        canonical = self._canonical(request, chosen)
        if canonical is None:
            return await fn(request)
        key = key_of(canonical)
        if on_hit is None:
            answer: T | None = self.recall(key, read or _as_it_is, mode=chosen)
            if answer is not None:
                return answer
        if read is from_chunks is None:
            hit = await self.alookup(key, request, _answered, mode=chosen, ttl=ttl)
        else:
            forms = _ANSWER if from_chunks is None else _ANSWER_OR_STREAM
            reads = partial(_as_answer, read, from_chunks)
            hit = await self.alookup(key, request, reads, mode=chosen, forms=forms, ttl=ttl)
        if hit is None:
            whole = partial(_as_answer, read, None)
            call = self._to_make(key, request, canonical, refuse, accept, ttl, chosen, on_hit, whole)
            made, joined = await self._aflown(call, lambda: self._calls.lead(awaiting, call, fn))
            answer = await off_loop_if(awaiting, made.size, made.copy) if joined else made.original
            return cast(T, answer if read is None else read(answer))
        if on_hit is not None and not hit.is_provided:
            on_hit(hit)
        return cast(T, hit.answer)

    def stream(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        request: Any,
        fn: Callable[[Any], Iterable[C]],
        *,
        refuse: Callable[[list[C]], Refusal | None] | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: ModeName | Mode | None = None,
        pace: Pace = "instant",
        on_hit: Callable[[Hit], object] | None = None,
        read: Callable[[Any], C] | None = None,
        to_chunks: Callable[[Any], list[Any]] | None = None,
    ) -> Generator[C, None, None]:
        """Yield the recorded chunks of a request, or else those of a stream as they come, and record them at its end.

        What is recorded is each chunk, in order, with the time at which it came, and only of a stream that ended well:
        not of one that raised, or that nobody read to its end. It is shared as `call` is: whoever asks while it is
        under way gets all of its chunks from the first on, each a copy of its own. A stream and a call of one request
        are two records, unless `to_chunks` and `call`'s `from_chunks` make one answer the other.

        Args:
            request: a JSON value; it is the key.
            fn: makes the stream: it is called with the request, and returns an iterable of JSON values.
            refuse: says why a list of chunks is not worth keeping, or None; by default only an empty one is refused.
            accept: instead of the predicate of the cache.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.
            pace: how quick a recorded stream is replayed: ``instant``, at once; ``recorded``, as it came; a number, so
                many times as quick as it came.
            on_hit: is called with the record, if the chunks are from one.
            read: makes what is yielded of a chunk, as it is recorded; a record of which it cannot is a miss.
            to_chunks: makes chunks, as they are recorded, of an answer to this request, where that is what is recorded.
                By default a stream is not answered by what a call returned.

        Raises:
            StreamInterruptedError: while the chunks are read: another one's stream, that was shared, broke off.
            InvalidInputError: the pace is none, or `fn` returned no iterable.
            Exception: while the chunks are read: what `call` raises.
        """
        parse_pace(pace)
        parse_ttl(ttl)
        chosen = self.mode_of(mode)
        return steps(self._streamed(blocking, request, fn, refuse, accept, ttl, chosen, pace, on_hit, read, to_chunks))

    def astream(  # noqa: PLR0913 - as `stream`
        self,
        request: Any,
        fn: Callable[[Any], AsyncIterable[C] | Awaitable[AsyncIterable[C]]],
        *,
        refuse: Callable[[list[C]], Refusal | None] | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: ModeName | Mode | None = None,
        pace: Pace = "instant",
        on_hit: Callable[[Hit], object] | None = None,
        read: Callable[[Any], C] | None = None,
        to_chunks: Callable[[Any], list[Any]] | None = None,
    ) -> AsyncGenerator[C, None]:
        """Awaiting twin of `stream`: ``async for chunk in cache.astream(request, fn)``.

        What `fn` returns may be awaited. The stream is read in a task of its own, as fast as it comes.
        """
        parse_pace(pace)
        parse_ttl(ttl)
        chosen = self.mode_of(mode)
        return self._streamed(awaiting, request, fn, refuse, accept, ttl, chosen, pace, on_hit, read, to_chunks)

    def lookup(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        key: str,
        request: Any,
        read: Callable[[Hit], T],
        *,
        mode: Mode | None = None,
        forms: Sequence[Form] = _ANSWER,
        ttl: TTL = None,
        asks_tape: bool = True,
    ) -> T | None:
        """Return what `read` makes of the record of a request, or None: then the provider is to be called.

        Args:
            key: the key of the request, from `chatcache.request_key`.
            request: the request, to be named where there is no record to replay.
            read: makes the answer of a record; whatever it raises makes that record a miss.
            mode: instead of the mode of the cache.
            forms: in which forms it may be recorded, the best one first.
            ttl: of a record that is kept because a tape answers in the place of the provider, instead of the TTL of the
                cache.
            asks_tape: whether the provider is called next, so that a tape that is in may answer in its place.

        Raises:
            ReplayMiss: in mode ``replay``, there is no such record.
            PersistenceError: in mode ``replay``, or with ``on_store_error="raise"``, the records could not be read.
        """
        if self._track is not None:
            return self._find_or_replay(self._track, key, request, read, mode, forms, ttl, asks_tape=asks_tape)
        return self._find(key, request, read, mode or self.mode, forms)

    def _find(self, key: str, request: Any, read: Callable[[Hit], T], mode: Mode, forms: Sequence[Form]) -> T | None:
        """Return what `lookup` does, of the store alone."""
        if not mode.reads:
            return None
        problem = ""
        try:
            for form in forms:
                row = key + form
                record = self._store.get(row, _ABSENT)
                if record is not _ABSENT:
                    try:
                        return self._read(row, record, read)
                    except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
                        raise_interrupt(error)
                        problem = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the call goes on
            self._unread(key, as_persistence_error(error), mode)
            return None
        self._counts.add(misses=1)
        if not mode.calls:
            raise self._missed(key, request, forms, problem)
        self._asked.add(key)
        return None

    async def alookup(  # noqa: PLR0913 - as `lookup`
        self,
        key: str,
        request: Any,
        read: Callable[[Hit], T],
        *,
        mode: Mode | None = None,
        forms: Sequence[Form] = _ANSWER,
        ttl: TTL = None,
        asks_tape: bool = True,
    ) -> T | None:
        """Awaiting twin of `lookup`."""
        if self._track is not None:
            return self._find_or_replay(self._track, key, request, read, mode, forms, ttl, asks_tape=asks_tape)
        return await self._afind(key, request, read, mode or self.mode, forms)

    async def _afind(
        self, key: str, request: Any, read: Callable[[Hit], T], mode: Mode, forms: Sequence[Form]
    ) -> T | None:
        """Awaiting twin of `_find`."""
        if not mode.reads:
            return None
        problem = ""
        try:
            for form in forms:
                row = key + form
                record = await self._store.aget(row, _ABSENT)
                if record is not _ABSENT:
                    try:
                        return self._read(row, record, read)
                    except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
                        raise_interrupt(error)
                        problem = f"{type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the call goes on
            self._unread(key, as_persistence_error(error), mode)
            return None
        self._counts.add(misses=1)
        if not mode.calls:
            raise await off_loop(self._missed, key, request, forms, problem)
        self._asked.add(key)
        return None

    def recall(self, key: str, read: Callable[[Any], T], *, mode: Mode | None = None) -> T | None:
        """Return what `read` makes of an answer whose record is in memory, or None: then ask `lookup`.

        Sync and async callers share it: it never waits. A request that is asked for again is found in fewer steps.

        Args:
            key: the key of the request.
            read: makes what is returned of the answer, as it is recorded.
            mode: instead of the mode of the cache.
        """
        try:
            record = self._store.recall(key) if self._recalls and (mode or self.mode).reads else None
            if record is None:
                return None
            result, saves = read(record["answer"]), record["saves"]
        except Exception as error:  # noqa: BLE001 - `lookup` says what is wrong
            raise_interrupt(error)
            return None
        if type(saves) is list:
            self._counts.hit(saves)
            return result
        return None

    def lookup_many(
        self,
        requests: Mapping[str, Any],
        read: Callable[[Hit], T],
        *,
        mode: Mode | None = None,
        ttl: TTL = None,
        asks_tape: bool = True,
    ) -> list[T | None]:
        """Return what `lookup` returns of each of some requests, read at once.

        Args:
            requests: the requests, by their keys.
            read: as in `lookup`.
            mode: instead of the mode of the cache.
            ttl: as in `lookup`.
            asks_tape: as in `lookup`.

        Raises:
            ReplayMiss: in mode ``replay``, there is no record of one of them.
            PersistenceError: in mode ``replay``, or with ``on_store_error="raise"``, the records could not be read.
        """
        if self._track is not None:
            track = self._track
            return [
                self._find_or_replay(track, key, request, read, mode, _ANSWER, ttl, asks_tape=asks_tape)
                for key, request in requests.items()
            ]
        mode = mode or self.mode
        if not mode.reads:
            return [None] * len(requests)
        try:
            records = self._store.get_many([*requests], _ABSENT)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the call goes on
            self._unread(batch_key(requests), as_persistence_error(error), mode)
            return [None] * len(requests)
        found: list[T | None] = []
        for (key, request), record in zip(requests.items(), records, strict=True):
            result, problem = None, ""
            if record is not _ABSENT:
                try:
                    result = self._read(key, record, read)
                except Exception as error:  # noqa: BLE001 - a record of another make is a miss, whatever it breaks
                    raise_interrupt(error)
                    problem = f"{type(error).__name__}: {error}"
            if result is None:
                self._counts.add(misses=1)
                if not mode.calls:
                    raise self._missed(key, request, _ANSWER, problem)
                self._asked.add(key)
            found.append(result)
        return found

    def update_many(
        self,
        answers: Mapping[str, tuple[Any, About]],
        *,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
    ) -> int:
        """Keep some answers in one step, all that are accepted or none; return how many were kept. As `update`.

        Args:
            answers: the answers, and what else is known of them, by the keys of their requests.
            accept: instead of the predicate of the cache; it is called with each answer.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.

        Raises:
            NotStoredError: with ``on_store_error="raise"``, they could not be stored.
        """
        made = {
            key: Made(key, answer, about, accept=accept or self._accept) for key, (answer, about) in answers.items()
        }
        return self._recorder.keep_many(made, self._lives(ttl), self._chosen(mode), Budget(self._timeout))

    def lead(
        self,
        key: str,
        read: Callable[[Hit], T],
        *,
        mode: Mode | None = None,
        forms: Sequence[Form] = (Form.ANSWER,),
    ) -> T | Leader | None:
        """Wait for whoever makes the call of a request, in whatever thread, task or process, or be who makes it.

        It is asked after `lookup` returned None, by who wants one call to be made for all.

        Returns:
            What `read` makes of the answer of another one's call. A `Leader`: the caller is to make the call, and to
            pass that to `update`, or to say to it that the call failed. None: the caller makes its call for itself.

        Raises:
            Exception: what the call of another one raised.
        """
        return drive(self._lead(blocking, key, read, self._chosen(mode), forms))

    async def alead(
        self,
        key: str,
        read: Callable[[Hit], T],
        *,
        mode: Mode | None = None,
        forms: Sequence[Form] = (Form.ANSWER,),
    ) -> T | Leader | None:
        """Awaiting twin of `lead`."""
        return await self._lead(awaiting, key, read, self._chosen(mode), forms)

    def lead_many(self, keys: Collection[str], *, mode: Mode | None = None) -> Leader | bool:
        """As `lead`, for a call whose answer is recorded in parts, by who asks for all of them that are missing.

        Args:
            keys: those of the parts.
            mode: instead of the mode of the cache.

        Returns:
            A `Leader`: the caller is to make the call, and to say to it how that ended. True: another one did, and all
            of the parts are recorded. False: the caller makes its call for itself.

        Raises:
            Exception: what the call of another one raised.
        """
        return drive(self._lead_many(blocking, keys, self._chosen(mode)))

    async def alead_many(self, keys: Collection[str], *, mode: Mode | None = None) -> Leader | bool:
        """Awaiting twin of `lead_many`."""
        return await self._lead_many(awaiting, keys, self._chosen(mode))

    def update(  # noqa: PLR0913 - all by keyword, all with a default
        self,
        key: str,
        answer: Any,
        *,
        about: About | None = None,
        refusal: Refusal | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
        form: Form = Form.ANSWER,
        offsets: list[float] | None = None,
        leader: Leader | None = None,
        is_provided: bool = True,
    ) -> bool:
        """Keep an answer under a key; return whether it was kept. Where the cache cannot, the call is bypassed.

        Args:
            key: the key of the request.
            answer: a JSON value; of a stream, the list of its chunks.
            about: what else is known of the call. How long it took is otherwise measured from the lookup on.
            refusal: why the answer is not worth keeping, if it is not.
            accept: instead of the predicate of the cache.
            ttl: instead of the TTL of the cache.
            mode: instead of the mode of the cache.
            form: the form that it is recorded in.
            offsets: when each chunk came, in seconds since the stream was asked for.
            leader: from `lead`: those who wait get the answer, whether it is kept or not.
            is_provided: whether the provider made the answer, so that a tape that is in records it.

        Raises:
            NotStoredError: with ``on_store_error="raise"``, it could not be stored.
        """
        made = self._made(key, form, answer, about, accept, offsets, leader, is_provided=is_provided)
        return drive(self._led(blocking, made, refusal, self._lives(ttl), self._chosen(mode), leader))

    async def aupdate(  # noqa: PLR0913 - as `update`
        self,
        key: str,
        answer: Any,
        *,
        about: About | None = None,
        refusal: Refusal | None = None,
        accept: Accept | None = None,
        ttl: TTL = None,
        mode: Mode | None = None,
        form: Form = Form.ANSWER,
        offsets: list[float] | None = None,
        leader: Leader | None = None,
        is_provided: bool = True,
    ) -> bool:
        """Awaiting twin of `update`."""
        made = self._made(key, form, answer, about, accept, offsets, leader, is_provided=is_provided)
        return await self._led(awaiting, made, refusal, self._lives(ttl), self._chosen(mode), leader)

    def story(self, key: str) -> Story | None:
        """Return how the record of a key came to be, or None where there is none.

        The key of a call is `chatcache.request_key` of its request; other forms (`Form`) have theirs behind it, as
        ``/stream``.

        Raises:
            PersistenceError: it could not be read.
        """
        return Story.of(self._store.note(key))

    async def astory(self, key: str) -> Story | None:
        """Awaiting twin of `story`."""
        return Story.of(await self._store.anote(key))

    def records(self, damaged: list[CorruptRecordError] | None = None) -> Iterator[tuple[Hit, Story | None]]:
        """Yield the records of this store, each with how it came to be, in the order of their keys.

        They are read one by one, so that a large store takes no memory; what is recorded meanwhile may be among them.

        Args:
            damaged: takes the error of each record that is damaged; by default the first such error is raised.

        Raises:
            CorruptRecordError: a record is damaged.
            PersistenceError: the records could not be read.
        """
        for key in self._store:
            try:
                hit, story = self._hit(key, self._store.get(key, _ABSENT)), self.story(key)
            except CorruptRecordError as error:
                if damaged is None:
                    raise
                damaged.append(error)
                continue
            if hit is not None:
                yield hit, story

    def restore(self, hit: Hit, story: Story | None) -> None:
        """Keep a record of another store as it is, with its time and without a TTL.

        Args:
            hit: from `records` of the other store.
            story: from there.

        Raises:
            PersistenceError: it could not be stored.
        """
        note = None if story is None else {name: value for name, value in asdict(story).items() if value is not None}
        self._store.set(hit.key, hit.record, note=note)

    def stats(self) -> Statistics:
        """Return what was ever counted for this store, in every process; see `Statistics`."""
        return self._counts.stats()

    async def astats(self) -> Statistics:
        """Awaiting twin of `stats`."""
        return await self._counts.astats()

    def invalidate(self, request: Any) -> None:
        """Remove the records of a request, in whatever form.

        Raises:
            InvalidValueError: the request has no key.
            StorageError: they could not be removed.
        """
        self.remove(request_key(request))

    async def ainvalidate(self, request: Any) -> None:
        """Awaiting twin of `invalidate`."""
        await self.aremove(request_key(request))

    def remove(self, key: str) -> None:
        """Remove the records of a request, in whatever form, by its key.

        Raises:
            InvalidNameError: it is no key.
            StorageError: they could not be removed.
        """
        for form in Form:
            self._store.remove(key + form)

    async def aremove(self, key: str) -> None:
        """Awaiting twin of `remove`."""
        for form in Form:
            await self._store.aremove(key + form)

    def clear(self) -> None:
        """Remove every record of this store; what was counted stays.

        Raises:
            StorageError: the records could not be removed.
        """
        self._store.clear()
        if self._track is None:
            self._leases.clear()

    async def aclear(self) -> None:
        """Awaiting twin of `clear`."""
        await self._store.aclear()
        if self._track is None:
            await self._leases.aclear()

    def close(self) -> None:
        """Write the counts, and release the file, as the end of ``with`` does. The next use opens it again."""
        self._own_counts.save()
        self._leases.close()
        self._object.close()

    async def aclose(self) -> None:
        """Awaiting twin of `close`; it waits for the transactions of other tasks, too."""
        await self._own_counts.asave()
        await off_loop(self._leases.close)
        await self._object.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def miss(self, key: str | None, request: Any, reason: str) -> ReplayMiss:
        """Return the miss of a request that may not be called, to be raised."""
        if self._track is not None and not self._track.calls:
            return self._track.miss(key, request, reason)
        return self._missed(key, request, (), reason)

    def mode_of(self, mode: ModeName | Mode | None) -> Mode:
        """Return the mode of a call that asks for one, or for none.

        Raises:
            InvalidModeError: there is no such mode.
        """
        return self._chosen(None if mode is None else parse_mode(mode))

    def _chosen(self, mode: Mode | None) -> Mode:
        """Return the mode of a call; one of `chatcache.recording.sample` is the provider's to answer."""
        if self._track is not None and self._track.is_numbered:
            return Mode.OFF
        return mode or self.mode

    def fail(self, key: str, error: Exception) -> None:
        """Tell a tape that is in of a call that failed, and whose error is not recorded."""
        if self._track is not None:
            self._track.fail(key, error)

    @staticmethod
    @contextmanager
    def providing() -> Iterator[None]:
        """Have a tape record what is called in the body as a part of the call that it is made for."""
        before = PROVIDING.set(True)
        try:
            yield
        finally:
            PROVIDING.reset(before)

    @property
    def is_taped(self) -> bool:
        """Whether a tape is in."""
        return self._track is not None

    def leave_out(self, reason: str) -> None:
        """Tell a tape that is in of a call that no cache sees, and why."""
        if self._track is not None:
            self._track.leave_out(reason)

    def calls(self, mode: Mode) -> bool:
        """Return whether a call in a mode may reach the provider, as far as a tape that is in allows it."""
        return mode.calls and (self._track is None or self._track.calls)

    def asks(self, mode: Mode) -> bool:
        """Return whether a call in a mode is looked up, in the store or on a tape that is in."""
        return mode.reads or self._track is not None

    def keeps(self, mode: Mode) -> bool:
        """Return whether the answer of a call in a mode is kept, in the store or on a tape that is in."""
        return mode.writes or self._track is not None

    @property
    def records_errors(self) -> bool:
        """Whether a tape is in that errors are to be recorded on; an adapter that can record them does so then."""
        return self._track is not None and self._track.errors

    def play(self, tape: Tape | None) -> None:
        """Ask a tape in the place of the provider from now on, or use its own store again: see `Tape`."""
        self._store: ObjectStore | HeldStore = self._own_store
        self._counts: Counts | HeldCounts = self._own_counts
        self._track: Track | None = None
        self._recalls = self._unlimited and tape is None
        if tape is not None:
            held = partial(tape.held, str(self._object.path), self.store_id)
            self._store = HeldStore(held, self._limits, self._evicted, clock=self._expires_by)
            self._counts = HeldCounts(lambda: held().tally)
            self._track = tape.track(self.store_id, self._outcomes)
        self._recorder.store, self._recorder.counts, self._recorder.track = self._store, self._counts, self._track

    def refuses(self, refusal: Refusal) -> bool:
        """Return whether an answer is not to be kept for this reason, and count it if so."""
        return self._recorder.refuses(refusal)

    def bypass(self, problem: Exception) -> None:
        """Count a call that proceeds without the cache because of a failure, and log that once per kind.

        A tape notes it instead, since a test must not pass if its calls cannot be replayed.

        Raises:
            Exception: the problem, with ``on_store_error="raise"``.
        """
        if self._track is None:
            self._errors.handle(problem)
        else:
            self._track.reject(problem)

    def _lives(self, ttl: TTL) -> TTL:
        return self.ttl if ttl is None else ttl

    def _to_make(  # noqa: PLR0913, PLR0917 - what `call` and `stream` were passed
        self,
        key: str,
        request: Any,
        canonical: bytes,
        refuse: Callable[[Any], Refusal | None] | None,
        accept: Accept | None,
        ttl: TTL,
        mode: Mode,
        on_hit: Callable[[Hit], object] | None,
        reads: Callable[[Hit], object],
    ) -> Call:
        """Return a call that is to be made."""
        return Call(
            key,
            request,
            canonical,
            refuse or _refusal,
            parse_accept(accept) or self._accept,
            self._lives(ttl),
            mode,
            on_hit or _ignored,
            reads,
            Budget(self._timeout),
            None if self._track is None else self._track.tape,
        )

    def _find_or_replay(  # noqa: PLR0913, PLR0917 - what `lookup` was passed
        self,
        track: Track,
        key: str,
        request: Any,
        read: Callable[[Hit], T],
        mode: Mode | None,
        forms: Sequence[Form],
        ttl: TTL,
        *,
        asks_tape: bool,
    ) -> T | None:
        """Return what is in the store, or else what a tape answers in the place of the provider, which is kept."""
        mode = self._chosen(mode)
        with track.tape.held(str(self._object.path), self.store_id).lock:  # so that the next one finds it
            found = self._find(key, request, read, mode, forms)
            if found is not None or not asks_tape:
                return found
            replayed = track.look(key, request, read, forms)
            if replayed is None:
                return None
            self._recorder.restore(
                key.removesuffix(form_of(key)) + replayed.form, request, replayed, self._lives(ttl), mode
            )
            return replayed.result

    def _made(  # noqa: PLR0913, PLR0917 - what `update` was passed
        self,
        key: str,
        form: Form,
        answer: Any,
        about: About | None,
        accept: Accept | None,
        offsets: list[float] | None,
        leader: Leader | None,
        *,
        is_provided: bool,
    ) -> Made:
        budget = Budget(self._timeout) if leader is None else leader.budget
        lease = None if leader is None else leader.lease
        return Made(
            key + form,
            answer,
            about or About(),
            accept=accept or self._accept,
            offsets=offsets,
            asked=key,
            budget=budget,
            lease=lease,
            is_provided=is_provided,
        )

    def _canonical(self, request: Any, mode: Mode) -> bytes | None:
        """Return the canonical form of a request, or None where the call goes on without the cache."""
        if not (mode.reads or mode.writes) and self._track is None:
            return None
        try:
            return canonical_json(request)
        except InvalidValueError as error:
            unkeyed = InvalidValueError(f"the request has no key: {error.problem}", error.path)
            if not self.calls(mode):
                raise self.miss(None, f"<{type(request).__name__}>", str(unkeyed)) from error
            self.bypass(unkeyed)
            return None

    def _flown(self, call: Call, lead: Callable[[], Answer]) -> tuple[Answer, bool]:
        """Lead, or join who does, where somebody else's answer will do."""
        if not call.mode.reads:
            return lead(), False
        made, joined = self._sharing.flights.run(call.flight, lead)
        self._shared_by(call, joined=joined)
        return made, joined

    async def _aflown(self, call: Call, lead: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        if not call.mode.reads:
            return await lead(), False
        made, joined = await self._sharing.flights.arun(call.flight, lead)
        self._shared_by(call, joined=joined)
        return made, joined

    def _shared_by(self, call: Call, *, joined: bool) -> None:
        """Count a call that another one answered, and tell the tape that it needs no record of its own."""
        if joined:
            self._joined()
        if call.tape is not None and self._track is not None:
            self._track.share([call.key])

    async def _streamed(  # noqa: PLR0913, PLR0917 - what `stream` was passed
        self,
        colour: Colour,
        request: Any,
        fn: Callable[[Any], Any],
        refuse: Callable[[Any], Refusal | None] | None,
        accept: Accept | None,
        ttl: TTL,
        mode: Mode,
        pace: Pace,
        on_hit: Callable[[Hit], object] | None,
        read: Callable[[Any], Any] | None,
        to_chunks: Callable[[Any], list[Any]] | None,
    ) -> AsyncGenerator[Any, None]:
        canonical = self._canonical(request, mode)
        if canonical is None:
            source = items_of(colour, fn, request)
        else:
            key = key_of(canonical) + Form.STREAM
            whole = partial(_as_chunks, read, None)
            call = self._to_make(key, request, canonical, refuse, accept, ttl, mode, on_hit, whole)
            looked_up, forms = (key, _ANSWER) if to_chunks is None else (key_of(canonical), _STREAM_OR_ANSWER)
            look = partial(self.lookup, mode=mode, forms=forms, ttl=ttl)
            alook = partial(self.alookup, mode=mode, forms=forms, ttl=ttl)
            hit = await colour(look, alook, looked_up, request, partial(_as_chunks, read, to_chunks))
            if hit is None:
                source = self._shared(colour, call, fn, read)
            else:
                if not hit.is_provided:
                    call.on_hit(hit)
                replay = paced if colour is blocking else apaced
                source = each(colour, replay(hit.chunks, hit.offsets, pace))
        async with aclosing(source) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _shared(
        self, colour: Colour, call: Call, fn: Callable[[Any], Any], read: Callable[[Any], Any] | None
    ) -> AsyncGenerator[Any, None]:
        """Yield the chunks of a stream that is not recorded: of one that is under way, or of a new one."""
        begin = partial(self._calls.lead_stream, colour, call, fn)
        broadcasts = self._sharing.broadcasts
        source: Iterable[Answer] | AsyncIterable[Answer]
        joined = False
        if colour is awaiting:
            source = begin()
            if call.mode.reads:
                source, joined = broadcasts.arun(call.flight, begin)
        elif call.mode.reads:
            source, joined = broadcasts.run(call.flight, lambda: steps(begin()))
        else:
            source = steps(begin())
        if joined:
            self._joined()
        async with aclosing(each(colour, source)) as chunks:
            async for chunk in chunks:
                yield chunk.copy() if read is None else read(chunk.copy())
        if call.mode.reads:
            self._shared_by(call, joined=False)

    def _unread(self, key: str, error: PersistenceError, mode: Mode) -> None:
        """Let the call proceed without records that could not be read, or raise if nothing may be called."""
        if isinstance(error, CorruptRecordError):
            damage, error = error, CorruptRecordError(f"{error}. {_REPAIR}")
            error.__cause__ = damage
        if not mode.calls:
            raise error
        self._errors.handle(error)
        self._asked.add(key, bypassed=True)

    def _missed(self, key: str | None, request: Any, forms: Sequence[Form] = (), problem: str = "") -> ReplayMiss:
        """Return the miss of a request, to be raised where nothing may be called; it takes a moment to explain it.

        A program that goes on after many misses is not held up by each: the search for what is near may take as long as
        it was since the last one, within bounds.
        """
        began = monotonic()
        seconds = min(_LONGEST_SEARCH, max(_SHORTEST_SEARCH, began - self._explained_at))
        missed = Missed(
            key=key,
            request=request,
            forms=forms,
            problem=problem,
            store_id=self.store_id,
            path=self._object.path,
            store=self._own_store if self._track is None else None,
            persistence=self._persistence,
            shows_records=self.shows_records,
            seconds=seconds,
            remedy=self._remedy(),
        )
        miss = EXPLAINER.explained(missed)
        self._explained_at = monotonic()
        return miss

    def _remedy(self) -> str:
        """Return how to record what mode ``replay`` misses."""
        if self._track is not None:
            return "use mode 'auto' here; whether anything is called is for the tests, or the recording, to say"
        is_set = self._own_mode is Mode.REPLAY is not self._set_mode
        how = "CHATCACHE_MODE=auto" if is_set and self not in MODES.get() else "mode='auto'"
        return f"run once with {how}, where the provider can be reached"

    def _read(self, key: str, record: Any, read: Callable[[Hit], T]) -> T:
        result = read(Hit.of(key, record, self._clock))
        self._counts.hit(record["saves"])
        return result

    async def _lead(
        self, colour: Colour, key: str, read: Callable[[Hit], T], mode: Mode, forms: Sequence[Form]
    ) -> T | Leader | None:
        if not (mode.reads and mode.writes):  # there will be no record for the others
            return None

        async def look(colour: Colour) -> Hit | None:
            for form in forms:
                hit = await self._look(colour, key + form)
                if hit is not None and is_read(hit, read):
                    return hit
            return None

        led = await self._leading.lead(colour, key, look, tape=None if self._track is None else self._track.tape)
        if not isinstance(led, Hit):
            return led
        if self._track is not None:
            self._track.share([key])
        return read(led) if is_read(led, read) else None

    async def _lead_many(self, colour: Colour, keys: Collection[str], mode: Mode) -> Leader | bool:
        if not (mode.reads and mode.writes):
            return False
        parts, whole = sorted(keys), batch_key(keys)

        async def look(colour: Colour) -> Hit | None:
            try:
                records = await colour(self._store.get_many, self._store.aget_many, parts, _ABSENT)
            except Exception as error:  # noqa: BLE001 - whatever the store raises, the call goes on
                self._errors.handle(as_persistence_error(error), counts=self._asked.bypass(whole))
                return None
            hits = list(map(self._hit, parts, records))
            return hits[-1] if all(hits) else None

        led = await self._leading.lead(colour, whole, look, tape=None if self._track is None else self._track.tape)
        if isinstance(led, Leader):
            return led
        if led is not None and self._track is not None:
            self._track.share(keys)
        return led is not None

    async def _led(  # noqa: PLR0913, PLR0917 - what `update` was passed
        self, colour: Colour, made: Made, refusal: Refusal | None, ttl: TTL, mode: Mode, leader: Leader | None
    ) -> bool:
        """Keep what a hook was told, and tell those who wait."""
        if leader is None:
            return await self._recorder.keep(colour, made, refusal, ttl, mode)
        kept = False
        try:
            kept = await self._recorder.keep(colour, made, refusal, ttl, mode)
        finally:
            if kept:
                leader.recorded()
            else:
                leader.answered(made.key, self._recorder.record(made))
        return kept

    async def _look(self, colour: Colour, key: str) -> Hit | None:
        """Return the record under a key, if it can be read."""
        try:
            record = await colour(self._store.get, self._store.aget, key, _ABSENT)
        except Exception as error:  # noqa: BLE001 - whatever the store raises, the call goes on
            self._errors.handle(as_persistence_error(error), counts=self._asked.bypass(key))
            return None
        return self._hit(key, record)

    def _hit(self, key: str, record: Any) -> Hit | None:
        try:
            return Hit.of(key, record, self._clock)
        except ValueError as error:
            raise_interrupt(error)
            return None

    def _unleased(self, key: str, error: PersistenceError) -> None:
        if not isinstance(error, TransactionError):  # that the caller's own loop would have to go on is no fault
            self._errors.excuse(error, counts=self._asked.bypass(key))

    def _bypassed(self) -> None:
        self._counts.add(bypasses=1)

    def _joined(self) -> None:
        self._counts.add(joins=1)

    def _evicted(self, number: int) -> None:
        self._counts.add(evictions=number)

    def _interrupted(self) -> None:
        self._counts.refuse(Refusal.INTERRUPTED)

    def __repr__(self) -> str:
        return f"<ResponseCache {self.store_id!r} in {str(self.location)!r}>"


def _as_it_is(answer: Any) -> Any:
    return answer


def _answered(hit: Hit) -> Hit:
    _ = hit.answer  # which a record of another make may not have
    return hit


def _as_answer(read: Callable[[Any], Any] | None, from_chunks: Callable[[list[Any]], Any] | None, hit: Hit) -> Hit:
    """Return a hit with the answer that is asked for, whatever was recorded."""
    answer = hit.answer if from_chunks is None or hit.form is Form.ANSWER else from_chunks(hit.chunks)
    return hit.holding(answer=answer if read is None else read(answer))


def _as_chunks(read: Callable[[Any], Any] | None, to_chunks: Callable[[Any], list[Any]] | None, hit: Hit) -> Hit:
    """Return a hit with the chunks that are asked for, whatever was recorded; those of an answer come at once."""
    if to_chunks is not None and hit.form is Form.ANSWER:
        chunks = to_chunks(hit.answer)
        offsets = [0.0] * len(chunks)
    else:
        chunks, offsets = hit.chunks, hit.offsets
    return hit.holding(chunks=chunks if read is None else list(map(read, chunks)), offsets=offsets)


def _ignored(_hit: Hit) -> None:
    """Be told of a hit that nobody asked about."""


def _refusal(answer: Any) -> Refusal | None:
    return Refusal.EMPTY if answer is None or (type(answer) in _SIZED and not answer) else None


def _checked(ttl: TTL) -> TTL:
    parse_ttl(ttl)
    return ttl


def _mode_of(mode: str) -> Mode:
    chosen = parse_mode(mode)
    of_environment = os.environ.get("CHATCACHE_MODE")
    if chosen is not Mode.AUTO or not of_environment:
        return chosen
    if of_environment == _ONCE:  # whether a test has records decides in pytest-chatcache; a cache has no tests
        return Mode.AUTO
    return parse_mode(of_environment, "CHATCACHE_MODE")

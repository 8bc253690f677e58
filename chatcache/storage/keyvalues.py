"""Keys and values: what the storage of an object, a transaction in it and the synchronous view have in common."""

import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from operator import lt
from typing import Any, TypeVar

from chatcache._bridge import Colour, awaiting, blocking, drive, off_loop
from chatcache.codec import decode, encode
from chatcache.errors import CorruptRecordError, CorruptStorageError, InvalidInputError, InvalidValueError

from .layer import UNKNOWN, Layer, Row, Unknown, earlier, find, overlaid
from .ranges import KeyRange, check_key, key_range, prefix_range
from .rows import SIZES, VALUES, Listing, read_alarm, read_rows, run_query
from .turn import Turn
from .turns import Turns

__all__ = ["KeyValues"]

R = TypeVar("R")

_LONGEST_IN_PLACE = 100  # rows that a task reads without leaving its loop
_TRIES = 3  # how often something is read anew because of a commit meanwhile, before commits have to wait
_MOST_ROWS = 500  # rows that are read at a time where a listing is given piece by piece
_FIRST_ROWS = 16  # in the first such piece, before it is known how large they are
_PIECE = 2 * 1024 * 1024  # bytes of such a piece, more or less


class KeyValues(ABC):
    """Keys and values of one object, ordered by the UTF-8 bytes of the keys.

    Keys are str. Values are what `chatcache.codec` stores; what is read is a new object each time.

    Every method raises `InvalidNameError` for a key that is none, `StorageError` where the file cannot be used,
    `TransactionError` on a transaction that is over, and, where it reads, `CorruptRecordError` for a value that
    chatcache did not write.
    """

    def __init__(self, turns: Turns, longest_row: int) -> None:
        self._turns = turns
        self._longest_row = longest_row

    @abstractmethod
    def _layers(self, method: str, /) -> Sequence[Layer]:
        """Return what a method sees over the file, the newest first."""

    @abstractmethod
    def _write(self, method: str, body: Callable[[Turn], R], /, *, reads: bool = False) -> R:
        """Have a blocking method write in a turn; what it reads there stays true until it is committed."""

    @abstractmethod
    def _aturn(self, method: str, /) -> Awaitable[Turn]:
        """Return the turn that an awaiting method writes in."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value under a key, or `default`."""
        layers = self._layers("get")
        if type(key) is not str or not key.isascii():  # else it is a key for sure
            check_key(key)
        data = find(layers, key) if layers else UNKNOWN
        if isinstance(data, Unknown):
            data = self._turns.get(key)
        if data is None:
            return default
        try:  # as `_value`, in place
            return decode(data)
        except CorruptRecordError as error:
            raise self._corrupt(key, error) from error

    async def aget(self, key: str, default: Any = None) -> Any:
        """Awaiting twin of `get`."""
        layers = self._layers("get")
        if type(key) is not str or not key.isascii():  # else it is a key for sure
            check_key(key)
        data = find(layers, key) if layers else UNKNOWN
        if isinstance(data, Unknown):
            data = await self._turns.aget(key)
        if data is None:
            return default
        try:  # as `_value`, in place
            return decode(data)
        except CorruptRecordError as error:
            raise self._corrupt(key, error) from error

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values under those of the keys that exist, in the order of the storage."""
        return drive(self._some(blocking, _distinct(keys), "get_many", self._value))

    async def aget_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Awaiting twin of `get_many`."""
        distinct = _distinct(keys)
        if len(distinct) > _LONGEST_IN_PLACE:
            return await off_loop(self.get_many, distinct)
        return await self._some(awaiting, distinct, "get_many", self._value)

    def put(self, key: str, value: Any) -> None:
        """Store a value under a key.

        Raises:
            InvalidValueError: the value cannot be stored, or is too large; nothing was written.
        """
        rows = {check_key(key): self._data(key, value)}
        self._write("put", lambda turn: turn.layer.put(rows))

    async def aput(self, key: str, value: Any) -> None:
        """Awaiting twin of `put`."""
        data = self._data(check_key(key), value)
        turn = await self._aturn("put")
        turn.layer.put({key: data})

    def put_many(self, entries: Mapping[str, Any]) -> None:
        """Store values under keys: all of them, or none.

        Raises:
            InvalidValueError: one of the values cannot be stored, or is too large; nothing was written.
        """
        rows = self._rows(entries)
        self._write("put_many", lambda turn: turn.layer.put(rows))

    async def aput_many(self, entries: Mapping[str, Any]) -> None:
        """Awaiting twin of `put_many`."""
        rows = self._rows(entries)
        turn = await self._aturn("put_many")
        turn.layer.put(rows)

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it existed."""
        return self._delete([check_key(key)], "delete") > 0

    async def adelete(self, key: str) -> bool:
        """Awaiting twin of `delete`; whether the key existed is told as this process sees it.

        Another process may delete the key before the turn is committed, and be told the same. Where only one may be
        told so, use `delete` or a transaction.
        """
        return await self._adelete([check_key(key)], "delete") > 0

    def delete_many(self, keys: Iterable[str]) -> int:
        """Delete keys, all or none; return how many existed."""
        return self._delete(_distinct(keys), "delete_many")

    async def adelete_many(self, keys: Iterable[str]) -> int:
        """Awaiting twin of `delete_many`, whose number is as this process sees it: see `adelete`."""
        return await self._adelete(_distinct(keys), "delete_many")

    def delete_prefix(self, prefix: str) -> None:
        """Delete every key that begins with a prefix, however many they are. Not in Cloudflare's API."""
        bounds = prefix_range(prefix)
        self._write("delete_prefix", lambda turn: turn.layer.clear(bounds))

    async def adelete_prefix(self, prefix: str) -> None:
        """Awaiting twin of `delete_prefix`."""
        bounds = prefix_range(prefix)
        turn = await self._aturn("delete_prefix")
        turn.layer.clear(bounds)

    def change(
        self, rows: Mapping[str, bytes | None], *, prefixes: Iterable[str] = (), alarm: datetime | float | None = None
    ) -> None:
        """Clear prefixes, then write rows, and set the alarm: all of it in one step. Not in Cloudflare's API.

        Args:
            rows: for each key its value as `chatcache.codec.encode` gives it, or None to delete the key.
            prefixes: every key that begins with one of them is deleted before.
            alarm: a time as `set_alarm` takes it, at which the alarm is to go off at the latest: it is set unless an
                earlier one is. None leaves it as it is.

        Raises:
            InvalidValueError: one of the values is too large; nothing was written.
            InvalidInputError: as `set_alarm`.
        """
        write = self._written(rows, prefixes, alarm)
        self._write("change", lambda turn: write(turn.layer))

    async def achange(
        self, rows: Mapping[str, bytes | None], *, prefixes: Iterable[str] = (), alarm: datetime | float | None = None
    ) -> None:
        """Awaiting twin of `change`."""
        write = self._written(rows, prefixes, alarm)
        turn = await self._aturn("change")
        write(turn.layer)

    def list(  # noqa: PLR0913 - Cloudflare's options of a listing
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Return keys with their values, in order.

        Args:
            prefix: only keys that begin so.
            start: the first key, if it exists, whatever the direction.
            start_after: the key before the first; not together with `start`.
            end: the key before which the listing ends, whatever the direction.
            reverse: from the last key to the first.
            limit: at most so many keys, counted in the direction of the listing; at least 1.

        Raises:
            InvalidInputError: the options contradict each other, or the limit is not positive.
        """
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return self._drained(drive(self._range(blocking, bounds, _checked(limit), reverse=reverse)))

    async def alist(  # noqa: PLR0913 - as `list`
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> dict[str, Any]:
        """Awaiting twin of `list`."""
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        rows = await self._range(awaiting, bounds, _checked(limit), reverse=reverse)
        return self._drained(rows) if len(rows) <= _LONGEST_IN_PLACE else await off_loop(self._drained, rows)

    def sizes(
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        limit: int | None = None,
    ) -> dict[str, int]:
        """Return keys with the bytes of their values as stored, which are not read. Not in Cloudflare's API.

        The options are those of `list`.
        """
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return _sizes(drive(self._range(blocking, bounds, _checked(limit), reverse=False, listing=SIZES)))

    async def asizes(
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        limit: int | None = None,
    ) -> dict[str, int]:
        """Awaiting twin of `sizes`."""
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return _sizes(await self._range(awaiting, bounds, _checked(limit), reverse=False, listing=SIZES))

    def keys(self, *, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with a prefix, in order, read piece by piece; no value is read.

        What is written ahead of it meanwhile is seen. Not in Cloudflare's API.
        """
        page: dict[str, int] = {}
        while page := self.sizes(prefix=prefix, start_after=next(reversed(page), None), limit=_MOST_ROWS):
            yield from page

    async def akeys(self, *, prefix: str = "") -> AsyncIterator[str]:
        """Awaiting twin of `keys`."""
        page: dict[str, int] = {}
        while page := await self.asizes(prefix=prefix, start_after=next(reversed(page), None), limit=_MOST_ROWS):
            for key in page:
                yield key

    def scan(  # noqa: PLR0913 - as `list`
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Return what `list` returns, to be read piece by piece, for listings that do not fit in memory.

        What is written ahead of it meanwhile is seen. Not in Cloudflare's API, but as ``kv.list()`` there.
        """
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return self._pages(bounds, _checked(limit), reverse=reverse)

    def ascan(  # noqa: PLR0913 - as `list`
        self,
        *,
        prefix: str = "",
        start: str | None = None,
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """Awaiting twin of `scan`."""
        bounds = key_range(prefix=prefix, start=start, start_after=start_after, end=end)
        return self._apages(bounds, _checked(limit), reverse=reverse)

    def set_alarm(self, when: datetime | float) -> None:
        """Have the namespace's handler called at a time, or at once if it has passed, instead of any time set before.

        Args:
            when: an aware datetime, or seconds since the epoch; kept in whole milliseconds.

        Raises:
            InvalidInputError: it is no such time, or the namespace has no handler.
        """
        alarm = self._alarm_at(when)
        self._write("set_alarm", partial(_set_alarm, alarm=alarm))

    async def aset_alarm(self, when: datetime | float) -> None:
        """Awaiting twin of `set_alarm`."""
        alarm = self._alarm_at(when)
        turn = await self._aturn("set_alarm")
        turn.layer.alarm = alarm

    def get_alarm(self) -> datetime | None:
        """Return when the handler is to be called, in UTC; None for never, and while it runs."""
        alarm, latest = self._alarm_over("get_alarm")
        if isinstance(alarm, Unknown):
            alarm = self._not_firing(self._turns.read(read_alarm, None, None))
        return _as_datetime(earlier(alarm, latest))

    async def aget_alarm(self) -> datetime | None:
        """Awaiting twin of `get_alarm`."""
        alarm, latest = self._alarm_over("get_alarm")
        if isinstance(alarm, Unknown):
            alarm = self._not_firing(await self._turns.aread(read_alarm, None, None))
        return _as_datetime(earlier(alarm, latest))

    def delete_alarm(self) -> None:
        """Have the handler not called any more; one that runs is not stopped, but not called again if it fails."""
        self._write("delete_alarm", partial(_set_alarm, alarm=None))

    async def adelete_alarm(self) -> None:
        """Awaiting twin of `delete_alarm`."""
        turn = await self._aturn("delete_alarm")
        turn.layer.alarm = None

    def _pages(self, bounds: KeyRange, limit: int | None, *, reverse: bool) -> Iterator[tuple[str, Any]]:
        rest: KeyRange | None = bounds
        left, size = _unlimited(limit), _FIRST_ROWS
        while rest is not None and left > 0:
            size = min(left, size)
            page = drive(self._range(blocking, rest, size, reverse=reverse))
            left -= len(page)
            rest, size = _behind(page, rest, size, reverse=reverse), _next_size(page, size)
            yield from self._drained(page).items()

    async def _apages(self, bounds: KeyRange, limit: int | None, *, reverse: bool) -> AsyncIterator[tuple[str, Any]]:
        rest: KeyRange | None = bounds
        left, size = _unlimited(limit), _FIRST_ROWS
        while rest is not None and left > 0:
            size = min(left, size)
            page = await self._range(awaiting, rest, size, reverse=reverse)
            left -= len(page)
            rest, size = _behind(page, rest, size, reverse=reverse), _next_size(page, size)
            for item in self._drained(page).items():
                yield item

    def _delete(self, keys: Sequence[str], method: str) -> int:
        def delete(turn: Turn) -> int:
            existing = drive(self._some(blocking, keys, method, _exists))
            turn.layer.put(dict.fromkeys(keys))
            return len(existing)

        return self._write(method, delete, reads=True)

    async def _adelete(self, keys: Sequence[str], method: str) -> int:
        turn = await self._aturn(method)
        existing = await self._some(awaiting, keys, method, _exists)
        if turn.over:  # since the read left the loop
            return await off_loop(self._delete, keys, method)
        turn.layer.put(dict.fromkeys(keys))
        return len(existing)

    async def _some(
        self, colour: Colour, keys: Sequence[str], method: str, take: Callable[[str, bytes], R]
    ) -> dict[str, R]:
        """Return what is taken of the rows of those keys that exist, all of one moment.

        It is taken of each row as soon as that is read, since large values soon leave the processor's cache.
        """
        for _ in range(_TRIES):
            commits = self._turns.commits
            over = self._found(keys, method)
            taken = await self._completed(colour, over, take)
            if commits == self._turns.commits and over == self._found(keys, method):
                return taken
        return await colour(
            self._at_rest, self._aat_rest, lambda: self._completed(blocking, self._found(keys, method), take)
        )

    def _at_rest(self, read: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Return what is read by a blocking read while nothing is committed."""
        with self._turns.writing:
            return drive(read())

    async def _aat_rest(self, read: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return await off_loop(self._at_rest, read)

    def _found(self, keys: Sequence[str], method: str) -> dict[str, bytes | Unknown | None]:
        """Return what is written and not committed yet of some keys."""
        layers = self._layers(method)
        return {key: find(layers, key) for key in keys}

    async def _completed(
        self, colour: Colour, found: Mapping[str, bytes | Unknown | None], take: Callable[[str, bytes], R]
    ) -> dict[str, R]:
        """Return what is taken of the rows that were found, and of those in the file where nothing is found over it."""
        unknown = [key for key, value in found.items() if isinstance(value, Unknown)]
        rows: dict[str, R] = {}
        if unknown:
            rows = await colour(self._turns.read, self._turns.aread, partial(read_rows, take=take), unknown, rows)
        if len(unknown) == len(found):
            return rows
        over = {key: take(key, value) for key, value in found.items() if isinstance(value, bytes)}
        return {key: over[key] if key in over else rows[key] for key in found if key in over or key in rows}

    async def _range(
        self, colour: Colour, bounds: KeyRange, limit: int | None, *, reverse: bool, listing: Listing = VALUES
    ) -> Sequence[Row]:
        """Return the rows of a range, in order, all of one moment; from the file what a listing gives for each."""
        most = None if limit is None else 2 * max(limit, _FIRST_ROWS)
        for _ in range(_TRIES):
            commits = self._turns.commits
            layers, part = self._copied_layers(bounds, most, reverse=reverse)
            rows = await self._overlaid(colour, layers, part, limit, reverse=reverse, listing=listing)
            if part != bounds and len(rows) != limit:  # many of those that were copied are deleted
                most = None
            elif not layers or commits == self._turns.commits:
                return rows
        return await colour(
            self._at_rest,
            self._aat_rest,
            lambda: self._overlaid(
                blocking, self._copied_layers(bounds)[0], bounds, limit, reverse=reverse, listing=listing
            ),
        )

    def _copied_layers(
        self, bounds: KeyRange, most: int | None = None, *, reverse: bool = False
    ) -> tuple[Sequence[Layer], KeyRange]:
        """Return what the layers say of a range, or of the part of it in which none has more rows than `most`."""
        copies = []
        for layer in self._layers("list"):
            copied, bounds = layer.within(bounds, most, reverse=reverse)
            copies.append(copied)
        return [copied for copied in copies if copied], bounds

    async def _overlaid(  # noqa: PLR0913 - as `_range`
        self,
        colour: Colour,
        layers: Sequence[Layer],
        bounds: KeyRange,
        limit: int | None,
        *,
        reverse: bool,
        listing: Listing,
    ) -> Sequence[Row]:
        if not layers:
            return await self._fetched(colour, listing, bounds, limit, reverse=reverse)
        result: list[Row] = []
        rest: KeyRange | None = bounds
        size = None if limit is None else max(limit, _FIRST_ROWS)
        while rest is not None and (limit is None or len(result) < limit):
            page = await self._fetched(colour, listing, rest, size, reverse=reverse)
            behind = _behind(page, rest, size, reverse=reverse)
            covered = rest if behind is None else _before(rest, behind, reverse=reverse)
            result += sorted(overlaid(layers, page, covered).items(), reverse=reverse)
            rest = behind
            size = None if size is None else max(size, min(size * 4, _MOST_ROWS))
        return result[:limit]

    async def _fetched(
        self, colour: Colour, listing: Listing, bounds: KeyRange, limit: int | None, *, reverse: bool
    ) -> Sequence[Row]:
        """Return what the file holds of a range, checked."""
        query = listing.query(bounds, limit, reverse=reverse)
        if limit is not None and limit <= _LONGEST_IN_PLACE:
            rows = listing.read(await colour(self._turns.read, self._turns.aread, run_query, query, []))
        else:
            read = partial(listing.read, await colour(self._turns.fetch, self._turns.afetch, *query))
            rows = await colour(read, partial(off_loop, read))
        if not _is_in_order(rows, bounds, reverse=reverse):
            raise CorruptStorageError(
                f"{self._turns.path} is damaged: its keys are not in order; move it away to begin anew"
            )
        return rows

    def _alarm_over(self, method: str) -> tuple[int | Unknown | None, int | None]:
        """Return the alarm that is set over the file, if one is, and when it is to go off at the latest."""
        latest = None
        for layer in self._layers(method):
            if not isinstance(layer.alarm, Unknown):
                return layer.alarm, latest
            latest = earlier(latest, layer.latest)
        return UNKNOWN, latest

    def _alarm_at(self, when: datetime | float) -> int:
        if self._turns.schedule is None:
            raise InvalidInputError("set_alarm() needs somebody to call: ObjectNamespace(alarm=handler)")
        return self._turns.schedule.time_of(when)

    def _not_firing(self, alarm: int | None) -> int | None:
        return None if alarm == self._turns.firing else alarm

    def _rows(self, entries: Mapping[str, Any]) -> dict[str, bytes | None]:
        if not isinstance(entries, Mapping):
            raise InvalidInputError(f"entries {entries!r:.200} is of type {type(entries).__name__}: pass a dict")
        return {check_key(key): self._data(key, value) for key, value in entries.items()}

    def _written(
        self, rows: Mapping[str, bytes | None], prefixes: Iterable[str], alarm: datetime | float | None
    ) -> Callable[[Layer], None]:
        """Return what writes one step into a layer, after everything that may be wrong with it was looked at."""
        for key, data in rows.items():
            check_key(key)
            if data is not None:
                self._check_size(key, data)
        cleared = [prefix_range(prefix) for prefix in prefixes]
        latest = None if alarm is None else self._alarm_at(alarm)

        def write(layer: Layer) -> None:
            layer.clear(*cleared)
            layer.put(rows)
            if latest is not None:
                layer.ring_by(latest)

        return write

    def _data(self, key: str, value: Any) -> bytes:
        data = encode(value)
        self._check_size(key, data)
        return data

    def _check_size(self, key: str, data: bytes) -> None:
        if len(data) + (len(key) if key.isascii() else len(key.encode())) > self._longest_row:
            raise InvalidValueError(
                f"under the key {key!r:.60} the value takes {len(data):,} bytes: a row holds at most "
                f"{self._longest_row:,}, which ObjectNamespace(longest_row=) sets"
            )

    def _drained(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return values, and let go of each row as soon as it is read.

        Its memory serves for the next value: where they are large, to allocate all of them beside all of the rows takes
        longer than to read them.
        """
        left = rows if isinstance(rows, list) else list(rows)
        left.reverse()
        values = {}
        while left:
            key, data = left.pop()
            values[key] = self._value(key, data)
        return values

    def _value(self, key: str, data: bytes) -> Any:
        try:
            return decode(data)
        except CorruptRecordError as error:
            raise self._corrupt(key, error) from error

    def _corrupt(self, key: str, error: CorruptRecordError) -> CorruptRecordError:
        return CorruptRecordError(f"key {key!r} in {self._turns.path}: {error}")


def _is_in_order(rows: Sequence[Row], bounds: KeyRange, *, reverse: bool) -> bool:
    """Return whether rows are in the order of a listing, so that one that goes on behind them comes to an end."""
    keys = [key for key, _ in rows]
    if reverse:
        keys.reverse()
    return not keys or (keys[0].encode() >= bounds.start and all(map(lt, keys, islice(keys, 1, None))))


def _exists(_key: str, _data: bytes) -> bool:
    return True


def _sizes(rows: Iterable[tuple[str, bytes | int]]) -> dict[str, int]:
    return {key: data if isinstance(data, int) else len(data) for key, data in rows}


def _set_alarm(turn: Turn, *, alarm: int | None) -> None:
    turn.layer.alarm = alarm


def _as_datetime(alarm: int | None) -> datetime | None:
    return None if alarm is None else datetime.fromtimestamp(alarm / 1e9, UTC)


def _behind(page: Sequence[Row], bounds: KeyRange, size: int | None, *, reverse: bool) -> KeyRange | None:
    """Return the part of a range that comes after a page of so many rows, or None where the page is the last."""
    if size is None or len(page) < size:
        return None
    last = page[-1][0].encode()
    return replace(bounds, end=last) if reverse else replace(bounds, start=last + b"\0")


def _next_size(page: Sequence[Row], size: int) -> int:
    """Return how many rows to read after a page: as many as make a piece, but no sudden growth."""
    read = sum(len(value) for _, value in page)
    return max(1, min(_MOST_ROWS, size * 4, len(page) * _PIECE // max(1, read)))


def _unlimited(limit: int | None) -> int:
    return sys.maxsize if limit is None else limit


def _before(bounds: KeyRange, behind: KeyRange, *, reverse: bool) -> KeyRange:
    """Return the part of a range that comes before another part of it."""
    return replace(bounds, start=behind.end or b"") if reverse else replace(bounds, end=behind.start)


def _checked(limit: int | None) -> int | None:
    if limit is not None and (type(limit) is not int or limit <= 0):
        raise InvalidInputError(f"list() got limit={limit!r}: pass a whole number from 1 on, or None for all")
    return None if limit is None else min(limit, sys.maxsize)


def _distinct(keys: Iterable[str]) -> list[str]:
    if isinstance(keys, str) or not isinstance(keys, Iterable):
        raise InvalidInputError(f"keys {keys!r:.200} is one {type(keys).__name__}: pass a list of keys")
    return sorted({check_key(key) for key in keys})

"""What a store of many records costs: the size of its file, and a hit among a million beside one of ten thousand.

Keys are SHA-256, in no order, as those of requests are. The records that are asked for are made by asking.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from chatcache import DurableObjectPersistence, Limits, ObjectNamespace, ResponseCache

from .measure import Amount, Line, Rounds, Row
from .repeat import each

__all__ = ["ROWS"]

_MANY, _SOME, _FEW = 1_000_000, 100_000, 10_000
_AT_A_TIME = 25_000
_RECORD = 2_000  # bytes as JSON
_ASKED = 8_000  # at random, and more than twice as many as our memory of what was read lately holds
_HITS = 50
_STORE = "many"
_DAY = 86_400  # seconds


def _record(number: int) -> dict[str, str]:
    """Return a record unlike that of any other number."""
    return {"text": f"{number:09d}".ljust(_RECORD - len('{"text":""}'), "x")}


def _request(number: int) -> dict[str, Any]:
    """Return a request of 1.5 kB."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"{number} " + "why? " * 290}]}


@cache
def _filled(records: int, ttl: int | None = None, limits: Limits | None = None) -> "TemporaryDirectory[str]":
    """Give a folder with so many records, without those that are asked for."""
    folder = TemporaryDirectory(prefix="chatcache-bench-")  # deleted when the program ends
    thing = ObjectNamespace(folder.name, "calls", durability="normal").get_by_name("default")
    store = DurableObjectPersistence(thing.storage).make(_STORE, limits=limits)
    rest = records - _ASKED
    for start in range(0, rest, _AT_A_TIME):
        numbers = range(start, min(start + _AT_A_TIME, rest))
        store.set_many([(hashlib.sha256(b"%d" % number).hexdigest(), _record(number), ttl) for number in numbers])
    thing.close()
    return folder


def _size(records: int, ttl: int | None = None, limits: Limits | None = None) -> float:
    """Return how many bytes the file takes for each byte of the records that are in it."""
    (path,) = Path(_filled(records, ttl, limits).name).glob("calls/*.sqlite")
    return path.stat().st_size / ((records - _ASKED) * _RECORD)


@contextmanager
def _hits() -> Iterator[Rounds]:
    with ExitStack() as stack:
        many, few = (_asked(stack, records) for records in (_MANY, _FEW))
        ours, theirs = Random(2026), Random(2026)  # noqa: S311 - no secrets
        yield lambda: _round(many, ours), lambda: _round(few, theirs)


def _asked(stack: ExitStack, records: int) -> ResponseCache:
    """Return a cache with records, where some were asked for."""
    cache = ResponseCache(_STORE, path=_filled(records).name)
    stack.callback(cache.close)
    for number in range(_ASKED):
        cache.call(_request(number), lambda _: _record(number))  # noqa: B023 - called at once
    return cache


def _round(cache: ResponseCache, random: Random) -> float:
    def hit(request: dict[str, Any]) -> None:
        cache.call(request, _missed)

    return each(hit, [_request(random.randrange(_ASKED)) for _ in range(_HITS)])


def _missed(_request: object) -> None:
    raise AssertionError("it was recorded")


ROWS: list[Line] = [
    Amount("store of 1,000,000 records of 2 kB, file : their sum", 1.4, "times", partial(_size, _MANY)),
    Amount(
        "store of 100,000 records of 2 kB with a TTL and limits, file : their sum",
        None,
        "times",
        partial(_size, _SOME, _DAY, Limits(max_entries=_MANY)),
    ),
    Row("store, a hit at 1,000,000 records : at 10,000", 1.5, _hits, rounds=150),
]

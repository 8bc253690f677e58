"""Hits of ``ResponseCache``, against the same by hand: the key, a ``SELECT``, and the JSON decoded."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import orjson

from chatcache import ResponseCache, canonical_json, request_key
from chatcache.storage.recent import WalIndex

from . import contention
from .answers import answer
from .measure import Line, Rounds, Row
from .provider import ANSWER, MESSAGES
from .repeat import aeach, each

__all__ = ["ROWS", "request"]

_STORE, _COUNT = "bench", 20_000
_HITS = 100
_HELD = 3_000  # records of 2 kB that fit into the memory tier together
_GET = "SELECT value FROM _cf_KV WHERE key = ?"
_FORM = 1  # the byte before a stored value
_TURNS = 50


def request(number: int) -> dict[str, Any]:
    """Return a request unlike that of any other number: 1.5 kB as JSON."""
    return {"model": "gpt-4o-mini", "messages": MESSAGES, "temperature": 0.2, "seed": number}


def _never(_request: Any) -> Any:
    raise AssertionError("it is recorded")


async def _anever(request: Any) -> Any:
    return _never(request)


@cache
def _folder() -> "TemporaryDirectory[str]":
    folder = TemporaryDirectory(prefix="chatcache-bench-")  # deleted when the program ends
    with closing(ResponseCache(_STORE, path=folder.name, store_requests="digest")) as filled:
        for number in range(_COUNT):
            filled.update(request_key(request(number)), answer(number))
    return folder


@contextmanager
def _cache() -> Iterator[ResponseCache]:
    with closing(ResponseCache(_STORE, path=_folder().name)) as opened:
        yield opened


class _Requests:
    """Requests that are recorded, batch by batch; for each contender the same ones in the same rounds."""

    def __init__(self, among: int = _COUNT) -> None:
        self._random = Random(2026)  # noqa: S311 - no secrets
        self._among = among

    def batch(self) -> list[dict[str, Any]]:
        return [request(self._random.randrange(self._among)) for _ in range(_HITS)]


@contextmanager
def _by_hand() -> Iterator[Rounds]:
    ours, theirs = _Requests(), _Requests()
    with _cache() as cached, closing(sqlite3.connect(cached.location)) as peer:

        def hit(asked: dict[str, Any]) -> Any:
            key = sha256(b"chatcache/1\n" + canonical_json(asked)).hexdigest()
            return orjson.loads(peer.execute(_GET, (f"{_STORE}:{key}",)).fetchone()[0][_FORM:])[0]["answer"]

        assert hit(request(7)) == cached.call(request(7), _never) == answer(7)
        yield lambda: each(lambda asked: cached.call(asked, _never), ours.batch()), lambda: each(hit, theirs.batch())


@contextmanager
def _awaited() -> Iterator[Rounds]:
    ours, theirs = _Requests(), _Requests()
    with _cache() as cached, asyncio.Runner() as runner:
        yield (
            lambda: runner.run(aeach(lambda asked: cached.acall(asked, _anever), ours.batch())),
            lambda: each(lambda asked: cached.call(asked, _never), theirs.batch()),
        )


@contextmanager
def _held() -> Iterator[Rounds]:
    """Hits among few records, in a cache, and in one without a memory tier, as on Windows."""
    ours, theirs = _Requests(_HELD), _Requests(_HELD)
    with _cache() as cached, TemporaryDirectory(prefix="chatcache-bench-") as folder:
        link = Path(folder) / "calls"
        link.symlink_to(cached.location.parent)
        with closing(ResponseCache(_STORE, path=folder)) as bare:
            with mock.patch.object(WalIndex, "beside", return_value=None):
                bare.call(request(0), _never)  # opens the file
            for _ in range(2):  # what is asked for twice is remembered
                each(lambda asked: cached.call(asked, _never), [request(number) for number in range(_HELD)])
            yield (
                lambda: each(lambda asked: cached.call(asked, _never), ours.batch()),
                lambda: each(lambda asked: bare.call(asked, _never), theirs.batch()),
            )


@contextmanager
def _keys() -> Iterator[Rounds]:
    roles = ("user", "assistant")
    said = [{"role": roles[turn % 2], "content": f"{turn}: {ANSWER}{ANSWER[:300]}"} for turn in range(_TURNS)]
    conversation = {"model": "gpt-4o-mini", "messages": said, "temperature": 0.2}
    assert 95_000 < len(orjson.dumps(conversation)) < 105_000

    def fast(asked: dict[str, Any]) -> str:
        return sha256(orjson.dumps(asked)).hexdigest()

    yield lambda: each(request_key, [conversation] * 10), lambda: each(fast, [conversation] * 10)


ROWS: list[Line] = [
    Row("responses call hit : key, SELECT and decode by hand", 1.5, _by_hand, rounds=150),
    Row("responses acall hit : call hit", 1.3, _awaited, rounds=150),
    Row("responses hit in the memory tier : without it", 0.5, _held, rounds=150),
    Row("responses key of 100 kB : orjson and SHA-256", 1.3, _keys, rounds=150),
    Row("responses hit while 8 processes write, p99 : diskcache", 1.0, contention.hits, rounds=5),
]

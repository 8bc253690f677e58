"""A repeated request is answered from memory, and never with another answer than the store has."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chatcache import ReplayMiss, ResponseCache, request_key
from chatcache.storage import database, recent
from chatcache.testing import ManualClock

in_memory = pytest.mark.skipif(sys.platform == "win32", reason="nothing is kept in memory on Windows")

REQUEST = {"model": "m", "prompt": "How high is it?"}
TIMES = 4  # the first time it is read, from then on recalled

Ask = Callable[[ResponseCache, Any], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep rows in memory also where other tests left many files open."""
    gc.collect()
    monkeypatch.setattr(recent, "_MOST_INDEXES", 1_000_000)


@pytest.fixture(params=["call", "acall"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Has a request answered by a cache several times, and returns what all of them gave; a miss gives `answer`."""

    async def once(cache: ResponseCache, answer: Any) -> Any:
        async def fn(_request: Any) -> Any:
            return answer

        if request.param == "call":
            return cache.call(REQUEST, lambda _: answer)
        return await cache.acall(REQUEST, fn)

    async def ask(cache: ResponseCache, answer: Any) -> Any:
        answers = [await once(cache, answer) for _ in range(TIMES)]
        assert answers == answers[:1] * TIMES
        return answers[0]

    return ask


@in_memory
async def test_a_record_in_memory_is_found_without_a_search(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOOK", 3600.0)  # or a busy machine would look at the file in between
    cache = ResponseCache("shop", path=tmp_path)
    cache.call(REQUEST, lambda _: ["high"])
    cache.call(REQUEST, lambda _: ["other"])  # reads the record
    with monkeypatch.context() as patched:
        patched.setattr(cache._store, "get", None)
        patched.setattr(cache._store, "aget", None)
        assert await ask(cache, ["other"]) == ["high"]
    assert cache.stats().hits == 1 + TIMES


async def test_each_answer_is_an_object_of_its_own(tmp_path: Path) -> None:
    cache = ResponseCache("shop", path=tmp_path)
    answers = [cache.call(REQUEST, lambda _: {"text": "high"}) for _ in range(TIMES)]
    for answer in answers:
        assert answer == {"text": "high"}
        answer["text"] = "changed"


async def test_what_another_one_does_is_seen_at_once(tmp_path: Path, ask: Ask) -> None:
    cache, other = ResponseCache("shop", path=tmp_path), ResponseCache("shop", path=tmp_path, timeout=9)
    assert cache._object.storage is not other._object.storage  # as in another process
    assert await ask(cache, 1) == 1
    other.call(REQUEST, lambda _: 2, mode="refresh")
    assert await ask(cache, 3) == 2
    other.invalidate(REQUEST)
    assert await ask(cache, 4) == 4
    other.clear()
    assert await ask(cache, 5) == 5


async def test_what_this_one_does_is_seen_before_it_is_committed(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("shop", path=tmp_path)
    assert await ask(cache, 1) == 1
    await cache.ainvalidate(REQUEST)
    assert await ask(cache, 2) == 2
    removes = asyncio.create_task(cache.ainvalidate(REQUEST))
    await asyncio.sleep(0)
    assert await ask(cache, 3) == 3
    await removes


@in_memory
async def test_what_expired_is_not_recalled(tmp_path: Path, ask: Ask, clock: ManualClock) -> None:
    cache = ResponseCache("shop", path=tmp_path, ttl=10, clock=clock)
    assert await ask(cache, 1) == 1
    clock.now += 9
    assert await ask(cache, 2) == 1
    clock.now += 11
    assert await ask(cache, 2) == 2


async def test_another_store_of_the_object_has_answers_of_its_own(tmp_path: Path, ask: Ask) -> None:
    caches = [ResponseCache(store_id, path=tmp_path) for store_id in ("shop", "bank", "shop:x")]
    for number, cache in enumerate(caches * 2):
        assert await ask(cache, number) == number % 3


async def test_what_is_used_again_and_again_is_not_evicted(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("shop", path=tmp_path, max_entries=3)
    for number in range(12):
        assert await ask(cache, "kept") == "kept"
        cache.call(number, lambda _: "goes")
        ResponseCache("shop", path=tmp_path).call(REQUEST, lambda _: "never")  # which has no limits, and remembers
    assert cache.story(request_key(REQUEST)) is not None


async def test_a_mode_that_does_not_read_recalls_nothing(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("shop", path=tmp_path)
    assert await ask(cache, 1) == 1
    assert cache.call(REQUEST, lambda _: 2, mode="off") == 2
    assert cache.call(REQUEST, lambda _: 3, mode="refresh") == 3
    assert await ask(cache, 4) == 3
    cache.invalidate(REQUEST)
    with pytest.raises(ReplayMiss):
        cache.call(REQUEST, lambda _: 5, mode="replay")


async def test_a_hit_can_be_asked_where_it_came_from_however_often_it_was_asked_for(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("shop", path=tmp_path)
    assert await ask(cache, 1) == 1
    keys: list[str] = []
    for _ in range(TIMES):
        cache.call(REQUEST, lambda _: 2, on_hit=lambda hit: keys.append(hit.key))
    assert keys == [request_key(REQUEST)] * TIMES


@in_memory
async def test_what_is_held_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResponseCache("shop", path=tmp_path)
    recent = cache._object.storage._turns._recent
    for _ in range(TIMES):
        cache.call(REQUEST, lambda _: "a")
    size = recent._size
    monkeypatch.setattr(cache._object.storage, "recall", lambda _: None)
    for _ in range(TIMES):
        cache.call(REQUEST, lambda _: "a")
    assert recent._size == size > 0

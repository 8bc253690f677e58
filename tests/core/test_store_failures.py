"""Whatever the store raises, a call returns its answer, and is counted; the failure is logged once for each kind."""

import errno
import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from chatcache import (
    About,
    Chats,
    DurableObjectPersistence,
    ModeName,
    NotStoredError,
    ObjectNamespace,
    PersistedCache,
    Persistence,
    ResponseCache,
    StorageError,
    request_key,
)
from chatcache.backing import ObjectStore
from chatcache.cache.leading import Leader
from chatcache.storage.database import Database
from chatcache.storage.recent import Recent
from chatcache.storage.turns import Turns
from chatcache.testing.requests import Ask
from tests.forms import FORMS, Provider, ask

ERRORS = [
    TypeError("made up"),
    MemoryError(),
    RuntimeError("made up"),
    RecursionError("made up"),
    AssertionError(),
    sqlite3.OperationalError("made up"),
    sqlite3.ProgrammingError("made up"),
    sqlite3.InterfaceError("made up"),
    OSError(errno.ELOOP, "made up"),
    OSError(errno.ESTALE, "made up"),
]

Steps = Sequence[tuple[type, str]]

READS: Steps = [(Database, "get"), (Database, "aget"), (Database, "read"), (Database, "aread"), (Database, "fetch")]
WRITES: Steps = [(Turns, "lock"), (Turns, "_commit_sealed")]
MEMORY: Steps = [(Recent, "get"), (Recent, "lacks")]

FILE: Steps = [*READS, *WRITES, *MEMORY]


@contextmanager
def failing(steps: Steps, error: Exception) -> Iterator[None]:
    """Have steps of every store raise an error."""
    with ExitStack() as patches:
        for owner, name in steps:
            patches.enter_context(patch.object(owner, name, side_effect=error))
        yield


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    cache = ResponseCache("store", path=tmp_path)
    yield cache
    cache.close()


def bypasses(cache: ResponseCache) -> float:
    return cache._own_counts.counted()["bypasses"]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("form", FORMS)
async def test_a_call_returns_its_answer_whatever_the_store_raises(
    cache: ResponseCache, form: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider()
    await ask(form, cache, "recorded", provider)
    with failing(FILE, error):
        for request in ("recorded", "new", "newer"):
            before = bypasses(cache)
            assert await ask(form, cache, request, provider) == {"to": request}
            assert bypasses(cache) == before + 1
    assert provider.calls == 4
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1, said
    assert type(error).__name__ in said[0] or "made up" in said[0]
    for _ in range(2):
        assert await ask(form, cache, "new", provider) == {"to": "new"}
    assert provider.calls == 5


@pytest.mark.parametrize("form", FORMS)
async def test_hits_go_on_where_nothing_can_be_written(cache: ResponseCache, form: str) -> None:
    provider = Provider()
    await ask(form, cache, "recorded", provider)
    with failing(WRITES, MemoryError()):
        for _ in range(3):
            assert await ask(form, cache, "recorded", provider) == {"to": "recorded"}
    assert provider.calls == 1


@pytest.mark.parametrize("form", FORMS)
async def test_hits_go_on_where_the_records_in_memory_cannot_be_used(cache: ResponseCache, form: str) -> None:
    provider = Provider()
    for _ in range(3):
        await ask(form, cache, "recorded", provider)
    with failing([(ObjectStore, "recall")], MemoryError()):
        for _ in range(3):
            assert await ask(form, cache, "recorded", provider) == {"to": "recorded"}
    assert provider.calls == 1


def hook(cache: ResponseCache, answer: Any) -> None:
    key = request_key("asked")
    assert cache.recall(key, lambda answer: answer) is None
    assert cache.lookup(key, "asked", lambda hit: hit.answer) is None
    leader = cache.lead(key, lambda hit: hit.answer)
    assert isinstance(leader, Leader)
    assert not cache.update(key, answer, leader=leader)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_hook_goes_on_whatever_the_store_raises(cache: ResponseCache, error: Exception) -> None:
    with failing(FILE, error):
        for number in range(1, 4):
            hook(cache, "answer")
            assert bypasses(cache) == number


class Down(Provider):
    def __call__(self, request: Any) -> Any:
        raise ConnectionError(request)


@pytest.mark.parametrize("steps", [READS, WRITES], ids=["reads", "writes"])
@pytest.mark.parametrize("form", FORMS)
async def test_each_call_is_counted_once_whether_its_provider_answers_or_not(
    cache: ResponseCache, form: str, steps: Steps
) -> None:
    with failing(steps, OSError("made up")):
        for number in range(1, 4):
            with pytest.raises(ConnectionError):
                await ask(form, cache, number, Down())
            await ask(form, cache, number, Provider())
            assert bypasses(cache) == 2 * number


def test_a_call_for_several_records_is_counted_once(cache: ResponseCache) -> None:
    asked = {request_key(number): number for number in range(3)}
    with failing(FILE, OSError("made up")):
        for number in range(1, 4):
            assert cache.lookup_many(asked, lambda hit: hit.answer) == [None] * 3
            leader = cache.lead_many(asked.keys())
            assert isinstance(leader, Leader)
            assert cache.update_many({key: (answer, About()) for key, answer in asked.items()}) == 0
            leader.give_up()
            assert bypasses(cache) == number


def test_a_hook_goes_on_with_an_answer_that_cannot_be_encoded(cache: ResponseCache) -> None:
    hook(cache, object())
    assert bypasses(cache) == 1


@pytest.mark.parametrize("mode", ["replay", "auto"])
async def test_failures_are_errors_of_chatcache_where_they_are_raised(tmp_path: Path, mode: ModeName) -> None:
    cache = ResponseCache("store", path=tmp_path, mode=mode, on_store_error="raise")
    with pytest.raises(StorageError, match="failed unexpectedly") as caught, failing(READS, TypeError("made up")):
        await cache.acall("new", Provider().awaited)
    assert isinstance(caught.value.__cause__, TypeError)
    cache.close()


def test_a_paid_answer_is_in_the_error_where_failures_are_raised(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path, on_store_error="raise")
    with pytest.raises(NotStoredError) as caught, failing(WRITES, MemoryError()):
        cache.call("new", Provider())
    assert caught.value.answer == {"to": "new"}
    cache.close()


def test_statistics_never_raise(cache: ResponseCache) -> None:
    cache.call("new", Provider())
    with failing(FILE, TypeError("made up")):
        assert cache.stats().misses == 1
    assert cache.stats().stores == 1


async def test_a_batch_that_fails_is_no_success(tmp_path: Path) -> None:
    storage = ObjectNamespace(tmp_path).get_by_name("thing").storage
    with pytest.raises(MemoryError), failing(WRITES, MemoryError()):
        await storage.abatch(lambda transaction: transaction.put("key", 1))
    assert storage.get("key") is None


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_typed_cache_looks_up_whatever_the_store_raises(tmp_path: Path, error: Exception) -> None:
    storage = ObjectNamespace(tmp_path).get_by_name("thing").storage
    cache = PersistedCache(Persistence(DurableObjectPersistence(storage)), "store", ttl=None, lookup=lambda _: 5)
    with failing(FILE, error):
        assert cache.get(Ask("key")) == 5
    assert cache.bypassed == 2


def test_the_answer_of_a_turn_is_in_the_error_whatever_the_store_raises(tmp_path: Path) -> None:
    chat = Chats(path=tmp_path).get_or_create("a")
    with pytest.raises(NotStoredError) as caught, failing(WRITES, TypeError("made up")):
        chat.generate("hi", lambda _: "paid for")
    assert caught.value.answer == "paid for"

"""``with cache.using(mode=...)``: another mode for one block, in this thread or task."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidModeError, Mode, ReplayMiss, ResponseCache
from chatcache.recording import recording
from tests.forms import FORMS, Provider, ask

REQUEST = {"prompt": "Why?"}


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache("s", path=tmp_path)


@pytest.mark.parametrize("form", FORMS)
async def test_a_block_asks_again_and_replaces_the_record(cache: ResponseCache, form: str) -> None:
    provider = Provider()
    for _ in range(2):
        await ask(form, cache, REQUEST, provider)
    with cache.using(mode="refresh"):
        await ask(form, cache, REQUEST, provider)
    await ask(form, cache, REQUEST, provider)
    assert (provider.calls, cache.stats().stores) == (2, 2)


@pytest.mark.parametrize("form", FORMS)
async def test_a_disabled_cache_is_neither_read_nor_written(cache: ResponseCache, form: str) -> None:
    provider = Provider()
    with cache.disabled():
        for _ in range(2):
            await ask(form, cache, REQUEST, provider)
    assert (provider.calls, cache.stats().stores, cache.stats().misses) == (2, 0, 0)


def test_the_innermost_block_counts_and_a_call_of_its_own_mode_more(cache: ResponseCache) -> None:
    provider = Provider()
    with cache.using(mode="off"):
        with cache.using(mode="replay"), pytest.raises(ReplayMiss):
            cache.call(REQUEST, provider)
        assert cache.mode is Mode.OFF
        cache.call(REQUEST, provider, mode="auto")
    assert (cache.mode, cache.stats().stores) == (Mode.AUTO, 1)


def test_a_block_ends_with_its_error(cache: ResponseCache) -> None:
    with pytest.raises(KeyError), cache.using(mode="off"):
        raise KeyError
    assert cache.mode is Mode.AUTO


def test_a_block_is_for_its_cache_alone(cache: ResponseCache, tmp_path: Path) -> None:
    other = ResponseCache("s", path=tmp_path)
    with cache.using(mode="replay"):
        assert (cache.mode, other.mode) == (Mode.REPLAY, Mode.AUTO)


async def test_a_block_is_for_its_task_and_what_that_starts(cache: ResponseCache) -> None:
    entered, looked = asyncio.Event(), asyncio.Event()

    async def mode() -> Mode:
        return cache.mode

    async def within() -> list[Mode]:
        with cache.using(mode="refresh"):
            entered.set()
            await looked.wait()
            return [cache.mode, await asyncio.create_task(mode()), await asyncio.to_thread(lambda: cache.mode)]

    task = asyncio.create_task(within())
    await entered.wait()
    assert cache.mode is Mode.AUTO
    looked.set()
    assert await task == [Mode.REFRESH] * 3


def test_other_threads_keep_their_mode(cache: ResponseCache) -> None:
    with ThreadPoolExecutor(1) as pool, cache.using(mode="off"):
        assert pool.submit(lambda: cache.mode).result() is Mode.AUTO


async def test_a_block_may_end_in_another_context(cache: ResponseCache) -> None:
    """The teardown of an async fixture does."""

    async def fixture() -> AsyncIterator[None]:
        with cache.using(mode="off"):
            yield

    it = fixture()
    await asyncio.create_task(anext(it))  # type: ignore[arg-type]
    await asyncio.create_task(anext(it, None))
    assert cache.mode is Mode.AUTO


def test_a_mode_that_is_none_is_refused_at_once(cache: ResponseCache) -> None:
    wrong: Any = "reply"
    with pytest.raises(InvalidModeError, match="invalid mode 'reply': use one of auto, "):
        cache.using(mode=wrong)


def test_a_recording_decides_over_a_block(cache: ResponseCache, tmp_path: Path) -> None:
    provider = Provider()
    with recording(tmp_path / "it.chatcache"), cache.using(mode="off"):
        cache.call(REQUEST, provider)
    with recording(tmp_path / "it.chatcache"), cache.disabled():
        cache.call(REQUEST, provider)
    assert provider.calls == 1

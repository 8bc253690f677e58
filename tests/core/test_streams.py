"""Streams of a `ResponseCache`: what is recorded, what is replayed, and what those get who follow one."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatcache import Hit, InvalidInputError, NotStoredError, Refusal, ReplayMiss, ResponseCache
from tests.waiting import HANG, auntil

REQUEST = {"model": "m", "prompt": "How high is it?"}
CHUNKS = [{"delta": "very"}, {"delta": " high"}, {"usage": {"total_tokens": 7}}]


class Provider:
    """Streams chunks, and counts the streams; raises its error after them, if it has one."""

    def __init__(self, chunks: list[Any] | None = None, error: Exception | None = None) -> None:
        self.chunks = CHUNKS if chunks is None else chunks
        self.error = error
        self.streams = self.closed = 0

    def __call__(self, _request: Any) -> Iterator[Any]:
        self.streams += 1
        try:
            yield from self.chunks
            if self.error is not None:
                raise self.error
        finally:
            self.closed += 1

    async def awaited(self, request: Any) -> AsyncIterator[Any]:
        for chunk in self(request):
            await asyncio.sleep(0)
            yield chunk


Read = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaiting"])
def read(request: pytest.FixtureRequest) -> Read:
    """Reads a stream of a provider through a cache, to its end or so many chunks of it."""

    async def either(cache: ResponseCache, provider: Provider, most: int | None = None, **options: Any) -> list[Any]:
        got: list[Any] = []
        if request.param == "blocking":
            stream = cache.stream(REQUEST, provider, **options)
            for chunk in stream:
                got.append(chunk)
                if len(got) == most:
                    stream.close()
                    break
            return got
        astream = cache.astream(REQUEST, provider.awaited, **options)
        async for chunk in astream:
            got.append(chunk)
            if len(got) == most:
                await astream.aclose()
                break
        return got

    return either


async def test_a_stream_is_made_once_and_its_chunks_are_replayed(tmp_path: Path, read: Read) -> None:
    provider, hits = Provider(), list[Hit]()
    assert await read(ResponseCache("store", path=tmp_path), provider) == CHUNKS
    again = ResponseCache("store", path=tmp_path, mode="replay")
    assert await read(again, provider, on_hit=hits.append) == CHUNKS
    assert (provider.streams, provider.closed) == (1, 1)
    (hit,) = hits
    assert hit.chunks == CHUNKS
    assert hit.offsets == sorted(hit.offsets)
    assert len(hit.offsets) == len(CHUNKS)
    assert (hit.tokens, again.stats().tokens_saved) == (7, 7)


@pytest.mark.parametrize("pace", ["instant", "recorded", 1000])
async def test_a_pace_changes_no_chunk(tmp_path: Path, read: Read, pace: Any) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    assert [await read(cache, provider, pace=pace) for _ in range(2)] == [CHUNKS, CHUNKS]
    assert provider.streams == 1


async def test_what_a_reader_does_to_a_chunk_is_not_recorded(tmp_path: Path, read: Read) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    for _ in range(2):
        for chunk in await read(cache, provider):
            chunk.clear()
    assert await read(cache, provider) == CHUNKS


async def test_a_stream_that_raises_is_not_recorded(tmp_path: Path, read: Read) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider(error=ConnectionError("reset"))
    with pytest.raises(ConnectionError, match="reset"):
        await read(cache, provider)
    provider.error = None
    assert await read(cache, provider) == CHUNKS
    assert provider.streams == 2


async def test_a_stream_that_nobody_reads_to_its_end_is_closed_and_not_recorded(tmp_path: Path, read: Read) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider(CHUNKS * 100)
    assert await read(cache, provider, most=2) == CHUNKS[:2]
    assert (provider.closed, cache.stats().refusals) == (1, {Refusal.INTERRUPTED: 1})
    assert await read(cache, provider) == CHUNKS * 100
    assert provider.streams == 2


async def test_an_empty_stream_and_one_that_is_refused_are_not_recorded(tmp_path: Path, read: Read) -> None:
    cache, empty, cut = ResponseCache("store", path=tmp_path), Provider([]), Provider()
    assert [await read(cache, empty) for _ in range(2)] == [[], []]
    for _ in range(2):
        await read(cache, cut, refuse=lambda chunks: Refusal.LENGTH if len(chunks) == 3 else None)
    assert (empty.streams, cut.streams) == (2, 2)
    assert cache.stats().refusals == {Refusal.EMPTY: 2, Refusal.LENGTH: 2}


async def test_a_chunk_that_cannot_be_stored_is_passed_on(tmp_path: Path, read: Read) -> None:
    thing = object()
    cache, provider = ResponseCache("store", path=tmp_path), Provider([{"delta": "a"}, thing])
    assert [await read(cache, provider) for _ in range(2)] == [[{"delta": "a"}, thing]] * 2
    assert (provider.streams, cache.stats().bypasses) == (2, 2)
    strict = ResponseCache("strict", path=tmp_path, on_store_error="raise")
    with pytest.raises(NotStoredError) as caught:
        await read(strict, provider)
    assert caught.value.answer == [{"delta": "a"}, thing]


async def test_a_stream_and_a_call_of_a_request_are_two_records(tmp_path: Path, read: Read) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    await read(cache, provider)
    assert cache.call(REQUEST, lambda _request: "whole") == "whole"
    assert cache.call(REQUEST, lambda _request: "other") == "whole"
    assert await read(cache, Provider([])) == CHUNKS


@pytest.mark.parametrize(("mode", "streams"), [("auto", 1), ("read_only", 3), ("refresh", 3), ("off", 3)])
async def test_a_stream_is_made_as_often_as_its_mode_says(tmp_path: Path, read: Read, mode: str, streams: int) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    for _ in range(3):
        assert await read(cache, provider, mode=mode) == CHUNKS
    assert provider.streams == streams


async def test_a_request_without_a_record_is_a_miss_in_replay(tmp_path: Path, read: Read) -> None:
    provider = Provider()
    with pytest.raises(ReplayMiss, match="nothing is recorded in this store"):
        await read(ResponseCache("store", path=tmp_path, mode="replay"), provider)
    assert provider.streams == 0


async def test_an_async_stream_may_have_to_be_awaited_for(tmp_path: Path) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()

    async def create(request: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(0)
        return provider.awaited(request)

    for _ in range(2):
        assert [chunk async for chunk in cache.astream(REQUEST, create)] == CHUNKS
    assert provider.streams == 1


def test_bad_input_says_what_to_do(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)
    with pytest.raises(InvalidInputError, match="pace='fast': pass 'instant', 'recorded', or a positive number"):
        cache.stream(REQUEST, Provider(), pace="fast")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="returned 5, which is no iterable of chunks"):
        list(cache.stream(REQUEST, lambda _request: 5))  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidInputError, match=r"an async one is for astream\(\)"):
        list(cache.stream(REQUEST, Provider().awaited))  # type: ignore[arg-type]


async def test_followers_get_the_chunks_as_they_come_and_the_record_is_one(tmp_path: Path) -> None:
    cache, go_on = ResponseCache("store", path=tmp_path), asyncio.Event()
    streams = 0

    async def slow(_request: Any) -> AsyncIterator[Any]:
        nonlocal streams
        streams += 1
        yield CHUNKS[0]
        await go_on.wait()
        for chunk in CHUNKS[1:]:
            yield chunk

    readers = [cache.astream(REQUEST, slow) for _ in range(20)]
    assert [await anext(reader) for reader in readers] == [CHUNKS[0]] * 20
    go_on.set()
    rest = [[chunk async for chunk in reader] for reader in readers]
    assert rest == [CHUNKS[1:]] * 20
    assert (streams, cache.stats().joins, cache.stats().stores) == (1, 19, 1)
    rest[0][0].clear()
    assert [chunk async for chunk in cache.astream(REQUEST, slow)] == CHUNKS


async def test_the_first_reader_may_leave_and_the_others_read_on(tmp_path: Path) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    first, second = (cache.astream(REQUEST, provider.awaited) for _ in range(2))
    assert [await anext(first), await anext(second)] == [CHUNKS[0]] * 2
    await first.aclose()
    assert [chunk async for chunk in second] == CHUNKS[1:]
    assert (provider.streams, cache.stats().stores, cache.stats().refusals) == (1, 1, {})


async def test_threads_follow_a_stream_as_well(tmp_path: Path) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Any) -> Iterator[Any]:
        for chunk in provider(request):
            yield chunk
            begun.set()
            go_on.wait(HANG)

    def read() -> list[Any]:
        return list(cache.stream(REQUEST, slow))

    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(read)
        begun.wait(HANG)
        others = [pool.submit(read) for _ in range(3)]
        await auntil(lambda: cache.stats().joins == 3)
        go_on.set()
        assert [each.result() for each in [leader, *others]] == [CHUNKS] * 4
    assert provider.streams == 1


def whole(chunks: list[Any]) -> dict[str, Any]:
    return {"text": "".join(chunk.get("delta", "") for chunk in chunks)}


def pieces(answer: dict[str, Any]) -> list[Any]:
    return [{"delta": answer["text"]}]


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_stream_answers_a_call_that_can_make_an_answer_of_it(
    tmp_path: Path, read: Read, *, awaited: bool
) -> None:
    await read(ResponseCache("store", path=tmp_path), Provider())
    cache, hits = ResponseCache("store", path=tmp_path, mode="replay"), list[Hit]()

    async def call(**options: Any) -> Any:
        return await cache.acall(REQUEST, never, **options) if awaited else cache.call(REQUEST, never, **options)

    assert await call(from_chunks=whole, on_hit=hits.append) == await call(from_chunks=whole) == {"text": "very high"}
    assert hits[0].key.endswith("/stream")
    for unfit in (None, lambda chunks: chunks[99]):
        with pytest.raises(ReplayMiss):
            await call(from_chunks=unfit)


async def test_a_call_answers_a_stream_that_can_make_chunks_of_it(tmp_path: Path, read: Read) -> None:
    ResponseCache("store", path=tmp_path).call(REQUEST, lambda _request: {"text": "very high"})
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    assert await read(cache, provider, to_chunks=pieces) == [{"delta": "very high"}]
    assert cache.stats().hits == 1
    assert await read(cache, provider, to_chunks=lambda answer: answer["none"]) == CHUNKS
    assert await read(cache, provider, to_chunks=pieces) == CHUNKS  # its own record is the better one
    assert provider.streams == 1


async def test_a_reader_makes_what_is_given_of_what_is_recorded(tmp_path: Path, read: Read) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    for _ in range(2):
        assert await read(cache, provider, read=str) == [str(chunk) for chunk in CHUNKS]
    assert await read(cache, provider, read=lambda chunk: chunk["delta"], most=2) == ["very", " high"]
    assert provider.streams == 2  # not every chunk has one: that is a miss
    for _ in range(2):
        assert cache.call(REQUEST, lambda _request: {"text": "high"}, read=lambda answer: answer["text"]) == "high"
    assert await cache.acall(REQUEST, never, read=lambda answer: answer["text"]) == "high"
    with pytest.raises(KeyError, match="words"):
        cache.call(REQUEST, lambda _request: {"text": "new"}, read=lambda answer: answer["words"])
    assert cache.call(REQUEST, never) == {"text": "new"}
    stream = cache.stream(REQUEST, never, read=lambda chunk: [*chunk], to_chunks=pieces)
    assert list(stream) == [["delta"], ["delta"], ["usage"]]


def never(_request: Any) -> Any:
    raise AssertionError("it is recorded")

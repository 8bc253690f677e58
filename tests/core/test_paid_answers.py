"""An answer that was paid for is returned as it is, whatever else is wrong, and to everybody who shares it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from chatcache import (
    InvalidInputError,
    InvalidTTLError,
    NotStoredError,
    Refusal,
    ReplayMiss,
    ResponseCache,
    request_key,
)
from chatcache.testing import ManualClock
from tests.under_way import waiting
from tests.waiting import auntil

REQUEST = {"model": "m", "prompt": "How high is it?"}

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Has a request answered through a cache, by a function of the request."""

    async def either(cache: ResponseCache, fn: Callable[[Any], Any], asked: Any = REQUEST, **options: Any) -> Any:
        async def awaited(body: Any) -> Any:
            return fn(body)

        if request.param == "blocking":
            return cache.call(asked, fn, **options)
        return await cache.acall(asked, awaited, **options)

    return either


async def test_what_one_caller_does_to_a_shared_answer_no_other_sees(tmp_path: Path) -> None:
    cache, go_on = ResponseCache("store", path=tmp_path), asyncio.Event()

    async def slow(_request: Any) -> Any:
        await go_on.wait()
        return {"text": "pristine", "items": [1, 2, 3]}

    async def lead() -> None:
        answer = await cache.acall(REQUEST, slow)
        answer["text"] = "changed"
        answer["items"].clear()

    leader = asyncio.create_task(lead())
    await asyncio.sleep(0)
    others = [asyncio.create_task(cache.acall(REQUEST, slow)) for _ in range(3)]
    await auntil(lambda: waiting(cache) == 3)
    go_on.set()
    await leader
    assert [await each for each in others] == [{"text": "pristine", "items": [1, 2, 3]}] * 3
    assert cache.stats().joins == 3


class Stubborn:
    """What neither can be stored, nor copied, nor compared."""

    def __deepcopy__(self, _memo: object) -> Any:
        raise TypeError("it cannot be copied")

    def __eq__(self, _other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = None  # type: ignore[assignment]


async def test_what_cannot_be_stored_is_shared_as_it_is(tmp_path: Path) -> None:
    cache, thing = ResponseCache("store", path=tmp_path), Stubborn()

    async def slow(_request: Any) -> Any:
        await auntil(lambda: waiting(cache) == 2)
        return thing

    answers = await asyncio.gather(*(cache.acall(REQUEST, slow) for _ in range(3)))
    assert all(answer is thing for answer in answers)
    assert (cache.stats().bypasses, cache.stats().stores) == (1, 0)


@pytest.mark.parametrize("refuse", [Mock(side_effect=KeyError("choices")), lambda _: True, lambda _: "whatever"])
async def test_a_refusal_that_fails_loses_no_answer(tmp_path: Path, ask: Ask, refuse: Any) -> None:
    cache, fn = ResponseCache("store", path=tmp_path), Mock(return_value="paid")
    assert await ask(cache, fn, refuse=refuse) == "paid"
    assert (fn.call_count, cache.stats().bypasses, cache.stats().stores) == (1, 1, 0)
    strict = ResponseCache("strict", path=tmp_path, on_store_error="raise")
    with pytest.raises(NotStoredError) as caught:
        await ask(strict, fn, refuse=refuse)
    assert caught.value.answer == "paid"


@pytest.mark.parametrize("ttl", ["soon", float("nan"), True])
async def test_a_ttl_that_is_none_is_refused_before_anything_is_called(tmp_path: Path, ask: Ask, ttl: Any) -> None:
    cache, fn = ResponseCache("store", path=tmp_path), Mock()
    with pytest.raises(InvalidTTLError):
        await ask(cache, fn, ttl=ttl)
    with pytest.raises(InvalidTTLError):
        cache.stream(REQUEST, fn, ttl=ttl)
    assert fn.call_count == 0


@pytest.mark.parametrize("kept", ["full", "redacted", "digest"])
@pytest.mark.parametrize("depth", [300, 450])
async def test_an_answer_to_a_deep_request_is_recorded(tmp_path: Path, ask: Ask, kept: Any, depth: int) -> None:
    request: Any = "deep"
    for _ in range(depth):
        request = [request]
    cache, fn = ResponseCache("store", path=tmp_path, store_requests=kept), Mock(return_value="paid")
    for _ in range(2):
        assert await ask(cache, fn, request) == "paid"
    assert (fn.call_count, cache.stats().bypasses) == (1, 0)


async def test_a_record_has_the_request_that_was_asked(tmp_path: Path, ask: Ask) -> None:
    def meddle(request: Any) -> str:
        request["extra"] = 1
        return "paid"

    cache = ResponseCache("store", path=tmp_path)
    await ask(cache, meddle, {"n": 1})
    story = cache.story(request_key({"n": 1}))
    assert story is not None
    assert story.request == {"n": 1}


async def test_whatever_a_call_raises_is_raised(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)
    with pytest.raises(StopIteration):
        cache.call(REQUEST, Mock(side_effect=[]))
    with pytest.raises(SystemExit):
        cache.call(REQUEST, Mock(side_effect=SystemExit))
    assert cache.call(REQUEST, lambda _request: "later") == "later"


async def test_functions_of_the_other_colour(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)

    async def awaited(_request: Any) -> str:
        return "paid"

    with pytest.raises(InvalidInputError, match=r"which is to be awaited: use acall\(\)"):
        _ = cache.call(REQUEST, awaited)
    assert await cache.acall(REQUEST, lambda _request: "paid") == "paid"  # type: ignore[arg-type, return-value]


class Both:
    """A stream that can be read in both colours, as LiteLLM's."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def __iter__(self) -> Iterator[str]:
        yield from "ab"

    async def __aiter__(self) -> AsyncIterator[str]:
        for each in "ab":
            yield each

    def close(self) -> None:
        self.closed.append("close")

    async def aclose(self) -> None:
        self.closed.append("aclose")


async def test_a_stream_of_both_colours_is_read_in_that_of_the_caller(tmp_path: Path) -> None:
    cache, blocking, awaiting = ResponseCache("store", path=tmp_path), Both(), Both()
    assert list(cache.stream(REQUEST, lambda _request: blocking)) == ["a", "b"]
    assert [each async for each in cache.astream({"n": 1}, lambda _request: awaiting)] == ["a", "b"]
    assert (blocking.closed, awaiting.closed) == (["close"], ["aclose"])


async def test_the_records_of_one_request_can_be_removed(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("store", path=tmp_path)
    for request in (REQUEST, {"n": 1}):
        await ask(cache, lambda _request: "first", request)
        list(cache.stream(request, lambda _request: ["first"]))
    cache.invalidate(REQUEST)
    assert await ask(cache, lambda _request: "second") == "second"
    await cache.ainvalidate(REQUEST)
    assert list(cache.stream(REQUEST, lambda _request: ["third"])) == ["third"]
    assert await ask(cache, lambda _request: "second", {"n": 1}) == "first"


async def test_an_answer_that_the_store_may_not_hold_is_refused(tmp_path: Path, ask: Ask) -> None:
    cache, fn = ResponseCache("store", path=tmp_path, max_bytes=10_000), Mock(return_value="x" * 20_000)
    for _ in range(2):
        await ask(cache, fn)
    assert (fn.call_count, cache.stats().refusals, cache.stats().bypasses) == (2, {Refusal.TOO_LARGE: 2}, 0)


@pytest.mark.parametrize("saves", [5, None, ["x", 1, 2, 3], [1], {}])
async def test_a_record_of_another_make_breaks_no_statistics(tmp_path: Path, ask: Ask, saves: Any) -> None:
    cache = ResponseCache("store", path=tmp_path)
    await ask(cache, lambda _request: "first")
    ((row, (record, _)),) = cache._object.storage.list(prefix="store:").items()
    cache._object.storage.put(row, [{**record, "saves": saves}, None])
    assert await ask(cache, lambda _request: "second") in {"first", "second"}
    assert cache.stats().stores >= 1
    cache.close()


@pytest.mark.parametrize("options", [{}, {"ttl": 60}, {"max_entries": 10_000}])
async def test_blocking_calls_beside_tasks_of_their_loop_are_recorded(tmp_path: Path, options: dict[str, Any]) -> None:
    cache = ResponseCache("store", path=tmp_path, **options)

    async def answer(request: Any) -> Any:
        return request

    async def task(number: int) -> None:
        for step in range(20):
            await cache.acall({"task": number, "step": step}, answer)

    async def block() -> None:
        for step in range(50):
            cache.call({"step": step}, lambda request: request)
            await asyncio.sleep(0)

    await asyncio.gather(*(task(number) for number in range(5)), block())
    counted = cache.stats()
    assert (counted.stores, counted.bypasses) == (150, 0)
    await cache.aclose()
    replayed = ResponseCache("store", path=tmp_path, mode="replay")
    assert [replayed.call({"step": step}, Mock()) for step in range(50)] == [{"step": step} for step in range(50)]


async def test_what_replays_writes_nothing_whatever_it_meets(tmp_path: Path, ask: Ask, clock: ManualClock) -> None:
    cache = ResponseCache("store", path=tmp_path, ttl=60, max_entries=1_000, clock=clock)
    for number in range(3):
        await ask(cache, lambda _request: "kept", {"n": number}, ttl=1 if number == 0 else None)
    cache.close()
    clock.now += 30
    before = cache.location.read_bytes()
    replaying = ResponseCache("store", path=tmp_path, max_entries=1_000, mode="replay", clock=clock)
    for _ in range(300):
        assert await ask(replaying, Mock(), {"n": 1}) == "kept"
    with pytest.raises(ReplayMiss):
        await ask(replaying, Mock(), {"n": 0})
    await asyncio.sleep(0.05)  # for what a cache does by itself, which is to be nothing
    replaying.close()
    assert cache.location.read_bytes() == before

"""``@cached(cache)``: functions of JSON arguments, of each kind."""

import inspect
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from chatcache import InvalidInputError, ReplayMiss, ResponseCache, cached

CALLS: list[Any] = []


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    CALLS.clear()
    return ResponseCache("s", path=tmp_path)


def add(a: int, b: int = 2, *rest: int, **more: int) -> dict[str, int]:
    """Add."""
    CALLS.append((a, b, rest, more))
    return {"sum": a + b + sum(rest) + sum(more.values())}


async def aadd(a: int, b: int = 2) -> dict[str, int]:
    return add(a, b)


def count(to: int) -> Iterator[int]:
    CALLS.append(to)
    yield from range(to)


async def acount(to: int) -> AsyncIterator[int]:
    CALLS.append(to)
    for each in range(to):
        yield each


async def test_each_kind_of_function_is_recorded_and_stays_of_its_kind(cache: ResponseCache) -> None:
    decorate = cached(cache)
    one, two, three, four = decorate(add), decorate(aadd), decorate(count), decorate(acount)
    for _ in range(2):
        assert one(1) == {"sum": 3}
        assert await two(1) == {"sum": 3}
        assert [*three(3)] == [0, 1, 2]
        assert [each async for each in four(3)] == [0, 1, 2]
    assert len(CALLS) == 4
    assert inspect.iscoroutinefunction(two)
    assert inspect.isgeneratorfunction(three)
    assert inspect.isasyncgenfunction(four)
    assert (one.__name__, one.__doc__) == ("add", "Add.")


def test_equal_arguments_are_equal_however_they_are_passed(cache: ResponseCache) -> None:
    it = cached(cache)(add)
    for _ in range(2):
        assert it(1) == it(1, 2) == it(a=1) == it(b=2, a=1)
    assert len(CALLS) == 1
    for arguments, more in [((2,), {}), ((1, 2, 3), {}), ((1, 2), {"c": 3}), ((1, 2), {"d": 3})]:
        it(*arguments, **more)
    assert len(CALLS) == 5


def test_what_is_to_be_ignored_does_not_count(cache: ResponseCache) -> None:
    it = cached(cache, ignore=["b"])(add)
    assert it(1, 2) == it(1, 5) == {"sum": 3}


def test_functions_are_apart_unless_they_have_one_name(cache: ResponseCache) -> None:
    cached(cache)(add)(1)
    cached(cache, name="sum")(add)(1)
    assert len(CALLS) == 2
    cached(cache, name="sum")(partial(add))(1)
    assert len(CALLS) == 2


def test_the_options_of_the_cache_hold(cache: ResponseCache) -> None:
    it = cached(cache, accept=lambda answer: answer["sum"] > 3)(add)
    for _ in range(2):
        it(1)
        it(2)
    assert [call[0] for call in CALLS] == [1, 2, 1]
    with cache.using(mode="replay"), pytest.raises(ReplayMiss) as miss:
        it(1)
    assert miss.value.request["function"].endswith("test_decorator.add")
    assert miss.value.request["arguments"] == {"a": 1, "b": 2, "rest": (), "more": {}}
    cached(cache, ttl=0, name="short")(add)(1)
    assert cache.stats().stores == 1


def test_an_argument_that_is_not_json_is_no_reason_to_fail(
    cache: ResponseCache, caplog: pytest.LogCaptureFixture
) -> None:
    it = cached(cache)(lambda_free)
    assert [it(object()), it(object())] == [1, 2]
    assert "the request has no key" in caplog.text


def lambda_free(_thing: object) -> int:
    CALLS.append(1)
    return len(CALLS)


def _adds(number: int) -> Any:
    def add_it(a: int) -> int:
        return a + number

    return add_it


def test_what_a_function_takes_from_the_one_that_it_is_made_in_needs_a_name(cache: ResponseCache) -> None:
    with pytest.raises(InvalidInputError, match="reads variables of the function that it is made in"):
        cached(cache)(_adds(1))
    one, two = (cached(cache, name=f"adds {number}")(_adds(number)) for number in (1, 2))
    assert [one(1), two(1), one(1)] == [2, 3, 2]


class Adding:
    def hash_of(self) -> int:
        return super().__hash__()


def test_a_method_that_calls_the_one_above_it_has_a_name(cache: ResponseCache) -> None:
    thing = Adding()
    hash_of = cached(cache, ignore=["self"])(Adding.hash_of)
    assert hash_of(thing) == hash_of(thing) == hash(thing)
    assert cache.stats().hits == 1


@pytest.mark.parametrize(
    ("decorate", "says"),
    [
        (lambda cache: cached(cache)(lambda a: a), "has no name of its own: pass cached"),
        (lambda cache: cached(cache)(partial(add)), "has no name of its own: pass cached"),
        (lambda cache: cached(cache, ignore=["c", "a"])(aadd), "pass a list of some of a, b"),
        (lambda cache: cached(cache, ignore="a")(aadd), "pass a list of some of a, b"),
        (lambda cache: cached(cache, accept=cast("Any", 5)), "accept=5"),
        (lambda cache: cached(cast("Any", "a model")), "cached\\(model, cache\\) is in langchain_chatcache"),
    ],
)
def test_what_cannot_be_decorated_says_what_to_do(cache: ResponseCache, decorate: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        decorate(cache)

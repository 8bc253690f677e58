"""The pace of a replayed stream, on a clock that stands still while nobody sleeps."""

import math
from typing import Any

import pytest

from chatcache import InvalidInputError
from chatcache._bridge import drive
from chatcache.cache.replay import Pace, apaced, paced, parse_pace

CHUNKS = "abc"
OFFSETS = (0.5, 1.0, 3.0)


class Time:
    """Passes when somebody sleeps, or works."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["blocking", "awaiting"])
def replay(request: pytest.FixtureRequest, time: Time) -> Any:
    """Return what replays at a pace, and takes so many seconds for each chunk; it returns when each of them came."""

    def blocking(pace: Pace, work: float = 0.0) -> list[tuple[str, float]]:
        came = []
        for chunk in paced(CHUNKS, OFFSETS, pace, sleep=time.sleep, now=time):
            came.append((chunk, time.now - 1000))
            time.now += work
        return came

    async def awaiting(pace: Pace, work: float) -> list[tuple[str, float]]:
        came = []
        async for chunk in apaced(CHUNKS, OFFSETS, pace, sleep=time.asleep, now=time):
            came.append((chunk, time.now - 1000))
            time.now += work
        return came

    return blocking if request.param == "blocking" else lambda pace, work=0.0: drive(awaiting(pace, work))


def test_at_once(replay: Any, time: Time) -> None:
    assert replay("instant") == [("a", 0), ("b", 0), ("c", 0)]
    assert time.slept == []


def test_as_recorded(replay: Any, time: Time) -> None:
    assert replay("recorded") == [("a", 0.5), ("b", 1), ("c", 3)]
    assert time.slept == [0.5, 0.5, 2.0]


@pytest.mark.parametrize(("pace", "last"), [(2, 1.5), (2.0, 1.5), (0.5, 6), (math.inf, 0)])
def test_so_many_times_as_quick(replay: Any, pace: float, last: float) -> None:
    assert replay(pace)[-1] == ("c", last)


def test_who_is_late_catches_up(replay: Any, time: Time) -> None:
    assert replay("recorded", work=1.0) == [("a", 0.5), ("b", 1.5), ("c", 3)]
    assert time.slept == [0.5, 0.5]


def test_the_time_begins_with_the_first_chunk_that_is_asked_for(time: Time) -> None:
    stream = paced(CHUNKS, OFFSETS, "recorded", sleep=time.sleep, now=time)
    time.now += 100
    next(stream)
    assert time.slept == [0.5]


async def test_it_really_sleeps(time: Time) -> None:
    offsets = (0.001, 0.002, 0.003)
    assert list(paced(CHUNKS, offsets, "recorded")) == ["a", "b", "c"]
    assert [chunk async for chunk in apaced(CHUNKS, offsets, "recorded")] == ["a", "b", "c"]


def test_a_pace_is_parsed_once_or_twice() -> None:
    assert [parse_pace(parse_pace(pace)) for pace in ("instant", "recorded", 2, 0.5)] == [math.inf, 1, 2, 0.5]


@pytest.mark.parametrize("pace", ["fast", "", None, 0, -1, 0.0, math.nan, True, 10**400, "2"])
def test_what_is_no_pace(pace: Any, replay: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^pace=.*: pass 'instant', 'recorded', or a positive number"):
        parse_pace(pace)
    with pytest.raises(InvalidInputError):
        replay(pace)

"""Times to live at their edges: a time, for ever, or an error that says what to pass."""

import math
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidTTLError, MemoryPersistence, ResponseCache, parse_duration
from chatcache.recording import Policy, RecordMode
from chatcache.ttl import expires_at, parse_ttl

DAY = 86_400_000


@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [
        (0, 0),
        (-1, -1_000),
        (16.1, 16_100),
        (1e-9, 1),
        (timedelta(microseconds=1), 1),
        (timedelta(microseconds=-1), 0),
        (timedelta(days=1), DAY),
        (timedelta.max, DAY * 10**9),
        (timedelta.min, -(DAY * 999_999_999)),
        (2**53, 2**53 * 1_000),
        (None, None),
        (math.inf, None),
        (2**63, None),
        (1e300, None),
        ("90d", 90 * DAY),
        ("12h", DAY // 2),
        ("1.5 m", 90_000),
        ("0.001s", 1),
        (" 4w ", 28 * DAY),
        (f"{'9' * 400}d", None),
        (10**400, None),
        (-(10**400), -(2**63)),
    ],
)
def test_a_time_to_live_is_in_milliseconds_and_a_very_long_one_is_for_ever(ttl: Any, milliseconds: int | None) -> None:
    assert parse_ttl(ttl) == milliseconds
    assert expires_at(ttl, 1) == (None if milliseconds is None else milliseconds + 1)


@pytest.mark.parametrize("ttl", [timedelta.max, timedelta.min, 2**53, 10**400, -(10**400), math.inf])
def test_any_time_is_one_that_stores_take(ttl: Any, tmp_path: Path) -> None:
    cache = ResponseCache("s", path=tmp_path, ttl=ttl, on_store_error="raise")
    store = MemoryPersistence().make("s")
    store.set("key", 1, ttl=ttl)
    is_past = parse_ttl(ttl) is not None and not isinstance(ttl, float) and ttl < type(ttl)(0)
    assert store.get("key") == (None if is_past else 1)
    answers = [cache.call({"p": 1}, partial(lambda each, _: each, each)) for each in (1, 2)]
    assert answers == ([1, 2] if is_past else [1, 1])
    cache.close()


@pytest.mark.parametrize(
    "ttl", [math.nan, -math.inf, True, "60", "soon", "-1h", "1y", "1h30m", "", "٣h", b"1", object()]
)
def test_what_is_no_time_is_refused_before_anything_is_stored(ttl: Any, tmp_path: Path) -> None:
    uses: list[Callable[[], object]] = [
        lambda: parse_ttl(ttl),
        lambda: ResponseCache("s", path=tmp_path, ttl=ttl),
        lambda: Policy(mode=RecordMode.AUTO, max_age=ttl),
    ]
    for use in uses:
        with pytest.raises(InvalidTTLError, match="is no time to live; pass seconds"):
            use()


@pytest.mark.parametrize(("text", "seconds"), [("3600", 3_600), ("1.5", 1.5), ("12h", 43_200), ("inf", math.inf)])
def test_a_text_of_the_environment_may_be_a_number_of_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1y", "nan", "h"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidTTLError, match="is no duration: write seconds, or a number and a unit, such as"):
        parse_duration(text)


def test_the_age_of_a_record_may_be_any_duration() -> None:
    for age in ("90d", timedelta(days=90), 90 * 86_400):
        assert Policy(mode=RecordMode.AUTO, max_age=age).oldest == 90 * 86_400


def test_a_number_of_more_digits_than_python_writes_is_for_ever() -> None:
    assert parse_ttl(10**5_000) is None


def test_any_age_is_one_that_a_policy_takes() -> None:
    assert Policy(mode=RecordMode.AUTO, max_age=math.inf).max_age is None
    assert Policy(mode=RecordMode.AUTO, max_age=10**400).max_age is None
    assert Policy(mode=RecordMode.AUTO, max_age=1.5).max_age == 1.5

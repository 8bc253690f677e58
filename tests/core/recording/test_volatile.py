"""What is another in each run does not count, and is put back."""

import time
from datetime import UTC, datetime, timedelta
from tempfile import gettempdir
from typing import Any
from uuid import UUID

import pytest

from chatcache import InvalidInputError
from chatcache.recording.replaced import Replaced
from chatcache.recording.volatile import Volatile, hidden, put_back

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ONE, TWO = "3f2a8c1e-0f6b-4a58-9d55-0a8f5a0c9b11", "b1c1d1e1-0f6b-4a58-9d55-0a8f5a0c9b22"


@pytest.fixture
def volatile() -> Volatile:
    return Volatile({}, NOW.timestamp)


def test_ids_are_told_apart_by_their_places(volatile: Volatile) -> None:
    value, found = volatile.replaced({"a": f"{ONE} and {TWO}", "b": [f"again {ONE}"]})
    assert value == {"a": "<<uuid-1>> and <<uuid-2>>", "b": ["again <<uuid-1>>"]}
    assert found == {"<<uuid-1>>": ONE, "<<uuid-2>>": TWO}


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("order 3F2A8C1E-0F6B-4A58-9D55-0A8F5A0C9B11!", "order <<uuid-1>>!"),
        ("call_AbCdEf1234567890AbCdEf12", "<<call-1>>"),
        ("toolu_01A09q90qw90lq917835lq9", "<<call-1>>"),
        ("Today is 2026-11-29.", "Today is 2026-11-29."),
        ("at 2026-11-29T11:59:03.123456+00:00", "at <<time-1>>"),
        ("at 2026-11-29 11:59:30", "at <<time-1>>"),
        ("at 2026-11-29 11:59", "at 2026-11-29 11:59"),
        ("at 2026-11-28T11:59:30Z", "at 2026-11-28T11:59:30Z"),
        ("call_supervisor", "call_supervisor"),
        ("Delete /tmp/production.db", "Delete /tmp/production.db"),
        ("on 2024-02-29", "on 2024-02-29"),
        ("at 2024-02-29T12:00:00Z", "at 2024-02-29T12:00:00Z"),
        ("2026-13-45", "2026-13-45"),
        ("recall_of_duty", "recall_of_duty"),
        ("/tmp/pytest-of-me/pytest-12/test_x0/data.txt", "<<path-1>>/data.txt"),
        ("wrote /tmp/tmpab12cd_3/x", "wrote <<path-1>>/x"),
        ("/var/tmp/x", "/var/tmp/x"),
        ("12345", "12345"),
    ],
)
def test_what_is_volatile(volatile: Volatile, text: str, replaced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    assert Volatile({}, NOW.timestamp).replaced(text)[0] == replaced


def test_a_time_that_the_program_made_is_volatile_in_whatever_zone_it_is(volatile: Volatile) -> None:
    there = NOW.astimezone(tz=None) + timedelta(minutes=3)
    assert volatile.replaced(there.isoformat())[0] == "<<time-1>>"
    assert volatile.replaced(there.replace(tzinfo=None).isoformat())[0] == "<<time-1>>"


def test_patterns_of_ones_own_and_none_of_the_built_in_ones() -> None:
    volatile = Volatile({"run": r"run-\d+", "uuid": None}, NOW.timestamp)
    assert volatile.replaced(f"run-17 {ONE}")[0] == f"<<run-1>> {ONE}"


@pytest.mark.parametrize("patterns", [{"a": "("}, {"a": "(b)"}, {"A b": "c"}])
def test_a_pattern_that_cannot_be_right_is_refused(patterns: dict[str, str | None]) -> None:
    with pytest.raises(InvalidInputError, match="volatile"):
        Volatile(patterns, NOW.timestamp)


def test_an_answer_gets_the_ids_of_the_request_that_it_answers(volatile: Volatile) -> None:
    _, recorded = volatile.replaced({"q": ONE})
    _, live = volatile.replaced({"q": TWO})
    answer = hidden({"content": f"Order {ONE} is sent.", "n": 1}, recorded)
    assert answer == {"content": "Order <<uuid-1>> is sent.", "n": 1}
    assert put_back(answer, live) == {"content": f"Order {TWO} is sent.", "n": 1}


def test_what_stands_for_a_word_is_put_back_for_no_part_of_another_one_and_for_nothing_short() -> None:
    volatile = Volatile({"job": r"job-\d+", "no": r"(?<=no )\d+"}, NOW.timestamp)
    _, found = volatile.replaced("job-1, no 1")
    answer = hidden("job-1; job-10 is next; 12 months, 1 day", found)
    assert put_back(answer, volatile.replaced("job-7, no 7")[1]) == "job-7; job-10 is next; 12 months, 1 day"


def test_names_are_volatile_too(volatile: Volatile) -> None:
    asked, found = volatile.replaced({"orders": {ONE: "sent"}})
    assert asked == {"orders": {"<<uuid-1>>": "sent"}}
    assert put_back(hidden({ONE: 1}, found), {"<<uuid-1>>": TWO}) == {TWO: 1}


def test_an_id_in_hexadecimal_digits_is_one_and_a_digest_is_none(volatile: Volatile) -> None:
    assert volatile.replaced(UUID(ONE).hex)[0] == "<<uuid-1>>"
    assert volatile.replaced("d41d8cd98f00b204e9800998ecf8427e")[0] == "d41d8cd98f00b204e9800998ecf8427e"


def test_a_folder_of_a_test_is_one_for_each_worker(volatile: Volatile) -> None:
    paths = [f"{gettempdir()}/pytest-of-me/pytest-3/{worker}test_a0/in.txt" for worker in ("", "popen-gw0/")]
    assert [volatile.replaced(path)[0] for path in paths] == ["<<path-1>>/in.txt"] * 2


def test_a_time_without_a_zone_may_be_one_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        volatile = Volatile({}, NOW.timestamp)
        text = NOW.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        assert volatile.replaced(text)[0] == "<<time-1>>"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_id_that_is_none_of_the_request_stays(volatile: Volatile) -> None:
    _, found = volatile.replaced({"q": ONE})
    assert hidden({"id": TWO}, found) == {"id": TWO}
    assert put_back("<<uuid-7>>", found) == "<<uuid-7>>"


@pytest.mark.parametrize("size", [1, 3, 7, 50, 200])
def test_an_id_that_runs_over_chunks_is_whole_in_one_of_them(volatile: Volatile, size: int) -> None:
    text = f"Order {ONE}, that is {ONE}, is sent."
    chunks: list[Any] = [{"delta": {"content": text[at : at + size]}, "i": "x"} for at in range(0, len(text), size)]
    made: Any = Replaced.of({"q": ONE}, volatile).recorded(chunks, is_stream=True)
    assert "".join(each["delta"]["content"] for each in made) == "Order <<uuid-1>>, that is <<uuid-1>>, is sent."
    again: Any = put_back(made, {"<<uuid-1>>": TWO})
    assert "".join(each["delta"]["content"] for each in again) == text.replace(ONE, TWO)
    assert len(again) == len(chunks)
    assert chunks[0]["delta"]["content"] == text[:size]


def test_an_id_that_stands_alone_in_each_chunk_is_replaced_in_each(volatile: Volatile) -> None:
    chunks = [{"id": ONE, "delta": {"content": text}} for text in ("ab", "cd")]
    made = Replaced.of({"q": ONE}, volatile).recorded(chunks, is_stream=True)
    assert [each["id"] for each in made] == ["<<uuid-1>>"] * 2


def test_a_part_of_a_longer_word_is_replaced_in_no_chunk() -> None:
    replaced = Replaced.of({"q": "job-1"}, Volatile({"job": r"job-\d+"}, NOW.timestamp))
    assert replaced.recorded(["no job-1", "0, but ", "job-1"], is_stream=True) == ["no job-1", "0, but ", "<<job-1>>"]


def test_many_ids_are_found_in_one_pass(volatile: Volatile) -> None:
    ids = [f"{number:08x}-0f6b-4a58-9d55-0a8f5a0c9b11" for number in range(3_000)]
    made = Replaced.of({"q": ids}, volatile).recorded({"content": " ".join(reversed(ids))}, is_stream=False)
    assert made == {"content": " ".join(f"<<uuid-{number}>>" for number in range(3_000, 0, -1))}

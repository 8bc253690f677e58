"""A file that is locked is waited for once, by all who need it, and no call waits longer than its budget."""

import sqlite3
from collections.abc import Callable, Generator
from contextvars import Context
from math import inf
from pathlib import Path

import pytest

from chatcache import StorageError
from chatcache.storage import Budget, patience
from chatcache.storage.patience import Patience, seconds_left


class Time:
    """A clock that goes on while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(patience, "time", clock)
    monkeypatch.setattr(patience, "monotonic", clock.monotonic)
    return clock


class File:
    """A file that is locked until a time, and a count of the attempts on it."""

    def __init__(self, time: Time, folder: Path) -> None:
        self._time = time
        self._path = folder / "file"
        with sqlite3.connect(self._path) as connection:
            connection.execute("CREATE TABLE t (c)")
        connection.close()
        self.locked_until = float("inf")
        self.attempts = 0

    def attempt(self) -> str:
        self.attempts += 1
        if self._time.now < self.locked_until:
            raise StorageError("locked") from self._busy()
        return "done"

    def _busy(self) -> sqlite3.OperationalError:
        holder, other = (sqlite3.connect(self._path, timeout=0, isolation_level=None) for _ in range(2))
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("BEGIN IMMEDIATE")
        holder.close()
        other.close()
        return caught.value


@pytest.fixture
def file(time: Time, tmp_path: Path) -> File:
    return File(time, tmp_path)


Took = Callable[[Callable[[], object]], float]


@pytest.fixture
def took(time: Time) -> Took:
    """Return how long a call waited that ends with an error."""

    def measure(call: Callable[[], object]) -> float:
        began = time.now
        with pytest.raises(StorageError, match="its write lock"):
            call()
        return time.now - began

    return measure


def test_a_file_that_stays_locked_is_waited_for_once_and_then_tried_once_a_call(file: File, took: Took) -> None:
    lock = Patience(Path("file"), "write")
    assert took(lambda: lock.try_until_free(file.attempt, 10)) == pytest.approx(10)
    assert lock.is_stuck(10)
    before = file.attempts
    assert [took(lambda: lock.try_until_free(file.attempt, 10)) for _ in range(5)] == [0.0] * 5
    assert file.attempts == before + 5


def test_the_first_call_after_the_lock_was_released_finds_the_file_free(file: File, time: Time, took: Took) -> None:
    lock = Patience(Path("file"), "write")
    took(lambda: lock.try_until_free(file.attempt, 10))
    file.locked_until = time.now + 60
    took(lambda: lock.try_until_free(file.attempt, 10))
    time.now += 60
    assert lock.try_until_free(file.attempt, 10) == "done"
    lock.note_free()
    assert not lock.is_stuck(10)


def test_an_attempt_that_found_nothing_to_do_says_nothing_about_the_file(file: File, took: Took) -> None:
    lock = Patience(Path("file"), "write")
    took(lambda: lock.try_until_free(file.attempt, 10))
    assert lock.try_until_free(lambda: "nothing to do", 10) == "nothing to do"
    assert lock.is_stuck(10)
    assert took(lambda: lock.try_until_free(file.attempt, 10)) == 0.0


def test_a_call_that_is_collected_leaves_the_deadline_of_the_one_under_way(time: Time) -> None:
    def call(budget: Budget) -> Generator[None, None, None]:
        with budget.spent():
            yield

    def calls() -> None:
        abandoned = call(Budget(2))
        with Budget(1).spent():
            next(abandoned)
        assert seconds_left() == inf
        with Budget(5).spent():
            abandoned.close()
            assert seconds_left() == 5
        assert seconds_left() == inf

    Context().run(calls)  # another test may have left a call in that of this thread


def test_a_lock_that_is_released_in_time_is_waited_for(file: File, time: Time) -> None:
    file.locked_until = time.now + 9
    assert Patience(Path("file"), "write").try_until_free(file.attempt, 10) == "done"


def test_an_attempt_that_waits_itself_counts_as_waiting(file: File, time: Time, took: Took) -> None:
    def attempt() -> str:
        time.now += 9  # as SQLite does where it finds no place among the readers
        return file.attempt()

    assert took(lambda: Patience(Path("file"), "write").try_until_free(attempt, 2)) == 9
    assert file.attempts == 1


def test_each_caller_has_its_own_timeout(file: File, took: Took) -> None:
    lock = Patience(Path("file"), "write")
    assert took(lambda: lock.try_until_free(file.attempt, 2)) == pytest.approx(2)
    assert took(lambda: lock.try_until_free(file.attempt, 10)) == pytest.approx(8)


def test_a_file_that_nobody_tried_for_a_while_is_not_taken_for_stuck(file: File, time: Time, took: Took) -> None:
    lock = Patience(Path("file"), "write")
    with Budget(3).spent():
        assert took(lambda: lock.try_until_free(file.attempt, 10)) == pytest.approx(3)
    time.now += 3_600
    assert took(lambda: lock.try_until_free(file.attempt, 10)) == pytest.approx(10)


def test_the_error_says_how_long_the_file_was_locked(file: File) -> None:
    lock = Patience(Path("file"), "write")
    for says in (
        r"file: another process held its write lock for 2\.0 s .*: find which",
        "process holds its write lock",
    ):
        with pytest.raises(StorageError, match=says):
            lock.try_until_free(file.attempt, 2)


def test_the_steps_of_a_call_wait_no_longer_than_its_budget_together(file: File, time: Time, took: Took) -> None:
    budget, began = Budget(10), time.now
    file.locked_until = time.now + 8
    with budget.spent():
        assert Patience(Path("file"), "write").try_until_free(file.attempt, 10) == "done"
    time.now += 3_600  # the call itself is not charged
    file.locked_until = float("inf")
    with budget.spent():
        assert took(lambda: Patience(Path("file"), "write").try_until_free(file.attempt, 10)) == pytest.approx(
            2, abs=0.1
        )
    with budget.spent():
        assert took(lambda: Patience(Path("file"), "write").try_until_free(file.attempt, 10)) == pytest.approx(0.05)
    assert time.now - began - 3_600 < 10.1


def test_a_step_of_a_call_without_budget_is_taken_if_the_file_is_free(file: File) -> None:
    budget = Budget(10)
    budget.limit(0)
    file.locked_until = 0
    with budget.spent():
        assert Patience(Path("file"), "write").try_until_free(file.attempt, 10) == "done"


def test_an_error_that_is_no_lock_is_raised_at_once(file: File, time: Time) -> None:
    def fail() -> None:
        file.attempts += 1
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="full"):
        Patience(Path("file"), "write").try_until_free(fail, 10)
    assert (file.attempts, time.now) == (1, 1_000.0)


def test_a_deadline_that_a_signal_handler_left_behind_holds_nobody_back(time: Time) -> None:
    budget = Budget(1)
    spent = budget.spent()
    spent.__enter__()
    assert seconds_left() == 1
    time.now += 60
    assert seconds_left() == float("inf")
    spent.__exit__(None, None, None)

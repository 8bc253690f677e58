"""The contract of a persisted queue: statement 45 of Effect's ``PersistedQueue``."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from math import inf
from typing import Any

import pytest

from chatcache.codec import encode
from chatcache.errors import InvalidInputError, InvalidNameError, InvalidTTLError, InvalidValueError, QueueEmptyError
from chatcache.memory_storage import RowStorage
from chatcache.queues import Attempt, PersistedQueue, backoff

from .clock import ManualClock
from .requests import Ask
from .suite import Call, StorageSuite

__all__ = ["PersistedQueueSuite"]

DAY = 86_400
LEASE = 120


class OutOfOrderError(Exception):
    """What a handler of these tests raises."""


class PersistedQueueSuite(StorageSuite):
    """Tests of queues over a storage; see `chatcache.testing`."""

    @pytest.fixture
    def queue(self, storage: RowStorage) -> PersistedQueue[Any]:
        """Give one of them."""
        return PersistedQueue(storage, "queue")

    @pytest.fixture
    def take(self, call: Call, request: pytest.FixtureRequest) -> Callable[..., Any]:
        """Take what is due with a handler that returns what it is given, or raises; ``"empty"`` where nothing is."""
        awaits = request.node.callspec.params["call"] == "awaiting"

        def take(queue: PersistedQueue[Any], error: BaseException | None = None) -> Any:
            def handle(value: Any, attempt: Attempt) -> Any:
                if error is not None:
                    raise error
                return value, attempt

            async def ahandle(value: Any, attempt: Attempt) -> Any:
                return handle(value, attempt)

            try:
                return call(queue, "take", ahandle if awaits else handle, timeout=0)
            except QueueEmptyError:
                return "empty"

        return take

    def test_45_elements_are_handled_in_order(
        self, queue: PersistedQueue[Any], call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: each of them once where nothing goes wrong; a first attempt is number 1."""
        assert take(queue) == "empty"
        ids = [call(queue, "offer", {"number": number}) for number in range(3)]
        assert len({*ids}) == 3
        assert [take(queue) for _ in ids] == [({"number": at}, Attempt(id_, 1)) for at, id_ in enumerate(ids)]
        assert take(queue) == "empty"

    def test_45_take_waits_for_an_element(self, storage: RowStorage) -> None:
        """Statement 45, as Effect's; here as long as one says."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", poll=0.01)
        with ThreadPoolExecutor() as threads:
            taken = threads.submit(queue.take, lambda value, _: value)
            queue.offer("work")
            assert taken.result(10) == "work"
        with pytest.raises(QueueEmptyError, match=r"'queue' was due within 0\.02 seconds"):
            queue.take(lambda _, attempt: pytest.fail(attempt.id), timeout=0.02)

    def test_45_what_the_handler_raises_is_raised_and_it_is_due_again(
        self, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: after a second, then two; attempts are counted when it is taken."""
        id_ = call(queue, "offer", "work")
        for delay in (1, 2, 4):
            with pytest.raises(OutOfOrderError):
                take(queue, OutOfOrderError())
            clock.now += delay - 0.001
            assert take(queue) == "empty"
            clock.now += 0.001
        assert take(queue) == ("work", Attempt(id_, 4))

    def test_45_the_delay_is_a_function_of_the_attempts(self) -> None:
        """Statement 45: it doubles from a second to five minutes."""
        delays = [backoff(attempts) for attempts in (1, 2, 3, 9, 10, 11, 10**9)]
        assert delays == [1, 2, 4, 256, 300, 300, 300]

    def test_45_a_retry_rule_of_ones_own(
        self, storage: RowStorage, clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", retry=lambda attempts: timedelta(hours=attempts))
        call(queue, "offer", "work")
        for hours in (1, 2):
            with pytest.raises(OutOfOrderError):
                take(queue, OutOfOrderError())
            clock.now += 3_600 * hours - 1
            assert take(queue) == "empty"
            clock.now += 1

    def test_45_after_ten_attempts_it_fails_for_good(
        self, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: and it is said why."""
        id_ = call(queue, "offer", "work")
        for _ in range(10):
            clock.now += 300
            with pytest.raises(OutOfOrderError):
                take(queue, OutOfOrderError("no"))
        clock.now += DAY
        assert take(queue) == "empty"
        assert call(queue, "failed") == {id_: "OutOfOrderError('no')"}

    @pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, CancelledError])
    def test_45_an_interruption_does_not_count(
        self, storage: RowStorage, call: Call, take: Callable[..., Any], ending: type[BaseException]
    ) -> None:
        """Statement 45, as Effect's: it is due at once, at its place in the queue."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", max_attempts=1)
        first, second = call(queue, "offer", "first"), call(queue, "offer", "second")
        for _ in range(2):
            with pytest.raises(ending):
                take(queue, ending())
        assert [take(queue), take(queue)] == [("first", Attempt(first, 1)), ("second", Attempt(second, 1))]

    def test_45_an_id_is_taken_once(
        self, storage: RowStorage, queue: PersistedQueue[Any], call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: in each queue, also after it was completed, and whatever the later offer's delay."""
        other: PersistedQueue[Any] = PersistedQueue(storage, "queue:other")
        assert [call(queue, "offer", value, id="a:1") for value in ("first", "second")] == ["a:1", "a:1"]
        call(queue, "offer", "third", id="a:1", delay=5)
        assert [take(queue), take(queue)] == [("first", Attempt("a:1", 1)), "empty"]
        call(queue, "offer", "fourth", id="a:1")
        call(other, "offer", "other", id="a:1")
        assert [take(queue), take(other)] == ["empty", ("other", Attempt("a:1", 1))]

    def test_45_an_id_can_be_offered_again_after_cleanup(
        self, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: 30 days after it was completed, to the millisecond."""
        call(queue, "offer", "first", id="a:1")
        take(queue)
        clock.now += 30 * DAY - 0.001
        assert call(queue, "cleanup") == 0
        clock.now += 0.001
        assert call(queue, "cleanup") == 1
        call(queue, "offer", "second", id="a:1")
        assert take(queue) == ("second", Attempt("a:1", 1))

    def test_45_what_failed_is_kept_for_ever_unless_one_says_otherwise(
        self, storage: RowStorage, clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: and its id is not taken again."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", max_attempts=1)
        call(queue, "offer", "first", id="a:1")
        with pytest.raises(OutOfOrderError):
            take(queue, OutOfOrderError())
        clock.now += 10_000 * DAY
        call(queue, "offer", "second", id="a:1")
        assert (call(queue, "cleanup"), take(queue), [*call(queue, "failed")]) == (0, "empty", ["a:1"])
        assert call(queue, "cleanup", failed=timedelta(days=10_000)) == 1
        assert call(queue, "failed") == {}
        call(queue, "offer", "third", id="a:1")
        assert take(queue) == ("third", Attempt("a:1", 1))

    def test_45_cleanup_leaves_what_is_to_be_done(
        self, queue: PersistedQueue[Any], call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: however old it is."""
        call(queue, "offer", "first")
        assert call(queue, "cleanup", completed=0, failed=0) == 0
        assert take(queue)[0] == "first"

    @pytest.mark.parametrize("delay", [10, timedelta(seconds=10)])
    def test_45_a_delay_postpones_the_first_attempt(
        self, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any], delay: Any
    ) -> None:
        """Statement 45: and counts no attempt; others go before."""
        later = call(queue, "offer", "later", delay=delay)
        for none in (0, -5):
            call(queue, "offer", "now", delay=none)
            assert take(queue)[0] == "now"
        clock.now += 9.999
        assert take(queue) == "empty"
        clock.now += 0.001
        assert take(queue) == ("later", Attempt(later, 1))

    def test_45_an_infinite_delay_stores_nothing(
        self, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: and returns the id, which can be offered again. The value is not even encoded."""
        assert call(queue, "offer", object(), id="a:1", delay=inf) == "a:1"
        assert isinstance(call(queue, "offer", 5, delay=inf), str)
        clock.now += 10_000 * DAY
        assert take(queue) == "empty"
        call(queue, "offer", 5, id="a:1")
        assert take(queue) == (5, Attempt("a:1", 1))

    def test_45_what_was_not_completed_is_taken_again_when_its_lease_ends(
        self, storage: RowStorage, queue: PersistedQueue[Any], clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: at least once. Its first handler, which was slow, does not complete it then."""
        id_ = call(queue, "offer", "work")

        def handle(_value: Any, _attempt: Attempt) -> None:
            clock.now += LEASE - 0.001
            assert take(queue) == "empty"
            clock.now += 0.001
            with pytest.raises(OutOfOrderError):
                take(queue, OutOfOrderError())

        queue.take(handle, timeout=0)
        assert take(queue) == "empty"
        clock.now += 2
        assert take(queue) == ("work", Attempt(id_, 3))

    def test_45_the_last_attempt_that_never_ends_is_a_failure(
        self, storage: RowStorage, clock: ManualClock, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: a process that is killed each time does not go on forever."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", max_attempts=1, lease=timedelta(seconds=5))
        id_ = call(queue, "offer", "work")

        def handle(_value: Any, _attempt: Attempt) -> None:
            clock.now += 5
            assert take(queue) == "empty"

        queue.take(handle, timeout=0)
        assert call(queue, "failed") == {id_: "its last attempt never came to an end"}

    def test_45_what_cannot_be_decoded_fails_for_good_and_the_next_is_taken(
        self, storage: RowStorage, call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45: the caller hears nothing of it."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", schema=Ask.success)
        call(PersistedQueue[Any](storage, "queue"), "offer", {"number": "five"}, id="wrong")
        call(queue, "offer", 4, id="damaged")
        call(queue, "offer", 5, id="right")
        storage.change({"%queue:queue:value:damaged": b"\xff"})
        assert take(queue) == (5, Attempt("right", 1))
        assert take(queue) == "empty"
        failed = call(queue, "failed")
        assert {*failed} == {"wrong", "damaged"}
        assert "is no number" in failed["wrong"]

    def test_45_an_element_whose_state_is_damaged_holds_nobody_up(
        self, storage: RowStorage, queue: PersistedQueue[Any], call: Call, take: Callable[..., Any]
    ) -> None:
        """Statement 45, in Python."""
        row = "%queue:queue:element:"
        cells = [
            b"\xff",
            encode(["pending"]),
            encode(["pending", 10, 7, 1, ""]),
            encode(["completed", 1, 7, 1, ""]),
            None,
        ]
        for number, cell in enumerate(cells):
            call(queue, "offer", number, id=f"{number}")
            storage.change({f"{row}{number}": cell})
        call(queue, "offer", "work", id="right")
        assert take(queue) == ("work", Attempt("right", 1))
        assert call(queue, "failed") == dict.fromkeys("01234", "what is stored of it is damaged")

    def test_45_values_go_through_the_schema(self, storage: RowStorage, call: Call, take: Callable[..., Any]) -> None:
        """Statement 45: what it refuses is not stored."""
        queue: PersistedQueue[Any] = PersistedQueue(storage, "queue", schema=Ask.success)
        with pytest.raises(InvalidValueError, match="'five' is refused by the schema of the queue 'queue'"):
            call(queue, "offer", "five", id="a:1")
        call(queue, "offer", 5, id="a:1")
        assert storage.get("%queue:queue:value:a:1") == {"number": 5}
        assert take(queue) == (5, Attempt("a:1", 1))

    def test_45_each_element_is_handled_by_one_of_many_threads(self, storage: RowStorage) -> None:
        """Statement 45: once, where nothing goes wrong."""
        ids = [PersistedQueue[Any](storage, "queue").offer(number, id=f"{number}") for number in range(30)]
        handled: Counter[str] = Counter()

        def work(_: int) -> None:
            queue: PersistedQueue[Any] = PersistedQueue(storage, "queue")
            with suppress(QueueEmptyError):
                while True:
                    handled[queue.take(lambda _, attempt: attempt.id, timeout=0)] += 1

        with ThreadPoolExecutor(4) as threads:
            [*threads.map(work, range(4))]
        assert handled == Counter(ids)

    def test_45_what_cannot_be_right_is_refused(
        self, storage: RowStorage, queue: PersistedQueue[Any], call: Call
    ) -> None:
        """Statement 45, in Python."""
        with pytest.raises(InvalidNameError):
            PersistedQueue(storage, "")
        for options in ({"max_attempts": 0}, {"max_attempts": 1.5}, {"lease": 0}):
            with pytest.raises(InvalidInputError, match=f"{next(iter(options))}="):
                PersistedQueue(storage, "queue", **options)
        with pytest.raises(InvalidTTLError):
            call(queue, "offer", 5, delay="soon")
        with pytest.raises(InvalidNameError):
            call(queue, "offer", 5, id=7)
        with pytest.raises(InvalidValueError):
            call(queue, "offer", object())

        async def handle(_value: Any, _attempt: Attempt) -> None:
            pytest.fail("it is not called")

        with pytest.raises(InvalidInputError, match="pass it to atake"):
            queue.take(handle)  # type: ignore[unused-coroutine]

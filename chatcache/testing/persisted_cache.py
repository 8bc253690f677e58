"""The contract of a cache over typed stores: statements 30-42 of Effect's ``PersistedCache``."""

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, copy_context
from datetime import timedelta
from typing import Any

import pytest

from chatcache.backing import Backing
from chatcache.errors import InvalidInputError, InvalidTTLError, InvalidValueError, PersistenceError, ReplayedError
from chatcache.exit import Failure, Success
from chatcache.persisted_cache import PersistedCache
from chatcache.persistence import Persistence, PersistenceStore

from .clock import ManualClock
from .doubles import Watched
from .lookup import Lookup
from .requests import Ask, OutOfLuckError, Tell
from .suite import Call, TypedSuite

__all__ = ["PersistedCacheSuite"]

Make = Callable[..., PersistedCache[Any]]

_MANY = 20


class PersistedCacheSuite(TypedSuite):
    """Tests of the cache over a backing; see `chatcache.testing`."""

    @pytest.fixture
    def store(self, persistence: Persistence) -> PersistenceStore:
        """Give the store that the caches use."""
        return persistence.make("cache")

    @pytest.fixture
    def lookup(self) -> Lookup:
        """Give what the caches ask."""
        return Lookup()

    @pytest.fixture
    def make(self, persistence: Persistence, lookup: Lookup) -> Make:
        """Make caches: each has a memory of its own, and all have one store."""

        def make(**options: Any) -> PersistedCache[Any]:
            options = {"ttl": None, "lookup": lookup.call, "alookup": lookup.acall, **options}
            return PersistedCache(persistence, "cache", **options)

        return make

    def test_30_memory_is_asked_first_then_the_store_then_the_lookup(
        self, make: Make, watched: Watched, lookup: Lookup, call: Call
    ) -> None:
        """Statement 30."""
        cache = make()
        assert call(cache, "get", Ask("k")) == 1
        assert watched.calls == ["get", "set"]
        assert call(cache, "get", Ask("k")) == 1
        assert watched.calls == ["get", "set"]
        assert call(make(), "get", Ask("k")) == 1
        assert watched.calls == ["get", "set", "get"]
        assert lookup.calls == [Ask("k")]

    def test_31_an_exit_is_replayed_without_the_lookup(
        self, make: Make, store: PersistenceStore, lookup: Lookup, call: Call
    ) -> None:
        """Statement 31: also by a process that starts anew, also a failure, also one that the request does not know."""
        failures = {"declared": OutOfLuckError(3), "other": ValueError("no")}

        def answer(request: Ask) -> int:
            if request.key in failures:
                raise failures[request.key]
            return 5

        lookup.answer = answer
        for cache in (make(errors=[ValueError]), make(errors=[ValueError])):
            for _ in range(2):
                assert call(cache, "get", Ask("fine")) == 5
                with pytest.raises(OutOfLuckError, match="out of luck: 3"):
                    call(cache, "get", Ask("declared"))
                with pytest.raises(ValueError, match="no"):
                    call(cache, "get", Ask("other"))
        with pytest.raises(ReplayedError, match="ValueError: no"):
            call(make(), "get", Ask("other"))
        assert len(lookup.calls) == 3
        assert call(store, "get", Ask("fine")) == Success(5)
        assert isinstance(call(store, "get", Ask("other")), Failure)

    def test_32_threads_and_tasks_that_ask_at_a_time_make_one_lookup(self, make: Make, lookup: Lookup) -> None:
        """Statement 32: on one cache."""
        cache = make()
        lookup.go_on.clear()

        async def ask() -> list[Any]:
            with ThreadPoolExecutor(_MANY) as pool:
                loop = asyncio.get_running_loop()
                threads = [loop.run_in_executor(pool, cache.get, Ask("k")) for _ in range(_MANY)]
                tasks = [asyncio.create_task(cache.aget(Ask("k"))) for _ in range(_MANY)]
                await asyncio.to_thread(lookup.asked.wait)
                await asyncio.sleep(0.05)
                lookup.go_on.set()
                return await asyncio.gather(*threads, *tasks)

        assert asyncio.run(ask()) == [1] * (2 * _MANY)
        assert lookup.calls == [Ask("k")]

    def test_32_a_failure_is_that_of_all_who_ask_at_a_time(self, make: Make, lookup: Lookup) -> None:
        """Statement 32, also where the failure is not kept."""
        cache = make(ttl=0)
        lookup.go_on.clear()
        lookup.answer = _raise(OutOfLuckError(1))

        async def ask() -> list[Any]:
            tasks = [asyncio.create_task(cache.aget(Ask("k"))) for _ in range(_MANY)]
            await asyncio.sleep(0.02)
            lookup.go_on.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(error) for error in asyncio.run(ask())} == {OutOfLuckError}
        assert len(lookup.calls) == 1

    def test_32_a_blocking_call_in_a_loop_does_not_wait_for_its_tasks(self, make: Make, lookup: Lookup) -> None:
        """Statement 32, in Python: it makes its own lookup instead of waiting forever."""
        cache = make()

        async def ask() -> list[Any]:
            lookup.go_on.clear()
            task = asyncio.create_task(cache.aget(Ask("k")))
            while not lookup.calls:
                await asyncio.sleep(0)
            lookup.go_on.set()
            return [cache.get(Ask("k")), await task]

        assert asyncio.run(ask()) == [2, 2]
        assert len(lookup.calls) == 2

    def test_33_a_caller_who_is_cancelled_stores_nothing(
        self, make: Make, store: PersistenceStore, lookup: Lookup
    ) -> None:
        """Statement 33."""
        cache = make()
        lookup.go_on.clear()

        async def ask() -> None:
            task = asyncio.create_task(cache.aget(Ask("k")))
            await asyncio.to_thread(lookup.asked.wait)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        asyncio.run(ask())
        assert store.get(Ask("k")) is None
        lookup.go_on.set()
        assert cache.get(Ask("k")) == 2

    def test_33_a_leader_who_is_cancelled_hands_over(self, make: Make, lookup: Lookup) -> None:
        """Statement 33, in Python: one of those who wait asks anew, and a waiter can be cancelled alone."""
        cache = make()
        lookup.go_on.clear()

        async def ask() -> list[Any]:
            tasks = [asyncio.create_task(cache.aget(Ask("k"))) for _ in range(_MANY)]
            await asyncio.to_thread(lookup.asked.wait)
            await asyncio.sleep(0.01)
            tasks[5].cancel()
            tasks[0].cancel()
            await asyncio.sleep(0.01)
            lookup.go_on.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        results = asyncio.run(ask())
        assert [result for result in results if not isinstance(result, BaseException)] == [2] * (_MANY - 2)
        assert isinstance(results[0], asyncio.CancelledError)
        assert isinstance(results[5], asyncio.CancelledError)
        assert len(lookup.calls) == 2

    @pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError])
    def test_34_what_is_no_end_of_a_request_is_not_stored(
        self, make: Make, watched: Watched, lookup: Lookup, call: Call, ending: type[BaseException]
    ) -> None:
        """Statement 34, with the better behaviour: an interruption is not kept, and so not replayed."""
        cache = make()
        lookup.answer = _raise(ending())
        with pytest.raises(ending):
            call(cache, "get", Ask("k"))
        assert "set" not in watched.calls
        lookup.answer = lambda _request: 7
        assert call(cache, "get", Ask("k")) == 7

    def test_35_what_cannot_be_read_is_a_miss(self, make: Make, backing: Backing, lookup: Lookup, call: Call) -> None:
        """Statement 35: the lookup runs, and its exit is stored over the row."""
        rows = backing.make("cache")
        for number, row in enumerate(({"_tag": "Success", "value": {"number": "?"}}, {"_tag": "?"}, "text", [])):
            call(rows, "set", "k", row)
            assert call(make(on_store_error="raise"), "get", Ask("k")) == number + 1
            assert call(rows, "get", "k")["value"] == {"number": number + 1}
        assert call(make(), "get", Ask("k")) == 4

    def test_35_a_corrupt_row_is_a_miss(self, make: Make, backing: Backing, call: Call) -> None:
        """Statement 35, for a row whose bytes are damaged."""
        assert call(make(), "get", Ask("k")) == 1
        self.corrupt(backing, "cache", "k")
        assert call(make(on_store_error="raise"), "get", Ask("k")) == 2
        assert call(make(on_store_error="raise"), "get", Ask("k")) == 2

    def test_36_a_store_that_fails_is_bypassed(
        self, make: Make, watched: Watched, lookup: Lookup, call: Call, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Statement 36, with the better behaviour: the answer is returned, the fault is counted, and said once."""
        cache = make()
        watched.failing = {"get", "set"}
        assert [call(cache, "get", Ask(key)) for key in "abca"] == [1, 2, 3, 1]  # the last one from memory
        assert cache.bypassed == 6
        assert [record.name for record in caplog.records] == ["chatcache"]
        assert "store 'cache' is not used for a call: get was told to fail" in caplog.text

    def test_36_a_store_that_fails_can_be_an_error(
        self, make: Make, watched: Watched, lookup: Lookup, call: Call
    ) -> None:
        """Statement 36: where it cannot be read the lookup is not made, and no error of the store is kept."""
        cache = make(on_store_error="raise")
        watched.failing = {"get"}
        with pytest.raises(PersistenceError, match="get was told to fail"):
            call(cache, "get", Ask("k"))
        assert lookup.calls == []
        watched.failing = {"set"}
        with pytest.raises(PersistenceError, match="set was told to fail"):
            call(cache, "get", Ask("k"))
        watched.failing = set()
        assert call(cache, "get", Ask("k")) == 2
        assert cache.bypassed == 0

    def test_37_an_answer_that_cannot_be_stored_is_returned(
        self, make: Make, watched: Watched, lookup: Lookup, call: Call
    ) -> None:
        """Statement 37, with the better behaviour; where the store's errors are raised, so is this one."""
        lookup.answer = lambda _request: "no number"
        cache = make()
        assert call(cache, "get", Ask("k")) == "no number"
        assert cache.bypassed == 1
        assert "set" not in watched.calls
        with pytest.raises(InvalidValueError, match="'no number' is no int"):
            call(make(on_store_error="raise"), "get", Ask("k"))

    def test_37_an_answer_is_not_lost_to_a_ttl_that_is_none(self, make: Make, lookup: Lookup, call: Call) -> None:
        """Statement 37, for the other thing that is asked before an answer is stored."""
        cache = make(ttl=lambda _exit, _request: "soon")
        assert call(cache, "get", Ask("k")) == 1
        assert cache.bypassed == 1
        with pytest.raises(InvalidTTLError):
            call(make(ttl=lambda _exit, _request: "soon", on_store_error="raise"), "get", Ask("k"))

    def test_38_memory_holds_a_value_for_ten_seconds(
        self, make: Make, watched: Watched, clock: ManualClock, call: Call
    ) -> None:
        """Statement 38: then the store is asked."""
        cache = make()
        call(cache, "get", Ask("k"))
        clock.now += 9.999
        call(cache, "get", Ask("k"))
        assert watched.calls == ["get", "set"]
        clock.now += 0.001
        call(cache, "get", Ask("k"))
        assert watched.calls == ["get", "set", "get"]

    def test_38_memory_holds_a_thousand_and_twenty_four(self, make: Make, watched: Watched, call: Call) -> None:
        """Statement 38: the least recently used value is dropped first."""
        cache = make()
        for number in range(1_024):
            call(cache, "get", Ask(str(number)))
        call(cache, "get", Ask("0"))
        call(cache, "get", Ask("one more"))
        watched.calls.clear()
        for number in (0, 2, 1023):
            call(cache, "get", Ask(str(number)))
        assert watched.calls == []
        call(cache, "get", Ask("1"))
        assert watched.calls == ["get"]

    def test_38_without_a_store_or_memory_every_call_looks_up(self, make: Make, lookup: Lookup, call: Call) -> None:
        """Statement 38: a TTL of 0 is no retention. Nor is what must not be stored held in memory."""
        for _ in range(3):
            assert call(make(), "get", Ask("k")) == 1
            assert call(make(memory_ttl=0), "get", Ask("k")) == 1
            assert call(make(memory_capacity=0), "get", Ask("k")) == 1
        cache = make(ttl=0)
        assert [call(cache, "get", Ask("other")) for _ in range(3)] == [2, 3, 4]
        assert len(lookup.calls) == 4

    def test_38_memory_holds_nothing_longer_than_the_store(
        self, make: Make, clock: ManualClock, lookup: Lookup, call: Call
    ) -> None:
        """Statement 38, with the better behaviour: what expired is not served."""
        cache = make(ttl=5, memory_ttl=None)
        assert call(cache, "get", Ask("k")) == 1
        clock.now += 4.999
        assert call(cache, "get", Ask("k")) == 1
        clock.now += 0.001
        assert call(cache, "get", Ask("k")) == 2
        fresh = make(ttl=5, memory_ttl=None)
        clock.now += 3
        assert call(fresh, "get", Ask("k")) == 2
        clock.now += 2
        assert call(fresh, "get", Ask("k")) == 3

    def test_39_invalidate_removes_the_row_and_the_value(self, make: Make, store: PersistenceStore, call: Call) -> None:
        """Statement 39: the next one looks up."""
        cache = make()
        assert [call(cache, "get", Ask(key)) for key in "ab"] == [1, 2]
        call(cache, "invalidate", Ask("a"))
        assert call(store, "get", Ask("a")) is None
        assert [call(cache, "get", Ask(key)) for key in "ab"] == [3, 2]

    @pytest.mark.parametrize("policy", ["bypass", "raise"])
    def test_39_where_the_row_cannot_be_removed_the_value_stays(
        self, make: Make, watched: Watched, call: Call, policy: str
    ) -> None:
        """Statement 39: and the error is raised, whatever is done about others."""
        cache = make(on_store_error=policy)
        call(cache, "get", Ask("k"))
        watched.failing = {"remove"}
        with pytest.raises(PersistenceError, match="remove was told to fail"):
            call(cache, "invalidate", Ask("k"))
        assert call(cache, "get", Ask("k")) == 1

    def test_39_who_asks_after_invalidate_does_not_join_an_older_lookup(self, make: Make, lookup: Lookup) -> None:
        """Statement 39, for a lookup that is going on."""
        cache = make()
        lookup.go_on.clear()
        lookup.answer = lambda _request: object()

        async def ask() -> list[Any]:
            older = asyncio.create_task(cache.aget(Ask("k")))
            await asyncio.to_thread(lookup.asked.wait)
            await cache.ainvalidate(Ask("k"))
            newer = asyncio.create_task(cache.aget(Ask("k")))
            await asyncio.sleep(0.01)
            lookup.go_on.set()
            return [await older, await newer]

        older, newer = asyncio.run(ask())
        assert older is not newer
        assert len(lookup.calls) == 2

    def test_40_what_is_written_to_the_store_is_seen_when_memory_ends(
        self, make: Make, store: PersistenceStore, clock: ManualClock, call: Call
    ) -> None:
        """Statement 40."""
        cache = make()
        call(cache, "get", Ask("k"))
        call(store, "set", Ask("k"), Success(99))
        assert call(cache, "get", Ask("k")) == 1
        clock.now += 10
        assert call(cache, "get", Ask("k")) == 99

    def test_41_a_lookup_that_raises_at_once_has_failed(self, make: Make, store: PersistenceStore, call: Call) -> None:
        """Statement 41: even an awaited one that raises before there is anything to await."""
        at_once = _raise(ZeroDivisionError("by zero"))
        cache = make(lookup=at_once, alookup=at_once)
        with pytest.raises(ZeroDivisionError, match="by zero"):
            call(cache, "get", Ask("k"))
        with pytest.raises(ReplayedError, match="ZeroDivisionError: by zero"):
            call(cache, "get", Ask("k"))
        assert isinstance(call(store, "get", Ask("k")), Failure)

    def test_42_a_lookup_has_the_context_of_the_first_who_asks(self, make: Make, lookup: Lookup) -> None:
        """Statement 42."""
        variable: ContextVar[int] = ContextVar("variable", default=0)
        lookup.answer = lambda _request: variable.get()
        lookup.go_on.clear()
        cache = make()

        async def ask(number: int) -> Any:
            variable.set(number)
            return await cache.aget(Ask("tasks"))

        async def both() -> list[Any]:
            first = asyncio.create_task(ask(1))
            await asyncio.to_thread(lookup.asked.wait)
            second = asyncio.create_task(ask(2))
            await asyncio.sleep(0.01)
            lookup.go_on.set()
            return [await first, await second]

        assert asyncio.run(both()) == [1, 1]
        context = copy_context()
        context.run(variable.set, 3)
        assert context.run(cache.get, Ask("thread")) == 3

    def test_an_answer_that_is_too_old_is_looked_up_again(
        self, make: Make, clock: ManualClock, lookup: Lookup, call: Call
    ) -> None:
        """With ``max_age``: from memory or from the store, an answer is as old as its lookup; an age of 0 is none."""
        cache = make()
        assert call(cache, "get", Ask("k")) == 1
        clock.now += 5
        assert call(cache, "get", Ask("k"), max_age=5.001) == 1
        assert call(make(), "get", Ask("k"), max_age=timedelta(seconds=5.001)) == 1
        assert call(cache, "get", Ask("k"), max_age=5) == 2
        assert call(make(), "get", Ask("k"), max_age=0.001) == 2
        assert call(make(), "get", Ask("k"), max_age=0) == 3
        assert call(cache, "get", Ask("k"), max_age=0) == 4
        assert call(make(), "get", Ask("k")) == 4

    def test_a_row_that_does_not_say_its_age_is_too_old(self, make: Make, backing: Backing, call: Call) -> None:
        """With ``max_age``."""
        call(backing.make("cache"), "set", "k", {"_tag": "Success", "value": {"number": 99}})
        assert call(make(), "get", Ask("k")) == 99
        assert call(make(), "get", Ask("k"), max_age=1_000_000) == 1

    def test_who_wants_a_newer_answer_does_not_get_that_of_who_does_not(
        self, make: Make, store: PersistenceStore, watched: Watched, clock: ManualClock, lookup: Lookup
    ) -> None:
        """With ``max_age``: whoever joins a lookup gets an answer that is new, whatever the age it asks for."""
        store.set(Ask("k"), Success(99))
        clock.now += 100
        cache = make(memory_ttl=0)

        async def ask() -> list[Any]:
            ages = [None, 10, None, 10, 0]
            return await asyncio.gather(*(cache.aget(Ask("k"), max_age=age) for age in ages))

        results = asyncio.run(ask())
        assert set(results) <= {99, 1, 2}
        assert 99 not in {results[1], results[3], results[4]}

    def test_a_hit_extends_the_life_of_what_is_stored(
        self, make: Make, watched: Watched, clock: ManualClock, lookup: Lookup, call: Call
    ) -> None:
        """With ``sliding``: it writes only where more than a tenth of the TTL is gone."""
        cache = make(ttl=100, sliding=True)
        call(cache, "get", Ask("k"))
        for _ in range(10):
            clock.now += 10
            assert call(cache, "get", Ask("k")) == 1  # a tenth is gone: not yet
            clock.now += 60
            assert call(cache, "get", Ask("k")) == 1
        assert watched.calls.count("set") == 1 + 10
        clock.now += 100
        assert call(cache, "get", Ask("k")) == 2

    def test_a_life_that_is_extended_makes_nothing_younger(self, make: Make, clock: ManualClock, call: Call) -> None:
        """With ``sliding`` and ``max_age``."""
        cache = make(ttl=100, sliding=True)
        call(cache, "get", Ask("k"))
        clock.now += 90
        assert call(cache, "get", Ask("k"), max_age=91) == 1
        clock.now += 90
        assert call(make(ttl=100), "get", Ask("k"), max_age=181) == 1
        assert call(cache, "get", Ask("k"), max_age=180) == 2

    def test_a_life_that_cannot_be_extended_is_no_reason_to_fail(
        self, make: Make, watched: Watched, clock: ManualClock, call: Call
    ) -> None:
        """With ``sliding``: the policy of a store that fails is that of any other write."""
        call(make(ttl=100), "get", Ask("k"))
        clock.now += 50
        watched.failing = {"set"}
        cache = make(ttl=100, sliding=True)
        assert call(cache, "get", Ask("k")) == 1
        assert cache.bypassed == 1
        with pytest.raises(PersistenceError, match="set was told to fail"):
            call(make(ttl=100, sliding=True, on_store_error="raise"), "get", Ask("k"))

    def test_two_classes_of_one_primary_key_share_a_row_but_no_value(self, make: Make, call: Call) -> None:
        """Statement 19, for what is in memory."""
        cache = make()
        assert call(cache, "get", Ask("k")) == 1
        assert call(cache, "get", Tell("k")) == {"number": 1}

    @pytest.mark.parametrize(
        "wrong", [{"on_store_error": "ignore"}, {"memory_ttl": "10"}, {"memory_capacity": -1}, {"ttl": "10"}]
    )
    def test_options_that_cannot_be_right_are_refused(self, make: Make, wrong: Any) -> None:
        """When the cache is made."""
        with pytest.raises(InvalidInputError):
            make(**wrong)

    def test_a_cache_without_a_lookup_of_a_colour_says_so(self, make: Make, call: Call) -> None:
        """When it is asked in that colour."""
        with pytest.raises(InvalidInputError, match="needs a lookup: pass "):
            call(make(lookup=None, alookup=None), "get", Ask("k"))


def _raise(error: BaseException) -> Callable[[Any], Any]:
    def answer(_request: Any) -> Any:
        raise error

    return answer

"""The contract of a typed store: statements 19-29 of Effect's ``Persistence``, and 43 of its ``Persistable``."""

from concurrent.futures import CancelledError
from datetime import timedelta
from math import inf
from typing import Any

import pytest

from chatcache.backing import Backing, BackingStore
from chatcache.errors import (
    DecodeError,
    InvalidInputError,
    InvalidTTLError,
    InvalidValueError,
    PersistenceError,
    ReplayedError,
)
from chatcache.exit import Failure, Success
from chatcache.persistence import Persistence, PersistenceStore

from .clock import ManualClock
from .doubles import Watched
from .requests import Ask, OutOfLuckError, Tell
from .suite import Call, TypedSuite

__all__ = ["PersistenceSuite"]


class PersistenceSuite(TypedSuite):
    """Tests of typed stores over a backing; see `chatcache.testing`."""

    @pytest.fixture
    def store(self, persistence: Persistence) -> PersistenceStore:
        """Give one of them."""
        return persistence.make("store")

    @pytest.fixture
    def rows(self, backing: Backing) -> BackingStore:
        """Give its rows."""
        return backing.make("store")

    def test_19_the_primary_key_is_the_whole_key(self, store: PersistenceStore, rows: BackingStore, call: Call) -> None:
        """Statement 19: two classes with one primary key share a row."""
        call(store, "set", Tell("k"), Success({"number": 5}))
        assert call(store, "get", Ask("k")) == Success(5)
        assert call(rows, "get", "k")["value"] == {"number": 5}

    def test_20_a_row_is_an_exit(
        self, store: PersistenceStore, rows: BackingStore, clock: ManualClock, call: Call
    ) -> None:
        """Statement 20: a success, an error that the request declares, and any other."""
        clock.now = 1_700_000_000.123
        exits = [Success(1), Failure(OutOfLuckError(2)), Failure(ValueError("no")), Failure(KeyError("a", 3))]
        for number, each in enumerate(exits):
            call(store, "set", Ask(str(number)), each)
        die = {"_tag": "Die", "defect": {"name": "KeyError", "message": "('a', 3)", "args": ["a", 3]}}
        at = {"at": 1_700_000_000_123}
        assert call(rows, "get_many", ["0", "1", "2", "3"]) == [
            {"_tag": "Success", "value": {"number": 1}} | at,
            {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": {"number": 2}}]} | at,
            {"_tag": "Failure", "cause": [{"_tag": "Die", "defect": {"name": "ValueError", "message": "no"}}]} | at,
            {"_tag": "Failure", "cause": [die]} | at,
        ]

    def test_20_an_exit_comes_back(self, store: PersistenceStore, call: Call) -> None:
        """Statement 20: a success as it was, a declared error as itself, any other as what it said."""
        call(store, "set", Ask("success"), Success(1))
        call(store, "set", Ask("declared"), Failure(OutOfLuckError(2)))
        problem = LookupError("gone")
        problem.status = 404  # type: ignore[attr-defined]
        problem.response = object()  # type: ignore[attr-defined]  # nothing to store
        call(store, "set", Ask("other"), Failure(problem))
        assert call(store, "get", Ask("success")) == Success(1)
        declared, other = call(store, "get", Ask("declared")).error, call(store, "get", Ask("other")).error
        assert (type(declared), declared.number) == (OutOfLuckError, 2)
        assert (type(other), other.name, other.message) == (ReplayedError, "LookupError", "gone")
        assert other.data == {"status": 404}
        call(store, "set", Ask("again"), Failure(other))
        again = call(store, "get", Ask("again")).error
        assert (again.name, again.message, again.data) == (other.name, other.message, other.data)

    def test_20_an_allowed_class_is_made_again(
        self, persistence: Persistence, store: PersistenceStore, call: Call
    ) -> None:
        """Statement 20, in Python: no class is imported by its name; the reader says which ones may be made."""
        name = f"{OutOfLuckError.__module__}.OutOfLuckError"
        call(store, "set", Tell("k"), Failure(OutOfLuckError(7)))
        assert call(store, "get", Tell("k")).error.name == name
        for errors in ({OutOfLuckError}, {name: OutOfLuckError}):
            read = call(persistence.make("store", errors=errors), "get", Tell("k")).error
            assert (type(read), read.number, str(read)) == (OutOfLuckError, 7, "out of luck: 7")
        named = persistence.make("store", errors={"luck": OutOfLuckError})
        call(named, "set", Tell("k"), Failure(OutOfLuckError(8)))
        assert call(store, "get", Tell("k")).error.name == "luck"
        assert call(named, "get", Tell("k")).error.number == 8

    @pytest.mark.parametrize("wrong", [[KeyboardInterrupt], ["ValueError"], {"name": int}])
    def test_20_what_is_no_exception_class_is_refused(self, persistence: Persistence, wrong: Any) -> None:
        """Statement 20, in Python."""
        with pytest.raises(InvalidInputError, match="is no exception class"):
            persistence.make("store", errors=wrong)

    def test_21_the_ttl_function_is_called_once_for_each_write(self, persistence: Persistence, call: Call) -> None:
        """Statement 21: as ``ttl(exit, request)``."""
        calls: list[Any] = []

        def ttl(*arguments: Any) -> float:
            calls.append(arguments)
            return 10

        store = persistence.make("store", ttl=ttl)
        call(store, "set", Ask("a"), Success(1))
        call(store, "set_many", [(Ask("b"), Success(2)), (Ask("c"), Success(3))])
        call(store, "get", Ask("a"))
        assert calls == [(Success(1), Ask("a")), (Success(2), Ask("b")), (Success(3), Ask("c"))]

    @pytest.mark.parametrize("ttl", [0, -5, timedelta(0)])
    def test_22_a_ttl_that_is_not_positive_writes_nothing(
        self, persistence: Persistence, store: PersistenceStore, call: Call, ttl: Any
    ) -> None:
        """Statement 22: what is there stays, and the value is not even encoded."""
        call(store, "set", Ask("k"), Success(1))
        call(persistence.make("store", ttl=ttl), "set", Ask("k"), Success("no number"))
        assert call(store, "get", Ask("k")) == Success(1)

    @pytest.mark.parametrize("ttl", [None, inf, lambda _exit, _request: None])
    def test_23_without_a_ttl_it_is_kept_for_ever(
        self, persistence: Persistence, clock: ManualClock, call: Call, ttl: Any
    ) -> None:
        """Statement 23."""
        store = persistence.make("store", ttl=ttl)
        call(store, "set", Ask("k"), Success(1))
        clock.now += 1_000_000_000
        assert call(store, "get", Ask("k")) == Success(1)

    def test_23_a_number_is_seconds(self, persistence: Persistence, clock: ManualClock, call: Call) -> None:
        """Statement 23, in Python: there a bare number is milliseconds."""
        call(persistence.make("store", ttl=10), "set", Ask("a"), Success(1))
        call(persistence.make("store", ttl=timedelta(seconds=20)), "set", Ask("b"), Success(2))
        store = persistence.make("store")
        clock.now += 9.999
        assert call(store, "get_many", [Ask("a"), Ask("b")]) == [Success(1), Success(2)]
        clock.now += 0.001
        assert call(store, "get_many", [Ask("a"), Ask("b")]) == [None, Success(2)]

    @pytest.mark.parametrize("ttl", ["10", lambda _exit, _request: "10"])
    def test_23_what_is_no_ttl_is_refused(self, persistence: Persistence, call: Call, ttl: Any) -> None:
        """Statement 23: at once where it is a constant."""
        with pytest.raises(InvalidTTLError):
            call(persistence.make("store", ttl=ttl), "set", Ask("k"), Success(1))

    def test_24_a_miss_is_none_and_what_cannot_be_read_stays(
        self, store: PersistenceStore, rows: BackingStore, call: Call
    ) -> None:
        """Statement 24."""
        assert call(store, "get", Ask("k")) is None
        for row in UNREADABLE:
            call(rows, "set", "k", row)
            with pytest.raises(DecodeError, match="under 'k' is no result of Ask"):
                call(store, "get", Ask("k"))
            assert call(rows, "get", "k") == row

    def test_25_get_many_of_nothing_does_not_touch_the_backing(
        self, store: PersistenceStore, watched: Watched, call: Call
    ) -> None:
        """Statement 25."""
        assert call(store, "get_many", []) == []
        assert watched.calls == []

    def test_25_get_many_keeps_order_and_duplicates(self, store: PersistenceStore, call: Call) -> None:
        """Statement 25: of any iterable."""
        call(store, "set_many", iter([(Ask("a"), Success(1)), (Ask("b"), Success(2))]))
        asked = iter([Ask("b"), Ask("x"), Ask("a"), Ask("b")])
        assert call(store, "get_many", asked) == [Success(2), None, Success(1), Success(2)]

    def test_26_get_many_removes_what_cannot_be_read(
        self, store: PersistenceStore, rows: BackingStore, watched: Watched, call: Call
    ) -> None:
        """Statement 26: its slot is empty, the others are not affected, nor is the call where the removal fails."""
        call(store, "set", Ask("good"), Success(1))
        call(rows, "set_many", [(str(number), row, None) for number, row in enumerate(UNREADABLE)])
        asked = [Ask("good"), *(Ask(str(number)) for number in range(len(UNREADABLE)))]
        watched.failing = {"remove"}
        assert call(store, "get_many", asked) == [Success(1)] + [None] * len(UNREADABLE)
        assert call(rows, "get", "0") == UNREADABLE[0]
        watched.failing = set()
        assert call(store, "get_many", asked) == [Success(1)] + [None] * len(UNREADABLE)
        assert call(rows, "get_many", [ask.key for ask in asked[1:]]) == [None] * len(UNREADABLE)

    def test_27_a_backing_that_miscounts_is_an_error(
        self, store: PersistenceStore, watched: Watched, call: Call
    ) -> None:
        """Statement 27."""
        watched.too_few = True
        with pytest.raises(PersistenceError, match="expected 2 results but got 1 from the backing store"):
            call(store, "get_many", [Ask("a"), Ask("b")])

    def test_28_set_many_skips_what_is_not_to_be_kept(
        self, persistence: Persistence, watched: Watched, call: Call
    ) -> None:
        """Statement 28: and does not call the backing where nothing remains."""
        store = persistence.make("store", ttl=lambda exit_, _request: 10 if isinstance(exit_, Success) else 0)
        call(store, "set_many", [(Ask("a"), Failure(OutOfLuckError(1)))])
        call(store, "set_many", [])
        assert watched.calls == []
        call(store, "set_many", [(Ask("a"), Failure(OutOfLuckError(1))), (Ask("b"), Success(2))])
        assert call(store, "get_many", [Ask("a"), Ask("b")]) == [None, Success(2)]

    def test_28_set_many_writes_all_or_nothing(self, store: PersistenceStore, watched: Watched, call: Call) -> None:
        """Statement 28: all is encoded before anything is written."""
        with pytest.raises(InvalidValueError, match="'no number' is no int"):
            call(store, "set_many", [(Ask("a"), Success(1)), (Ask("b"), Success("no number"))])
        assert watched.calls == []

    def test_29_remove_and_clear_act_on_one_store(self, persistence: Persistence, call: Call) -> None:
        """Statement 29."""
        one, other = persistence.make("one"), persistence.make("other")
        for store in (one, other):
            call(store, "set_many", [(Ask(key), Success(1)) for key in "abc"])
        call(one, "remove", Ask("a"))
        call(one, "remove", Ask("never there"))
        assert call(one, "get_many", [Ask("a"), Ask("b")]) == [None, Success(1)]
        call(one, "clear")
        assert call(one, "get_many", [Ask("b"), Ask("c")]) == [None, None]
        assert call(other, "get_many", [Ask("a"), Ask("b")]) == [Success(1), Success(1)]

    def test_34_a_cancellation_is_never_stored(self, store: PersistenceStore, watched: Watched, call: Call) -> None:
        """Statement 34, for whoever writes to a store."""
        for ending in (KeyboardInterrupt(), SystemExit(), GeneratorExit(), BaseException()):
            with pytest.raises(InvalidInputError, match="no result to keep"):
                Failure(ending)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match="no result to keep"):
            call(store, "set", Ask("k"), Failure(CancelledError()))
        assert watched.calls == []

    def test_43_a_request_need_not_declare_anything(
        self, store: PersistenceStore, rows: BackingStore, call: Call
    ) -> None:
        """Statement 43, in Python: then a success is kept as it is, and no error is one that it declares."""
        value = {"text": "é", "numbers": [1, 2.5, None]}
        call(store, "set", Tell("success"), Success(value))
        call(store, "set", Tell("failure"), Failure(OutOfLuckError(2)))
        assert call(rows, "get", "success")["value"] == value
        assert call(store, "get", Tell("success")) == Success(value)
        assert call(rows, "get", "failure")["cause"][0]["_tag"] == "Die"
        assert isinstance(call(store, "get", Tell("failure")).error, ReplayedError)

    def test_17_a_fault_of_the_backend_passes_through(
        self, store: PersistenceStore, watched: Watched, call: Call
    ) -> None:
        """Statement 17."""
        watched.failing = {"get", "get_many", "set", "set_many", "remove", "clear"}
        one = (Ask("k"), Success(1))
        calls: list[tuple[str, Any]] = [("get", Ask("k")), ("get_many", [Ask("k")]), ("set_many", [one])]
        for name, argument in [*calls, ("remove", Ask("k"))]:
            with pytest.raises(PersistenceError, match="told to fail"):
                call(store, name, argument)
        with pytest.raises(PersistenceError, match="told to fail"):
            call(store, "set", *one)


# What no request reads: not an exit, not one of `Ask`, an interruption, an error that is none of `Ask`'s
UNREADABLE: list[Any] = [
    "text",
    {},
    {"_tag": "Success"},
    {"_tag": "Success", "value": {"number": "five"}},
    {"_tag": "Failure", "cause": []},
    {"_tag": "Failure", "cause": [{"_tag": "Interrupt", "fiberId": 1}]},
    {"_tag": "Failure", "cause": [{"_tag": "Fail", "error": {}}]},
    {"_tag": "Failure", "cause": [{"_tag": "Die", "defect": {"name": 5}}]},
]

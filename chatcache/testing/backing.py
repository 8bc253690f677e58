"""The contract of a backing: statements 1-18 of Effect's ``BackingPersistenceStore``.

Of 12 only what a caller sees is tested, and 13 is about one way to build a backend.
"""

from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest

from chatcache.backing import Backing, BackingStore
from chatcache.errors import CorruptRecordError, InvalidNameError, InvalidTTLError, InvalidValueError, PersistenceError

from .clock import ManualClock
from .suite import Call, Suite

__all__ = ["BackingSuite"]


class BackingSuite(Suite):
    """Tests of a backing; see `chatcache.testing`."""

    @pytest.fixture
    def store(self, backing: Backing) -> BackingStore:
        """Give a store of the backing."""
        return backing.make("store")

    def test_1_two_stores_of_one_id_see_the_same_entries(self, backing: Backing, call: Call) -> None:
        """Statement 1."""
        first, second = backing.make("one"), backing.make("one")
        call(first, "set", "key", 1)
        assert call(second, "get", "key") == 1
        assert call(backing.make("one"), "get", "key") == 1

    def test_2_and_3_stores_are_isolated_whatever_their_ids_hold(self, backing: Backing, call: Call) -> None:
        """Statements 2 and 3: no pair of store id and key is another's."""
        pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a%", "3Ab:c"), ("a*", "c"), ("a_", "c"), ("A", "b:c")]
        for number, (store_id, key) in enumerate(pairs):
            call(backing.make(store_id), "set", key, number)
        call(backing.make("a:b"), "remove", "never there")
        assert [call(backing.make(store_id), "get", key) for store_id, key in pairs] == list(range(len(pairs)))
        call(backing.make("a"), "remove", "b:c")
        assert [call(backing.make(store_id), "get", key) for store_id, key in pairs] == [0, None, 2, 3, 4, 5, 6]

    def test_4_clear_removes_the_entries_of_one_store(self, backing: Backing, call: Call) -> None:
        """Statement 4: exactly those, also where ids hold wildcards; an empty store is none the less cleared."""
        ids = ["a", "a:b", "a%", "a*", "aa", "A", "%", "_"]
        for store_id in ids:
            call(backing.make(store_id), "set", "key", store_id)
        for store_id in ("a", "%", "_", "never used"):
            call(backing.make(store_id), "clear")
        left = [store_id for store_id in ids if call(backing.make(store_id), "get", "key") is not None]
        assert left == ["a:b", "a%", "a*", "aa", "A"]

    def test_5_a_missing_key_is_no_error(self, store: BackingStore, call: Call) -> None:
        """Statement 5."""
        assert call(store, "get", "key") is None
        assert call(store, "get", "key", "default") == "default"

    def test_6_get_many_fills_a_slot_for_each_key(self, store: BackingStore, call: Call) -> None:
        """Statement 6: in the order of the keys, and duplicates, too."""
        call(store, "set_many", [("a", 1, None), ("b", None, None)])
        assert call(store, "get_many", ["b", "x", "a", "a"], "?") == [None, "?", 1, 1]
        assert call(store, "get_many", []) == []

    def test_7_set_replaces_the_value_and_its_expiry(self, store: BackingStore, clock: ManualClock, call: Call) -> None:
        """Statement 7: without a TTL it is permanent again."""
        call(store, "set", "key", 1, 10)
        call(store, "set", "key", 2)
        clock.now += 1_000_000_000
        assert call(store, "get", "key") == 2

    def test_8_the_clock_is_read_at_each_call(self, store: BackingStore, clock: ManualClock, call: Call) -> None:
        """Statement 8: when it is written, and when it is read."""
        clock.now += 5
        call(store, "set", "key", 1, timedelta(seconds=10))
        clock.now += 9.999
        assert call(store, "get", "key") == 1
        clock.now += 0.001
        assert call(store, "get", "key") is None

    def test_9_an_entry_is_gone_at_exactly_its_end(self, store: BackingStore, clock: ManualClock, call: Call) -> None:
        """Statement 9."""
        call(store, "set_many", [("one", 1, 10), ("two", 2, 10.001), ("three", 3, inf)])
        clock.now += 10
        assert call(store, "get_many", ["one", "two", "three"]) == [None, 2, 3]
        assert call(store, "get", "one") is None

    @pytest.mark.parametrize("ttl", [0, -1, timedelta(seconds=-1)])
    def test_10_a_ttl_that_is_not_positive_hides_the_old_value(self, store: BackingStore, call: Call, ttl: Any) -> None:
        """Statement 10."""
        call(store, "set", "key", "old")
        call(store, "set", "key", "new", ttl)
        assert call(store, "get", "key") is None

    def test_11_part_of_a_millisecond_counts_as_a_whole_one(
        self, store: BackingStore, clock: ManualClock, call: Call
    ) -> None:
        """Statement 11."""
        microsecond = timedelta(microseconds=1)
        call(store, "set_many", [("a", 1, 0.0001), ("b", 1, microsecond), ("c", 1, 0.0011), ("d", 1, 1e-10)])
        assert call(store, "get_many", ["a", "b", "c", "d"]) == [1, 1, 1, 1]
        clock.now += 0.001
        assert call(store, "get_many", ["a", "b", "c", "d"]) == [None, None, 1, None]

    def test_12_what_expired_can_be_written_again(self, store: BackingStore, clock: ManualClock, call: Call) -> None:
        """Statement 12: however the expired row is deleted, it takes no newer one along."""
        call(store, "set", "key", 1, 10)
        clock.now += 10
        assert call(store, "get", "key") is None
        call(store, "set", "key", 2)
        assert call(store, "get_many", ["key"]) == [2]

    def test_14_set_many_writes_all_or_nothing(self, store: BackingStore, call: Call) -> None:
        """Statement 14, with the better behaviour: no backend writes a part of it."""
        with pytest.raises(InvalidValueError):
            call(store, "set_many", [("a", 1, None), ("b", object(), None)])
        with pytest.raises(InvalidTTLError):
            call(store, "set_many", [("a", 1, None), ("b", 2, "soon")])
        assert call(store, "get_many", ["a", "b"]) == [None, None]

    def test_15_a_corrupt_value_fails_by_its_key_and_leaves_the_others(
        self, backing: Backing, store: BackingStore, call: Call
    ) -> None:
        """Statement 15, with the better behaviour: get_many leaves the slot empty on every backend."""
        call(store, "set_many", [("good", 1, None), ("bad", 2, None)])
        self.corrupt(backing, "store", "bad")
        with pytest.raises(CorruptRecordError, match="bad"):
            call(store, "get", "bad")
        assert call(store, "get_many", ["good", "bad"], "?") == [1, "?"]
        call(store, "set", "bad", 3)
        assert call(store, "get", "bad") == 3

    def test_16_a_value_that_cannot_be_stored_fails_and_nothing_is_written(
        self, store: BackingStore, call: Call
    ) -> None:
        """Statement 16."""
        call(store, "set", "key", "old")
        with pytest.raises(PersistenceError, match="of type object"):
            call(store, "set", "key", {"part": object()})
        assert call(store, "get", "key") == "old"

    def test_17_a_fault_of_the_backend_is_a_persistence_error(
        self, backing: Backing, store: BackingStore, call: Call
    ) -> None:
        """Statement 17: with what the backend raised as its cause."""
        call(store, "set", "key", 1)
        self.break_down(backing)
        for name, arguments in (("set", ("key", 2)), ("set_many", ([("key", 2, None)],)), ("remove", ("key",))):
            with pytest.raises(PersistenceError) as caught:
                call(store, name, *arguments)
            assert caught.value.__cause__ is not None

    def test_17_to_remove_what_is_absent_succeeds(self, store: BackingStore, call: Call) -> None:
        """Statement 17."""
        call(store, "set", "key", 1)
        call(store, "remove", "key")
        call(store, "remove", "key")
        assert call(store, "get", "key") is None

    def test_18_a_key_is_data(self, store: BackingStore, call: Call) -> None:
        """Statement 18: whatever it holds, the empty one included."""
        keys = ["'; DROP TABLE entries; --", "%", "_", "*", "a:b", "", "\0", "é", "😀"]
        call(store, "set_many", [(key, key, None) for key in keys])
        assert call(store, "get_many", keys) == keys
        call(store, "remove", "%")
        assert [call(store, "get", key) for key in keys] == [None if key == "%" else key for key in keys]

    def test_a_note_lives_and_dies_with_its_entry(self, store: BackingStore, clock: ManualClock, call: Call) -> None:
        """It is there as long as the entry is, and no longer."""
        assert call(store, "note", "key") is None
        call(store, "set", "key", "value", 10, note={"by": ["whom"]})
        assert (call(store, "get", "key"), call(store, "note", "key")) == ("value", {"by": ["whom"]})
        clock.now += 9.999
        assert call(store, "note", "key") == {"by": ["whom"]}
        clock.now += 0.001
        assert (call(store, "note", "key"), call(store, "get", "key")) == (None, None)

    @pytest.mark.parametrize(
        "over",
        [
            ("set", "a", 2),
            ("set_many", [("a", 2, None)]),
            ("remove", "a"),
            ("clear",),
        ],
        ids=lambda over: over[0],
    )
    def test_what_takes_the_place_of_an_entry_takes_its_note_away(
        self, backing: Backing, store: BackingStore, call: Call, over: tuple[Any, ...]
    ) -> None:
        """Whoever writes over an entry, or removes it; notes of others stay, whatever their keys hold."""
        others = [(backing.make("store"), "b"), (backing.make("stor"), "e:a"), (backing.make("%note"), "store:a")]
        call(store, "set", "a", 1, note="of a")
        for other, key in others[1 if over == ("clear",) else 0 :]:
            call(other, "set", key, 1, note=f"of {key}")
        call(store, *over)
        call(store, "set", "a", 3)
        assert call(store, "note", "a") is None
        assert [call(other, "note", key) for other, key in others[1:]] == ["of e:a", "of store:a"]
        assert call(store, "note", "b") == (None if over == ("clear",) else "of b")

    def test_many_entries_may_have_notes(self, store: BackingStore, call: Call) -> None:
        """Each its own, and those that are given none have none."""
        call(store, "set", "b", 0, note="old")
        call(store, "set_many", [("a", 1, None), ("b", 2, None), ("c", 3, None)], notes={"a": "of a", "c": "of c"})
        assert call(store, "get_many", ["a", "b", "c"]) == [1, 2, 3]
        assert [call(store, "note", key) for key in "abc"] == ["of a", None, "of c"]

    def test_a_note_that_cannot_be_stored_fails_and_nothing_is_written(self, store: BackingStore, call: Call) -> None:
        """As such a value does."""
        call(store, "set", "key", "old", note="old")
        with pytest.raises(InvalidValueError):
            call(store, "set", "key", "new", note=object())
        assert (call(store, "get", "key"), call(store, "note", "key")) == ("old", "old")

    def test_values_of_any_length_come_back(self, store: BackingStore, call: Call) -> None:
        """Longer ones than a row of most backends holds, over shorter ones, and shorter ones over them."""
        for length in (3_000_000, 10, 5_000_000):
            value, note = {"text": "é" * (length // 2)}, ["x" * length]
            call(store, "set", "key", value, note=note)
            assert call(store, "get", "key") == value
            assert call(store, "get_many", ["none", "key"]) == [None, value]
            assert call(store, "note", "key") == note
        call(store, "set_many", [("key", "short", None), ("long", b"x" * 5_000_000, None), ("long", "not", None)])
        assert call(store, "get_many", ["key", "long"]) == ["short", "not"]
        assert call(store, "note", "key") is None

    def test_values_come_back_equal_and_of_the_same_type(self, store: BackingStore, call: Call) -> None:
        """The values of `chatcache.codec`."""
        moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
        values = [None, True, 1, 1.0, -(2**70), "é\ud800", b"\xff", moment, (1, [2]), {"$a": {1, 2}, 3: {}}, inf]
        call(store, "set_many", [(str(number), value, None) for number, value in enumerate(values)])
        read = call(store, "get_many", [str(number) for number in range(len(values))])
        assert [(type(value), value) for value in read] == [(type(value), value) for value in values]

    def test_a_stored_value_is_not_changed_by_who_wrote_or_read_it(self, store: BackingStore, call: Call) -> None:
        """A value is copied when it is written, and when it is read."""
        value = {"list": [1]}
        call(store, "set", "key", value)
        value["list"].append(2)
        read = call(store, "get", "key")
        read["list"].append(3)
        call(store, "get_many", ["key"])[0]["list"].append(4)
        assert call(store, "get", "key") == {"list": [1]}

    @pytest.mark.parametrize("ttl", ["10", True, nan, -inf, 1e308, object()])
    def test_what_is_no_ttl_is_refused(self, store: BackingStore, call: Call, ttl: Any) -> None:
        """TTLs are those of `chatcache.ttl`."""
        with pytest.raises(InvalidTTLError, match="no time to live"):
            call(store, "set", "key", 1, ttl)

    @pytest.mark.parametrize("store_id", ["", "x" * 513, "é" * 257, None, 5, "\ud800"])
    def test_what_is_no_store_id_is_refused(self, backing: Backing, store_id: Any) -> None:
        """Store ids are 1 to 512 bytes of UTF-8."""
        with pytest.raises(InvalidNameError):
            backing.make(store_id)

    @pytest.mark.parametrize("key", [None, 5, b"x"])
    def test_a_key_that_is_no_str_is_refused(self, store: BackingStore, call: Call, key: Any) -> None:
        """Keys are str, and nothing is converted."""
        for name, arguments in (("get", (key,)), ("set", (key, 1)), ("remove", (key,)), ("get_many", ([key],))):
            with pytest.raises(InvalidNameError, match="keys are str"):
                call(store, name, *arguments)

"""The contract of a key-value store: statement 44 of Effect's ``KeyValueStore``."""

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chatcache.errors import CorruptRecordError, InvalidNameError, InvalidValueError
from chatcache.key_value_store import KeyValueStore
from chatcache.memory_storage import RowStorage

from .suite import Call, StorageSuite

__all__ = ["KeyValueStoreSuite"]

# Keys that meet in a search without regard to case, to what stands for any letter, or to where a prefix ends
KEYS = ["a", "a:b", "a:b:c", "A:b", "a%", "a_", "a*", "ab", "é", "😀", ""]


class KeyValueStoreSuite(StorageSuite):
    """Tests of key-value stores over a storage; see `chatcache.testing`."""

    @pytest.fixture
    def store(self, storage: RowStorage) -> KeyValueStore:
        """Give one of them."""
        return KeyValueStore(storage, "store")

    @pytest.fixture
    def full(self, store: KeyValueStore) -> KeyValueStore:
        """Give it with something under every key of `KEYS`."""
        for key in KEYS:
            store.set(key, f"at {key}")
        return store

    def test_44_text_and_bytes_come_back(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44: over what was there, and nothing is None."""
        assert (call(store, "get", "k"), call(store, "get_bytes", "k")) == (None, None)
        for text in ("", "text", "é😀\0\n"):
            call(store, "set", "k", text)
            assert (call(store, "get", "k"), call(store, "get_bytes", "k")) == (text, text.encode())
        for data in (b"", b"text", b"\x00\xff" * 1_000):
            call(store, "set", "k", data)
            assert (call(store, "get", "k"), call(store, "get_bytes", "k")) == (b64encode(data).decode(), data)

    def test_44_text_that_looks_like_base64_is_text(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44: it is not decoded, neither read nor after it was modified."""
        call(store, "set", "k", "dGV4dA==")
        assert call(store, "get_bytes", "k") == b"dGV4dA=="
        call(store, "set", "k", b"text")
        assert call(store, "modify", "k", str) == "dGV4dA=="
        assert call(store, "get_bytes", "k") == b"dGV4dA=="

    def test_44_has_is_whether_get_finds_something(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44: the empty text is something."""
        assert not call(store, "has", "k")
        call(store, "set", "k", "")
        assert call(store, "has", "k")
        call(store, "remove", "k")
        call(store, "remove", "k")
        assert not call(store, "has", "k")

    def test_44_modify_replaces_what_is_there(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44: and returns it."""
        call(store, "set", "k", "text")
        assert call(store, "modify", "k", str.upper) == call(store, "get", "k") == "TEXT"
        assert call(store, "modify_bytes", "k", lambda data: data + b"\xff") == b"TEXT\xff"
        assert call(store, "get_bytes", "k") == b"TEXT\xff"

    def test_44_modify_of_a_missing_key_writes_nothing(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44: nor is the function called."""
        assert call(store, "modify", "k", pytest.fail) is None
        assert call(store, "modify_bytes", "k", pytest.fail) is None
        assert call(store, "keys") == []

    def test_44_what_the_function_of_modify_raises_leaves_all_as_it_was(self, store: KeyValueStore, call: Call) -> None:
        """Statement 44, in Python."""
        call(store, "set", "k", "text")

        def fail(value: str) -> str:
            store.set("k", "changed")
            raise LookupError(value)

        with pytest.raises(LookupError, match="text"):
            call(store, "modify", "k", fail)
        assert call(store, "get", "k") == "text"

    def test_44_modify_is_atomic(self, storage: RowStorage, store: KeyValueStore) -> None:
        """Statement 44: better than Effect's, which reads and then writes."""
        store.set("k", "0")

        def count(_: int) -> None:
            for _each in range(10):
                KeyValueStore(storage, "store").modify("k", lambda value: str(int(value) + 1))

        with ThreadPoolExecutor(4) as threads:
            [*threads.map(count, range(4))]
        assert store.get("k") == "40"

    def test_44_keys_and_their_number(self, full: KeyValueStore, store: KeyValueStore, call: Call) -> None:
        """Statement 44: of any text; here they are in order."""
        assert call(full, "keys") == sorted(KEYS, key=str.encode)
        assert (call(full, "size"), call(full, "is_empty")) == (len(KEYS), False)
        call(full, "clear")
        assert (call(full, "keys"), call(full, "size"), call(full, "is_empty")) == ([], 0, True)

    @pytest.mark.parametrize("prefix", ["a", "a:", "A", "%", "_", "a%", "a_", "a*", "é", "😀", "", "never there"])
    def test_44_clear_prefix_is_exact(self, full: KeyValueStore, call: Call, prefix: str) -> None:
        """Statement 44: to the letter, with its case; all of them where it is empty."""
        call(full, "clear_prefix", prefix)
        assert call(full, "keys") == sorted((key for key in KEYS if not key.startswith(prefix)), key=str.encode)

    def test_44_a_view_has_the_keys_of_a_prefix(self, full: KeyValueStore, call: Call) -> None:
        """Statement 44: which it strips from them."""
        view = full.prefix("a:")
        assert (call(view, "keys"), call(view, "size"), call(view, "is_empty")) == (["b", "b:c"], 2, False)
        assert (call(view, "get", "b"), call(view, "get_bytes", "b")) == ("at a:b", b"at a:b")
        assert (call(view, "has", "b"), call(view, "has", "a:b")) == (True, False)
        call(view, "set", "new", b"new")
        assert (call(view, "modify", "b", str.upper), call(full, "get", "a:b")) == ("AT A:B", "AT A:B")
        assert call(view, "modify_bytes", "new", bytes.upper) == call(full, "get_bytes", "a:new") == b"NEW"
        call(view, "remove", "b")
        assert call(full, "keys") == sorted({*KEYS, "a:new"} - {"a:b"}, key=str.encode)

    def test_44_a_view_clears_no_more_than_it_has(self, full: KeyValueStore, call: Call) -> None:
        """Statement 44: and a view of a view has both prefixes."""
        assert call(full.prefix("a").prefix(":b"), "keys") == ["", ":c"]
        call(full.prefix("a:"), "clear_prefix", "b:")
        assert call(full.prefix("a:"), "keys") == ["b"]
        call(full.prefix("a:"), "clear")
        assert call(full, "keys") == sorted((key for key in KEYS if not key.startswith("a:")), key=str.encode)
        assert call(full.prefix("never there"), "is_empty")

    def test_44_stores_are_isolated(self, storage: RowStorage, call: Call) -> None:
        """Statement 2, for these: two of one id see the same keys, and no others."""
        stores = [KeyValueStore(storage, store_id) for store_id in ("a", "a:b", "a%3Ab", "a%")]
        for number, store in enumerate(stores):
            call(store, "set", "k", str(number))
        call(stores[0], "clear")
        assert [call(KeyValueStore(storage, store_id), "keys") for store_id in ("a", "a:b")] == [[], ["k"]]
        assert [call(store, "get", "k") for store in stores] == [None, "1", "2", "3"]

    @pytest.mark.parametrize("wrong", [None, 5, ["a"], bytearray(b"a"), "\ud800"])
    def test_44_what_is_neither_text_nor_bytes_is_refused(self, store: KeyValueStore, call: Call, wrong: Any) -> None:
        """Statement 16, for these: and nothing is written."""
        call(store, "set", "k", "text")
        for name, arguments in (("set", [wrong]), ("modify", [lambda _: wrong]), ("modify_bytes", [lambda _: wrong])):
            with pytest.raises(InvalidValueError, match="the key 'k'"):
                call(store, name, "k", *arguments)
        assert call(store, "get", "k") == "text"

    def test_44_what_is_no_key_or_id_is_refused(self, storage: RowStorage, store: KeyValueStore, call: Call) -> None:
        """Statement 44: any text is a key."""
        for wrong in (5, None, "\ud800"):
            for name in ("get", "remove", "clear_prefix"):
                with pytest.raises(InvalidNameError):
                    call(store, name, wrong)
            with pytest.raises(InvalidNameError):
                store.prefix(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidNameError):
            KeyValueStore(storage, "")

    def test_44_what_others_wrote_is_an_error(self, storage: RowStorage, store: KeyValueStore, call: Call) -> None:
        """Statement 15, for these."""
        storage.change({"%text:store:k": b"\x01[5]"})
        for name in ("get", "get_bytes", "has"):
            with pytest.raises(CorruptRecordError, match="the key 'k' there is"):
                call(store, name, "k")

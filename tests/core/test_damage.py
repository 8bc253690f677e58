"""Damaged files: a record is returned as it was written, or not at all."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatcache import (
    CorruptRecordError,
    DurableObjectPersistence,
    ObjectNamespace,
    ResponseCache,
    Storage,
    StorageError,
)
from chatcache.storage.rows import checksum
from tests.waiting import HANG, until

PAGE = 16_384
RECORDS = 24


def answer(number: int) -> dict[str, Any]:
    chosen = random.Random(number)  # noqa: S311 - no secrets
    words = ("sky", "ocean", "because", "blue", "42")
    return {"id": number, "content": " ".join(chosen.choices(words, k=(20, 300, 300, 9_000)[number % 4]))}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    cache = ResponseCache("store", path=folder)
    for number in range(RECORDS):
        cache.call({"q": number}, lambda request: answer(request["q"]))
        assert list(cache.stream({"q": number}, lambda request: iter([answer(request["q"])])))
    cache.close()
    return folder


def flip(data: bytearray, chosen: random.Random) -> None:
    for _ in range(chosen.choice([1, 1, 4, 64])):
        data[chosen.randrange(len(data))] ^= chosen.randrange(1, 256)


def flip_in_a_row(data: bytearray, chosen: random.Random) -> None:
    at = chosen.randrange(len(data) - 64)
    data[at : at + 64] = chosen.randbytes(64)


def swap_pages(data: bytearray, chosen: random.Random) -> None:
    one, other = (chosen.randrange(1, len(data) // PAGE) * PAGE for _ in range(2))
    data[one : one + PAGE], data[other : other + PAGE] = data[other : other + PAGE], data[one : one + PAGE]


def copy_a_page(data: bytearray, chosen: random.Random) -> None:
    one, other = (chosen.randrange(1, len(data) // PAGE) * PAGE for _ in range(2))
    data[one : one + PAGE] = data[other : other + PAGE]


def tear_a_page(data: bytearray, chosen: random.Random) -> None:
    at = chosen.randrange(len(data) // PAGE) * PAGE + 4_096 * chosen.randrange(4)
    data[at : at + 4_096] = chosen.choice([bytes(4_096), chosen.randbytes(4_096)])


def cut(data: bytearray, chosen: random.Random) -> None:
    del data[chosen.randrange(len(data)) :]


DAMAGES = [flip, flip_in_a_row, swap_pages, copy_a_page, tear_a_page, cut]


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_alters_an_answer(
    recorded: Path, tmp_path: Path, damage: Callable[[bytearray, random.Random], None]
) -> None:
    chosen = random.Random(damage.__name__)  # noqa: S311 - no secrets
    results: Counter[str] = Counter()
    for trial in range(25):
        folder = tmp_path / str(trial)
        shutil.copytree(recorded, folder)
        file = next(folder.rglob("*.sqlite"))
        data = bytearray(file.read_bytes())
        damage(data, chosen)
        file.write_bytes(data)
        cache = ResponseCache("store", path=folder, mode="read_only")
        for number in range(RECORDS):
            got = [
                cache.call({"q": number}, lambda _: "called"),
                *cache.stream({"q": number}, lambda _: iter(["called"])),
            ]
            assert all(each in (answer(number), "called") for each in got), (damage, trial, number)
            results.update("hit" if each != "called" else "miss" for each in got)
        cache.close()
    assert results["hit"] > results["miss"] > 0 or damage is cut


def altered(path: Path, sql: str, *parameters: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(sql, parameters).rowcount == 1


def test_a_damaged_record_is_called_for_and_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = ResponseCache("store", path=tmp_path)
    cache.call({"q": 1}, lambda _: "the sky is blue")
    cache.close()
    altered(
        cache.location,
        "UPDATE _cf_KV SET value = CAST(replace(value, 'blue', 'grey') AS BLOB) WHERE key LIKE 'store:%'",
    )
    assert cache.call({"q": 1}, lambda _: "the sky is blue again") == "the sky is blue again"
    assert cache.call({"q": 1}, lambda _: "never") == "the sky is blue again"
    assert (cache.stats().bypasses > 0, cache.stats().hits) == (True, 1)
    assert "the record is damaged: its checksum does not match" in caplog.text
    cache.close()


def test_in_mode_replay_a_damaged_record_is_named(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)
    cache.call({"q": 1}, lambda _: "the sky is blue")
    cache.close()
    altered(cache.location, "UPDATE _cf_KV SET checksum = x'00' WHERE key LIKE 'store:%'")
    replay = ResponseCache("store", path=tmp_path, mode="replay")
    with pytest.raises(
        CorruptRecordError, match=r"key 'store:.*the record is damaged: .* run once in mode auto or refresh"
    ):
        replay.call({"q": 1}, lambda _: "never")
    replay.close()


async def test_every_reader_of_a_row_notices(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    storage: Storage = thing.storage
    storage.put_many({"a": 1, "b": 2, "c": 3})
    thing.close()
    altered(thing.path, "UPDATE _cf_KV SET value = x'0139' WHERE key = 'b'")
    readers: list[Callable[[], object]] = [
        lambda: storage.get("b"),
        lambda: storage.get_many(["a", "b"]),
        storage.list,
        lambda: list(storage.scan()),
        lambda: storage.list(reverse=True, limit=2),
        lambda: storage.transaction(lambda inner: inner.get("b")),
        lambda: storage.kv.get("b"),
    ]
    for read in readers:
        with pytest.raises(CorruptRecordError, match=r"key 'b' in .*its checksum does not match"):
            read()
    for aread in (storage.aget("b"), storage.aget_many(["b"]), storage.alist()):
        with pytest.raises(CorruptRecordError, match="key 'b' in"):
            await aread
    assert storage.sizes() == {"a": 2, "b": 2, "c": 2}
    assert storage.get_many(["a", "c"]) == {"a": 1, "c": 3}
    thing.close()


@pytest.mark.parametrize("value", ["text", 5, 2.5, None])
def test_a_value_of_another_type_is_a_damaged_record(tmp_path: Path, value: object) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put_many({"a": 1, "b": 2})
    thing.close()
    altered(thing.path, "UPDATE _cf_KV SET value = ? WHERE key = 'b'", value)
    with pytest.raises(CorruptRecordError, match="key 'b'"):
        thing.storage.list()
    assert thing.storage.get("a") == 1
    thing.close()


def test_a_row_under_another_key_is_damaged(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", 1)
    thing.close()
    altered(thing.path, "UPDATE _cf_KV SET key = 'kez'")
    with pytest.raises(CorruptRecordError, match="key 'kez'"):
        thing.storage.get("kez")
    thing.close()


def test_parts_of_two_values_are_never_taken_for_one(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, longest_row=200).get_by_name("thing")
    store = DurableObjectPersistence(thing.storage).make("s")
    store.set("key", "a" * 300)
    old = thing.storage.list(prefix="%part:")
    store.set("key", "b" * 300)
    first = min(old)
    thing.storage.put(first, old[first])  # a row that is whole, of the value before
    with pytest.raises(CorruptRecordError, match="the record is damaged"):
        store.get("key")
    thing.close()


def test_a_damaged_alarm_is_told_and_can_be_set_again(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path, alarm=lambda _thing, _alarm: None)
    thing = namespace.get_by_name("thing")
    thing.storage.set_alarm(4_000_000_000)
    namespace.close()
    altered(thing.path, "UPDATE _cf_METADATA SET value = value + 1000000 WHERE key = 1")
    with pytest.raises(CorruptRecordError, match="the alarm is damaged"):
        thing.storage.get_alarm()
    thing.storage.set_alarm(4_000_000_000)
    assert thing.storage.get_alarm() is not None
    namespace.close()


def test_a_damaged_name_is_told_among_the_names(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")
    thing.storage.put("key", 1)
    namespace.close()
    altered(thing.path, "UPDATE _cf_METADATA SET value = 'thong' WHERE key = 3")
    another = ObjectNamespace(tmp_path, timeout=9)
    (info,) = another.names()
    another.close()
    assert info.name is None
    assert isinstance(info.error, StorageError)
    thing.storage.put("key", 2)
    assert [info.name for info in namespace.names()] == ["thing"]
    namespace.close()


def test_a_file_of_another_format_is_refused_with_its_number(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", 1)
    thing.close()
    with closing(sqlite3.connect(thing.path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(StorageError, match="has format 7, and this version of chatcache reads format 1"):
        thing.storage.get("key")


def test_the_checksum_tells_where_a_key_ends() -> None:
    assert checksum("ab", b"c") != checksum("a", b"bc")


def test_a_file_that_another_process_is_making_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    for number in range(20):
        maker, reader = (
            ObjectNamespace(tmp_path, timeout=timeout).get_by_name(f"thing {number}").storage for timeout in (HANG, 9)
        )
        with ThreadPoolExecutor(1) as threads:
            making = threads.submit(maker.put, "key", number)
            until(lambda: reader.get("key") is not None)  # noqa: B023 - called at once
            making.result(HANG)

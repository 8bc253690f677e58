"""What is read again comes from memory, and is never older than what any process committed."""

import mmap
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from chatcache import ObjectNamespace, Storage
from chatcache.codec import encode
from chatcache.storage import recent, rows
from chatcache.storage.rows import checksum
from tests.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is kept in memory on Windows")


def reads_of_the_file(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by the key of each row which SQLite is asked for."""
    keys: list[str] = []
    read_row = rows.read_row

    def noted(connection: sqlite3.Connection, key: str) -> bytes | None:
        keys.append(key)
        return read_row(connection, key)

    monkeypatch.setattr(recent, "read_row", noted)
    return keys


async def test_what_is_read_again_is_not_searched_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = reads_of_the_file(monkeypatch)
    storage.put_many({"one": [1], "two": [2]})
    assert [storage.get("one"), storage.get("one"), await storage.aget("one")] == [[1], [1], [1]]
    assert [await storage.aget("two"), storage.get("two")] == [[2], [2]]
    assert reads == ["one", "two"]
    assert storage.get("one") is not storage.get("one")  # each caller may change what it got


async def test_what_lies_in_one_gap_is_searched_for_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = reads_of_the_file(monkeypatch)
    storage.put_many({"a": 1, "key/x": 2})
    for key in ("key", "key/", "key/stream", "key/w", "key"):
        assert storage.get(key, "absent") == await storage.aget(key, "absent") == "absent"
    assert storage.get("key/x") == 2
    assert [storage.get(key, "absent") for key in ("key/x/", "z", "é", "😀")] == ["absent"] * 4
    assert reads == ["key", "key/x", "key/x/"]
    assert storage.get("b", "absent") == "absent"
    assert storage.get("a") == 1
    assert reads == ["key", "key/x", "key/x/", "b", "a"]


async def test_whatever_is_written_is_read_from_the_file_again(storage: Storage, tmp_path: Path) -> None:
    def elsewhere() -> None:
        row = "key", checksum("key", encode(2)), encode(2)
        with sqlite3.connect(next(tmp_path.rglob("*.sqlite"))) as connection:
            connection.execute("INSERT INTO _cf_KV VALUES (?, ?, ?)", row)
        connection.close()

    storage.put("key", 0)
    writes: list[tuple[Callable[[], object], object]] = [
        (lambda: storage.put("key", 1), 1),
        (lambda: storage.put_many({"key": 2, "other": 2}), 2),
        (lambda: storage.delete("key"), None),
        (elsewhere, 2),
        (lambda: ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage.put("key", 3), 3),
        (lambda: storage.delete_prefix("k"), None),
        (elsewhere, 2),
    ]
    for write, expected in writes:
        storage.get("key")
        assert storage.get("key") == await storage.aget("key")
        write()
        assert storage.get("key") == expected
    await storage.aput("key", 4)
    await storage.aflush()
    assert storage.get("key") == storage.get("key") == 4
    await storage.adelete("key")
    assert storage.get("key") is None


def test_what_is_committed_during_a_read_is_not_taken_for_what_was_read(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.put("key", "before")
    elsewhere = ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage
    read_row, read_next = rows.read_row, rows.read_next

    def overtaken_row(connection: sqlite3.Connection, key: str) -> bytes | None:
        found = read_row(connection, key)
        elsewhere.put("key", "after")
        return found

    def overtaken_gap(connection: sqlite3.Connection, key: str) -> tuple[str | None, bytes | None]:
        found = read_next(connection, key)
        elsewhere.put("key", "after")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(recent, "read_row", overtaken_row)
        assert storage.get("key") == "before"
    assert storage.get("key") == "after"
    storage.delete("key")
    with monkeypatch.context() as patched:
        patched.setattr(recent, "read_next", overtaken_gap)
        assert storage.get("key", "absent") == "absent"
    assert storage.get("key") == "after"


def test_memory_is_bounded(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_MOST", 10_000)
    monkeypatch.setattr(recent, "_LONGEST_ROW", 3_000)
    reads = reads_of_the_file(monkeypatch)
    storage.put_many({"long": "x" * 3_000, **{f"short {number}": "x" * 1_000 for number in range(20)}})
    for _ in range(3):
        storage.get("long")
    assert reads == ["long"] * 3
    for number in range(20):
        storage.get(f"short {number}")
    kept = storage._turns._recent._kept[2]
    assert 1 <= len(kept) <= 10
    assert storage.get("short 19") == "x" * 1_000
    assert reads == ["long"] * 3 + [f"short {number}" for number in range(20)]


def test_indexes_of_deleted_logs_are_closed_and_no_more_than_some_are_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "_MOST_INDEXES", 5)
    monkeypatch.setattr(recent.WalIndex, "_open", {})
    namespace = ObjectNamespace(tmp_path)
    for number in range(50):
        thing = namespace.get_by_name(f"thing {number}")
        thing.storage.put("key", number)
        assert thing.storage.get("key") == thing.storage.get("key") == number
        thing.close()
    assert len(recent.WalIndex._open) == 1
    things = [namespace.get_by_name(f"thing {number}") for number in range(10)]
    assert [thing.storage.get("key") for thing in things] == list(range(10))
    assert [thing.storage.get("key") for thing in things] == list(range(10))
    assert len(recent.WalIndex._open) == 5
    for thing in things:
        thing.close()


def test_closing_one_object_of_a_file_leaves_the_locks_of_another(tmp_path: Path) -> None:
    first, second = (ObjectNamespace(tmp_path, timeout=each).get_by_name("thing") for each in (9, 10))
    first.storage.put("key", 1)
    assert second.storage.get("key") == 1
    connection = second.storage._turns._connections.reader
    assert connection is not None
    connection.execute("PRAGMA query_only = OFF")
    connection.execute("BEGIN IMMEDIATE")
    first.storage.get("key")
    first.close()
    ObjectNamespace(tmp_path).get_by_name("other").storage.put("key", 1)  # closes what is of no use any more
    with_one_more = f"""
import sqlite3
try:
    sqlite3.connect({str(second.path)!r}, timeout=0).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", with_one_more], capture_output=True, text=True, check=True)
    assert done.stdout == "database is locked\n"
    connection.execute("ROLLBACK")
    second.close()


WRITER = """
import mmap, struct, sys
from chatcache import ObjectNamespace
folder, acknowledged = sys.argv[1:]
storage = ObjectNamespace(folder).get_by_name("thing").storage
with open(acknowledged, "r+b") as file:
    told = mmap.mmap(file.fileno(), 8)
number = storage.get("number", 0)
while True:
    number += 1
    storage.put_many({"number": number, "padding": "x" * (number % 5_000)})
    told[:] = struct.pack("q", number)
"""


def test_no_reader_sees_less_than_was_acknowledged_to_writers_that_are_killed(tmp_path: Path) -> None:
    """Readers in threads; a writer in another process, killed in the middle of its work, again and again."""
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_bytes(bytes(8))
    storage = ObjectNamespace(tmp_path).get_by_name("thing").storage
    storage.put("number", 0)
    stop = threading.Event()
    stale: list[tuple[int, int]] = []
    reads = 0

    with acknowledged.open("rb") as file, mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ) as told:

        def read() -> None:
            nonlocal reads
            seen = 0
            while not stop.is_set():
                (least,) = struct.unpack("q", told[:])
                number = storage.get("number")
                if number < max(least, seen):
                    stale.append((number, max(least, seen)))
                seen = number
                reads += 1

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for lives in range(8):
                writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(acknowledged)])
                before = told[:]
                until(lambda: told[:] != before)  # noqa: B023 - it is called at once
                time.sleep(0.013 * lives)
                os.kill(writer.pid, signal.SIGKILL)
                writer.wait()
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        (last,) = struct.unpack("q", told[:])
    assert stale == []
    assert last > 8
    assert storage.get("number") in {last, last + 1}  # the writer was killed before it could say so
    assert reads > last

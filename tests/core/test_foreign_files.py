"""Stores that somebody else made: opening one runs nothing, hangs nowhere, and touches no other file."""

import gc
import os
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from chatcache import ChatcacheError, CorruptStorageError, ObjectNamespace, ResponseCache
from chatcache.cli.commands import chatcache as command
from tests.waiting import HANG

FOREVER = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT {} FROM c"
HUGE = (
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 3000) INSERT INTO sqlite_master "
    "SELECT 'view', 'v' || x, 'v' || x, 0, 'CREATE VIEW v' || x || ' AS SELECT 1' FROM c"
)

# What makes a store of ours into a foreign one, in SQL.
FOREIGN = {
    "an endless view": [
        "ALTER TABLE _cf_KV RENAME TO other",
        "DROP INDEX _cf_KV_key",
        f"CREATE VIEW _cf_KV(key, checksum, value) AS {FOREVER.format('x, x, x')}",
    ],
    "a view of large values": [
        "ALTER TABLE _cf_KV RENAME TO other",
        "DROP INDEX _cf_KV_key",
        "CREATE VIEW _cf_KV(key, checksum, value) AS SELECT key, 0, zeroblob(900000000) FROM other",
    ],
    "an endless view of metadata": [
        "DROP TABLE _cf_METADATA",
        f"CREATE VIEW _cf_METADATA(key, checksum, value) AS {FOREVER.format('x, x, x')}",
    ],
    "an endless trigger": [
        f"CREATE TRIGGER t AFTER INSERT ON _cf_KV BEGIN {FOREVER.format('x')}; END",
    ],
    "a trigger in other words": ['CREATE TRIGGER t UPDATE OF value ON "_CF_kv" BEGIN DELETE FROM _cf_METADATA; END'],
    "a trigger under another name": [
        "CREATE TABLE own (x)",
        "CREATE TRIGGER t AFTER INSERT ON _cf_KV BEGIN DELETE FROM own; END",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET tbl_name = 'own' WHERE name = 't'",
    ],
    "a trigger without a name": [
        "CREATE TRIGGER t AFTER INSERT ON _cf_KV BEGIN DELETE FROM _cf_METADATA; END",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET name = NULL, tbl_name = NULL WHERE name = 't'",
    ],
    "a generated column": [
        "DROP TABLE _cf_KV",
        "CREATE TABLE _cf_KV (key TEXT NOT NULL, checksum INTEGER, value BLOB AS (zeroblob(500000000)))",
        "CREATE UNIQUE INDEX _cf_KV_key ON _cf_KV (key)",
        "INSERT INTO _cf_KV (key) VALUES ('s:x')",
    ],
    "a table of any types": ["DROP TABLE _cf_KV", "CREATE TABLE _cf_KV (key, checksum, value)"],
    "another collation": [
        "DROP TABLE _cf_KV",
        "CREATE TABLE _cf_KV (key TEXT NOT NULL COLLATE NOCASE, checksum BLOB, value BLOB)",
        "CREATE UNIQUE INDEX _cf_KV_key ON _cf_KV (key)",
    ],
    "without rowid": [
        "DROP TABLE _cf_KV",
        "CREATE TABLE _cf_KV (key TEXT PRIMARY KEY, checksum BLOB, value BLOB) WITHOUT ROWID",
    ],
    "a virtual table": ["DROP TABLE _cf_KV", "CREATE VIRTUAL TABLE _cf_KV USING fts5(key, checksum, value)"],
    "no table": ["DROP TABLE _cf_KV"],
    "no index": ["DROP INDEX _cf_KV_key"],
    "another index": ["CREATE INDEX own ON _cf_KV (abs(length(value)))"],
    "an index under another name": [
        "CREATE TABLE own (x)",
        "CREATE INDEX o ON _cf_KV (value)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET tbl_name = 'own' WHERE name = 'o'",
    ],
    "a foreign key": ["CREATE TABLE own (x REFERENCES _cf_KV (key) ON DELETE CASCADE)"],
    "an internal name": ["CREATE TABLE _cf_own (x)"],
    "no application": ["PRAGMA application_id = 0"],
    "another application": ["PRAGMA application_id = 1"],
    "another format": ["PRAGMA user_version = 99"],
    "another schema": ["DROP TABLE _cf_KV", "DROP TABLE _cf_METADATA", "CREATE TABLE t (x)"],
    "a broken schema": ["PRAGMA writable_schema = ON", "UPDATE sqlite_master SET sql = 'CREATE nothing'"],
}


def recorded(folder: Path) -> Path:
    cache = ResponseCache("s", path=folder)
    cache.call({"q": 1}, lambda _: "one")
    cache.close()
    return cache.location


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return recorded(tmp_path / "store")


def alter(store: Path, *statements: str) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        for statement in statements:
            connection.execute(statement)


def uses(store: Path) -> Iterator[Callable[[], object]]:
    """Yield what a program may do with a store: each raises an error of ours, or returns."""
    folder = store.parent.parent
    for mode in ("auto", "read_only", "refresh", "replay"):
        cache = ResponseCache("s", path=folder, mode=mode, timeout=1)
        yield partial(cache.call, {"q": 1}, called)
        yield partial(cache.call, {"q": 2}, called)
        yield partial(list, cache.stream({"q": 3}, lambda _: iter(["called"])))
        yield partial(list, cache.records())
        yield partial(cache.invalidate, {"q": 1})
        yield cache.stats
        yield cache.clear
        yield cache.close
    namespace = ObjectNamespace(folder, "calls", timeout=1)
    yield partial(list, namespace.names())
    yield partial(namespace.get_by_name("default").storage.put, "key", 1)
    yield namespace.close


def called(_request: object) -> str:
    return "called"


def commands(store: Path) -> Iterator[list[str]]:
    folder = str(store.parent.parent)
    target = str(store.parent.parent.parent / "new.chatcache")
    yield ["ls", "--store", "s", "--path", folder]
    yield ["show", "abc", "--store", "s", "--path", folder]
    yield ["scan", "--store", "s", "--path", folder]
    yield ["verify", "--store", "s", "--path", folder]
    yield ["export", target, "--store", "s", "--path", folder]
    yield ["import", folder, "--store", "s", "--to", target]


def is_refused(store: Path) -> None:
    for use in uses(store):
        with suppress(ChatcacheError):
            use()
    replay = ResponseCache("s", path=store.parent.parent, mode="replay")
    with pytest.raises(ChatcacheError):
        replay.call({"q": 1}, lambda _: "called")
    replay.close()
    for arguments in commands(store):
        done = CliRunner().invoke(command, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit | ChatcacheError), (arguments, done)


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.timeout(60)
def test_tables_that_are_not_ours_are_refused(store: Path, foreign: str) -> None:
    alter(store, *FOREIGN[foreign])
    cache = ResponseCache("s", path=store.parent.parent, mode="replay")
    with pytest.raises(CorruptStorageError, match=r"move it away|damaged one"):
        cache.call({"q": 1}, lambda _: "called")
    is_refused(store)


def test_a_schema_of_more_entries_than_are_read_is_refused(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatcache.storage.opening._MOST_STEPS", 2)  # a hundredth, so that a small schema is too large
    recorded(store.parent.parent.parent / "other")
    alter(store, "PRAGMA writable_schema = ON", HUGE)
    with pytest.raises(CorruptStorageError, match="more tables and views than chatcache reads"):
        ResponseCache("s", path=store.parent.parent, mode="replay").call({"q": 1}, called)
    is_refused(store)


def test_an_encoding_that_is_not_ours_is_refused(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        schema = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")]
    store.unlink()
    header = ["PRAGMA application_id = 1667784547", "PRAGMA user_version = 1"]
    alter(store, "PRAGMA encoding = 'UTF-16'", *schema, *header)
    is_refused(store)


@pytest.mark.parametrize("value", ["'text'", "5", "NULL", "zeroblob(10000000)", "x'01' || zeroblob(1000)"])
def test_values_that_are_not_ours_are_misses(store: Path, value: str) -> None:
    alter(store, f"UPDATE _cf_KV SET value = {value}")  # noqa: S608
    cache = ResponseCache("s", path=store.parent.parent)
    assert cache.call({"q": 1}, lambda _: "called") == "called"
    cache.close()


@pytest.mark.parametrize("key", ["x'733aff'", "cast(x'733aff' as text)", "5", "''", "'s:' || char(0)"])
def test_keys_that_are_not_ours_do_no_harm(store: Path, key: str) -> None:
    alter(store, f"INSERT INTO _cf_KV VALUES ({key}, 1, x'01')")  # noqa: S608
    cache = ResponseCache("s", path=store.parent.parent)
    assert cache.call({"q": 1}, lambda _: "called") == "one"
    with suppress(ChatcacheError):
        list(cache.records())
    cache.close()


def test_tables_of_the_user_stand_beside_ours(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", 1)
    for statement in (
        "CREATE TABLE own (number INTEGER PRIMARY KEY, text DEFAULT '_cf_KV')",
        "CREATE INDEX by_text ON own (text)",
        "CREATE VIEW seen AS SELECT number FROM own -- and nothing of _cf_KV",
        "CREATE TRIGGER t AFTER INSERT ON own BEGIN UPDATE own SET text = '_cf_METADATA'; END",
        "CREATE VIRTUAL TABLE found USING fts5(text)",
        "INSERT INTO own VALUES (1, 'one')",
        "ANALYZE",
    ):
        thing.storage.sql.exec(statement)
    thing.close()
    assert thing.storage.get("key") == 1
    thing.storage.put("key", 2)
    assert thing.storage.sql.exec("SELECT text FROM own").raw() == [("_cf_METADATA",)]
    thing.close()


def journal_naming(victim: Path, store: Path) -> bytes:
    """Return a rollback journal after which SQLite deletes a file, https://www.sqlite.org/fileformat.html."""
    page = store.read_bytes()[:16_384]
    magic = bytes.fromhex("d9d505f920a163d7")
    checksum = sum(page[at] for at in range(len(page) - 200, 0, -200))
    header = magic + struct.pack(">IIIII", 1, 0, store.stat().st_size // 16_384, 512, 16_384)
    name = os.fsencode(victim)
    record = struct.pack(">I", 1) + page + struct.pack(">I", checksum)
    signed = sum(byte if byte < 128 else byte - 256 for byte in name) & 0xFFFFFFFF
    tail = struct.pack(">I", 0x40000000 // 16_384 + 1) + name + struct.pack(">II", len(name), signed) + magic
    return header.ljust(512, b"\0") + record + tail


def test_the_journal_of_this_test_has_sqlite_delete_a_file(store: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    alter(store)
    Path(f"{store}-journal").write_bytes(journal_naming(victim, store))
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("SELECT * FROM _cf_KV").fetchall()
    assert not victim.exists()


@pytest.mark.timeout(60)
def test_a_journal_that_names_another_file_is_refused_and_the_file_stays(store: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    alter(store)
    Path(f"{store}-journal").write_bytes(journal_naming(victim, store))
    cache = ResponseCache("s", path=store.parent.parent, mode="replay")
    with pytest.raises(CorruptStorageError, match="a rollback journal that chatcache did not write"):
        cache.call({"q": 1}, lambda _: "called")
    is_refused(store)
    assert victim.exists()
    namespace = ObjectNamespace(store.parent.parent, "calls")
    assert namespace.delete("default")
    assert victim.exists()
    assert not Path(f"{store}-journal").exists()


@pytest.mark.timeout(60)
def test_the_index_of_alarms_is_checked_as_well(store: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    index = store.with_name("metadata.sqlite")
    namespace = ObjectNamespace(store.parent.parent, "calls", alarm=lambda _thing, _alarm: None)
    namespace.get_by_name("thing").storage.set_alarm(4_000_000_000)
    namespace.close()
    Path(f"{index}-journal").write_bytes(journal_naming(victim, store))
    is_refused_by_alarms(store)
    assert victim.exists()
    Path(f"{index}-journal").unlink()
    alter(index, "CREATE TRIGGER t AFTER INSERT ON _cf_ALARM BEGIN SELECT 1; END")
    is_refused_by_alarms(store)


def is_refused_by_alarms(store: Path) -> None:
    namespace = ObjectNamespace(store.parent.parent, "calls", alarm=lambda _thing, _alarm: None)
    with pytest.raises(CorruptStorageError):
        namespace.get_by_name("thing").storage.set_alarm(3_000_000_000)
    namespace.close()


@pytest.mark.parametrize("page_size", [0, 1, 511, 512, 4096, 16_384, 65_536, 2**17])
@pytest.mark.parametrize("pages", [100_000, 2**32 - 1])
@pytest.mark.parametrize("sector", [0, 32, 512, 65_536])
def test_a_journal_of_more_pages_than_there_are_is_refused(
    store: Path, pages: int, page_size: int, sector: int
) -> None:
    alter(store)
    header = bytes.fromhex("d9d505f920a163d7") + struct.pack(">IIIII", 0, 0, pages, sector, page_size)
    Path(f"{store}-journal").write_bytes(header.ljust(65_536, b"\0"))
    before = store.stat().st_size
    cache = ResponseCache("s", path=store.parent.parent, mode="replay")
    with pytest.raises(CorruptStorageError, match="a rollback journal that chatcache did not write"):
        cache.call({"q": 1}, called)
    cache.close()
    assert store.stat().st_size == before


def length(value: int) -> bytes:
    """Return a number as a SQLite file holds lengths, https://www.sqlite.org/fileformat.html#varint."""
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127 | 128)
    return bytes(reversed(digits))


def lengthen(store: Path, table: str, claimed: int) -> None:
    """Have the row of a record, in the table or the index, claim a length, and overflow into a circle of pages."""
    alter(store)
    with closing(sqlite3.connect(store)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        ((number,),) = connection.execute("SELECT rowid FROM _cf_KV WHERE key LIKE 's:%'").fetchall()
    page_size = 16_384
    file = bytearray(store.read_bytes())
    pages = len(file) // page_size
    file += struct.pack(">I", pages + 1).ljust(page_size, b"A")  # a page of overflow, and its next one is itself
    file[28:32] = struct.pack(">I", pages + 1)
    is_table = table == "_cf_KV"
    usable, least = page_size, (page_size - 12) * 32 // 255 - 23
    # an empty key, no checksum and a long value; or a long key and the number of its row
    types = b"\x0d\x00" + length(claimed * 2 + 12) if is_table else length(claimed * 2 + 13) + b"\x01"
    header = bytes([len(types) + 1]) + types
    payload = len(header) + claimed + (0 if is_table else 1)
    rest = least + (payload - least) % (usable - 4)
    local = rest if rest <= (usable - 35 if is_table else (usable - 12) * 64 // 255 - 23) else least
    row = (
        length(payload)
        + (bytes([number]) if is_table else b"")
        + header.ljust(local, b"A")
        + struct.pack(">I", pages + 1)
    )
    at = page_size - len(row)
    leaf = bytes([13 if is_table else 10]) + struct.pack(">HHHB", 0, 1, at, 0) + struct.pack(">H", at)
    file[(root - 1) * page_size : root * page_size] = leaf.ljust(at, b"\0") + row
    store.write_bytes(file)


def log_of_pages(store: Path, pages: int) -> bytes:
    """Return a log of one frame, the first page, after which the file has so many pages."""
    page_size = 16_384
    page = bytearray(store.read_bytes()[:page_size])
    page[28:32] = struct.pack(">I", pages)
    header = struct.pack(">IIII", 0x377F0682, 3_007_000, page_size, 0) + b"saltSALT"
    sums = sums_of(header, (0, 0))
    frame = struct.pack(">II", 1, pages)
    total = sums_of(bytes(page), sums_of(frame, sums))
    return header + struct.pack(">II", *sums) + frame + b"saltSALT" + struct.pack(">II", *total) + bytes(page)


def sums_of(data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Return the checksum of a log, https://www.sqlite.org/fileformat.html#checksum_algorithm."""
    one, two = sums
    for first, second in struct.iter_unpack("<II", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


CALLED = """
import resource, sys
from chatcache import ChatcacheError, ResponseCache
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for mode in ("read_only", "replay", "auto"):
    cache = ResponseCache("s", path=sys.argv[1], mode=mode)
    for use in (lambda: cache.call({"q": 1}, lambda _: "called"), lambda: list(cache.records()), cache.stats):
        try:
            use()
        except ChatcacheError:
            pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another one elsewhere")
@pytest.mark.parametrize(
    ("table", "where"),
    [
        ("_cf_KV", "the file"),
        ("_cf_KV", "the log"),
        ("_cf_KV", "a file with a hole"),
        ("_cf_KV_key", "the file"),
        ("_cf_KV_key", "the log"),
    ],
)
def test_a_length_that_is_claimed_takes_no_memory(store: Path, table: str, where: str) -> None:
    lengthen(store, table, 400_000_000)
    if where == "the log":
        Path(f"{store}-wal").write_bytes(log_of_pages(store, 60_000))
    elif where == "a file with a hole":
        with store.open("r+b") as file:
            file.truncate(60_000 * 16_384)
            file.seek(28)
            file.write(struct.pack(">I", 60_000))
    command = [sys.executable, "-c", CALLED, str(store.parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG)
    assert int(done.stdout) < 50, "megabytes"


@pytest.mark.parametrize("pages", [30, 2**31])
def test_a_log_that_claims_more_pages_than_there_are_is_refused(store: Path, pages: int) -> None:
    alter(store)
    Path(f"{store}-wal").write_bytes(log_of_pages(store, pages))
    cache = ResponseCache("s", path=store.parent.parent, mode="replay")
    with pytest.raises(CorruptStorageError, match="more than there are"):
        cache.call({"q": 1}, called)
    cache.close()
    is_refused(store)


async def test_a_row_longer_than_any_that_is_written_is_not_read(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, longest_row=30_000_000).get_by_name("thing")
    thing.storage.put("long", b"x" * 20_000_000)
    thing.close()
    del thing
    gc.collect()
    storage = ObjectNamespace(tmp_path).get_by_name("thing").storage
    storage.put("short", 1)
    for read in (partial(storage.get, "long"), storage.list):
        with pytest.raises(CorruptStorageError, match="longest_row="):
            read()
    with pytest.raises(CorruptStorageError, match="longest_row="):
        await storage.alist()
    assert await storage.aget("short") == 1
    for allowed in (30_000_000, 2**70):
        longer = ObjectNamespace(tmp_path, longest_row=allowed).get_by_name("thing").storage
        assert len(longer.get("long")) == len((await longer.alist())["long"]) == 20_000_000


PLACES = ("", "-journal", "-wal", "-shm")
MAKES: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to(path.parent.parent.parent / "victim"),
    "a link to nothing": lambda path: path.symlink_to(path.parent.parent.parent / "absent"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.timeout(60)
def test_what_is_no_file_is_not_opened(store: Path, place: str, make: str) -> None:
    victim = store.parent.parent.parent / "victim"
    victim.write_bytes(b"precious")
    path = Path(f"{store}{place}")
    if not place:
        store.unlink()
    MAKES[make](path)
    for use in uses(store):
        with suppress(ChatcacheError):
            use()
    for arguments in commands(store):
        done = CliRunner().invoke(command, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit | ChatcacheError), (arguments, done)
    assert victim.read_bytes() == b"precious"
    assert not victim.with_name("absent").exists()


@pytest.mark.parametrize("place", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("content", [b"", b"\0" * 200_000, os.urandom(100_000), b"\x37\x7f\x06\x82" * 5_000])
def test_what_is_in_a_file_beside_it_alters_nothing(store: Path, place: str, content: bytes) -> None:
    Path(f"{store}{place}").write_bytes(content)
    cache = ResponseCache("s", path=store.parent.parent)
    assert cache.call({"q": 1}, lambda _: "called") in ("one", "called")
    cache.close()


def test_a_linked_store_is_read_and_never_written(store: Path, tmp_path: Path) -> None:
    link = tmp_path / "linked" / "calls" / store.name
    link.parent.mkdir(parents=True)
    link.symlink_to(store)
    before = store.read_bytes()
    cache = ResponseCache("s", path=tmp_path / "linked")
    assert cache.call({"q": 1}, lambda _: "called") == "one"
    assert cache.call({"q": 2}, lambda _: "called") == "called"
    cache.close()
    assert store.read_bytes() == before

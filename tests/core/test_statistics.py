"""Statistics: what is counted adds up over threads, processes and restarts, and costs nobody a call or a file."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from chatcache import DurableObject, DurableObjectPersistence, ObjectNamespace, Refusal, Statistics
from chatcache.cache.statistics import Counts
from chatcache.codec import encode
from chatcache.storage.rows import checksum
from tests.waiting import HANG

Call = Callable[..., Awaitable[Any]]
ROW = "%stats:store"


HIT = (100, 30, 0.25, 1.5)  # bytes, tokens, dollars, seconds


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of counts, or its awaiting twin."""

    async def either(counts: Counts, name: str) -> Any:
        return getattr(counts, name)() if request.param == "blocking" else await getattr(counts, f"a{name}")()

    return either


@pytest.fixture
def thing(tmp_path: Path) -> DurableObject:
    return ObjectNamespace(tmp_path).get_by_name("thing")


def made(folder: Path) -> DurableObject:
    """Return an object that was written to."""
    thing = ObjectNamespace(folder).get_by_name("thing")
    thing.storage.put("key", "value")
    return thing


def counts_of(thing: DurableObject, *, writes: bool = True) -> Counts:
    return Counts.of(thing, "store", writes=writes)


def elsewhere(folder: Path) -> Statistics:
    """Return the statistics as another process sees them."""
    other = ObjectNamespace(folder, timeout=9).get_by_name("thing")  # other settings: an object of its own
    statistics = counts_of(other, writes=False).stats()
    other.close()
    return statistics


def run(program: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", "-c", program, str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    return done.returncode, done.stdout, done.stderr


async def test_all_that_was_counted_is_told(tmp_path: Path, call: Call) -> None:
    counts = counts_of(made(tmp_path))
    counts.hit(HIT)
    counts.hit((100, 30, 0, 1.5))
    counts.add(misses=1)
    counts.add(stores=1, bytes_stored=70)
    counts.add(bypasses=1, evictions=2, joins=3)
    counts.refuse(Refusal.EMPTY)
    counts.refuse(Refusal.LENGTH)
    counts.refuse(Refusal.LENGTH)
    assert await call(counts, "stats") == Statistics(
        hits=2,
        misses=1,
        stores=1,
        refusals={Refusal.LENGTH: 2, Refusal.EMPTY: 1},
        bypasses=1,
        evictions=2,
        joins=3,
        bytes_stored=70,
        bytes_served=200,
        tokens_saved=60,
        cost_saved=0.25,
        seconds_saved=3.0,
    )


def test_statistics_read_as_text_and_as_json() -> None:
    statistics = Statistics(
        hits=3,
        misses=1,
        stores=1,
        refusals={Refusal.LENGTH: 2},
        tokens_saved=12_000,
        cost_saved=0.5,
        seconds_saved=4.25,
    )
    assert str(statistics) == (
        "looked up  3 hits, 1 misses (75.0% hits), 0 joined, 0 bypassed\n"
        "answers    1 stored (0 bytes), 2 refused (length 2), 0 evicted\n"
        "saved      12,000 tokens, $0.5000, 4.2 s (0 bytes served)"
    )
    assert json.loads(json.dumps(statistics.to_dict())) == {
        "hits": 3,
        "misses": 1,
        "hit_rate": 0.75,
        "stores": 1,
        "refusals": {"length": 2},
        "bypasses": 0,
        "evictions": 0,
        "joins": 0,
        "bytes_stored": 0,
        "bytes_served": 0,
        "tokens_saved": 12_000,
        "cost_saved": 0.5,
        "seconds_saved": 4.25,
    }
    assert Statistics().hit_rate == 0.0


async def test_the_row_is_as_it_was_in_every_version(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    counts = Counts.of(thing, "a:b%", writes=True)
    counts.hit((0, 30, 0, 1.5))
    counts.refuse(Refusal.CONTENT_FILTER)
    assert await call(counts, "save")
    thing.close()
    with closing(sqlite3.connect(thing.path)) as connection:
        query = "SELECT key, value FROM _cf_KV WHERE key LIKE '\\%stats%' ESCAPE '\\'"
        assert connection.execute(query).fetchall() == [
            (
                "%stats:a%3Ab%25",
                b'\x01{"hits":1,"tokens_saved":30,"seconds_saved":1.5,"refusals.content_filter":1}',
            )
        ]


async def test_a_restart_goes_on_counting(tmp_path: Path, call: Call) -> None:
    for _ in range(3):
        counts = counts_of(made(tmp_path))
        counts.hit(HIT)
        assert await call(counts, "save")
        del counts
    assert (await call(counts_of(made(tmp_path)), "stats")).hits == 3


async def test_caches_of_one_store_count_together_and_those_of_others_apart(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    one, same, other = counts_of(thing), counts_of(thing), Counts.of(thing, "other", writes=True)
    one.add(misses=1)
    same.add(misses=1)
    other.add(misses=5)
    assert [(await call(counts, "stats")).misses for counts in (one, same, other)] == [2, 2, 5]


async def test_to_ask_for_statistics_or_to_save_twice_adds_nothing_twice(tmp_path: Path, call: Call) -> None:
    counts = counts_of(made(tmp_path))
    counts.add(misses=1)
    for name in ("stats", "save", "stats", "save"):
        await call(counts, name)
    assert (await call(counts, "stats")).misses == elsewhere(tmp_path).misses == 1


def test_threads_lose_nothing(tmp_path: Path) -> None:
    counts = counts_of(made(tmp_path))

    def work(_: int) -> None:
        for number in range(2_000):
            counts.hit(HIT)
            if number % 500 == 0:
                counts.stats()

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(work, range(8))] == [None] * 8
    assert counts.stats().hits == elsewhere(tmp_path).hits == 16_000


async def test_a_task_that_is_cancelled_while_it_saves_adds_nothing_twice(tmp_path: Path) -> None:
    counts = counts_of(made(tmp_path))
    for _ in range(20):
        counts.add(misses=1)
        task = asyncio.create_task(counts.asave())
        await asyncio.sleep(0)
        task.cancel()
    assert (await counts.astats()).misses == elsewhere(tmp_path).misses == 20


async def test_counts_are_saved_beside_what_a_task_is_writing(tmp_path: Path) -> None:
    thing = made(tmp_path)
    counts = counts_of(thing)
    counts.add(misses=1)
    await thing.storage.aput("another", 1)
    assert counts.stats().misses == 1
    assert elsewhere(tmp_path).misses == 1


@pytest.mark.parametrize("writes", [True, False])
async def test_counting_makes_no_file(thing: DurableObject, call: Call, writes: bool) -> None:  # noqa: FBT001
    counts = counts_of(thing, writes=writes)
    counts.add(misses=3)
    assert await call(counts, "save")
    assert (await call(counts, "stats")).misses == 3
    assert not thing.path.parent.exists()


async def test_what_was_counted_before_there_was_a_file_is_saved_later(thing: DurableObject, call: Call) -> None:
    counts = counts_of(thing)
    counts.add(misses=3)
    await call(counts, "save")
    thing.storage.put("key", "value")
    await call(counts, "save")
    assert thing.storage.get(ROW) == {"misses": 3}


async def test_a_cache_that_writes_nothing_writes_no_counts_but_tells_them(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    writing, reading = counts_of(thing), counts_of(thing, writes=False)
    writing.add(misses=1)
    assert await call(writing, "save")
    thing.close()
    before = thing.path.read_bytes()
    reading.hit(HIT)
    assert await call(reading, "save")
    statistics = await call(reading, "stats")
    assert (statistics.hits, statistics.misses) == (1, 1)
    thing.close()
    assert thing.path.read_bytes() == before
    assert (await call(writing, "stats")).hits == 0


async def test_an_object_that_was_deleted_has_no_statistics(tmp_path: Path, call: Call) -> None:
    counts = counts_of(made(tmp_path))
    counts.add(misses=1)
    await call(counts, "save")
    ObjectNamespace(tmp_path).delete("thing")
    counts.add(hits=1)
    statistics = await call(counts, "stats")
    assert (statistics.hits, statistics.misses) == (1, 0)


async def test_where_the_file_cannot_be_used_counts_wait_in_memory(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    thing.close()
    whole = thing.path.read_bytes()
    thing.path.write_bytes(b"no database" * 1000)
    counts = counts_of(thing)
    counts.add(misses=1)
    assert not await call(counts, "save")
    assert (await call(counts, "stats")).misses == 1
    thing.close()
    thing.path.write_bytes(whole)
    assert await call(counts, "save")
    assert (await call(counts, "stats")).misses == elsewhere(tmp_path).misses == 1


async def test_while_another_process_writes_counts_wait_in_memory_and_are_told(tmp_path: Path, call: Call) -> None:
    made(tmp_path).storage.put(ROW, {"misses": 10})
    thing = ObjectNamespace(tmp_path, timeout=0.05).get_by_name("thing")
    counts = counts_of(thing)
    counts.add(misses=1)
    with closing(sqlite3.connect(thing.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert not await call(counts, "save")
        assert (await call(counts, "stats")).misses == 11
        connection.execute("ROLLBACK")
    assert await call(counts, "save")
    assert elsewhere(tmp_path).misses == 11


@pytest.mark.parametrize(
    "damaged", [b"", b"\x09", encode([1]), encode({"misses": "many", "hits": None, "stores": True, 7: 1})]
)
async def test_a_damaged_row_is_begun_anew(tmp_path: Path, call: Call, damaged: bytes) -> None:
    thing = made(tmp_path)
    thing.storage.put(ROW, 0)
    thing.close()
    with closing(sqlite3.connect(thing.path)) as connection, connection:
        row = checksum(ROW, damaged), damaged, ROW
        connection.execute("UPDATE _cf_KV SET checksum = ?, value = ? WHERE key = ?", row)
    counts = counts_of(thing)
    assert await call(counts, "stats") == Statistics()
    counts.add(misses=1)
    assert await call(counts, "save")
    assert thing.storage.get(ROW) == {"misses": 1}


async def test_counts_of_a_later_version_are_kept(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    thing.storage.put(ROW, {"misses": 1, "refusals.boring": 2, "laughs": 3})
    counts = counts_of(thing)
    counts.add(misses=1)
    assert await call(counts, "stats") == Statistics(misses=2)
    assert thing.storage.get(ROW) == {"misses": 2, "refusals.boring": 2, "laughs": 3}


BEGIN = """
import os, sys, time
from chatcache import ObjectNamespace
from chatcache.cache.statistics import saver
from chatcache.cache.statistics import Counts
thing = ObjectNamespace(sys.argv[1]).get_by_name("thing")
thing.storage.put("key", "value")
counts = Counts.of(thing, "store", writes=True)
def saved(misses):
    while (thing.storage.get("%stats:store") or {}).get("misses") != misses:
        time.sleep(0.01)
"""

MANY = (
    BEGIN
    + """
for number in range(200):
    counts.add(misses=1)
    if number % 20 == 0: counts.save()
"""
)


def test_processes_add_up(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        ended = [*threads.map(lambda _: run(MANY, tmp_path), range(4))]
    assert ended == [(0, "", "")] * 4
    assert elsewhere(tmp_path).misses == 800


def test_a_program_that_ends_saves_what_it_counted_also_where_nobody_holds_it_any_more(tmp_path: Path) -> None:
    assert run(BEGIN + "counts.add(misses=2)\ndel counts, thing", tmp_path) == (0, "", "")
    assert elsewhere(tmp_path).misses == 2


HELD_UP = (
    BEGIN
    + """
import atexit, sqlite3
saver._FINISH_WITHIN = 0.1
other = sqlite3.connect(thing.path, isolation_level=None)
other.execute("BEGIN IMMEDIATE")
atexit.register(other.close)  # after the counts, which are registered later
counts.add(misses=1)
"""
)


def test_a_program_ends_silently_where_its_counts_cannot_be_saved(tmp_path: Path) -> None:
    assert run(HELD_UP, tmp_path) == (0, "", "")


KILLED = (
    BEGIN
    + """
saver._PERIOD = 0.02
for number in range(1, 4):
    counts.add(misses=1)
    saved(number)
os.kill(os.getpid(), 9)
"""
)


def test_a_program_that_is_killed_loses_only_what_it_counted_last(tmp_path: Path) -> None:
    assert run(KILLED, tmp_path) == (-signal.SIGKILL, "", "")
    assert elsewhere(tmp_path).misses == 3


FORKED = (
    BEGIN
    + """
counts.add(misses=1)
pid = os.fork()
if pid == 0:
    saver._PERIOD = 0.02
    assert counts.stats().misses == 0
    counts.add(misses=10)
    saved(10)  # by a thread of its own
    counts.add(misses=10)
    counts.save()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert counts.stats().misses == 21
counts.add(misses=100)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_forked_child_counts_from_zero_and_both_are_saved(tmp_path: Path) -> None:
    assert run(FORKED, tmp_path) == (0, "", "")
    assert elsewhere(tmp_path).misses == 121


THREADS = (
    BEGIN
    + """
import threading
saver._PERIOD = 0.02
for number in (1, 2):
    counts.add(misses=1)
    while threading.active_count() > 1: time.sleep(0.01)
    assert thing.storage.get("%stats:store") == {"misses": number}
"""
)


def test_there_is_a_thread_only_as_long_as_there_is_something_to_save(tmp_path: Path) -> None:
    assert run(THREADS, tmp_path) == (0, "", "")


async def test_clearing_a_store_leaves_its_statistics(tmp_path: Path, call: Call) -> None:
    thing = made(tmp_path)
    counts = counts_of(thing)
    counts.add(misses=1)
    await call(counts, "save")
    DurableObjectPersistence(thing.storage).make("store").clear()
    assert (await call(counts, "stats")).misses == 1

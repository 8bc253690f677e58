"""Under freezegun and time-machine records expire by the program's time and are dated by the real one."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import freezegun
import pytest
import time_machine
from click.testing import CliRunner

from chatcache import MemoryPersistence, ResponseCache
from chatcache.cache.replay import apaced, paced
from chatcache.cli.commands import chatcache
from chatcache.clock import is_frozen, monotonic, now, real_time
from chatcache.recording import Bundle, Policy, RecordMode, recording

START = datetime(2019, 2, 3, 4, 5, 6, tzinfo=UTC)
Move = Callable[[float], None]


@contextmanager
def by_freezegun(start: datetime = START) -> Iterator[Move]:
    with freezegun.freeze_time(start) as clock:
        yield lambda seconds: clock.move_to(start + timedelta(seconds=seconds))


@contextmanager
def by_time_machine(start: datetime = START) -> Iterator[Move]:
    with time_machine.travel(start, tick=False) as clock:
        yield lambda seconds: clock.move_to(start + timedelta(seconds=seconds))


both = pytest.mark.parametrize("frozen", [by_freezegun, by_time_machine])


@both
def test_the_three_clocks(frozen: Any) -> None:
    before = time.time(), time.monotonic()
    with frozen() as move:
        assert now() == START.timestamp()
        move(60)
        assert now() == START.timestamp() + 60
        thread_times: list[float] = []
        thread = threading.Thread(target=lambda: thread_times.append(now()))
        thread.start()
        thread.join()
        assert thread_times == [START.timestamp() + 60], "freezegun's own functions are real where a thread begins"
        assert before[0] <= real_time() < START.timestamp() + 10**9
        assert monotonic() >= before[1]
        assert is_frozen() is (frozen is by_freezegun)
    assert abs(now() - time.time()) < 60
    assert not is_frozen()
    assert real_time() >= before[0]


def test_the_clocks_are_right_where_chatcache_is_imported_under_a_frozen_time() -> None:
    program = """
import time, freezegun
before = time.time(), time.monotonic()
with freezegun.freeze_time("2019-02-03"):
    from chatcache import clock
    assert clock.real_time() >= before[0], clock.real_time()
    assert clock.monotonic() >= before[1], clock.monotonic()
    assert clock.is_frozen()
assert clock.now() >= before[0], clock.now()
assert not clock.is_frozen()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@both
def test_a_ttl_follows_the_time_of_the_program(frozen: Any, tmp_path: Path) -> None:
    cache = ResponseCache("s", path=tmp_path, ttl=60)
    calls: list[Any] = []

    def make(request: Any) -> int:
        calls.append(request)
        threading.Event().wait(0.05)
        return len(calls)

    with frozen() as move:
        threads = [threading.Thread(target=cache.call, args=({"p": 1}, make)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1
        for seconds, number in ((59, 1), (61, 2), (-86_400, 2)):
            move(seconds)
            assert cache.call({"p": 1}, make) == number
    cache.close()


@both
def test_the_entries_of_a_store_in_memory_follow_it_too(frozen: Any) -> None:
    store = MemoryPersistence().make("s")
    with frozen() as move:
        store.set("key", 1, ttl=60)
        move(59)
        assert store.get("key") == 1
        move(61)
        assert store.get("key") is None


@both
def test_a_record_of_a_store_is_dated_by_the_real_time(frozen: Any, tmp_path: Path) -> None:
    cache = ResponseCache("s", path=tmp_path)
    ages: list[float] = []
    with frozen() as move:
        cache.call({"p": 1}, lambda _: 1)
        move(10**6)
        cache.call({"p": 1}, lambda _: 2, on_hit=lambda hit: ages.append(hit.age))
    assert 0 <= ages[0] < 1_000
    ((hit, _),) = cache.records()
    assert abs(hit.record["at"] / 1000 - time.time()) < 1_000
    cache.close()


@both
@pytest.mark.parametrize("start", [START, datetime(1969, 12, 31, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)])
def test_a_recording_is_dated_by_the_real_time_and_is_as_old_as_it_is(
    frozen: Any, start: datetime, tmp_path: Path
) -> None:
    path, cache = tmp_path / "b.chatcache", ResponseCache("s", path=tmp_path)
    for mode in (RecordMode.REFRESH, RecordMode.REPLAY):
        with frozen(start), recording(path, Policy(mode=mode, max_age=86_400)):
            request = {"prompt": f"what happened on {datetime.now(UTC).isoformat()}?"}
            assert cache.call(request, lambda _: "nothing") == "nothing"
    (record,) = Bundle(path).read()
    assert abs(record.at / 1000 - time.time()) < 1_000
    assert "<<time-1>>" in record.request["prompt"], "a time of the program is one that it made"
    with frozen(start):
        result = CliRunner().invoke(chatcache, ["prune", "--older-than", "90", str(path)])
    assert "no records removed" in result.output
    assert len(Bundle(path).read()) == 1


@both
def test_leases_are_of_the_real_time_so_that_processes_agree_on_them(frozen: Any, tmp_path: Path) -> None:
    program = """
import sys
from chatcache import ResponseCache
print(ResponseCache("s", path=sys.argv[1]).call({"p": 1}, lambda _: "another"))
"""
    cache = ResponseCache("s", path=tmp_path)

    def lead(_request: Any) -> str:
        other = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        started.append(other)
        threading.Event().wait(1)
        return "mine"

    started: list[Any] = []
    with frozen():
        assert cache.call({"p": 1}, lead) == "mine"
    assert started[0].communicate()[0] == "mine\n"
    cache.close()


@both
async def test_a_wait_ends_under_a_frozen_time(frozen: Any) -> None:
    with frozen():
        assert [*paced("ab", [0.0, 0.02], "recorded")] == ["a", "b"]
        chunks = asyncio.ensure_future(_all(apaced("ab", [0.0, 0.02], "recorded")))
        while not chunks.done():
            await asyncio.sleep(0)
    assert chunks.result() == ["a", "b"]


async def _all(chunks: Any) -> list[Any]:
    return [each async for each in chunks]

"""A file that another process holds locked, running or stopped: calls wait for it once, and then go on without it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chatcache import ResponseCache, StorageError
from chatcache.cache.leases.batch import Batch
from chatcache.storage import database, patience
from chatcache.storage.database import explained
from tests.forms import FORMS, Provider, ask
from tests.waiting import HANG, until

MANY = 32
TIMEOUT = 0.5  # seconds
HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("released", flush=True)
sys.stdin.readline()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signals")


class Holder:
    """Another process that holds the lock of a file, and may be stopped while it does."""

    def __init__(self, file: Path, *, stopped: bool, program: str = HOLDS) -> None:
        command = [sys.executable, "-c", program, str(file)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "holds\n"
        if stopped:
            self.process.send_signal(signal.SIGSTOP)
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)

    def release(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self._line() == "released\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


class Waits:
    """What each thread waits for locked files, in seconds that it asked for."""

    def __init__(self) -> None:
        self.of_threads: defaultdict[int, float] = defaultdict(float)
        self._sleep = time.sleep

    def sleep(self, seconds: float) -> None:
        self.of_threads[threading.get_ident()] += seconds
        self._sleep(seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    monkeypatch.setattr(patience, "time", waits)
    return waits


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    cache = ResponseCache("store", path=tmp_path, timeout=TIMEOUT)
    asyncio.run(ask_all(cache, ["recorded"] * len(FORMS)))
    yield cache
    cache.close()


@pytest.fixture(params=[False, True], ids=["running", "stopped"])
def holder(request: pytest.FixtureRequest, cache: ResponseCache) -> Iterator[Holder]:
    holder = Holder(cache.location, stopped=request.param)
    yield holder
    holder.process.kill()
    holder.process.communicate()


READERS = """
import fcntl, sys
with open(sys.argv[1] + "-shm", "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 123)  # https://www.sqlite.org/walformat.html#wal_locks
    print("holds", flush=True)
    sys.stdin.readline()
print("released", flush=True)
sys.stdin.readline()
"""


async def ask_all(cache: ResponseCache, requests: list[Any]) -> int:
    """Ask for all requests at once, in turn in each form, threads and tasks; return how many calls that took."""
    provider, loop = Provider(), asyncio.get_running_loop()
    with ThreadPoolExecutor(MANY) as threads:

        def asked(form: str, request: Any) -> Any:
            if form.startswith("a"):
                return ask(form, cache, request, provider)
            return loop.run_in_executor(threads, asyncio.run, ask(form, cache, request, provider))

        forms = [FORMS[number % len(FORMS)] for number in range(len(requests))]
        async with asyncio.timeout(HANG):
            answers = await asyncio.gather(*map(asked, forms, requests))
    assert answers == [{"to": request} for request in requests]
    return provider.calls


def ours() -> int:
    return sum(thread.name.startswith("chatcache") for thread in threading.enumerate())


def counted(cache: ResponseCache, name: str) -> float:
    return cache._own_counts.counted()[name]


def is_idle(cache: ResponseCache) -> bool:
    batch = Batch.of(cache._object.storage)
    return not batch._entries and not batch._committing.locked() and cache._object.storage._turns.is_idle()


@pytest.mark.usefixtures("holder")
def test_many_calls_wait_for_one_timeout_in_all_and_later_ones_not_at_all(cache: ResponseCache, waits: Waits) -> None:
    before = ours()  # what other tests left
    assert asyncio.run(ask_all(cache, [["first", number] for number in range(MANY)])) == MANY
    assert counted(cache, "bypasses") == MANY
    assert max(waits.of_threads.values()) <= TIMEOUT
    until(cache._object.storage.is_stuck)
    waits.of_threads.clear()
    assert asyncio.run(ask_all(cache, [["later", number] for number in range(MANY)])) == MANY
    assert counted(cache, "bypasses") == 2 * MANY
    assert sum(waits.of_threads.values()) <= TIMEOUT  # of a thread that gives leases back; no caller waits for it
    assert ours() - before < MANY


@pytest.mark.usefixtures("holder")
def test_a_thread_whose_work_another_one_gave_up_does_not_take_the_file_for_free(cache: ResponseCache) -> None:
    asyncio.run(ask_all(cache, [["new", number] for number in range(MANY)]))
    until(cache._object.storage.is_stuck)
    turns = cache._object.storage._turns
    turns.write_lock.try_until_free(turns._commit_sealed, TIMEOUT)
    assert cache._object.storage.is_stuck()


@pytest.mark.usefixtures("holder")
def test_hits_go_on(cache: ResponseCache, waits: Waits) -> None:
    assert asyncio.run(ask_all(cache, ["recorded"] * MANY)) == 0
    assert not waits.of_threads
    asyncio.run(ask_all(cache, [["new", number] for number in range(MANY)]))
    assert asyncio.run(ask_all(cache, ["recorded"] * MANY)) == 0


def test_answers_are_stored_again_as_soon_as_the_lock_is_released(cache: ResponseCache, holder: Holder) -> None:
    requests = [["new", number] for number in range(len(FORMS))]
    asyncio.run(ask_all(cache, requests))
    until(lambda: is_idle(cache))  # or a thread may store some of them once the file is free
    holder.release()
    before = counted(cache, "stores")
    for calls in (len(FORMS), 0):
        assert asyncio.run(ask_all(cache, requests)) == calls
    assert counted(cache, "stores") == before + len(FORMS)


def test_one_call_waits_for_the_locks_of_readers_and_the_others_go_on(
    cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def spy(error: Exception, path: Path) -> StorageError:
        said.append(str(error))
        return explained(error, path)

    monkeypatch.setattr(database, "explained", spy)
    cache.close()
    ResponseCache("store", path=cache.location.parents[1]).call("keeps the index", str)
    holder = Holder(cache.location, stopped=True, program=READERS)
    requests = ["recorded", *(["new", number] for number in range(MANY))]
    for _ in range(3):
        assert asyncio.run(ask_all(cache, requests)) == len(requests)
    holder.release()
    assert said == ["locking protocol"]  # SQLite's word for ten seconds in vain
    until(lambda: asyncio.run(ask_all(cache, ["recorded"])) == 0)
    holder.process.kill()
    holder.process.communicate()

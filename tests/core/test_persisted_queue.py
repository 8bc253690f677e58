"""A queue beside what its suite says: tasks that are cancelled, and processes, some of which are killed."""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chatcache import Attempt, MemoryStorage, ObjectNamespace, PersistedQueue, QueueEmptyError, RowStorage
from tests.waiting import HANG

WORKER = """
import os, sys
from chatcache import ObjectNamespace, PersistedQueue, QueueEmptyError

queue = PersistedQueue(ObjectNamespace(sys.argv[1]).get_by_name("thing").storage, "queue")
handle = {"kill": lambda *_: os._exit(9), "handle": lambda value, _: print(value)}[sys.argv[2]]
try:
    while True:
        queue.take(handle, timeout=0)
except QueueEmptyError:
    pass
"""


@pytest.fixture(params=["memory", "object"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> RowStorage:
    return MemoryStorage() if request.param == "memory" else ObjectNamespace(tmp_path).get_by_name("thing").storage


def worker(folder: Path, what: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", WORKER, folder, what], stdout=subprocess.PIPE, text=True)


async def test_a_task_waits_for_an_element(storage: RowStorage) -> None:
    queue: PersistedQueue[str] = PersistedQueue(storage, "queue", poll=0.01)

    async def handle(value: str, attempt: Attempt) -> str:
        await asyncio.sleep(0)
        return value

    taken = asyncio.create_task(queue.atake(handle))
    await asyncio.sleep(0.02)  # it looks, and finds nothing
    assert not taken.done()
    await queue.aoffer("work")
    assert await taken == "work"


async def test_a_task_that_is_cancelled_gives_its_element_back(storage: RowStorage) -> None:
    queue: PersistedQueue[str] = PersistedQueue(storage, "queue", max_attempts=1)
    began = asyncio.Event()

    async def handle(value: str, attempt: Attempt) -> None:
        began.set()
        await asyncio.Event().wait()

    id_ = await queue.aoffer("work")
    task = asyncio.create_task(queue.atake(handle))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert queue.take(lambda _, attempt: attempt, timeout=0) == Attempt(id_, 1)


async def test_a_task_that_is_cancelled_while_it_waits_takes_nothing(storage: RowStorage) -> None:
    queue: PersistedQueue[str] = PersistedQueue(storage, "queue")

    async def handle(value: str, attempt: Attempt) -> str:
        return value

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.atake(handle), 0.01)
    await queue.aoffer("work")
    assert await queue.atake(handle, timeout=0) == "work"


async def test_what_a_handler_offers_is_taken_next(storage: RowStorage) -> None:
    queue: PersistedQueue[int] = PersistedQueue(storage, "queue")

    async def handle(value: int, attempt: Attempt) -> int:
        if value < 3:
            await queue.aoffer(value + 1)
        return value

    await queue.aoffer(0)
    assert [await queue.atake(handle, timeout=0) for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
def test_a_handler_that_takes_longer_than_its_lease_keeps_its_element(storage: RowStorage, colour: str) -> None:
    queue: PersistedQueue[str] = PersistedQueue(storage, "queue", lease=1)  # renewed in time on a busy machine, too
    others: list[Any] = []

    def look() -> None:
        with suppress(QueueEmptyError):
            others.append(queue.take(lambda *taken: taken, timeout=0))

    def handle(value: str, attempt: Attempt) -> str:
        for _ in range(10):
            time.sleep(0.15)
            look()
        return value

    async def ahandle(value: str, attempt: Attempt) -> str:
        for _ in range(10):
            await asyncio.sleep(0.15)
            look()
        return value

    queue.offer("work")
    if colour == "blocking":
        assert queue.take(handle, timeout=0) == "work"
    else:
        assert asyncio.run(queue.atake(ahandle, timeout=0)) == "work"
    assert others == []
    look()
    assert others == []


def test_what_a_killed_process_had_taken_is_taken_again_when_its_lease_ends(tmp_path: Path) -> None:
    now = time.time()
    queue: PersistedQueue[Any] = PersistedQueue(
        ObjectNamespace(tmp_path, clock=lambda: now).get_by_name("thing").storage, "queue"
    )
    id_ = queue.offer("work")
    with worker(tmp_path, "kill") as killed:
        assert killed.wait(HANG) == 9
    with pytest.raises(QueueEmptyError):
        queue.take(lambda *_: pytest.fail("it is leased"), timeout=0)
    now += 200
    assert queue.take(lambda value, attempt: (value, attempt), timeout=0) == ("work", Attempt(id_, 2))


def test_each_element_is_handled_by_one_of_many_processes(tmp_path: Path) -> None:
    queue: PersistedQueue[int] = PersistedQueue(ObjectNamespace(tmp_path).get_by_name("thing").storage, "queue")
    for number in range(40):
        queue.offer(number)
    workers = [worker(tmp_path, "handle") for _ in range(3)]
    said = [each.communicate(timeout=HANG)[0].split() for each in workers]
    assert sorted(int(value) for values in said for value in values) == [*range(40)]
    assert [each.returncode for each in workers] == [0, 0, 0]

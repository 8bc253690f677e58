"""Threads, tasks, loops and processes at one object at once: nothing is lost, nothing is torn, nothing hangs."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest

from chatcache import ObjectNamespace, Storage, TransactionError
from chatcache.storage import Transaction, keyvalues, layer
from chatcache.storage.layer import Layer, Unknown
from tests.waiting import HANG


def run(program: str, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def memory() -> Iterator[str]:
    """Give a folder where an fsync costs nothing, if there is one."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield folder


@pytest.fixture
def often() -> Iterator[None]:
    """Switch threads all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*calls: Callable[[], object]) -> None:
    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result(HANG)


# ---- all at once


class Increments:
    """Adds to a counter, in transactions that also leave a key of their own."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.begun: list[str] = []
        self.succeeded: list[str] = []

    def blocking(self, own: str) -> None:
        def body(inner: Transaction) -> None:
            inner.put("counter", inner.get("counter", 0) + 1)
            inner.put(f"own {own}", True)  # noqa: FBT003

        self.begun.append(own)
        self.storage.transaction(body)
        self.succeeded.append(own)

    async def awaiting(self, own: str, pause: float) -> None:
        async def body(inner: Transaction) -> None:
            count = await inner.aget("counter", 0)
            await asyncio.sleep(pause)
            await inner.aput(f"own {own}", True)  # noqa: FBT003
            await inner.aput("counter", count + 1)

        self.begun.append(own)
        await self.storage.atransaction(body)
        self.succeeded.append(own)

    def hold(self) -> None:
        own = {key.removeprefix("own ") for key in self.storage.list(prefix="own ")}
        assert self.storage.get("counter") == len(own)
        assert set(self.succeeded) <= own <= set(self.begun)
        assert len(set(self.succeeded)) == len(self.succeeded)

    async def cancelled_at_random(self, name: str, chance: random.Random) -> None:
        for number in range(12):
            increment = asyncio.create_task(self.awaiting(f"{name} {number}", chance.random() * 0.0005))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.01)
                increment.cancel()
            with suppress(asyncio.CancelledError):
                await increment

    async def beside(self, name: str, over: Event) -> None:
        number = 0
        while not over.is_set():
            number += 1
            await self.storage.aput(f"beside {name}", number)
            assert await self.storage.aget(f"beside {name}") == number
            assert all((await self.storage.alist(prefix="own ", limit=5)).values())
            await asyncio.sleep(0.001)

    async def loop(self, name: str, over: Event, chance: random.Random) -> None:
        others = [asyncio.create_task(self.beside(f"{name} {each}", over)) for each in range(2)]
        await asyncio.gather(*(self.cancelled_at_random(f"{name} {each}", chance) for each in range(8)))
        over.set()
        await asyncio.gather(*others)


@pytest.mark.parametrize("seed", range(3))
def test_every_increment_that_succeeded_is_counted_once_whatever_is_cancelled(tmp_path: Path, seed: int) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal").get_by_name("thing")
    increments = Increments(thing.storage)
    chance = random.Random(seed)  # noqa: S311
    over = Event()

    def thread(name: str) -> None:
        for number in range(60):
            increments.blocking(f"{name} {number}")

    def plain() -> None:
        while not over.is_set():
            thing.storage.put("plain", 1)
            assert thing.storage.get("plain") == 1
            assert thing.storage.list(prefix="plain") == {"plain": 1}

    together(
        lambda: thread("one"),
        lambda: thread("two"),
        plain,
        lambda: asyncio.run(increments.loop("three", over, chance)),
        lambda: asyncio.run(increments.loop("four", over, chance)),
    )
    increments.hold()
    thing.close()


THOUSAND = """
import asyncio, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1], durability="normal").get_by_name("thing").storage
def blocking(inner):
    number = inner.get("counter", 0) + 1
    inner.put("counter", number)
    inner.put_many({"a": number, "b": number})
async def awaiting(inner):
    number = await inner.aget("counter", 0) + 1
    await inner.aput("counter", number)
    await inner.aput("a", number)
    await inner.aput("b", number)
async def main():
    for _ in range(1000):
        await storage.atransaction(awaiting)
if sys.argv[2] == "awaiting":
    asyncio.run(main())
else:
    for _ in range(1000):
        storage.transaction(blocking)
"""

READER = """
import sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
reads = 0
while storage.get("over") is None:
    for found in (storage.get_many(["b", "a"]), storage.list(start="a", end="c"), dict(storage.kv.list(end="c"))):
        assert found.get("a") == found.get("b"), found
    reads += 1
assert reads > 10
"""


def test_eight_processes_of_a_thousand_increments_make_eight_thousand_and_nobody_reads_a_half(memory: str) -> None:
    thing = ObjectNamespace(memory).get_by_name("thing")

    def process(program: str, *arguments: str) -> None:
        assert run(program, memory, *arguments) == (0, "", "")

    def reader() -> None:
        while thing.storage.get("over") is None:
            found = thing.storage.get_many(["a", "b"])
            assert found.get("a") == found.get("b")
            assert len({*thing.storage.list(start="a", end="c").values()}) < 2

    def writers() -> None:
        try:
            together(*(partial(process, THOUSAND, each) for each in ("blocking", "awaiting") * 4))
        finally:
            thing.storage.put("over", 1)

    together(writers, reader, lambda: process(READER))
    assert thing.storage.get_many(["a", "b", "counter"]) == {"a": 8000, "b": 8000, "counter": 8000}
    thing.close()


@pytest.mark.usefixtures("often")
def test_a_thread_reads_whole_what_a_loop_writes_whole(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal").get_by_name("thing")
    thing.storage.put("before", 0)
    over = Event()

    async def write() -> None:
        try:
            for number in range(150):
                for each in range(50):
                    await thing.storage.aput(f"x {number % 5} {each}", number)
                for each in range(20):
                    await thing.storage.aput_many({"a": (number, each), "b": (number, each)})
                await asyncio.sleep(0)
        finally:
            over.set()

    def read(method: Callable[[], dict[str, object]]) -> None:
        while not over.is_set():
            found = method()
            assert found.get("a") == found.get("b")

    together(
        lambda: asyncio.run(write()),
        lambda: read(lambda: thing.storage.get_many(["a", "b"])),
        lambda: read(thing.storage.list),
        lambda: read(lambda: asyncio.run(thing.storage.alist(prefix=""))),
    )
    thing.close()


async def test_what_is_read_together_is_of_one_moment_of_a_turn(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.aput_many({"a": 1, "b": 1})
    halfway, go_on = Event(), Event()
    find = layer.find

    def slow(layers: Iterable[Layer], key: str) -> bytes | Unknown | None:
        if key == "b":
            halfway.set()
            go_on.wait(1)
        return find(layers, key)

    monkeypatch.setattr(keyvalues, "find", slow)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(storage.get_many, ["a", "b"])
        halfway.wait()
        await storage.aput_many({"a": 2, "b": 2})
        go_on.set()
        assert found.result() in ({"a": 1, "b": 1}, {"a": 2, "b": 2})


def test_a_long_listing_comes_to_its_end_beside_a_thread_that_writes_all_the_time(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal", timeout=30).get_by_name("thing")
    thing.storage.put_many({f"{number:06}": "x" * 100 for number in range(20_000)})
    over = Event()
    written: list[int] = []

    def write() -> None:
        while not over.is_set():
            thing.storage.put("written", len(written))
            written.append(1)

    def read() -> None:
        try:
            for _ in range(3):
                assert len(thing.storage.list(limit=10_000)) == 10_000
                assert len(asyncio.run(thing.storage.alist(limit=10_000))) == 10_000
                assert len(thing.storage.get_many(f"{number:06}" for number in range(2000))) == 2000
        finally:
            over.set()

    together(write, read)
    thing.close()


MANY_OBJECTS_IN_THREADS = """
import sys, threading
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1], durability="normal")
kept, wrong = [], []
def work(thread):
    for number in range(100):
        thing = namespace.get_by_name(f"{thread} {number}")
        kept.append(thing)
        thing.storage.put("key", number)
        if thing.storage.get("key") != number:
            wrong.append(number)
        if number > 50 and kept[number - 50].storage.get("key") is None:
            wrong.append(number)
threads = [threading.Thread(target=work, args=(each,)) for each in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(kept), wrong)
"""


def test_threads_open_many_objects_at_once(memory: str) -> None:
    assert run(MANY_OBJECTS_IN_THREADS, memory) == (0, "600 []\n", "")


@pytest.mark.usefixtures("often")
def test_nothing_is_lost_where_a_thread_closes_what_a_loop_writes_to(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal").get_by_name("thing")
    over = Event()

    def close() -> None:
        while not over.is_set():
            thing.close()

    async def write() -> None:
        try:
            for number in range(1500):
                await thing.storage.aput("key", number)
                assert await thing.storage.aget("key") == number
                if number % 3 == 0:
                    await asyncio.sleep(0)
        finally:
            over.set()

    together(close, lambda: asyncio.run(write()))
    thing.close()


# ---- blocking calls in a running loop

Call = Callable[[Storage], object]

READS: dict[str, tuple[Call, object]] = {
    "get": (lambda storage: storage.get("key"), "old"),
    "get_many": (lambda storage: storage.get_many(["key"]), {"key": "old"}),
    "list": (lambda storage: storage.list(prefix="key"), {"key": "old"}),
    "kv.get": (lambda storage: storage.kv.get("key"), "old"),
    "kv.list": (lambda storage: dict(storage.kv.list(prefix="key")), {"key": "old"}),
}
WRITES: dict[str, tuple[Call, object]] = {
    "put": (lambda storage: storage.put("key", "new"), "new"),
    "put_many": (lambda storage: storage.put_many({"key": "new", "other": 1}), "new"),
    "delete": (lambda storage: storage.delete("key"), None),
    "delete_prefix": (lambda storage: storage.delete_prefix("key"), None),
    "flush": (lambda storage: storage.flush(), "old"),
    "transaction": (lambda storage: storage.transaction(lambda inner: inner.put("key", "new")), "new"),
    "transaction_sync": (lambda storage: storage.transaction_sync(lambda: storage.kv.put("key", "new")), "new"),
    "kv.put": (lambda storage: storage.kv.put("key", "new"), "new"),
    "kv.delete": (lambda storage: storage.kv.delete("key"), None),
    "sql.exec": (lambda storage: storage.sql.exec("CREATE TABLE one (number)"), "old"),
}
reads = pytest.mark.parametrize(("call", "value"), READS.values(), ids=READS)
writes = pytest.mark.parametrize(("call", "value"), WRITES.values(), ids=WRITES)


@pytest.fixture
def kept(storage: Storage) -> Storage:
    storage.put("key", "old")
    return storage


async def written(storage: Storage, key: str) -> object:
    await storage.aflush()
    found: object = await storage.aget(key)
    return found


@reads
async def test_a_blocking_read_in_a_running_loop_gives_what_is_there(kept: Storage, call: Call, value: object) -> None:
    assert call(kept) == value
    await kept.aput("another", 1)
    assert call(kept) == value
    await kept.aput("key", "new")
    assert "new" in str(call(kept))


@writes
async def test_a_blocking_write_in_a_running_loop_works(kept: Storage, call: Call, value: object) -> None:
    call(kept)
    assert kept.get("key") == value
    assert await written(kept, "key") == value


@writes
async def test_a_blocking_write_works_where_its_loop_has_written(kept: Storage, call: Call, value: object) -> None:
    await kept.aput("another", 1)
    call(kept)
    assert kept.get("key") == value
    assert await written(kept, "key") == value
    assert await written(kept, "another") == 1


@contextmanager
def in_transaction(storage: Storage) -> Iterator[tuple[Callable[[Transaction], Awaitable[None]], Event]]:
    begun = Event()

    async def body(inner: Transaction) -> None:
        await inner.aput("theirs", 1)
        begun.set()
        await asyncio.Event().wait()

    yield body, begun


@reads
async def test_a_blocking_read_does_not_wait_for_a_transaction_of_its_loop(
    kept: Storage, call: Call, value: object
) -> None:
    with in_transaction(kept) as (body, begun):
        task = asyncio.create_task(kept.atransaction(body))
        while not begun.is_set():
            await asyncio.sleep(0)
        assert call(kept) == value
        assert kept.get("theirs") is None
        task.cancel()
        await asyncio.wait({task})


@writes
async def test_a_blocking_write_that_would_wait_for_a_transaction_of_its_loop_is_refused(
    kept: Storage, call: Call, value: object
) -> None:
    with in_transaction(kept) as (body, begun):
        task = asyncio.create_task(kept.atransaction(body))
        while not begun.is_set():
            await asyncio.sleep(0)
        with pytest.raises(TransactionError, match="would wait for a task of the loop that it stops"):
            call(kept)
        task.cancel()
        await asyncio.wait({task})
    call(kept)
    assert await written(kept, "key") == value


@writes
async def test_a_blocking_write_waits_for_the_transaction_of_a_thread(kept: Storage, call: Call, value: object) -> None:
    begun = Event()

    def body(inner: Transaction) -> None:
        inner.put("theirs", 1)
        begun.set()
        Event().wait(0.05)

    thread = threading.Thread(target=kept.transaction, args=(body,))
    thread.start()
    begun.wait()
    assert kept.get("theirs") is None
    try:
        call(kept)
        assert kept.get("theirs") == 1
    finally:
        thread.join()
    assert await written(kept, "key") == value


# ---- loops that stop


@pytest.fixture
def loop() -> Iterator[AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def left_behind(
    loop: AbstractEventLoop, coroutine: Awaitable[object], until: Callable[[], bool]
) -> asyncio.Task[object]:
    """Begin something in a loop that is stopped as soon as something is true."""

    async def begin() -> asyncio.Task[object]:
        task = asyncio.ensure_future(coroutine)
        while not until():
            await asyncio.sleep(0)
        assert isinstance(task, asyncio.Task)
        return task

    return loop.run_until_complete(begin())


def anywhere(storage: Storage) -> None:
    """Write by a thread, and in another loop."""

    async def durably() -> None:
        await storage.aput("awaiting", 1)
        await storage.aflush()
        await storage.atransaction(lambda inner: inner.aput("in transaction", 1))

    together(lambda: storage.put("blocking", 1))
    together(lambda: asyncio.run(durably()))


ANYWHERE = {"awaiting": 1, "blocking": 1, "in transaction": 1, "key": "old"}


@pytest.mark.parametrize("uses", [True, False])
def test_the_transaction_of_a_stopped_loop_is_rolled_back_and_says_so_when_the_loop_goes_on(
    kept: Storage,
    loop: AbstractEventLoop,
    uses: bool,  # noqa: FBT001
) -> None:
    begun = Event()

    async def body(inner: Transaction) -> None:
        await inner.aput("key", "new")
        begun.set()
        await asyncio.sleep(0.01)
        if uses:
            await inner.aput("key", "newer")

    task = left_behind(loop, kept.atransaction(body), begun.is_set)
    anywhere(kept)
    assert kept.list() == ANYWHERE
    with pytest.raises(TransactionError):
        loop.run_until_complete(task)
    assert kept.list() == ANYWHERE


def test_the_turn_of_a_stopped_loop_holds_up_nobody_and_is_kept(kept: Storage, loop: AbstractEventLoop) -> None:
    async def write() -> None:
        await kept.aput("left", 1)
        loop.stop()

    task = loop.create_task(write())
    loop.run_forever()
    anywhere(kept)
    assert kept.list() == {**ANYWHERE, "left": 1}
    loop.run_until_complete(task)
    assert kept.list() == {**ANYWHERE, "left": 1}


@pytest.mark.parametrize("what", ["aput", "atransaction"])
def test_a_loop_that_stopped_while_it_waited_for_its_turn_waits_again(
    kept: Storage, loop: AbstractEventLoop, what: str
) -> None:
    begun, go, again, go_again, resumed = (Event() for _ in range(5))

    def first(inner: Transaction) -> None:
        inner.put("first", 1)
        begun.set()
        go.wait(HANG)

    def second(inner: Transaction) -> None:
        inner.put("second", 1)
        again.set()
        go_again.wait(HANG)
        inner.put("second again", 1)

    write = kept.aput("late", 1) if what == "aput" else kept.atransaction(lambda inner: inner.aput("late", 1))
    waiting: list[asyncio.Task[object]] = []

    async def resume() -> None:
        resumed.set()
        await waiting[0]
        await kept.aflush()

    with ThreadPoolExecutor(3) as pool:
        ahead = pool.submit(kept.transaction, first)
        begun.wait()
        waiting.append(left_behind(loop, write, lambda: len(kept._turns._turnstile._queue) > 0))
        go.set()
        ahead.result()
        other = pool.submit(kept.transaction, second)
        again.wait()
        rest = pool.submit(loop.run_until_complete, resume())
        resumed.wait()
        Event().wait(0.1)
        assert kept.get("late") is None
        go_again.set()
        other.result()
        rest.result()
    assert kept.list() == {"first": 1, "key": "old", "late": 1, "second": 1, "second again": 1}


def test_a_loop_that_stopped_while_it_waited_for_another_process_holds_up_nobody(
    tmp_path: Path, loop: AbstractEventLoop
) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", "old")
    with closing(sqlite3.connect(thing.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        turnstile = thing.storage._turns._turnstile
        task = left_behind(
            loop,
            thing.storage.atransaction(lambda inner: inner.aput("late", 1)),
            lambda: turnstile.holder is not None,
        )
        together(lambda: anywhere(thing.storage), lambda: (Event().wait(0.2), other.execute("COMMIT")))
    assert thing.storage.list() == ANYWHERE
    with suppress(TransactionError):
        loop.run_until_complete(task)
    assert thing.storage.list() in (ANYWHERE, {**ANYWHERE, "late": 1})
    thing.storage.put("after", 1)
    thing.close()


# ---- many objects, and the ends of programs

MANY_OBJECTS = """
import asyncio, os, sys, threading
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1], durability="normal")
kept, most, threads = [], 0, 0
async def awaiting(storage):
    await storage.aput("awaiting", 1)
    if len(kept) % 3 == 0:
        await storage.alist()
async def main():
    global most, threads
    for number in range(2_000):
        thing = namespace.get_by_name(str(number))
        kept.append(thing)
        if number % 4:
            thing.storage.put("blocking", 1)
            assert thing.storage.get("blocking") == 1
        else:
            await awaiting(thing.storage)
        if number % 100 == 0:
            most = max(most, len(os.listdir("/proc/self/fd")))
            threads = max(threads, threading.active_count())
asyncio.run(main())
print(most < 200 or most, threads < 200 or threads)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts what is in /proc")
def test_thousands_of_objects_leave_few_files_open_and_few_threads(memory: str) -> None:
    assert run(MANY_OBJECTS, memory) == (0, "True True\n", "")
    assert len(list((Path(memory) / "default").glob("*.sqlite"))) == 2_000


FEW_DESCRIPTORS = """
import asyncio, resource, sys
from chatcache import ObjectNamespace, ResponseCache
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
namespace = ObjectNamespace(sys.argv[1])
things = [namespace.get_by_name(str(number)) for number in range(120)]
caches = [
    ResponseCache("s", path=sys.argv[1], object=str(number), on_store_error="raise") for number in range(120)
]
for thing, cache in zip(things, caches):
    thing.storage.put("key", 1)
    assert thing.storage.get("key") == 1
    assert cache.call({"q": 1}, lambda _: "called") == "called"
async def main():
    for thing, cache in zip(things, caches):
        assert await thing.storage.alist() == {"key": 1}
        assert await cache.acall({"q": 1}, None) == "called"
asyncio.run(main())
"""

NO_DESCRIPTORS = """
import os, resource, sys
from chatcache import ObjectNamespace, StorageError
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
try:
    storage.put("key", 1)
except StorageError as error:
    print("this process has as many files open as it may, 64;" in str(error))
for descriptor in held:
    os.close(descriptor)
storage.put("key", 1)
print(storage.get("key"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_many_objects_need_few_descriptors_where_few_are_allowed(tmp_path: Path) -> None:
    assert run(FEW_DESCRIPTORS, str(tmp_path)) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_without_descriptors_the_error_says_so(tmp_path: Path) -> None:
    assert run(NO_DESCRIPTORS, str(tmp_path)) == (0, "True\n1\n", "")


ENDS = """
import asyncio, os, sys, threading
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1])
storage = namespace.get_by_name("thing").storage
storage.put("before", 1)
async def main():
    await asyncio.gather(*(storage.aput(f"{number}", number) for number in range(10)))
    await storage.aput("last", 1)
    if sys.argv[2] == "listed":
        await storage.alist()
    if sys.argv[2] == "in transaction":
        begun = asyncio.Event()
        async def hang(inner):
            begun.set()
            await asyncio.Event().wait()
        asyncio.create_task(storage.atransaction(hang))
        await begun.wait()
    if sys.argv[2] == "by exit":
        await storage.aput("after", 1)
        sys.exit()
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["plainly", "listed", "in transaction", "by exit"])
def test_a_program_that_never_closes_ends_silently_with_all_of_its_turns_on_disk(tmp_path: Path, how: str) -> None:
    assert run(ENDS, str(tmp_path), how) == (0, "", "")
    found = ObjectNamespace(tmp_path).get_by_name("thing").storage.list()
    assert len(found) == (13 if how == "by exit" else 12)
    assert [path.suffix for path in (tmp_path / "default").iterdir() if "-" not in path.suffix] == [".sqlite"]


ENDS_BESIDE_THREADS = """
import asyncio, sys, threading
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1], durability="normal").get_by_name("thing").storage
storage.put("before", 1)
begun = threading.Semaphore(0)
def read():
    storage.list(); begun.release()
    while True: storage.list()
def write():
    storage.put("blocking", 1); begun.release()
    while True: storage.put("blocking", 1)
def transact():
    storage.transaction(lambda inner: inner.put("key", 1)); begun.release()
    while True: storage.transaction(lambda inner: inner.put("key", 1))
async def awaiting():
    while True:
        await storage.aput("awaiting", 1)
        await storage.aflush()
        await storage.alist()
        begun.release()
for target in (read, write, transact, lambda: asyncio.run(awaiting())):
    threading.Thread(target=target, daemon=True).start()
for _ in range(10): begun.acquire()
"""


def test_a_program_whose_daemon_threads_are_at_work_ends_silently(tmp_path: Path) -> None:
    for _ in range(8):
        assert run(ENDS_BESIDE_THREADS, str(tmp_path)) == (0, "", "")
    assert ObjectNamespace(tmp_path).get_by_name("thing").storage.get("before") == 1


async def test_a_loop_that_stands_still_for_longer_than_the_timeout_is_waited_for(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal", timeout=0.5).get_by_name("thing")

    async def stand_still(transaction: Transaction) -> None:
        time.sleep(1)  # longer than the timeout
        await transaction.aput("first", 1)

    async def follow(transaction: Transaction) -> None:
        await transaction.aput("second", 1)

    await asyncio.gather(thing.storage.atransaction(stand_still), thing.storage.atransaction(follow))
    assert await thing.storage.aget_many(["first", "second"]) == {"first": 1, "second": 1}
    thing.close()


async def test_a_queue_may_take_longer_than_the_timeout_if_nobody_in_it_does(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, durability="normal", timeout=2).get_by_name("thing")

    async def increment(transaction: Transaction) -> None:
        await transaction.aput("count", await transaction.aget("count", 0) + 1)

    await asyncio.gather(*(thing.storage.atransaction(increment) for _ in range(8_000)))
    assert await thing.storage.aget("count") == 8_000
    thing.close()

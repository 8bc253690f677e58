"""Threads, loops, processes and ends of programs: nothing hangs, nothing is lost, nothing is printed."""

import asyncio
import gc
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import pytest

from chatcache import ObjectNamespace, Storage
from tests.waiting import HANG, PATIENT, until


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", PATIENT + program, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)


NEVER_CLOSED = """
import asyncio, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
storage.put("blocking", 1)
async def main():
    await storage.aput("awaiting", 2)
    await storage.aput_many({"many": 3, "more": 4})
    assert await storage.aget("awaiting") == 2
asyncio.run(main())
asyncio.run(main())
"""


def test_a_program_that_never_closes_ends_silently_and_leaves_one_file(tmp_path: Path) -> None:
    done = run(NEVER_CLOSED, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.suffix for path in (tmp_path / "default").iterdir()] == [".sqlite"]
    assert len(ObjectNamespace(tmp_path).get_by_name("thing").storage.list()) == 4


STOPPED_LOOP = """
import asyncio, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
loop = asyncio.new_event_loop()
async def main():
    await storage.aput("warm", 0)
    for number in range(10):  # left behind in the middle of their writes
        loop.create_task(storage.aput(f"left {number}", number))
        loop.create_task(storage.aput_many({f"one {number}": number, f"two {number}": number}))
    await asyncio.sleep(0)
loop.run_until_complete(main())
storage.put("after", 1)
assert storage.get("after") == 1
async def other():
    await storage.aput("other loop", 2)
    return await storage.aget("other loop")
print(asyncio.run(other()))
async def rest():
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
loop.run_until_complete(rest())
print(len(storage.list()))
loop.close()
"""


def test_a_loop_that_is_stopped_in_mid_write_holds_up_nobody(tmp_path: Path) -> None:
    done = run(STOPPED_LOOP, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n33\n", "")


async def test_a_blocking_call_works_inside_a_running_loop(storage: Storage) -> None:
    write = asyncio.create_task(storage.aput("a", 1))
    await asyncio.sleep(0)
    storage.put("b", 2)
    assert storage.get("b") == 2
    await write
    assert storage.list() == {"a": 1, "b": 2}


async def test_tasks_write_side_by_side(storage: Storage) -> None:
    await asyncio.gather(*(storage.aput(f"{number:03}", number) for number in range(100)))
    assert list((await storage.alist()).values()) == list(range(100))


async def test_a_cancelled_write_is_whole_or_absent_and_the_next_one_works(storage: Storage) -> None:
    await storage.aput("warm", 0)
    for number in range(60):
        write = asyncio.create_task(storage.aput_many({f"a{number}": 1, f"b{number}": 1}))
        await asyncio.sleep(number * 0.00002)
        write.cancel()
        await asyncio.wait({write})
        await storage.aput("after", number)
    found = storage.list()
    assert found["after"] == 59
    assert all((f"a{number}" in found) == (f"b{number}" in found) for number in range(60))


def test_threads_share_one_object(storage: Storage) -> None:
    def work(number: int) -> int:
        storage.put(f"{number:03}", number)
        found: int = storage.get(f"{number:03}")
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(200))) == list(range(200))
    assert len(storage.list()) == 200


def test_threads_with_loops_of_their_own_share_one_object(storage: Storage) -> None:
    async def work(number: int) -> None:
        for each in range(20):
            await storage.aput(f"{number} {each}", each)
            assert await storage.aget(f"{number} {each}") == each

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: asyncio.run(work(number)), range(6)))
    assert len(storage.list()) == 120


ANOTHER_PROCESS = """
import sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
for number in range(50):
    storage.put(f"{sys.argv[2]} {number}", number)
"""


def test_processes_share_one_object(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path)]
    running = [subprocess.Popen([*command, str(each)], stderr=subprocess.PIPE) for each in range(4)]
    assert [(each.communicate()[1], each.returncode) for each in running] == [(b"", 0)] * 4
    assert len(ObjectNamespace(tmp_path).get_by_name("thing").storage.list()) == 200


def test_another_program_that_closes_the_file_leaves_its_log_to_those_who_have_it_open(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("blocking", 1)
    asyncio.run(thing.storage.aput("awaiting", 1))  # a second connection must not cost the first one its lock
    log = thing.path.with_name(thing.path.name + "-wal")
    assert log.exists()
    subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path), "other"], check=True)
    assert log.exists()
    thing.storage.put("blocking", 2)
    assert len(ObjectNamespace(tmp_path).get_by_name("thing").storage.list()) == 52


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    thing = ObjectNamespace("root").get_by_name("thing")
    thing.storage.put("one", 1)
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    asyncio.run(thing.storage.aput("two", 2))
    assert ObjectNamespace(tmp_path / "root").get_by_name("thing").storage.list() == {"one": 1, "two": 2}


async def test_what_is_written_after_the_file_was_deleted_is_in_a_new_one(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    for write in (thing.storage.aput, thing.storage.aput, asyncio_put(thing.storage)):
        await write("before", 1)
        await thing.storage.aflush()
        rmtree(tmp_path / "default")
        await write("after", 2)
        await thing.storage.aflush()
        assert ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage.list() == {"after": 2}
    thing.close()


def asyncio_put(storage: Storage) -> Callable[[str, int], Awaitable[None]]:
    async def put(key: str, value: int) -> None:
        storage.put(key, value)

    return put


KILLED = """
import os, signal, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
for number in range(10):
    storage.put(str(number), number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_put_survives_a_kill(tmp_path: Path) -> None:
    assert run(KILLED, tmp_path).returncode == -9
    assert len(ObjectNamespace(tmp_path).get_by_name("thing").storage.list()) == 10


def test_an_object_nobody_holds_leaves_no_thread_and_no_file_open(tmp_path: Path) -> None:
    before = {thread.ident for thread in threading.enumerate()}
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    asyncio.run(thing.storage.aput("key", 1))
    assert thing.storage.get("key") == 1
    path = thing.path
    del thing
    gc.collect()
    for thread in threading.enumerate():
        if thread.ident not in before:
            thread.join(HANG)
            assert not thread.is_alive(), thread
    assert [each.name for each in path.parent.iterdir()] == [path.name]


async def test_whoever_asks_for_an_object_gets_the_same_one_also_where_only_its_storage_is_held(tmp_path: Path) -> None:
    one, same = (ObjectNamespace(tmp_path).get_by_name("thing").storage for _ in range(2))
    with_longer_rows = ObjectNamespace(tmp_path, longest_row=10_000_000).get_by_name("thing").storage
    await one.aput("key", 1)
    assert (await same.aget("key"), with_longer_rows.get("key")) == (1, 1)

    async def body(_: object) -> None:
        await same.aput("key", 2)  # a part of the transaction

    await one.atransaction(body)
    assert await one.aget("key") == 2


INTERRUPTED = """
import os, signal, sys, threading, time
from chatcache import ObjectNamespace
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
storage = ObjectNamespace(sys.argv[1], timeout=300).get_by_name("thing").storage
begun, go_on = threading.Event(), threading.Event()
def body(_):
    begun.set()
    go_on.wait()
thread = threading.Thread(target=storage.transaction, args=(body,))
thread.start()
begun.wait()
try:
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    storage.put("interrupted", 1)
except KeyboardInterrupt:
    print("interrupted")
go_on.set()
thread.join()
storage.put("after", 1)
print(storage.list())
"""


def test_an_interrupted_wait_holds_up_nobody_afterwards(tmp_path: Path) -> None:
    done = run(INTERRUPTED, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n{'after': 1}\n", "")


def test_an_object_that_is_deleted_beside_a_thread_that_writes_keeps_what_is_written_later(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path, durability="normal")
    thing = namespace.get_by_name("thing")
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            thing.storage.put("key", 1)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        deleted = 0
        while deleted < 20 and not writing.done():
            deleted += namespace.delete("thing")
        over.set()
        writing.result()
    thing.storage.put("last", 1)
    assert thing.storage.get("last") == 1
    assert [each.name for each in namespace.names()] == ["thing"]
    namespace.close()


def test_a_reader_notices_that_another_process_deleted_the_object(tmp_path: Path) -> None:
    here, elsewhere = (ObjectNamespace(tmp_path, timeout=each) for each in (9, 10))
    reader = here.get_by_name("thing").storage
    reader.put("key", "old")
    assert reader.get("key") == "old"
    assert elsewhere.delete("thing")
    elsewhere.get_by_name("thing").storage.put("key", "new")
    until(lambda: reader.get("key") == "new")
    assert reader.list() == {"key": "new"}


LOST_AT_THE_END = """
import asyncio, sqlite3, sys
from contextlib import closing
from chatcache import ObjectNamespace
thing = ObjectNamespace(sys.argv[1], timeout=0.2).get_by_name("thing")
thing.storage.put("before", 1)
async def main():
    await thing.storage.aput("lost", 1)
with closing(sqlite3.connect(thing.path, isolation_level=None)) as other:
    other.execute("BEGIN IMMEDIATE")
    asyncio.run(main())
    thing._turns.worker.submit(lambda: None).result()
"""


def test_a_program_that_ends_without_hearing_of_a_loss_prints_it(tmp_path: Path) -> None:
    done = run(LOST_AT_THE_END, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "not awaited is lost" in done.stderr
    assert "another process held its write lock" in done.stderr


def test_a_reader_does_not_hold_up_the_deletion_of_everything(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=1000).get_by_name("thing")  # longer than this test may take
    thing.storage.put("key", 1)
    with closing(sqlite3.connect(thing.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM _cf_KV").fetchall()
        thing.storage.delete_all()
    assert thing.storage.list() == {}
    thing.close()


HEARD = """
import asyncio, faulthandler, logging, sys
from chatcache import ObjectNamespace
thing = ObjectNamespace(sys.argv[1]).get_by_name("thing")
thing.storage.put("key", 1)
thing.close()
good = thing.path.read_bytes()
class ToTheObject(logging.Handler):
    def emit(self, record):
        thing.path.write_bytes(good)
        try:
            thing.storage.put("log", record.getMessage())
        except Exception as error:
            print("lost" in str(error))
logging.getLogger("chatcache").addHandler(ToTheObject())
thing.path.write_bytes(b"rubbish" * 5000)
async def main():
    await thing.storage.aput("lost", 1)
    await asyncio.sleep(0)
    thing._turns.worker.submit(int).result()
faulthandler.dump_traceback_later(300, exit=True)
asyncio.run(main())
thing.storage.put("after", 1)
print(sorted(thing.storage.list()))
"""


def test_whoever_hears_of_a_loss_may_use_the_object(tmp_path: Path) -> None:
    done = run(HEARD, tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\n['after', 'key']\n"), done.stderr


async def test_a_damaged_object_is_deleted_with_what_could_not_be_written_to_it(tmp_path: Path) -> None:
    namespace = ObjectNamespace(tmp_path)
    thing = namespace.get_by_name("thing")
    thing.storage.put("key", 1)
    thing.close()
    thing.path.write_bytes(b"rubbish" * 5000)
    await thing.storage.aput("key", 2)
    assert await namespace.adelete("thing") is True
    assert not thing.path.exists()

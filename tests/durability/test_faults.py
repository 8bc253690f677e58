"""A disk that is full or broken, a lock that is not given: the caller is told, and nothing is wrong afterwards."""

import asyncio
import errno
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest

from chatcache import ObjectNamespace, SQLError, Storage, StorageError
from chatcache.storage import Transaction
from tests.waiting import HANG, auntil

from .faults import HERE, needs_linux, run


@needs_linux
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("write", errno.ENOSPC),
        ("write", errno.EIO),
        ("sync", errno.EIO),
        ("truncate", errno.ENOSPC),
        ("read", errno.EIO),
    ],
)
def test_whichever_call_of_a_write_or_a_read_fails_the_caller_is_told_and_nothing_is_wrong(
    library: Path, memory: Path, kind: str, error: int
) -> None:
    done = run([str(HERE / "faulty.py"), kind, str(error)], library, memory)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert int(done.stdout.removesuffix(" faults\n")) > 20


NO_LOCKS = """
import sys
from faulty import FOR_EVER, Faults, ObjectNamespace, StorageError, alist, aflush, get, put, transaction
faults = Faults("lock", int(sys.argv[1]))
namespace = ObjectNamespace(sys.argv[2], timeout=0.05)
for state in ("absent", "closed"):
    for call in (put, aflush, transaction, *((get, alist) if state == "closed" else ())):
        thing = namespace.get_by_name(f"{state} {call.__name__}")
        if state == "closed":
            thing.storage.put_many({"a": 0, "b": 0})
            thing.close()
        arguments = (thing.storage,) if call in (get, alist) else (thing.storage, 1)
        faults.on(0, FOR_EVER)
        try:
            call(*arguments)
        except StorageError as error:
            faults.off()
            assert "lock" in str(error), error
            assert "pass a longer timeout" in str(error) or "use another folder" in str(error), error
            call(*arguments)
        else:
            raise AssertionError(f"{call.__name__} went on without a lock")
print("told")
"""


@needs_linux
@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_folder_where_no_lock_can_be_taken_is_told_of(library: Path, memory: Path, error: int) -> None:
    done = run(["-c", NO_LOCKS, str(error)], library, memory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")


NO_LARGER_FILES = """
import asyncio, resource, sys
from chatcache import ObjectNamespace, StorageError
thing = ObjectNamespace(sys.argv[1]).get_by_name("thing")
storage = thing.storage
storage.put("before", 1)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
async def durably(key):
    await storage.aput(key, "x" * 100_000)
    await storage.aflush()
kept = []
for number in range(20):
    try:
        storage.put(f"{number}", "x" * 100_000) if number % 2 else asyncio.run(durably(f"{number}"))
        kept.append(f"{number}")
    except StorageError as error:
        assert "use another folder" in str(error)
assert 0 < len(kept) < 20
assert sorted(storage.list()) == sorted([*kept, "before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
storage.put("after", 1)
asyncio.run(durably("awaiting"))
thing.close()
print(sorted(storage.list()) == sorted([*kept, "after", "awaiting", "before"]))
"""


def test_what_finds_no_room_is_not_kept_and_the_rest_is(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", NO_LARGER_FILES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


HOLDER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


@contextmanager
def held(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the lock to write, for so many seconds or until the end."""
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


async def aput_and_aflush(storage: Storage) -> None:
    await storage.aput("key", "new")
    await storage.aflush()


async def aput_and_read_on(storage: Storage) -> None:
    await storage.aput("key", "new")
    await auntil(storage._turns.is_idle)
    await storage.aget("another key")


async def in_atransaction(storage: Storage) -> None:
    await storage.atransaction(lambda inner: inner.aput("key", "new"))


async def put_in_a_loop(storage: Storage) -> None:
    storage.put("key", "new")


async def in_thread(call: Callable[[Storage], object], storage: Storage) -> None:
    await asyncio.to_thread(call, storage)


async def put(storage: Storage) -> None:
    await in_thread(lambda each: each.put("key", "new"), storage)


async def put_many(storage: Storage) -> None:
    await in_thread(lambda each: each.put_many({"key": "new", "other": "new"}), storage)


async def delete(storage: Storage) -> None:
    await in_thread(lambda each: each.delete("key"), storage)


async def transaction(storage: Storage) -> None:
    await in_thread(lambda each: each.transaction(lambda inner: inner.put("key", "new")), storage)


Write = Callable[[Storage], Coroutine[None, None, None]]
WRITES: list[Write] = [
    put, put_many, delete, transaction, put_in_a_loop, aput_and_aflush, aput_and_read_on, in_atransaction,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_a_lock_that_another_process_holds_for_too_long_is_told_of(tmp_path: Path, write: Write) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.3).get_by_name("thing")
    thing.storage.put("key", "old")
    with held(thing.path, 60), pytest.raises(StorageError, match=r"held its write lock for .* longer timeout"):
        asyncio.run(write(thing.storage))
    assert thing.storage.list() == {"key": "old"}
    asyncio.run(write(thing.storage))
    assert thing.storage.get("key") == (None if write is delete else "new")
    thing.close()


@pytest.mark.parametrize("write", WRITES)
def test_nobody_notices_a_lock_that_is_released_in_time(tmp_path: Path, write: Write) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", "old")
    with held(thing.path, 0.1):
        asyncio.run(write(thing.storage))
    assert thing.storage.get("key") == (None if write is delete else "new")
    thing.close()


def test_flush_says_what_was_lost_while_it_waited(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.3).get_by_name("thing")
    storage = thing.storage
    storage.put("key", "old")

    async def main() -> None:
        await storage.aput("key", "new")
        await asyncio.sleep(0)
        await asyncio.sleep(0.05)  # the worker waits for the lock
        await asyncio.to_thread(storage.flush)

    with held(thing.path, 60), pytest.raises(StorageError, match="locked"):
        asyncio.run(main())
    assert storage.list() == {"key": "old"}
    thing.close()


async def test_what_was_lost_is_told_at_the_next_call_where_the_one_who_waited_for_it_gave_up(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.3).get_by_name("thing")
    storage = thing.storage
    storage.put("key", "old")
    with held(thing.path, 60):
        await storage.aput("key", "new")
        waiting = asyncio.create_task(storage.aflush())
        await asyncio.sleep(0.05)
        waiting.cancel()
        await auntil(storage._turns.is_idle)
    with pytest.raises(StorageError, match="what was written before was lost"):
        await storage.aget("key")
    assert await storage.alist() == {"key": "old"}
    thing.close()


async def test_a_loss_that_was_told_is_not_told_again(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.05).get_by_name("thing")
    storage = thing.storage
    storage.put("key", "old")
    with held(thing.path, 60):
        await storage.aput("key", "new")
        with pytest.raises(StorageError):
            storage.put("other", "new")  # commits the turn of this loop
    assert await storage.alist() == {"key": "old"}
    thing.close()


def test_a_loss_takes_what_others_wrote_on_top_of_it_and_all_of_them_are_told(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.3).get_by_name("thing")
    storage = thing.storage
    storage.put("key", 0)
    sealed = Event()

    async def main() -> None:
        await storage.aput("key", 1)
        await asyncio.sleep(0.05)
        sealed.set()
        with pytest.raises(StorageError, match="locked"):
            await storage.aflush()

    def on_top() -> None:
        sealed.wait()
        with pytest.raises(StorageError, match="locked"):
            storage.put("key", storage.get("key") + 1)

    async def both() -> None:
        await asyncio.gather(main(), asyncio.to_thread(on_top))

    with held(thing.path, 60):
        asyncio.run(both())
    assert storage.list() == {"key": 0}
    thing.close()


def test_what_follows_a_statement_that_rolled_back_by_itself_is_not_kept_alone(storage: Storage) -> None:
    storage.sql.exec("CREATE TABLE numbers (number UNIQUE)")
    storage.sql.exec("INSERT INTO numbers VALUES (1)")

    def body(inner: Transaction) -> None:
        inner.put("key", 1)
        storage.sql.exec("INSERT INTO numbers VALUES (2)")
        with pytest.raises(SQLError):
            storage.sql.exec("INSERT OR ROLLBACK INTO numbers VALUES (1)")
        storage.sql.exec("INSERT INTO numbers VALUES (3)")

    with pytest.raises(StorageError):
        storage.transaction(body)
    assert storage.list() == {}
    assert storage.sql.exec("SELECT number FROM numbers").raw() == [(1,)]


READ_ONLY = """
import asyncio, os, sys
from chatcache import ObjectNamespace, StorageError
if os.geteuid() == 0:  # root may write everywhere
    os.setuid(65534)
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
async def awaited():
    await storage.aput("key", 2)
    await storage.aflush()
calls = [
    lambda: storage.put("key", 2),
    lambda: storage.transaction(lambda inner: inner.put("key", 2)),
    lambda: storage.delete("key"),
    lambda: asyncio.run(awaited()),
    lambda: asyncio.run(storage.atransaction(lambda inner: inner.aput("key", 2))),
]
for call in calls:
    try:
        call()
    except StorageError as error:
        assert "cannot be opened or written" in str(error) and "let this user read the file" in str(error), error
    else:
        raise AssertionError("it was written")
for read in (lambda: storage.get("key"), lambda: asyncio.run(storage.alist()).get("key")):
    try:
        assert read() == 1
    except StorageError as error:
        assert "let this user read the file" in str(error), error
"""


@pytest.mark.parametrize("logged", [False, True])
def test_a_folder_that_is_read_only_is_told_of(logged: bool) -> None:  # noqa: FBT001
    with TemporaryDirectory() as folder:
        thing = ObjectNamespace(folder).get_by_name("thing")
        thing.storage.put("key", 1)
        if not logged:
            thing.close()
        for path in [*Path(folder).rglob("*"), Path(folder)]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        command = [sys.executable, "-W", "error", "-c", READ_ONLY, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o700)
        thing.storage.put("key", 2)
        thing.close()

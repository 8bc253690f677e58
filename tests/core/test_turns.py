"""Turns: what the tasks of a loop write without a pause is seen at once, and committed together."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidInputError, ObjectNamespace, Storage, StorageError, Transaction, TransactionError
from chatcache.storage.layer import Layer
from tests.waiting import HANG, auntil

Commits = Callable[[], int]


@pytest.fixture
def elsewhere(storage: Storage, tmp_path: Path) -> Storage:
    """The same object, as another process has it."""
    return ObjectNamespace(tmp_path, timeout=1).get_by_name("thing").storage


@pytest.fixture
def commits(storage: Storage, tmp_path: Path) -> Commits:
    """Tells how many times something was committed to the file since it was asked last."""
    storage.put("made", 0)
    path = next(tmp_path.glob("default/*.sqlite"))
    frames = len(_commit_frames(path))

    def count() -> int:
        nonlocal frames
        before, frames = frames, len(_commit_frames(path))
        return frames - before

    return count


def _commit_frames(path: Path) -> list[int]:
    """Return the frames of the log that end a commit: those that say how many pages the file has then."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    size = int.from_bytes(log[8:12])
    salt = log[16:24]
    headers = [log[start : start + 24] for start in range(32, len(log), 24 + size)]
    return [number for number, header in enumerate(headers) if header[8:16] == salt and header[4:8] != bytes(4)]


async def test_awaited_writes_without_a_pause_are_one_commit(storage: Storage, commits: Commits) -> None:
    for number in range(100):
        await storage.aput(f"{number:03}", number)
        assert await storage.aget(f"{number:03}") == number
    await storage.adelete("000")
    await storage.aput_many({"a": 1, "b": 2})
    await storage.adelete_prefix("01")
    assert commits() == 0
    await storage.aflush()
    assert commits() == 1
    assert len(await storage.alist()) == 1 + 99 + 2 - 10


async def test_a_pause_ends_the_turn(storage: Storage, commits: Commits, elsewhere: Storage) -> None:
    await storage.aput("a", 1)
    await asyncio.sleep(0)
    await storage.aput("b", 2)
    await storage.aflush()
    await storage.aflush()
    assert 1 <= commits() <= 2
    assert elsewhere.list() == {"a": 1, "b": 2, "made": 0}


async def test_a_turn_is_committed_without_anybody_asking(storage: Storage, elsewhere: Storage) -> None:
    await storage.aput("a", 1)
    await auntil(lambda: elsewhere.get("a") is not None)


async def test_another_process_sees_nothing_of_a_turn_or_all(storage: Storage, elsewhere: Storage) -> None:
    storage.put_many({"old": 0, "gone": 0})
    await storage.aput("a", 1)
    await storage.adelete("gone")
    await storage.aput("b", 2)
    assert elsewhere.list() == {"gone": 0, "old": 0}
    await storage.aflush()
    assert elsewhere.list() == {"a": 1, "b": 2, "old": 0}


async def test_everybody_in_the_process_sees_it_at_once(storage: Storage, elsewhere: Storage) -> None:
    storage.put("gone", 0)
    await storage.aput("a", 1)
    await storage.adelete("gone")
    assert storage.get("a") == storage.kv.get("a") == 1
    assert storage.list() == dict(storage.kv.list()) == dict(storage.scan()) == {"a": 1}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(storage.list).result(HANG) == {"a": 1}
        assert pool.submit(lambda: asyncio.run(storage.aget_many(["a", "gone"]))).result(HANG) == {"a": 1}
    assert elsewhere.list() == {"gone": 0}


async def test_many_tasks_that_flush_make_few_commits(storage: Storage, commits: Commits) -> None:
    async def write(number: int) -> None:
        await storage.aput(f"{number}", number)
        await storage.aflush()

    await asyncio.gather(*(write(number) for number in range(64)))
    assert commits() <= 4
    assert len(await storage.alist()) == 65


async def test_delete_says_what_existed_in_the_turn(storage: Storage) -> None:
    storage.put_many({"a": 1, "b": 1, "p1": 1, "p2": 1})
    await storage.aput("new", 1)
    assert await storage.adelete("new") is True
    assert await storage.adelete("new") is False
    assert await storage.adelete("a") is True
    assert await storage.adelete("a") is False
    assert await storage.adelete_many(["a", "b", "b", "new", "absent"]) == 1
    await storage.adelete_prefix("p")
    assert await storage.adelete("p1") is False
    await storage.aput("p2", 2)
    assert await storage.adelete_many(["p1", "p2"]) == 1
    assert storage.kv.delete("p2") is False
    await storage.aflush()
    assert await storage.alist() == {}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"reverse": True},
    *({"limit": limit, "reverse": reverse} for limit in (1, 5, 120, 499, 500, 501, 1100) for reverse in (False, True)),
    {"prefix": "1"},
    {"prefix": "02", "reverse": True, "limit": 7},
    {"start": "0100", "end": "1300", "limit": 600},
    {"start_after": "0499", "end": "1001"},
    {"start_after": "0499", "end": "1001", "reverse": True, "limit": 501},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_listings_over_a_turn_are_those_of_the_file_later(storage: Storage, options: dict[str, Any]) -> None:
    storage.put_many({f"{number:04}": number for number in range(1400)})
    expected: dict[str, Any] = {f"{number:04}": number for number in range(1400)}

    async def both(name: str, *args: Any) -> None:
        await getattr(storage, f"a{name}")(*args)

    await storage.adelete_prefix("05")
    await storage.adelete_prefix("129")
    await storage.aput_many({"0550": "again", "0000": "first", "zz": "last", "": "empty", "1299\0": "between"})
    await storage.adelete_many([f"{number:04}" for number in range(700, 1200, 2)])
    expected = {key: value for key, value in expected.items() if not key.startswith(("05", "129"))}
    expected |= {"0550": "again", "0000": "first", "zz": "last", "": "empty", "1299\0": "between"}
    for number in range(700, 1200, 2):
        del expected[f"{number:04}"]
    wanted = _listed(expected, **options)
    unlimited = {name: value for name, value in options.items() if name != "limit"}

    def blocking() -> list[list[tuple[str, Any]]]:
        scanned = [*storage.scan(**unlimited)], [*storage.kv.list(**unlimited)]
        return [[*storage.list(**options).items()], *(rows[: options.get("limit")] for rows in scanned)]

    assert [*(await storage.alist(**options)).items()] == wanted
    assert [item async for item in storage.ascan(**unlimited)][: options.get("limit")] == wanted
    assert blocking() == [wanted] * 3
    await storage.aflush()
    assert blocking() == [wanted] * 3
    assert [*(await storage.alist(**options)).items()] == wanted


async def test_a_short_listing_finds_what_lies_behind_much_that_was_deleted_in_the_turn(storage: Storage) -> None:
    keys = [f"{number:04}" for number in range(1000)]
    await storage.aput_many(dict.fromkeys(keys, 1))
    await storage.adelete_many(keys[:400] + keys[600:])
    assert list(await storage.alist(limit=2)) == ["0400", "0401"]
    assert list(storage.list(limit=2, reverse=True)) == ["0599", "0598"]
    await storage.adelete_many(keys)
    assert await storage.alist(limit=2) == storage.list(limit=2, reverse=True) == {}


def _listed(rows: dict[str, Any], **options: Any) -> list[tuple[str, Any]]:
    found = sorted(
        (key, value)
        for key, value in rows.items()
        if key.startswith(options.get("prefix", ""))
        and key >= options.get("start", "")
        and ("start_after" not in options or key > options["start_after"])
        and ("end" not in options or key < options["end"])
    )
    return (found[::-1] if options.get("reverse") else found)[: options.get("limit")]


async def test_a_scan_goes_on_over_what_is_written_ahead_of_it(storage: Storage) -> None:
    storage.put_many({f"{number:04}": 0 for number in range(1200)})
    seen: list[str] = []
    async for key, _ in storage.ascan():
        if not seen:
            await storage.adelete_prefix("06")
            await storage.aput("1199x", 0)
        seen.append(key)
    assert [key for key in seen if key >= "0500"] == [
        *(f"{number:04}" for number in range(500, 1200) if not 600 <= number < 700),
        "1199x",
    ]


async def test_a_blocking_write_in_a_loop_commits_the_turn_so_far(storage: Storage, elsewhere: Storage) -> None:
    await storage.aput("awaited", 1)
    storage.kv.put("kv", 2)
    assert elsewhere.list() == {}
    storage.put("blocking", 3)
    assert elsewhere.list() == {"awaited": 1, "blocking": 3, "kv": 2}
    await storage.aput("awaited", 4)
    storage.flush()
    assert elsewhere.get("awaited") == 4


async def test_the_synchronous_view_is_part_of_the_turn(storage: Storage, commits: Commits, elsewhere: Storage) -> None:
    for number in range(50):
        storage.kv.put(f"{number:02}", number)
    assert storage.kv.delete("00") is True
    assert storage.kv.delete("00") is False
    storage.transaction_sync(lambda: storage.kv.put("sync", 1))
    assert commits() == 0
    assert elsewhere.list() == {"made": 0}
    await storage.aflush()
    assert commits() == 1
    assert elsewhere.list() == storage.list()
    assert len(storage.list()) == 51


def test_outside_a_loop_the_synchronous_view_commits_each_write(storage: Storage, elsewhere: Storage) -> None:
    storage.kv.put("a", 1)
    assert elsewhere.get("a") == 1
    assert storage.kv.delete("a") is True
    assert elsewhere.get("a") is None
    storage.transaction_sync(lambda: storage.kv.put("b", 2))
    assert elsewhere.get("b") == 2


@pytest.mark.parametrize(
    "delete",
    [
        lambda storage: storage.delete("job"),
        lambda storage: storage.delete_many(["job"]) == 1,
        lambda storage: storage.kv.delete("job"),
        lambda storage: storage.transaction(lambda txn: txn.delete("job")),
    ],
    ids=["delete", "delete_many", "kv.delete", "transaction"],
)
def test_of_two_processes_that_delete_a_key_one_is_told_that_it_existed(
    storage: Storage, elsewhere: Storage, monkeypatch: pytest.MonkeyPatch, delete: Callable[[Storage], bool]
) -> None:
    storage.put("job", 1)
    told: list[bool] = []
    put = Layer.put

    def after_it_looked(self: Layer, rows: Any) -> None:
        monkeypatch.setattr(Layer, "put", put)
        with suppress(StorageError):  # it waits for the lock of the file in vain
            told.append(delete(elsewhere))
        put(self, rows)

    monkeypatch.setattr(Layer, "put", after_it_looked)
    told.append(delete(storage))
    assert told == [True]
    assert delete(elsewhere) is False


class OddError(Exception):
    pass


@pytest.mark.parametrize("in_loop", [True, False])
def test_transaction_sync_undoes_what_it_wrote_and_nothing_else(
    storage: Storage, elsewhere: Storage, *, in_loop: bool
) -> None:
    def inner() -> None:
        storage.kv.put("inner", 1)
        storage.kv.delete("outer")
        raise OddError

    def outer() -> str:
        storage.kv.put("outer", 1)
        with pytest.raises(OddError):
            storage.transaction_sync(inner)
        storage.transaction_sync(lambda: storage.kv.put("second", 1))
        return "returned"

    def failing() -> None:
        storage.transaction_sync(lambda: storage.kv.put("third", 1))
        assert storage.kv.get("third") == 1
        raise OddError

    def work() -> None:
        storage.kv.put("before", 1)
        assert storage.transaction_sync(outer) == "returned"
        with pytest.raises(OddError):
            storage.transaction_sync(failing)
        assert storage.list() == {"before": 1, "outer": 1, "second": 1}

    async def main() -> None:
        work()
        assert elsewhere.list() == {}
        await storage.aflush()

    if in_loop:
        asyncio.run(main())
    else:
        work()
    assert elsewhere.list() == {"before": 1, "outer": 1, "second": 1}


@pytest.mark.parametrize("in_loop", [True, False])
def test_transaction_sync_refuses_a_coroutine_function(storage: Storage, *, in_loop: bool) -> None:
    async def body() -> None:
        raise AssertionError("it is not run")

    def made() -> object:
        storage.kv.put("undone", 1)
        return body()

    def attempt() -> None:
        storage.kv.put("kept", 1)
        with pytest.raises(InvalidInputError, match=r"transaction_sync\(\) got a coroutine function"):
            storage.transaction_sync(made)

    async def main() -> None:
        attempt()

    if in_loop:
        asyncio.run(main())
    else:
        attempt()
    storage.flush()
    assert storage.list() == {"kept": 1}


async def test_a_blocking_write_within_transaction_sync_is_refused(storage: Storage) -> None:
    def body() -> None:
        storage.kv.put("a", 1)
        with pytest.raises(TransactionError, match=r"would commit half of it: use storage\.kv"):
            storage.put("b", 2)

    storage.transaction_sync(body)
    assert storage.list() == {"a": 1}


async def test_the_turn_of_another_loop_is_waited_for(storage: Storage) -> None:
    async def other() -> None:
        for number in range(20):
            await storage.aput(f"other {number}", number)
            if number % 3 == 0:
                await asyncio.sleep(0)
        await storage.aflush()

    with ThreadPoolExecutor(1) as pool:
        theirs = asyncio.wrap_future(pool.submit(lambda: asyncio.run(other())))
        for number in range(20):
            await storage.aput(f"own {number}", number)
            if number % 2 == 0:
                await asyncio.sleep(0)
        await theirs
    assert len(await storage.alist()) == 40


async def test_closing_keeps_the_turn(tmp_path: Path, elsewhere: Storage) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    await thing.storage.aput("a", 1)
    thing.close()
    assert elsewhere.list() == {"a": 1}
    assert await thing.storage.aget("a") == 1
    await thing.storage.aput("b", 1)
    await thing.storage.aflush()
    assert elsewhere.list() == {"a": 1, "b": 1}
    thing.close()


async def test_a_loop_that_ends_keeps_its_turn(storage: Storage, elsewhere: Storage) -> None:
    await asyncio.to_thread(lambda: asyncio.run(storage.aput("a", 1)))
    storage.flush()
    assert elsewhere.list() == {"a": 1}


@pytest.fixture
def locked(storage: Storage, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that does not let anybody else write."""
    storage.put("made", 0)
    with closing(sqlite3.connect(next(tmp_path.glob("default/*.sqlite")), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def test_a_turn_that_cannot_be_committed_is_lost_and_those_who_wait_hear_of_it(
    storage: Storage, locked: sqlite3.Connection, elsewhere: Storage
) -> None:
    await elsewhere.aput("a", 1)
    with pytest.raises(StorageError, match="another process held its write lock for"):
        await elsewhere.aflush()
    locked.execute("ROLLBACK")
    assert await elsewhere.alist() == {"made": 0}
    await elsewhere.aput("b", 2)
    await elsewhere.aflush()
    assert storage.list() == {"b": 2, "made": 0}


async def test_where_nobody_waits_the_next_call_tells_of_the_loss_once(
    storage: Storage, locked: sqlite3.Connection, elsewhere: Storage
) -> None:
    await elsewhere.aput("a", 1)
    await auntil(elsewhere._turns.is_idle)
    locked.execute("ROLLBACK")
    with pytest.raises(StorageError, match=r"what was written before was lost: .*another process held its write lock"):
        await elsewhere.aget("a")
    assert await elsewhere.aget("a") is None
    await elsewhere.aput("b", 2)
    await elsewhere.aflush()
    assert storage.list() == {"b": 2, "made": 0}


def test_a_blocking_write_that_cannot_be_committed_raises(
    storage: Storage, locked: sqlite3.Connection, elsewhere: Storage
) -> None:
    with pytest.raises(StorageError, match="another process held its write lock for"):
        elsewhere.put("a", 1)
    locked.execute("ROLLBACK")
    assert elsewhere.get("a") is None
    elsewhere.put("b", 2)
    assert storage.list() == {"b": 2, "made": 0}


async def test_each_task_that_wrote_what_was_lost_is_told(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.2).get_by_name("thing")
    storage = thing.storage
    storage.put("before", 1)
    told = asyncio.Event()

    async def patient() -> None:
        await storage.aput("mine", 1)
        await told.wait()
        with pytest.raises(StorageError, match="what was written before was lost"):
            await storage.aflush()

    async def eager() -> None:
        await storage.aput("yours", 1)
        with pytest.raises(StorageError, match="another process held its write lock"):
            await storage.aflush()
        other.execute("ROLLBACK")
        told.set()

    with closing(sqlite3.connect(thing.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.gather(patient(), eager())
    assert await storage.alist() == {"before": 1}
    await storage.aflush()
    thing.close()


async def test_what_would_commit_half_of_a_synchronous_transaction_is_refused(storage: Storage) -> None:
    await storage.aput("before", 1)
    for call in (lambda: storage.transaction(lambda inner: inner.put("key", 1)), lambda: storage.put("key", 1)):
        with pytest.raises(TransactionError, match=r"within transaction_sync\(\)"):
            storage.transaction_sync(call)
    await storage.aflush()
    assert await storage.alist() == {"before": 1}


async def test_a_cancelled_deletion_of_everything_deletes_nothing(storage: Storage) -> None:
    await storage.aput("key", 1)
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def body(_: object) -> None:
        begun.set()
        await go_on.wait()

    transaction = asyncio.create_task(storage.atransaction(body))
    await begun.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(storage.adelete_all(), 0.05)
    go_on.set()
    await transaction
    await storage.aput("after", 1)  # in its turn after what was given up
    assert await storage.alist() == {"after": 1, "key": 1}


async def test_a_sweep_does_nothing_while_somebody_is_in_a_transaction(storage: Storage) -> None:
    storage.put("made", 0)
    turns = storage._turns
    swept: list[object] = []

    def within(transaction: Transaction) -> None:
        transaction.put("a", 1)
        turns.sweep(swept.append)

    storage.transaction(within)
    assert swept == []
    assert storage.get("a") == 1
    turns.sweep(swept.append)
    assert len(swept) == 1


def test_space_can_be_given_back_later_where_somebody_is_writing(storage: Storage, elsewhere: Storage) -> None:
    storage.put_many({f"{number}": b"x" * 1_000_000 for number in range(8)})
    storage.delete_many([f"{number}" for number in range(1, 8)])
    elsewhere.put("made", 0)

    def within(transaction: Transaction) -> None:
        transaction.put("a", 1)
        size = storage._turns.path.stat().st_size
        assert storage.give_back() is True
        assert elsewhere.give_back() is True
        assert storage._turns.path.stat().st_size == size

    storage.transaction(within)
    while elsewhere.give_back():
        pass
    assert storage._turns.path.stat().st_size < 3_000_000


async def test_what_is_awaited_in_a_batch_is_one_commit(storage: Storage, commits: Commits) -> None:
    def add(transaction: Transaction) -> int:
        number: int = transaction.get("number", 0) + 1
        transaction.put("number", number)
        return number

    assert sorted(await asyncio.gather(*(storage.abatch(add) for _ in range(200)))) == [*range(1, 201)]
    assert commits() < 20
    assert storage.get("number") == 200


async def test_a_body_of_a_batch_that_raises_undoes_what_it_wrote_itself(storage: Storage) -> None:
    def fails(transaction: Transaction) -> None:
        transaction.put("b", 1)
        raise KeyError

    def puts(key: str) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.put(key, 1)

    ends = await asyncio.gather(*map(storage.abatch, [puts("a"), fails, puts("c")]), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), KeyError, type(None)]
    assert storage.list() == {"a": 1, "c": 1}


async def test_a_batch_that_cannot_be_committed_is_told_to_all(storage: Storage, elsewhere: Storage) -> None:
    await storage.aput("key", 1)
    await storage.aflush()

    async def meanwhile(_: Transaction) -> list[BaseException | None]:
        puts = [elsewhere.abatch(lambda transaction: transaction.put("key", 2)) for _ in range(3)]
        return await asyncio.gather(*puts, return_exceptions=True)

    assert [type(end) for end in await storage.atransaction(meanwhile)] == [StorageError] * 3
    assert storage.get("key") == 1

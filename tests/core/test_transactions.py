"""Explicit transactions, in both colours: all or nothing, nobody in between, and savepoints within."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcache import InvalidValueError, ObjectNamespace, Storage, StorageError, Transaction, TransactionError
from chatcache._bridge import drive
from tests.waiting import HANG

Body = Callable[["Either"], Awaitable[Any]]


class Either:
    """A storage or a transaction, whose methods of one colour are called."""

    def __init__(self, thing: Storage | Transaction, *, blocking: bool) -> None:
        self.thing = thing
        self.blocking = blocking

    async def call(self, name: str, *args: Any, **options: Any) -> Any:
        if self.blocking:
            return getattr(self.thing, name)(*args, **options)
        return await getattr(self.thing, f"a{name}")(*args, **options)

    async def transaction(self, body: Body) -> Any:
        if self.blocking:
            return self.thing.transaction(lambda txn: drive(_awaited(body(Either(txn, blocking=True)))))
        return await self.thing.atransaction(lambda txn: body(Either(txn, blocking=False)))

    def rollback(self) -> None:
        assert isinstance(self.thing, Transaction)
        self.thing.rollback()


async def _awaited(what: Awaitable[Any]) -> Any:
    return await what


@pytest.fixture(params=["blocking", "awaiting"])
def either(request: pytest.FixtureRequest, storage: Storage) -> Either:
    return Either(storage, blocking=request.param == "blocking")


@pytest.fixture
def elsewhere(storage: Storage, tmp_path: Path) -> Storage:
    """The same object, as another process has it."""
    return ObjectNamespace(tmp_path, timeout=1).get_by_name("thing").storage


class OddError(Exception):
    pass


async def test_a_transaction_returns_what_its_body_returns_and_is_on_disk_then(
    either: Either, elsewhere: Storage
) -> None:
    async def body(txn: Either) -> str:
        await txn.call("put", "a", 1)
        await txn.call("put_many", {"b": 2, "c": 3})
        assert await txn.call("delete", "c") is True
        return "returned"

    assert await either.transaction(body) == "returned"
    assert elsewhere.list() == {"a": 1, "b": 2}


async def test_what_the_body_raises_rolls_back_and_is_raised_again(either: Either, elsewhere: Storage) -> None:
    error = OddError("the very same")

    async def body(txn: Either) -> None:
        await txn.call("put", "a", 2)
        await txn.call("delete_prefix", "b")
        raise error

    await either.call("put_many", {"a": 1, "b": 1})
    with pytest.raises(OddError) as raised:
        await either.transaction(body)
    assert raised.value is error
    assert await either.call("list") == {"a": 1, "b": 1}
    await either.call("flush")
    assert elsewhere.list() == {"a": 1, "b": 1}
    await either.call("put", "a", 3)
    assert await either.call("get", "a") == 3


async def test_the_body_sees_what_it_wrote_and_nobody_else_does(either: Either, elsewhere: Storage) -> None:
    await either.call("put_many", {"a": 1, "b": 1})

    async def body(txn: Either) -> None:
        await txn.call("put", "a", 2)
        await txn.call("delete", "b")
        assert await txn.call("get", "a") == 2
        assert await txn.call("get_many", ["a", "b"]) == {"a": 2}
        assert await txn.call("list") == {"a": 2}
        assert elsewhere.list() == {"a": 1, "b": 1}
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(storage.list).result(HANG) == {"a": 1, "b": 1}

    storage = either.thing
    await either.transaction(body)
    assert elsewhere.list() == {"a": 2}


async def test_storage_kv_and_sql_in_the_body_are_part_of_the_transaction(either: Either, elsewhere: Storage) -> None:
    storage = either.thing
    assert isinstance(storage, Storage)
    storage.sql.exec("CREATE TABLE own (x)")

    async def body(txn: Either) -> None:
        await txn.call("put", "txn", 1)
        await either.call("put", "storage", 2)
        storage.kv.put("kv", 3)
        storage.sql.exec("INSERT INTO own VALUES (4)")
        storage.transaction_sync(lambda: storage.kv.put("sync", 5))
        for reader in (txn, either):
            assert await reader.call("list") == {"kv": 3, "storage": 2, "sync": 5, "txn": 1}
        assert dict(storage.kv.list()) == {"kv": 3, "storage": 2, "sync": 5, "txn": 1}
        assert storage.sql.exec("SELECT x FROM own").raw() == [(4,)]
        assert elsewhere.list() == {}
        assert elsewhere.sql.exec("SELECT x FROM own").raw() == []
        raise OddError

    with pytest.raises(OddError):
        await either.transaction(body)
    assert await either.call("list") == {}
    assert storage.sql.exec("SELECT x FROM own").raw() == []


async def test_an_error_that_the_body_catches_rolls_nothing_back(either: Either) -> None:
    async def body(txn: Either) -> None:
        await txn.call("put", "a", 1)
        with pytest.raises(InvalidValueError):
            await txn.call("put", "b", object())
        await txn.call("put", "c", 3)

    await either.transaction(body)
    assert await either.call("list") == {"a": 1, "c": 3}


METHODS: list[tuple[str, tuple[Any, ...]]] = [
    ("get", ("a",)),
    ("get_many", (["a"],)),
    ("put", ("a", 1)),
    ("put_many", ({"a": 1},)),
    ("delete", ("a",)),
    ("delete_many", (["a"],)),
    ("delete_prefix", ("a",)),
    ("list", ()),
    ("get_alarm", ()),
    ("delete_alarm", ()),
]


async def test_after_rollback_the_body_goes_on_without_the_transaction(either: Either) -> None:
    storage = either.thing
    assert isinstance(storage, Storage)
    await either.call("put", "a", 1)

    async def body(txn: Either) -> str:
        await txn.call("put", "a", 2)
        txn.rollback()
        txn.rollback()
        for method, args in METHODS:
            with pytest.raises(TransactionError, match=r"cannot call \w+\(\) on a transaction that was rolled back"):
                await txn.call(method, *args)
        with pytest.raises(TransactionError, match="rolled back"):
            await txn.transaction(_nothing)
        with pytest.raises(TransactionError, match="was rolled back"):
            await either.call("put", "a", 3)
        with pytest.raises(TransactionError, match="was rolled back"):
            storage.kv.put("a", 3)
        with pytest.raises(TransactionError, match="was rolled back"):
            storage.sql.exec("CREATE TABLE own (x)")
        return "went on"

    assert await either.transaction(body) == "went on"
    assert await either.call("list") == {"a": 1}
    await either.call("put", "a", 4)
    assert await either.call("get", "a") == 4


async def test_after_its_end_a_transaction_is_over(either: Either) -> None:
    leaked: list[Either] = []

    async def body(txn: Either) -> None:
        leaked.append(txn)
        await txn.call("put", "a", 1)

    await either.transaction(body)
    for method, args in METHODS:
        with pytest.raises(TransactionError, match=rf"cannot call {method}\(\) on a transaction that is over"):
            await leaked[0].call(method, *args)
    with pytest.raises(TransactionError, match=r"cannot call rollback\(\) on a transaction that is over"):
        leaked[0].rollback()
    with pytest.raises(TransactionError, match=r"cannot call transaction\(\) on a transaction that is over"):
        await leaked[0].transaction(_nothing)
    assert await either.call("list") == {"a": 1}


async def test_an_inner_failure_undoes_the_inner_one_only(either: Either, elsewhere: Storage) -> None:
    storage = either.thing
    assert isinstance(storage, Storage)
    storage.sql.exec("CREATE TABLE own (x)")

    async def inner(txn: Either) -> None:
        await txn.call("put", "a", 2)
        await txn.call("put", "b", 2)
        await txn.call("delete_prefix", "kept")
        storage.sql.exec("INSERT INTO own VALUES (2)")
        assert await txn.call("list") == {"a": 2, "b": 2}
        raise OddError

    async def outer(txn: Either) -> None:
        await txn.call("put", "a", 1)
        await txn.call("put", "kept", 1)
        storage.sql.exec("INSERT INTO own VALUES (1)")
        with pytest.raises(OddError):
            await txn.transaction(inner)
        assert await txn.call("list") == {"a": 1, "kept": 1}
        await txn.call("put", "after", 1)

    await either.transaction(outer)
    assert elsewhere.list() == {"a": 1, "after": 1, "kept": 1}
    assert elsewhere.sql.exec("SELECT x FROM own").raw() == [(1,)]


async def test_an_inner_rollback_undoes_the_inner_one_only(either: Either, elsewhere: Storage) -> None:
    async def inner(txn: Either) -> str:
        await txn.call("put", "a", 2)
        txn.rollback()
        with pytest.raises(TransactionError, match="rolled back"):
            await txn.call("get", "a")
        return "inner"

    async def outer(txn: Either) -> None:
        await txn.call("put", "a", 1)
        assert await txn.transaction(inner) == "inner"
        assert await txn.call("get", "a") == 1

    await either.transaction(outer)
    assert elsewhere.list() == {"a": 1}


async def test_an_outer_rollback_undoes_what_an_inner_one_kept(either: Either, elsewhere: Storage) -> None:
    async def inner(txn: Either) -> None:
        await txn.call("put", "b", 2)

    async def outer(txn: Either) -> None:
        await txn.call("put", "a", 1)
        await txn.transaction(inner)
        assert await txn.call("list") == {"a": 1, "b": 2}
        txn.rollback()

    await either.transaction(outer)
    await either.call("flush")
    assert await either.call("list") == elsewhere.list() == {}


@pytest.mark.parametrize("failing", [0, 1, 2, 3, 4])
async def test_transactions_nest_as_deep_as_one_likes(either: Either, failing: int, elsewhere: Storage) -> None:
    async def level(txn: Either, depth: int) -> None:
        await txn.call("put", str(depth), depth)
        if depth < 4:
            try:
                await txn.transaction(lambda inner: level(inner, depth + 1))
            except OddError:
                if depth + 1 != failing:
                    raise
        if depth == failing:
            raise OddError

    if failing:
        await either.transaction(lambda txn: level(txn, 0))
    else:
        with pytest.raises(OddError):
            await either.transaction(lambda txn: level(txn, 0))
    await either.call("flush")
    assert await either.call("list") == elsewhere.list() == {str(depth): depth for depth in range(failing)}


async def test_a_transaction_on_the_storage_within_one_is_a_nested_one(either: Either, elsewhere: Storage) -> None:
    async def failing(txn: Either) -> None:
        await txn.call("put", "b", 2)
        await either.call("put", "c", 2)
        raise OddError

    async def kept(txn: Either) -> None:
        await txn.call("put", "d", 2)

    async def outer(txn: Either) -> None:
        await txn.call("put", "a", 1)
        with pytest.raises(OddError):
            await either.transaction(failing)
        await either.transaction(kept)
        assert await txn.call("list") == {"a": 1, "d": 2}

    await either.transaction(outer)
    assert elsewhere.list() == {"a": 1, "d": 2}


async def test_transaction_sync_within_a_transaction_is_a_nested_one(either: Either) -> None:
    storage = either.thing
    assert isinstance(storage, Storage)

    def failing() -> None:
        storage.kv.put("b", 2)
        raise OddError

    async def body(txn: Either) -> None:
        await txn.call("put", "a", 1)
        with pytest.raises(OddError):
            storage.transaction_sync(failing)
        assert storage.transaction_sync(lambda: storage.kv.get("a")) == 1
        storage.transaction_sync(lambda: storage.kv.put("c", 3))
        assert await txn.call("list") == {"a": 1, "c": 3}

    await either.transaction(body)
    assert await either.call("list") == {"a": 1, "c": 3}


@pytest.mark.parametrize("method", ["delete_all", "flush"])
async def test_what_ends_everything_is_refused_in_a_transaction(either: Either, method: str) -> None:
    async def body(txn: Either) -> None:
        await txn.call("put", "a", 1)
        with pytest.raises(TransactionError, match=rf"cannot call a?{method}\(\) within a transaction"):
            await either.call(method)

    await either.transaction(body)
    assert await either.call("list") == {"a": 1}


async def test_a_transaction_of_another_object_within_one_is_its_own(either: Either, tmp_path: Path) -> None:
    other = Either(ObjectNamespace(tmp_path).get_by_name("other").storage, blocking=either.blocking)

    async def back(txn: Either) -> None:
        await txn.call("put", "inner", 2)
        await either.call("put", "again", 2)

    async def on_other(txn: Either) -> None:
        await txn.call("put", "other", 1)
        await either.call("put", "through", 1)
        await either.transaction(back)
        assert await either.call("list") == {"again": 2, "inner": 2, "one": 1, "through": 1}

    async def body(txn: Either) -> None:
        await txn.call("put", "one", 1)
        await other.transaction(on_other)
        assert await other.call("list") == {"other": 1}
        await other.call("put", "outside", 2)
        raise OddError

    with pytest.raises(OddError):
        await either.transaction(body)
    assert await either.call("list") == {}
    assert await other.call("list") == {"other": 1, "outside": 2}


async def test_a_failure_of_the_other_objects_transaction_undoes_that_one_only(either: Either, tmp_path: Path) -> None:
    other = Either(ObjectNamespace(tmp_path).get_by_name("other").storage, blocking=either.blocking)

    async def on_other(txn: Either) -> None:
        await txn.call("put", "other", 1)
        await either.call("put", "through", 1)
        raise OddError

    async def body(txn: Either) -> None:
        with pytest.raises(OddError):
            await other.transaction(on_other)
        await txn.call("put", "after", 1)

    await either.transaction(body)
    assert await either.call("list") == {"after": 1, "through": 1}
    assert await other.call("list") == {}


async def test_siblings_run_one_after_the_other(storage: Storage) -> None:
    running = 0

    async def sibling(txn: Transaction, number: int) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await txn.aput("last", number)
        await asyncio.sleep(0)
        await txn.aput(f"{number}", await txn.aget("last"))
        running -= 1
        if number % 2:
            raise OddError

    async def outer(txn: Transaction) -> None:
        results = await asyncio.gather(
            *(txn.atransaction(partial(sibling, number=number)) for number in range(6)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), OddError] * 3

    await storage.atransaction(outer)
    assert await storage.alist() == {"0": 0, "2": 2, "4": 4, "last": 4}


async def test_an_outer_one_cannot_be_rolled_back_while_a_nested_one_runs(storage: Storage) -> None:
    async def outer(txn: Transaction) -> None:
        async def inner(nested: Transaction) -> None:
            with pytest.raises(TransactionError, match="cannot roll back an outer transaction while a nested"):
                txn.rollback()
            await nested.aput("inner", 1)

        await txn.aput("outer", 1)
        await txn.atransaction(inner)
        assert await txn.alist() == {"inner": 1, "outer": 1}
        txn.rollback()

    await storage.atransaction(outer)
    assert await storage.alist() == {}


async def test_other_tasks_read_what_was_committed_and_wait_to_write(storage: Storage) -> None:
    order: list[str] = []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def body(txn: Transaction) -> None:
        await txn.aput("key", "transaction")
        inside.set()
        await go_on.wait()
        order.append("transaction")

    async def write() -> None:
        await storage.aput("key", "other")
        order.append("other")

    await storage.aput("key", "before")
    transaction = asyncio.create_task(storage.atransaction(body))
    await inside.wait()
    assert await storage.aget("key") == storage.get("key") == "before"
    assert await storage.alist() == {"key": "before"}
    write_task = asyncio.create_task(write())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not write_task.done()
    go_on.set()
    await asyncio.gather(transaction, write_task)
    assert order == ["transaction", "other"]
    assert await storage.aget("key") == "other"


async def test_read_modify_write_in_transactions_loses_nothing(storage: Storage) -> None:
    async def add(txn: Transaction) -> None:
        count = await txn.aget("count", 0)
        await asyncio.sleep(0)
        await txn.aput("count", count + 1)

    await asyncio.gather(*(storage.atransaction(add) for _ in range(40)))
    assert await storage.aget("count") == 40


def test_threads_exclude_each_other(storage: Storage) -> None:
    def add(txn: Transaction) -> None:
        txn.put("count", txn.get("count", 0) + 1)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: storage.transaction(add), range(60)))
    assert storage.get("count") == 60


async def test_another_process_cannot_write_in_between(either: Either, elsewhere: Storage) -> None:
    async def body(txn: Either) -> None:
        await txn.call("get", "a")
        with pytest.raises(StorageError, match="another process held its write lock for"):
            elsewhere.put("a", 2)

    await either.transaction(body)
    elsewhere.put("a", 3)
    assert await either.call("get", "a") == 3


async def test_a_transaction_that_cannot_begin_says_so_and_runs_nothing(
    either: Either, elsewhere: Storage, tmp_path: Path
) -> None:
    impatient = Either(elsewhere, blocking=either.blocking)
    ran: list[int] = []

    async def body(_txn: Either) -> None:
        ran.append(1)

    await either.call("put", "a", 1)
    await either.call("flush")
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another process held its write lock for"):
        await impatient.transaction(body)
    connection.execute("ROLLBACK")
    connection.close()
    assert ran == []
    await impatient.transaction(body)
    assert ran == [1]


async def test_a_cancelled_transaction_is_rolled_back(storage: Storage, elsewhere: Storage) -> None:
    inside = asyncio.Event()

    async def body(txn: Transaction) -> None:
        await txn.aput("key", 1)
        inside.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(storage.atransaction(body))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await storage.alist() == elsewhere.list() == {}
    await storage.aput("key", 2)
    await storage.aflush()
    assert elsewhere.get("key") == 2


async def test_a_cancelled_transaction_is_whole_or_absent(storage: Storage) -> None:
    async def body(txn: Transaction, number: int) -> None:
        await txn.aput(f"a{number}", 1)
        await asyncio.sleep(0)
        await txn.aput(f"b{number}", 1)

    for number in range(40):
        task = asyncio.create_task(storage.atransaction(partial(body, number=number)))
        for _ in range(number % 10):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    await storage.aput("after", 1)
    found = await storage.alist()
    assert all((f"a{number}" in found) == (f"b{number}" in found) for number in range(40))


async def test_a_cancelled_wait_for_a_transaction_leaves_no_trace(storage: Storage) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def first(txn: Transaction) -> None:
        await txn.aput("first", 1)
        inside.set()
        await go_on.wait()

    async def second(txn: Transaction) -> None:
        await txn.aput("second", 1)

    holding = asyncio.create_task(storage.atransaction(first))
    await inside.wait()
    waiting = asyncio.create_task(storage.atransaction(second))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go_on.set()
    await holding
    await storage.aput("third", 1)
    assert await storage.alist() == {"first": 1, "third": 1}


async def test_a_task_that_outlives_the_body_is_no_part_of_it_any_more(storage: Storage) -> None:
    go_on = asyncio.Event()

    async def straggler(txn: Transaction) -> None:
        await go_on.wait()
        with pytest.raises(TransactionError, match="is over"):
            await txn.aput("by txn", 1)
        await storage.aput("by storage", 1)
        await storage.atransaction(lambda own: own.aput("own", 1))

    async def body(txn: Transaction) -> "asyncio.Task[None]":
        await txn.aput("body", 1)
        return asyncio.create_task(straggler(txn))

    task = await storage.atransaction(body)
    go_on.set()
    await task
    assert await storage.alist() == {"body": 1, "by storage": 1, "own": 1}


async def test_a_task_that_the_body_began_is_part_of_it(storage: Storage) -> None:
    async def body(txn: Transaction) -> None:
        await asyncio.gather(*(storage.aput(f"{number}", number) for number in range(5)))
        assert len(await txn.alist()) == 5
        txn.rollback()

    await storage.atransaction(body)
    assert await storage.alist() == {}


async def test_a_thread_that_the_body_asks_is_part_of_it(storage: Storage) -> None:
    async def body(txn: Transaction) -> None:
        await asyncio.to_thread(storage.put, "thread", 1)
        assert await txn.aget("thread") == 1
        txn.rollback()

    await storage.atransaction(body)
    assert await storage.alist() == {}


async def test_a_blocking_write_beside_a_transaction_of_the_same_loop_is_refused_at_once(storage: Storage) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def body(txn: Transaction) -> None:
        await txn.aput("a", 1)
        inside.set()
        await go_on.wait()

    task = asyncio.create_task(storage.atransaction(body))
    await inside.wait()
    for write in (
        lambda: storage.put("a", 2),
        lambda: storage.kv.put("a", 2),
        lambda: storage.sql.exec("CREATE TABLE own (x)"),
        lambda: storage.transaction(lambda txn: txn.put("a", 2)),
        storage.delete_all,
    ):
        with pytest.raises(TransactionError, match="would wait for a task of the loop that it stops"):
            write()
    go_on.set()
    await task
    assert storage.list() == {"a": 1}


def test_a_thread_waits_for_a_transaction_of_another_thread(storage: Storage) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def body(txn: Transaction) -> None:
        txn.put("a", "transaction")
        inside.set()
        go_on.wait(HANG)
        assert txn.get("a") == "transaction"

    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(storage.transaction, body)
        inside.wait(HANG)
        waiting = pool.submit(storage.put, "a", "other")
        assert storage.get("a") is None
        go_on.set()
        holding.result(HANG)
        waiting.result(HANG)
    assert storage.get("a") == "other"


async def test_whoever_waits_too_long_hears_of_it(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path, timeout=0.1).get_by_name("thing")
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def body(txn: Transaction) -> None:
        await txn.aput("a", 1)
        inside.set()
        await go_on.wait()

    task = asyncio.create_task(thing.storage.atransaction(body))
    await inside.wait()
    with pytest.raises(StorageError, match=r"was written to by another task or thread for more than 0\.1 s"):
        await thing.storage.aput("a", 2)
    with pytest.raises(StorageError, match="end its transaction, or pass a longer timeout"):
        await asyncio.to_thread(thing.storage.put, "a", 2)
    go_on.set()
    await task
    assert await thing.storage.aget("a") == 1
    thing.close()


async def test_what_the_tasks_of_the_loop_wrote_before_stays_where_a_transaction_fails(
    storage: Storage, elsewhere: Storage
) -> None:
    async def body(txn: Transaction) -> None:
        assert await txn.aget("before") == 1
        raise OddError

    await storage.aput("before", 1)
    with pytest.raises(OddError):
        await storage.atransaction(body)
    await storage.aflush()
    assert elsewhere.list() == {"before": 1}


async def test_a_body_of_the_wrong_colour_is_told_by_its_error(storage: Storage) -> None:
    with pytest.raises(TypeError):
        await storage.atransaction(lambda txn: txn.put("a", 1))  # type: ignore[arg-type,return-value]
    assert await storage.alist() == {}


async def _nothing(_txn: Either) -> None:
    pass

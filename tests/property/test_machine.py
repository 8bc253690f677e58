"""Whatever is done with a storage, in whatever order and colour, it holds what a dict would, and so does the disk."""

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chatcache import DurableObject, ObjectNamespace, Storage, Transaction, TransactionError
from chatcache._bridge import drive
from chatcache.testing import ManualClock

Operation = tuple[Any, ...]

KEYS = ["", "a", "a\0", "ab", "abc", "b", "ba", "\x7f", "é", "\U0001f5fc", *(f"k{number:03}" for number in range(12))]
PREFIXES = ["", "a", "ab", "b", "k", "k00", "k01", "z", "é"]


def keys() -> st.SearchStrategy[str]:
    return st.sampled_from(KEYS)


def options() -> st.SearchStrategy[dict[str, Any]]:
    some = {
        "prefix": st.sampled_from(PREFIXES),
        "end": keys(),
        "reverse": st.booleans(),
        "limit": st.integers(1, 8),
    }
    begin = st.sampled_from(["start", "start_after", None])
    return st.builds(
        lambda most, which, key: most if which is None else {**most, which: key},
        st.fixed_dictionaries({}, optional=some),
        begin,
        keys(),
    )


def values() -> st.SearchStrategy[Any]:
    return st.sampled_from([None, 0, 1.5, "text", b"bytes", [1, {"a": (2,)}], {3}])


def synchronous() -> st.SearchStrategy[Operation]:
    """Return what is done within `transaction_sync`."""
    simple = st.one_of(
        st.tuples(st.just("kv.put"), keys(), values()),
        st.tuples(st.just("kv.get"), keys()),
        st.tuples(st.just("kv.delete"), keys()),
        st.tuples(st.just("kv.list"), options()),
        st.tuples(st.just("sql.insert"), st.integers(0, 9)),
        st.tuples(st.just("sql.delete"), st.integers(0, 9)),
        st.tuples(st.just("sql.rows")),
    )
    return st.recursive(
        simple, lambda inner: st.tuples(st.just("sync"), st.lists(inner, max_size=4), st.booleans()), max_leaves=6
    )


def operations() -> st.SearchStrategy[Operation]:
    simple = st.one_of(
        st.tuples(st.just("put"), keys(), values()),
        st.tuples(st.just("put_many"), st.dictionaries(keys(), values(), max_size=5)),
        st.tuples(st.just("get"), keys()),
        st.tuples(st.just("get_many"), st.lists(keys(), max_size=5)),
        st.tuples(st.just("delete"), keys()),
        st.tuples(st.just("delete_many"), st.lists(keys(), max_size=5)),
        st.tuples(st.just("delete_prefix"), st.sampled_from(PREFIXES)),
        st.tuples(st.just("list"), options()),
        st.tuples(st.just("scan"), options()),
        st.tuples(st.just("set_alarm"), st.integers(1, 5)),
        st.tuples(st.just("get_alarm")),
        st.tuples(st.just("delete_alarm")),
        st.tuples(st.just("pause")),
    )
    coloured = st.tuples(simple, st.sampled_from(["blocking", "awaiting"])).map(lambda pair: (*pair[0], pair[1]))
    ends = st.sampled_from(["kept", "kept", "raised", "rolled back"])
    return st.recursive(
        st.one_of(coloured, synchronous()),
        lambda inner: st.tuples(
            st.just("transaction"),
            st.lists(inner, max_size=6),
            ends,
            st.sampled_from(["txn", "storage"]),
            st.sampled_from(["blocking", "awaiting"]),
        ),
        max_leaves=12,
    )


@dataclass
class Model:
    """What is to be in a storage."""

    rows: dict[str, Any] = field(default_factory=dict)
    alarm: int | None = None
    own: list[int] = field(default_factory=list)

    def listed(
        self,
        *,
        prefix: str = "",
        start: str = "",
        start_after: str | None = None,
        end: str | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> list[tuple[str, Any]]:
        found = sorted(
            (item for item in self.rows.items() if item[0].startswith(prefix) and item[0] >= start),
            key=lambda item: item[0],
        )
        found = [item for item in found if start_after is None or item[0] > start_after]
        found = [item for item in found if end is None or item[0] < end]
        return (found[::-1] if reverse else found)[:limit]


class OddError(Exception):
    pass


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.open()
        self.elsewhere = ObjectNamespace(self.folder.name, timeout=5).get_by_name("thing")
        self.storage.sql.exec("CREATE TABLE own (x)")
        self.model = Model()
        self.committed = [Model()]  # what may be on disk: one of these, of which the last is to be there in the end

    def open(self) -> None:
        self.namespace = ObjectNamespace(self.folder.name, durability="normal", alarm=self.handle, clock=self.clock)
        self.thing = self.namespace.get_by_name("thing")

    @staticmethod
    def handle(_thing: DurableObject, _alarm: Any) -> None:
        raise AssertionError("the clock stands still")

    @property
    def storage(self) -> Storage:
        return self.thing.storage

    @rule(todo=st.lists(operations(), max_size=8))
    def in_one_task(self, todo: list[Operation]) -> None:
        self.runner.run(self.all(todo, self.storage, None, "task"))
        self.turn_ended()

    @rule(todo=st.lists(operations(), max_size=5))
    def without_a_loop(self, todo: list[Operation]) -> None:
        drive(self.all(todo, self.storage, "blocking", "thread"))

    @rule(awaiting=st.booleans())
    def flush(self, *, awaiting: bool) -> None:
        if awaiting:
            self.runner.run(self.storage.aflush())
        else:
            self.storage.flush()
        self.all_committed()

    @rule(awaiting=st.booleans())
    def delete_all(self, *, awaiting: bool) -> None:
        if awaiting:
            self.runner.run(self.storage.adelete_all())
        else:
            self.storage.delete_all()
        self.model = Model()
        self.storage.sql.exec("CREATE TABLE own (x)")
        self.all_committed()

    @rule(again=st.booleans())
    def close(self, *, again: bool) -> None:
        self.thing.close()
        self.all_committed()
        if again:
            self.namespace.close()
            self.open()

    @invariant()
    def memory_is_right(self) -> None:
        assert [*self.storage.list().items()] == self.model.listed()
        assert self.storage.get_alarm() == self.alarm_of(self.model)

    @invariant()
    def another_process_sees_what_was_committed(self) -> None:
        rows = self.elsewhere.storage.list()
        assert rows in [model.rows for model in self.committed]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        self.runner.close()
        self.namespace.close()
        assert self.elsewhere.storage.list() == self.model.rows
        assert self.elsewhere.storage.get_alarm() == self.alarm_of(self.model)
        assert self.elsewhere.storage.sql.exec("SELECT x FROM own ORDER BY rowid").raw() == [
            (each,) for each in self.model.own
        ]
        self.elsewhere.close()
        self.folder.cleanup()

    def turn_ended(self) -> None:
        self.committed.append(deepcopy(self.model))

    def all_committed(self) -> None:
        self.committed = [deepcopy(self.model)]

    def alarm_of(self, model: Model) -> datetime | None:
        return None if model.alarm is None else datetime.fromtimestamp(self.clock.now + model.alarm, UTC)

    async def all(self, todo: list[Operation], thing: Storage | Transaction, colour: str | None, where: str) -> None:
        """Do everything, on a storage or a transaction, in the colour that is given or in each one's own."""
        for name, *arguments in todo:
            args = arguments
            if name == "transaction":
                await self.transaction(*args, outer=thing, only=colour, where=where)
            elif name == "sync":
                self.sync(*args)
                self.after_write(where, blocking=False)
            elif "." in name:
                self.synchronously(name, *args)
                self.after_write(where, blocking=False)
            elif name == "pause":
                if where == "task" or (where == "transaction" and colour is None):
                    await asyncio.sleep(0)
                    if where == "task":
                        self.turn_ended()
            else:
                *args, own = args
                blocking = (colour or own) == "blocking"
                await self.simple(name, args, thing, blocking=blocking)
                self.after_write(where, blocking=blocking and ("put" in name or "set" in name or "delete" in name))

    def after_write(self, where: str, *, blocking: bool) -> None:
        if where == "thread" or (where == "task" and blocking):
            self.all_committed()

    async def simple(self, name: str, args: list[Any], thing: Storage | Transaction, *, blocking: bool) -> None:
        keywords = args.pop() if name in ("list", "scan") else {}
        if name == "set_alarm":
            args = [self.clock.now + args[0]]
        if name == "scan":
            keywords.pop("limit", None)
            if blocking:
                found: Any = [*thing.scan(**keywords)]
            else:
                found = [item async for item in thing.ascan(**keywords)]
        elif blocking:
            found = getattr(thing, name)(*args, **keywords)
        else:
            found = await getattr(thing, f"a{name}")(*args, **keywords)
        if isinstance(found, dict):
            found = [*found.items()]
        assert found == self.expected(name, args, keywords)

    def expected(self, name: str, args: list[Any], keywords: dict[str, Any]) -> Any:  # noqa: PLR0911, C901
        """Do it to the model."""
        model = self.model
        match name, args:
            case "put", [key, value]:
                model.rows[key] = value
            case "put_many", [entries]:
                model.rows |= entries
            case "get", [key]:
                return model.rows.get(key)
            case "get_many", [names]:
                return [item for item in model.listed() if item[0] in names]
            case "delete", [key]:
                return self.deleted([key]) == 1
            case "delete_many", [names]:
                return self.deleted(names)
            case "delete_prefix", [prefix]:
                self.deleted([key for key in model.rows if key.startswith(prefix)])
            case "list" | "scan", []:
                return model.listed(**keywords)
            case "set_alarm", [when]:
                model.alarm = round(when - self.clock.now)
            case "get_alarm", []:
                return self.alarm_of(model)
            case "delete_alarm", []:
                model.alarm = None
        return None

    def deleted(self, names: list[str]) -> int:
        return sum(self.model.rows.pop(key, self) is not self for key in set(names))

    def synchronously(self, name: str, *args: Any) -> None:
        storage, model = self.storage, self.model
        match name, args:
            case "kv.put", (key, value):
                storage.kv.put(key, value)
                model.rows[key] = value
            case "kv.get", (key,):
                assert storage.kv.get(key, "absent") == model.rows.get(key, "absent")
            case "kv.delete", (key,):
                assert storage.kv.delete(key) is bool(self.deleted([key]))
            case "kv.list", (keywords,):
                unlimited = {option: value for option, value in keywords.items() if option != "limit"}
                assert [*storage.kv.list(**unlimited)] == model.listed(**unlimited)
            case "sql.insert", (number,):
                assert storage.sql.exec("INSERT INTO own VALUES (?)", number).raw() == []
                model.own.append(number)
            case "sql.delete", (number,):
                storage.sql.exec("DELETE FROM own WHERE x = ?", number)
                model.own = [each for each in model.own if each != number]
            case "sql.rows", ():
                rows = storage.sql.exec("SELECT x FROM own ORDER BY rowid").raw()
                assert rows == [(each,) for each in model.own]

    def sync(self, todo: list[Operation], raises: bool) -> None:  # noqa: FBT001
        before = deepcopy(self.model)

        def body() -> None:
            for name, *args in todo:
                if name == "sync":
                    self.sync(*args)
                else:
                    self.synchronously(name, *args)
            if raises:
                raise OddError

        with suppress(OddError):
            self.storage.transaction_sync(body)
        if raises:
            self.model = before

    async def transaction(
        self,
        todo: list[Operation],
        end: str,
        through: str,
        own: str,
        *,
        outer: Storage | Transaction,
        only: str | None,
        where: str,
    ) -> None:
        before = deepcopy(self.model)
        if where == "task":
            self.turn_ended()

        async def body(txn: Transaction, colour: str | None) -> None:
            await self.all(todo, txn if through == "txn" else self.storage, colour, "transaction")
            if end == "raised":
                raise OddError
            if end == "rolled back":
                txn.rollback()
                with suppress(TransactionError):
                    txn.put("never", 1)

        with suppress(OddError):
            if (only or own) == "blocking":
                outer.transaction(lambda txn: drive(_awaited(body(txn, "blocking"))))
            else:
                await outer.atransaction(lambda txn: body(txn, None))
        if end != "kept":
            self.model = before
        if where in ("task", "thread"):
            self.all_committed()


async def _awaited(what: Awaitable[None]) -> None:
    await what


Machine.TestCase.settings = settings(max_examples=30, stateful_step_count=12)
TestMachine = Machine.TestCase

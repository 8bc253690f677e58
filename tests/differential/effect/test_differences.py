"""Each stated difference is one: Effect does what ``docs/persistence-differences.md`` says, and so do we."""

from typing import Any

import pytest

from chatcache import (
    Failure,
    InvalidNameError,
    InvalidValueError,
    KeyValueStore,
    MemoryPersistence,
    MemoryStorage,
    Persistence,
    ReplayedError,
)
from tests.differential.differences import Shown, read_differences

from .laboratory import Laboratory
from .ours import Num
from .scripts import Op

_TABLE = read_differences("persistence-differences.md", "Effect")
difference = Shown[Laboratory]()

A = {"kind": "Num", "key": "a"}
FOR_EVER: dict[str, Any] = {"success": None, "failure": None, "keys": {}}


def test_every_row_is_tested_or_says_why_not() -> None:
    assert {row.id for row in _TABLE.values() if row.tested == "yes"} == set(difference.by_id)
    assert all(row.tested == "yes" or row.tested.startswith("no: ") for row in _TABLE.values())


@pytest.mark.parametrize("identifier", difference.by_id)
def test_both_sides_do_what_the_table_says(identifier: str, laboratory: Laboratory) -> None:
    difference.by_id[identifier](laboratory)


def both(laboratory: Laboratory, *ops: Op, cache: dict[str, Any] | None = None, **options: Any) -> list[list[Any]]:
    """Return what a script gives in Effect, with its own memory, and here: a pair for each operation."""
    spec = {"store": "s", "ttl": FOR_EVER, "memory_ttl": 10_000, "capacity": 1_024, "plain": True} | (cache or {})
    script = {"stores": [{"id": "s", "ttl": FOR_EVER}], "caches": [spec], "ops": [*ops]}
    theirs, ours = laboratory.effect.run(script), laboratory.ours(script, **options)
    return [[each["is"] for each in pair] for pair in zip(theirs, ours, strict=True)]


def write(exit_: Any) -> Op:
    return {"op": "set", "store": "s", "request": A, "exit": exit_}


def put(row: Any) -> Op:
    return {"op": "set_row", "store": "s", "key": "a", "row": row, "ttl": None}


def ask(outcome: Any, request: Any = A) -> Op:
    return {"op": "ask", "cache": 0, "request": request, "outcome": outcome}


def fail(*names: str) -> Op:
    return {"op": "fail", "names": names}


READ: Op = {"op": "get", "store": "s", "request": A}
ROW: Op = {"op": "row", "store": "s", "key": "a"}
REMOVE: Op = {"op": "remove", "store": "s", "request": A}


def stored(error: Exception, **options: Any) -> tuple[dict[str, Any], Any]:
    """Return the row of a failure, and what is read of it."""
    backing = MemoryPersistence()
    store = Persistence(backing, clock=lambda: 5).make("s", **options)
    store.set(Num("a"), Failure(error))
    return backing.make("s").get("a"), store.get(Num("a"))


@difference("errors")
def _errors(laboratory: Laboratory) -> None:
    """The names in which the scripts of both sides say it are Effect's; `ours.py` has our classes for them."""
    there, here = zip(*both(laboratory, write({"success": "x"}), put({}), READ, fail("get"), READ), strict=True)
    assert there == here
    assert [each.get("raised") for each in there] == ["SchemaError", None, "SchemaError", None, "PersistenceError"]


@difference("row")
def _row(laboratory: Laboratory) -> None:
    there, _ = both(laboratory, write({"success": 5}), ROW)[-1]
    assert there == {"ok": {"_tag": "Success", "value": 5}}
    backing = MemoryPersistence(clock=lambda: 5)
    Persistence(backing, clock=lambda: 5).make("s", ttl=2).set(Num("a"), Failure(ValueError("no")))
    row = backing.make("s").get("a")
    assert (row["at"], row["until"], row["_tag"]) == (5_000, 7_000, "Failure")


@difference("defects")
def _defects(laboratory: Laboratory) -> None:
    there, _ = both(laboratory, write({"die": ["ValueError", "no", {"status": 404}]}), ROW)[-1]
    assert there["ok"]["cause"] == [{"_tag": "Die", "defect": {"name": "ValueError", "message": "no"}}]
    error = ValueError("no", 5)
    error.status = 404  # type: ignore[attr-defined]
    row, _ = stored(error)
    assert row["cause"][0]["defect"] == {
        "name": "ValueError",
        "message": "('no', 5)",
        "args": ["no", 5],
        "data": {"status": 404},
    }


@difference("classes")
def _classes(laboratory: Laboratory) -> None:
    assert (
        both(laboratory, write({"die": ["ValueError", "no"]}), READ)[-1] == [{"ok": {"die": ["ValueError", "no"]}}] * 2
    )
    assert [type(stored(ValueError("no"), errors=each)[1].error) for each in ([], [ValueError])] == [
        ReplayedError,
        ValueError,
    ]


@difference("undeclared")
def _undeclared(laboratory: Laboratory) -> None:
    text = {"kind": "Text", "key": "a"}
    undeclared = {"op": "set", "store": "s", "request": text, "exit": {"fail": 5}}
    there, here = both(laboratory, undeclared)[-1]
    assert (there, here) == ({"raised": "SchemaError"}, {"ok": None})
    _, here = both(laboratory, undeclared, READ)[-1]
    assert here == {"ok": {"die": ["tests.differential.effect.ours.CodeError", "5"]}}


@difference("defaults")
def _defaults(laboratory: Laboratory) -> None:
    bare = {"kind": "Bare", "key": "a"}
    ops = [{"op": "set", "store": "s", "request": bare, "exit": {"success": 5}}, ROW]
    there, here = both(laboratory, *ops)[-1]
    assert (there, here) == ({"ok": {"_tag": "Success", "value": None}}, {"ok": {"_tag": "Success", "value": 5}})


@difference("kv-surrogates")
def _kv_surrogates(laboratory: Laboratory) -> None:
    text: Op = {"op": "text", "prefixes": [], "key": "a", "value": "\ud800"}
    ops = [text | {"method": "set"}, text | {"method": "get_bytes"}]
    there = laboratory.effect.run({"stores": [], "caches": [], "ops": ops})
    assert [each["is"] for each in there] == [{"ok": None}, {"ok": "\ufffd".encode().decode("latin-1")}]
    store = KeyValueStore(MemoryStorage(), "s")
    with pytest.raises(InvalidValueError):
        store.set("a", "\ud800")
    with pytest.raises(InvalidNameError):
        store.set("\ud800", "a")


@difference("causes")
def _causes(laboratory: Laboratory) -> None:
    fails = {"_tag": "Fail", "error": {"code": 5}}
    for cause, theirs in (
        ([], {"interrupt": True}),  # the oracle's word for neither
        ([fails, fails], {"fail": 5}),
        ([{"_tag": "Interrupt", "fiberId": 1}], {"interrupt": True}),
    ):
        there, here = both(laboratory, put({"_tag": "Failure", "cause": cause}), READ)[-1]
        assert (there, here) == ({"ok": theirs}, {"raised": "SchemaError"})


@difference("interruption")
def _interruption(laboratory: Laboratory) -> None:
    interrupted: Op = {"op": "ask_many", "cache": 0, "request": A, "outcome": {"interrupts": True}, "times": 1}
    (_, _), (there, here), (again, anew) = both(laboratory, interrupted, ROW, ask({"success": 5}))
    assert there["ok"]["cause"][0]["_tag"] == "Interrupt"
    assert again == {"interrupt": True}
    assert (here, anew) == ({"ok": None}, {"success": 5})


@difference("cancelled")
def _cancelled(laboratory: Laboratory) -> None:
    cancelled: Op = {"op": "ask_and_cancel", "cache": 0, "request": A, "outcome": {"success": 5}, "times": 4}
    spec = {"store": "s", "ttl": FOR_EVER, "memory_ttl": 10_000, "capacity": 1_024}
    script = {"stores": [{"id": "s", "ttl": FOR_EVER}], "caches": [spec], "ops": [cancelled]}
    (there,), (here,) = laboratory.effect.run(script), laboratory.ours(script)
    assert there["is"] == here["is"] == {"ok": [{"success": 5}] * 3}
    assert [each["calls"].count(["lookup", "a"]) for each in (there, here)] == [1, 2]


@difference("memory-failures")
def _memory_failures(laboratory: Laboratory) -> None:
    there, here = both(laboratory, ask({"fail": 5}), REMOVE, ask({"fail": 6}))[-1]
    assert (there, here) == ({"fail": 5}, {"fail": 6})


@difference("memory-ttl")
def _memory_ttl(laboratory: Laboratory) -> None:
    brief: dict[str, Any] = {"ttl": {"success": 1_000, "failure": None, "keys": {}}}
    advance: Op = {"op": "advance", "by": 1_000}
    there, here = both(laboratory, ask({"success": 5}), advance, ask({"success": 6}), cache=brief)[-1]
    assert (there, here) == ({"success": 5}, {"success": 6})
    nothing: dict[str, Any] = {"ttl": {"success": 0, "failure": None, "keys": {}}}
    there, here = both(laboratory, ask({"success": 5}), ask({"success": 6}), cache=nothing)[-1]
    assert (there, here) == ({"success": 5}, {"success": 6})


@difference("store-error")
def _store_error(laboratory: Laboratory) -> None:
    failed, _, again = both(laboratory, fail("set"), ask({"success": 5}), fail(), ask({"success": 6}))[1:]
    assert failed == [{"raised": "PersistenceError"}] * 2
    assert again == [{"raised": "PersistenceError"}, {"success": 6}]


@difference("bypass")
def _bypass(laboratory: Laboratory) -> None:
    for name in ("get", "set"):
        there, here = both(laboratory, fail(name), ask({"success": 5}), on_store_error="bypass")[-1]
        assert (there, here) == ({"raised": "PersistenceError"}, {"success": 5})


@difference("capacity")
def _capacity(laboratory: Laboratory) -> None:
    other: Op = {
        "op": "ask_many",
        "cache": 0,
        "request": {"kind": "Num", "key": "b"},
        "outcome": {"fail": 5},
        "times": 1,
    }
    there, here = both(laboratory, ask({"success": 5}), REMOVE, other, ask({"success": 6}), cache={"capacity": 1})[-1]
    assert (there, here) == ({"success": 6}, {"success": 5})


@difference("store-ids")
def _store_ids(laboratory: Laboratory) -> None:
    for store_id in ("", "x" * 513):
        script = {"stores": [{"id": store_id, "ttl": FOR_EVER}], "caches": [], "ops": [READ | {"store": store_id}]}
        assert laboratory.effect.run(script) == [{"is": {"ok": None}, "calls": ["get"]}]
        with pytest.raises(InvalidNameError):
            laboratory.ours(script)

"""Runs the scripts in our storage, with blocking calls or with awaiting ones, and gives results as the oracle does."""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chatcache import DurableObject

from .scripts import Op, Script
from .values import MISSING, UNDEFINED, decode, encode

__all__ = ["ThrownError", "run_awaiting", "run_blocking"]

Result = dict[str, Any]


class ThrownError(Exception):
    """What the operation ``throw`` raises: an error of the caller's own."""


@dataclass
class Frame:
    """Where a script is: its object, its colour, and the handles of the transactions around it, innermost last."""

    storage: Any
    awaiting: bool
    open: list[Any] = field(default_factory=list)
    ended: list[Any] = field(default_factory=list)
    rolled_back: list[Any] = field(default_factory=list)

    def handle(self, on: str) -> Any:
        """Return what an operation is called on, or None, as ``handle`` in the oracle does."""
        match on:
            case "txn":
                return self.open[-1] if self.open else self.storage
            case "outer":
                return self.open[-2] if self.open[1:] else None
            case "ended":
                return self.ended[-1] if self.ended else None
            case _:
                return self.storage

    async def call(self, on: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method, or its awaiting twin."""
        if not self.awaiting:
            return getattr(on, name)(*args, **kwargs)
        return await getattr(on, f"a{name}")(*args, **kwargs)


def run_blocking(thing: DurableObject, script: Script) -> list[Result]:
    """Run a script with blocking calls."""
    results: list[Result] = _finish(_run(script, Frame(thing.storage, awaiting=False), []))
    return results


async def run_awaiting(thing: DurableObject, script: Script) -> list[Result]:
    """Run a script with awaiting calls."""
    return await _run(script, Frame(thing.storage, awaiting=True), [])


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine gives that awaits nothing: with blocking calls, this source has no other use of await."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a blocking script waited for something")


async def _run(script: Script, frame: Frame, results: list[Result]) -> list[Result]:
    for op in script:
        if op["op"] == "throw":
            raise ThrownError("thrown by the script")
        part: Result = {}
        try:
            results.append({"ok": await _perform(op, frame, part)} | part)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a result
            results.append({"error": {"name": type(error).__name__, "message": str(error)}} | part)
    return results


def _run_sync(script: Script, frame: Frame, results: list[Result]) -> None:
    for op in script:
        if op["op"] == "throw":
            raise ThrownError("thrown by the script")
        part: Result = {}
        try:
            results.append({"ok": _perform_sync(op, frame, part)} | part)
        except Exception as error:  # noqa: BLE001 - as above
            results.append({"error": {"name": type(error).__name__, "message": str(error)}} | part)


async def _perform(op: Op, frame: Frame, part: Result) -> Any:  # noqa: C901, PLR0911, PLR0912 - a case a row
    """Return the result of one operation, encoded."""
    on = frame.handle(op.get("on", "txn"))
    if on is None:
        return {"$": "no handle"}
    match op["op"]:
        case "get":
            return encode(await frame.call(on, "get", decode(op["key"]), *(() if op.get("bare") else (MISSING,))))
        case "get_many":
            return _listing(await frame.call(on, "get_many", decode(op["keys"])))
        case "put":
            return _nothing(await frame.call(on, "put", decode(op["key"]), decode(op["value"])))
        case "put_many":
            return _nothing(
                await frame.call(on, "put_many", {decode(key): decode(value) for key, value in op["entries"]})
            )
        case "delete":
            return encode(await frame.call(on, "delete", decode(op["key"])))
        case "delete_many":
            return encode(await frame.call(on, "delete_many", decode(op["keys"])))
        case "put_crowd":
            return _nothing(await frame.call(on, "put_many", {key: int(key[-4:]) for key in crowd(op)}))
        case "delete_crowd":
            return encode(await frame.call(on, "delete_many", crowd(op)))
        case "list":
            return _listing(await frame.call(on, "list", **_options(op)))
        case "delete_all" | "flush" | "delete_alarm":
            return _nothing(await frame.call(on, op["op"]))
        case "get_alarm":
            when = await frame.call(on, "get_alarm")
            return encode(when) if when is None else encode(when)["v"]
        case "set_alarm":
            return _nothing(await frame.call(on, "set_alarm", _when(op)))
        case "rollback":
            frame.rolled_back.append(on)
            return _nothing(on.rollback())
        case "transaction":
            return await _transaction(op, frame, part)
        case "has":
            return [name for name in op["names"] if hasattr(on, name)]
        case _:
            return _perform_sync(op, frame, part)


async def _transaction(op: Op, frame: Frame, part: Result) -> Any:
    """Run a transaction; a nested one by the handle of the one around it, or by the storage, as in workerd.

    By the storage as well where that handle was rolled back: it refuses then, and workerd has no such method on it.
    """
    by_storage = op.get("via") == "storage" or frame.handle("txn") in frame.rolled_back
    on = frame.storage if by_storage else frame.handle("txn")
    body = part.setdefault("body", [])

    async def inner(handle: Any) -> str:
        frame.open.append(handle)
        try:
            await _run(op["body"], frame, body)
        finally:
            frame.ended.append(frame.open.pop())
        return "returned"

    def blocking(handle: Any) -> Any:
        return _finish(inner(handle))

    return encode(await frame.call(on, "transaction", inner if frame.awaiting else blocking))


def _perform_sync(op: Op, frame: Frame, part: Result) -> Any:  # noqa: PLR0911 - as above
    kv, sql = frame.storage.kv, frame.storage.sql
    match op["op"]:
        case "kv_get":
            return encode(kv.get(decode(op["key"]), *(() if op.get("bare") else (MISSING,))))
        case "kv_put":
            return _nothing(kv.put(decode(op["key"]), decode(op["value"])))
        case "kv_delete":
            return encode(kv.delete(decode(op["key"])))
        case "kv_list":
            return [[key, encode(value)] for key, value in kv.list(**_options(op))]
        case "kv_walk":
            return _walk(op, frame, part.setdefault("body", []))
        case "transaction_sync":
            body = part.setdefault("body", [])

            def inner() -> str:
                _run_sync(op["body"], frame, body)
                return "returned"

            return encode(frame.storage.transaction_sync(inner))
        case "sql":
            return _sql(op, sql)
        case "sql_late":
            cursor = sql.exec(op["query"])
            _run_sync(op["body"], frame, part.setdefault("body", []))
            return [_row(row) for row in cursor.raw()]
        case name:
            raise AssertionError(f"no operation {name}")


def crowd(op: Op) -> list[str]:
    """Return many keys: every so many'th of a prefix with a number."""
    return [f"{op['prefix']}{number:04}" for number in range(0, op["count"], op.get("step", 1))]


def _walk(op: Op, frame: Frame, body: list[Result]) -> list[str]:
    seen = []
    for key, _ in frame.storage.kv.list(**_options(op)):
        seen.append(key)
        if key == decode(op["at"]):
            _run_sync(op["body"], frame, body)
    return seen


def _sql(op: Op, sql: Any) -> Any:
    cursor = sql.exec(op["query"], *decode(op["bindings"]))
    columns = list(cursor.column_names)
    match op["form"]:
        case "raw":
            rows: Any = [_row(row) for row in cursor.raw()]
        case "dicts":
            rows = [_row(row) for row in cursor.to_list()]
        case "iterated":
            rows = [_row(row) for row in cursor]
        case _:
            rows = _row(cursor.one())
    return {"$": "object", "v": [["columns", columns], ["rows", rows]]}


def _row(row: Any) -> Any:
    """Return a row's form. What SQL calls a blob is an ArrayBuffer there, where a stored value is a Uint8Array."""
    form = encode(list(row) if isinstance(row, tuple) else row)
    return _buffers(form)


def _buffers(form: Any) -> Any:
    match form:
        case list():
            return [_buffers(each) for each in form]
        case {"$": "bytes", "v": text}:
            return {"$": "buffer", "v": text}
        case {"$": kind, "v": inner}:
            return {"$": kind, "v": _buffers(inner)}
        case _:
            return form


def _options(op: Op) -> dict[str, Any]:
    return {name: decode(value) for name, value in op.get("options", {}).items()}


def _when(op: Op) -> Any:
    """Return a script's milliseconds as the point in time that our alarms take: a datetime, or seconds."""
    if op.get("as") == "date":
        moment: datetime = decode({"$": "date", "v": op["when"]})
        return moment
    when = decode(op["when"])
    return when / 1000 if isinstance(when, int | float) else when


def _listing(entries: dict[str, Any]) -> Any:
    return {"$": "map", "v": [[encode(key), encode(value)] for key, value in entries.items()]}


def _nothing(value: Any) -> Any:
    return UNDEFINED if value is None else encode(value)

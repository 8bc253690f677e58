"""Runs the scripts in our stores and caches, in either colour, and gives results as the oracle does."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from chatcache import (
    DecodeError,
    Exit,
    Failure,
    InvalidValueError,
    Persistable,
    PersistedCache,
    Persistence,
    PersistenceError,
    ReplayedError,
    Success,
)
from chatcache.backing import Backing
from chatcache.clock import milliseconds
from chatcache.testing import ManualClock
from chatcache.testing.doubles import Watched
from chatcache.ttl import expires_at

from .scripts import Op, Script

__all__ = ["CodeError", "Num", "Result", "Text", "World"]

Result = dict[str, Any]

_CLASSES = {each.__name__: each for each in (TypeError, ValueError, RuntimeError)}


class CodeError(Exception):
    """The error that `Num` declares."""

    def __init__(self, code: Any) -> None:
        super().__init__(code)
        self.code = code


class _Of:
    def __init__(self, *types: type) -> None:
        self._types = types

    def encode(self, value: Any, /) -> Any:
        if type(value) not in self._types:
            raise TypeError(value)
        return value

    decode = encode


class _Codes:
    def covers(self, error: Exception, /) -> bool:
        return isinstance(error, CodeError)

    def encode(self, error: Any, /) -> Any:
        return {"code": _Of(int, float).encode(error.code)}

    def decode(self, data: Any, /) -> Any:
        return CodeError(_Of(int, float).encode(data["code"]))


@dataclass(frozen=True, slots=True)
class Num:
    key: str
    success: ClassVar = _Of(int, float)
    failure: ClassVar = _Codes()

    def primary_key(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class Text:
    key: str
    success: ClassVar = _Of(str)
    failure: ClassVar = None

    def primary_key(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class Bare(Persistable[Any]):
    key: str

    def primary_key(self) -> str:
        return self.key


_KINDS: dict[str, Any] = {"Num": Num, "Text": Text, "Bare": Bare}


class World:
    """What a script is run in, as in the oracle.

    Args:
        make: makes the backing, which goes by a clock.
        awaiting: whether methods are awaited.
        runner: the loop of what is awaited.
        options: of each cache, beside those that the script gives.
    """

    def __init__(
        self, make: Callable[[ManualClock], Backing], runner: asyncio.Runner, *, awaiting: bool, **options: Any
    ) -> None:
        self.clock = ManualClock(0.0)
        self._backing = make(self.clock)
        self._watched = Watched(self._backing)
        self._persistence = Persistence(self._watched, clock=self.clock)
        self._runner = runner
        self._awaiting = awaiting
        self._options = {"on_store_error": "raise"} | options
        self._calls: list[Any] = self._watched.calls

    def run(self, script: Script) -> list[Result]:
        """Return the results of a script, one an operation."""
        self._stores = {
            each["id"]: self._persistence.make(each["id"], ttl=self._ttl(each["ttl"])) for each in script["stores"]
        }
        self._specs = script["caches"]
        self._caches = [self._new_cache(spec) for spec in self._specs]
        results = []
        for op in script["ops"]:
            self._calls.clear()
            try:
                done = {"ok": self._perform(op)} if op["op"] != "ask" else self._ask(op)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is a result
                done = _plain(Failure(error))
            results.append({"is": done, "calls": [*self._calls]})
        return results

    def _perform(self, op: Op) -> Any:  # noqa: C901, PLR0911, PLR0912 - a case a row
        store = self._stores.get(op.get("store", ""))
        match op["op"]:
            case "get":
                return _slot(self._call(store, "get", _request(op["request"])))
            case "get_many":
                return [*map(_slot, self._call(store, "get_many", map(_request, op["requests"])))]
            case "set":
                return self._call(store, "set", _request(op["request"]), _exit(op["exit"]))
            case "set_many":
                return self._call(store, "set_many", [(_request(each), _exit(it)) for each, it in op["entries"]])
            case "remove":
                return self._call(store, "remove", _request(op["request"]))
            case "clear":
                return self._call(store, "clear")
            case "row":
                return _row(self._call(self._backing.make(op["store"]), "get", op["key"]))
            case "set_row":
                return self._set_row(op)
            case "advance":
                self.clock.now += op["by"] / 1000
            case "fail":
                self._watched.failing = set(op["names"])
            case "new_cache":
                self._caches[op["cache"]] = self._new_cache(self._specs[op["cache"]])
            case "invalidate":
                return self._call(self._caches[op["cache"]], "invalidate", _request(op["request"]))
            case "ask_many" | "ask_and_cancel":
                return self._runner.run(self._ask_many(op))
            case name:
                raise AssertionError(f"no operation {name}")
        return None

    def _set_row(self, op: Op) -> None:
        ttl = _seconds(op["ttl"])
        until = expires_at(ttl, milliseconds(self.clock))
        row = op["row"] if until is None else op["row"] | {"until": until}  # difference `row`
        self._call(self._backing.make(op["store"]), "set", op["key"], row, ttl)

    def _ask(self, op: Op) -> Result:
        self._outcome = op["outcome"]
        return _plain(Success(self._call(self._caches[op["cache"]], "get", _request(op["request"]))))

    async def _ask_many(self, op: Op) -> list[Result]:
        self._outcome = op["outcome"]
        cache, request = self._caches[op["cache"]], _request(op["request"])
        tasks = [asyncio.create_task(cache.aget(request)) for _ in range(op["times"])]
        if op["op"] == "ask_and_cancel":
            await asyncio.sleep(0)
            tasks.pop(0).cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return [_plain(Failure(each) if isinstance(each, Exception) else Success(each)) for each in ended]

    def _new_cache(self, spec: dict[str, Any]) -> PersistedCache[Any]:
        return PersistedCache(
            self._persistence,
            spec["store"],
            ttl=self._ttl(spec["ttl"]),
            lookup=self._lookup,
            alookup=self._alookup,
            memory_ttl=_seconds(spec["memory_ttl"]),
            memory_capacity=spec["capacity"],
            **self._options,
        )

    def _lookup(self, request: Any) -> Any:
        self._calls.append(["lookup", request.key])
        match self._outcome:
            case {"success": value}:
                return value
            case {"fail": code}:
                raise CodeError(code)
            case {"die": [name, message]} | {"throws": [name, message]}:
                raise _CLASSES[name](message)
            case _:
                raise asyncio.CancelledError

    async def _alookup(self, request: Any) -> Any:
        try:
            return self._lookup(request)
        finally:
            await asyncio.sleep(0)

    def _ttl(self, rule: dict[str, Any]) -> Callable[[Any, Any], Any]:
        def ttl(exit_: Exit[Any], request: Any) -> float | None:
            self._calls.append(["ttl", *_plain(exit_), request.key])
            return _seconds(rule["keys"].get(request.key, rule["success" if isinstance(exit_, Success) else "failure"]))

        return ttl

    def _call(self, on: Any, name: str, *args: Any) -> Any:
        if self._awaiting:
            return self._runner.run(getattr(on, f"a{name}")(*args))
        return getattr(on, name)(*args)


def _request(spec: dict[str, str]) -> Any:
    return _KINDS[spec["kind"]](spec["key"])


def _exit(spec: dict[str, Any]) -> Exit[Any]:
    match spec:
        case {"success": value}:
            return Success(value)
        case {"fail": code}:
            return Failure(CodeError(code))
        case _:
            name, message, *properties = spec["die"]
            error = _CLASSES[name](message)
            vars(error).update(*properties)
            return Failure(error)


def _plain(exit_: Exit[Any]) -> Result:
    match exit_:
        case Success(value):
            return {"success": value}
        case Failure(CodeError(code=code)):
            return {"fail": code}
        case Failure(ReplayedError() as error):
            return {"die": [error.name, error.message]}
        case Failure(InvalidValueError() | DecodeError()):  # difference `errors`
            return {"raised": "SchemaError"}
        case Failure(PersistenceError()):
            return {"raised": "PersistenceError"}
        case Failure(error):
            return {"die": [type(error).__name__, str(error)]}


def _slot(exit_: Exit[Any] | None) -> Any:
    return None if exit_ is None else _plain(exit_)


def _row(row: Any) -> Any:
    """Return a row without what only ours have: difference `row`."""
    return row and {name: value for name, value in row.items() if name not in {"at", "until"}}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000

"""Each stated difference is one: workerd does what the table in ``docs/storage-differences.md`` says, and so do we."""

import sqlite3
from datetime import datetime, timedelta
from typing import Any

import pytest

from chatcache import InvalidNameError

from .compare import FORGIVEN, settled
from .differences import Shown, read_differences
from .laboratory import Laboratory
from .scripts import Op, Script
from .values import MISSING, UNDEFINED, decode, encode
from .workerd import NAMESPACE

_TABLE = read_differences()
difference = Shown[Laboratory]()


def test_every_row_is_tested_or_says_why_not() -> None:
    assert {row.id for row in _TABLE.values() if row.tested == "yes"} == set(difference.by_id)
    assert all(row.tested == "yes" or row.tested.startswith("no: ") for row in _TABLE.values())


def test_nothing_is_forgiven_that_the_table_does_not_state() -> None:
    assert set(difference.by_id) >= FORGIVEN


@pytest.mark.parametrize("identifier", difference.by_id)
def test_both_sides_do_what_the_table_says(identifier: str, laboratory: Laboratory) -> None:
    difference.by_id[identifier](laboratory)


def put(key: Any, value: Any = 1) -> Op:
    return {"op": "put", "key": key, "value": value}


def get(key: Any) -> Op:
    return {"op": "get", "key": key}


def listing(**options: Any) -> Op:
    return {"op": "list", "options": options}


def sql(query: str, *bindings: Any, form: str = "raw") -> Op:
    return {"op": "sql", "query": query, "bindings": list(bindings), "form": form}


def transaction(*body: Op) -> Op:
    return {"op": "transaction", "body": list(body)}


def mapping(**entries: Any) -> dict[str, Any]:
    return {"$": "map", "v": [[key, value] for key, value in entries.items()]}


def rows(result: Any) -> Any:
    return dict(result["v"])["rows"]


def theirs(laboratory: Laboratory, *script: Op) -> list[Any]:
    """Return what workerd gives, in brief: values, and errors as their text."""
    return [_brief(result) for result in laboratory.theirs([*script])]


def ours(laboratory: Laboratory, *script: Op) -> list[Any]:
    """Return what we give, the same in both colours, in brief: values, and errors as their class."""
    blocking, awaiting = (
        [result["error"]["name"] if "error" in result else result["ok"] for result in results]
        for results in laboratory.ours([*script])
    )
    assert blocking == awaiting
    return blocking


def _brief(result: dict[str, Any]) -> Any:
    return f"{result['error']['name']}: {result['error']['message']}" if "error" in result else result["ok"]


def last(laboratory: Laboratory, *script: Op) -> tuple[Any, Any]:
    """Return what the last operation gives there and here."""
    return theirs(laboratory, *script)[-1], ours(laboratory, *script)[-1]


def kept(laboratory: Laboratory, value: Any) -> tuple[Any, Any]:
    """Return what a stored value comes back as, there and here."""
    return last(laboratory, put("a", value), get("a"))


@difference("errors")
def _errors(laboratory: Laboratory) -> None:
    assert last(laboratory, listing(limit=0)) == ("TypeError: List limit must be positive.", "InvalidInputError")
    said, raised = last(laboratory, put("a", {"$": "function"}))
    assert (said, raised) == ("DataCloneError: () => 1 could not be cloned.", "InvalidValueError")
    said, raised = last(
        laboratory, transaction({"op": "rollback"}), {"op": "rollback", "on": "ended"}, get("a") | {"on": "ended"}
    )
    assert (said, raised) == ("Error: Cannot get() on rolled back transaction", "TransactionError")
    assert last(laboratory, sql("SELECT * FROM t")) == ("Error: no such table: t: SQLITE_ERROR", "SQLError")


@difference("undefined")
def _undefined(laboratory: Laboratory) -> None:
    assert theirs(laboratory, get("a"), {"op": "kv_get", "key": "a"}, put("a")) == [UNDEFINED] * 3
    bare = ours(laboratory, get("a") | {"bare": True}, {"op": "kv_get", "key": "a", "bare": True})
    assert bare == [None, None]
    assert ours(laboratory, get("a")) == [encode(MISSING)]
    with laboratory.object() as thing:
        assert thing.storage.get("a", 5) == 5
        assert thing.storage.put("a", 1) is None  # type: ignore[func-returns-value]


@difference("put-undefined")
def _put_undefined(laboratory: Laboratory) -> None:
    refused = theirs(laboratory, put("a", UNDEFINED), {"op": "put", "key": "a"})
    assert refused == ["TypeError: put() called with undefined value."] * 2
    among = theirs(laboratory, {"op": "put_many", "entries": [["a", UNDEFINED], ["b", 1]]}, listing())
    assert among == [UNDEFINED, mapping(b=1)]
    stored = theirs(laboratory, {"op": "kv_put", "key": "a", "value": UNDEFINED}, {"op": "kv_list"}, get("a"))
    assert stored == [UNDEFINED, [["a", UNDEFINED]], UNDEFINED]


@difference("number")
def _number(laboratory: Laboratory) -> None:
    there, here = kept(laboratory, [1, 1.0])
    assert [*map(type, there)] == [int, int]
    assert [*map(type, here)] == [int, float]


@difference("bigint")
def _bigint(laboratory: Laboratory) -> None:
    beyond = {"$": "bigint", "v": "9007199254740993"}
    assert kept(laboratory, beyond) == (beyond, beyond)
    assert kept(laboratory, {"$": "bigint", "v": "5"}) == ({"$": "bigint", "v": "5"}, 5)
    assert theirs(laboratory, put("a", 2**53 + 1), get("a"))[-1] == 2**53
    assert decode(ours(laboratory, put("a", 2**53 + 1), get("a"))[-1]) == 2**53 + 1


@difference("object-order")
def _object_order(laboratory: Laboratory) -> None:
    there, here = kept(laboratory, {"$": "object", "v": [["b", 0], ["10", 0], ["9", 0]]})
    assert [key for key, _ in there["v"]] == ["9", "10", "b"]
    assert [key for key, _ in here["v"]] == ["b", "10", "9"]


@difference("map")
def _map(laboratory: Laboratory) -> None:
    there, here = kept(laboratory, mapping(a=1))
    assert (there["$"], here["$"]) == ("map", "object")
    there, here = kept(laboratory, {"$": "map", "v": [[7, 1]]})
    assert (there["$"], here["$"]) == ("map", "map")


@difference("set-order")
def _set_order(laboratory: Laboratory) -> None:
    there, here = kept(laboratory, {"$": "set", "v": ["b", "a", 1, True]})
    assert there["v"] == ["b", "a", 1, True]
    assert decode(here) == {"a", "b", 1}


@difference("tuple")
def _tuple(laboratory: Laboratory) -> None:
    for value in {"$": "tuple", "v": [1]}, {"$": "frozenset", "v": [1]}:
        assert ours(laboratory, put("a", value), get("a"))[-1] == value
        assert theirs(laboratory, put("a", value))[-1].startswith("Error: no value")  # the oracle has none to put


@difference("datetime")
def _datetime(laboratory: Laboratory) -> None:
    assert theirs(laboratory, put("a", {"$": "date", "v": 1.5}), get("a"))[-1] == {"$": "date", "v": 1}
    with laboratory.object() as thing:
        moment = datetime.fromisoformat("2024-02-29T12:30:00.123456+01:00")
        thing.storage.put("a", moment)
        assert thing.storage.get("a").isoformat() == moment.isoformat()
    assert ours(laboratory, put("a", {"$": "example", "v": "naive datetime"})) == ["InvalidValueError"]


@difference("classes")
def _classes(laboratory: Laboratory) -> None:
    for name in "regexp", "error", "boxed", "uint16", "hole", "cycle", "instance":
        assert theirs(laboratory, put("a", {"$": "example", "v": name}))[-1] == UNDEFINED, name
    for name in "pattern", "exception", "array", "cycle", "instance", "subclass", "named tuple":
        assert ours(laboratory, put("a", {"$": "example", "v": name}))[-1] == "InvalidValueError", name
    shared = theirs(laboratory, put("a", {"$": "example", "v": "shared"}), {"op": "same_parts", "key": "a"})
    assert shared == [UNDEFINED, True]
    with laboratory.object() as thing:
        part = [1]
        thing.storage.put("a", [part, part])
        one, other = thing.storage.get("a")
        assert one == other
        assert one is not other


@difference("depth")
def _depth(laboratory: Laboratory) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    assert last(laboratory, put("a", deep)) == (UNDEFINED, "InvalidValueError")


@difference("surrogates")
def _surrogates(laboratory: Laboratory) -> None:
    halves = {"$": "surrogates", "v": [0xD83D, 0xDE00]}
    assert kept(laboratory, halves) == ("😀", halves)


@difference("key-type")
def _key_type(laboratory: Laboratory) -> None:
    for key, converted in (5, "5"), (None, "null"), (True, "true"):
        assert theirs(laboratory, put(key), listing())[-1] == mapping(**{converted: 1})
        script: Script = [
            *(put(key), get(key), {"op": "delete", "key": key}, {"op": "delete_many", "keys": [key]}),
            *({"op": "get_many", "keys": [key]}, {"op": "put_many", "entries": [[key, 1]]}),
            *({"op": "kv_put", "key": key, "value": 1}, {"op": "kv_get", "key": key}, {"op": "kv_delete", "key": key}),
        ]
        assert ours(laboratory, *script) == ["InvalidNameError"] * 9


@difference("key-surrogates")
def _key_surrogates(laboratory: Laboratory) -> None:
    there = theirs(laboratory, put("\ud800", 1), put("\ud801", 2), get("\ud800"), listing())
    assert there[2:] == [1, mapping(**{"\ufffd" * 3: 2})]
    here = ours(laboratory, put("\ud800"), get("\ud800"), listing(prefix="\ud800"), listing(start="\ud800"))
    assert here == ["InvalidNameError"] * 4


@difference("limit")
def _limit(laboratory: Laboratory) -> None:
    keys = [put("a"), put("b"), put("c")]
    for limit, meant in (1.9, 1), ("2", 2), (True, 1):
        there, here = last(laboratory, *keys, listing(limit=limit))
        assert (len(there["v"]), here) == (meant, "InvalidInputError")
    there, here = last(laboratory, *keys, listing(limit=None))
    assert (there, len(here["v"])) == ("TypeError: List limit must be positive.", 3)
    there, here = last(laboratory, *keys, listing(limit=2**31))
    assert there == "TypeError: Value out of range. Must be between -2147483648 and 2147483647 (inclusive)."
    assert len(here["v"]) == 3


@difference("options")
def _options(laboratory: Laboratory) -> None:
    keys = [put("a"), put("z")]
    assert last(laboratory, *keys, listing(start=None)) == (mapping(z=1), mapping(a=1, z=1))
    assert last(laboratory, *keys, listing(end=None)) == (mapping(a=1), mapping(a=1, z=1))
    assert last(laboratory, *keys, listing(misspelt=1)) == (mapping(a=1, z=1), "TypeError")
    assert last(laboratory, *keys, listing(noCache=True)) == (mapping(a=1, z=1), "TypeError")


@difference("write-options")
def _write_options(laboratory: Laboratory) -> None:
    options = {"allowUnconfirmed": True, "allowConcurrency": True, "noCache": True}
    assert theirs(laboratory, put("a") | {"op": "put_with", "options": options}, get("a")) == [UNDEFINED, 1]
    with laboratory.object() as thing:
        storage: Any = thing.storage
        for option in options:
            with pytest.raises(TypeError):
                storage.put("a", 1, **{option: True})


@difference("context")
def _context(laboratory: Laboratory) -> None:
    names = ["blockConcurrencyWhile", "abort"]
    assert theirs(laboratory, {"op": "has", "on": "context", "names": names}) == [names]
    with laboratory.object() as thing:
        assert not [name for name in dir(thing) if "block" in name or "abort" in name]


@difference("bookmarks")
def _bookmarks(laboratory: Laboratory) -> None:
    names = ["getCurrentBookmark", "getBookmarkForTime", "onNextSessionRestoreBookmark"]
    assert theirs(laboratory, {"op": "has", "names": names}) == [names]
    with laboratory.object() as thing:
        assert not [name for name in dir(thing.storage) if "bookmark" in name]


@difference("flush")
def _flush(laboratory: Laboratory) -> None:
    flush = transaction({"op": "flush", "on": "storage"})
    assert laboratory.theirs([flush])[0]["body"] == [{"ok": UNDEFINED}]
    for results in laboratory.ours([flush]):
        assert results[0]["body"][0]["error"]["name"] == "TransactionError"


@difference("ended-list")
def _ended_list(laboratory: Laboratory) -> None:
    empty = listing(start="b", end="a")
    script: Script = [transaction({"op": "rollback"}, empty)]
    assert laboratory.theirs(script)[0]["body"][1] == {"ok": mapping()}
    for results in laboratory.ours(script):
        assert results[0]["body"][1]["error"]["name"] == "TransactionError"


@difference("after-rollback")
def _after_rollback(laboratory: Laboratory) -> None:
    later: Script = [
        *(put("a") | {"on": "storage"}, {"op": "kv_put", "key": "b", "value": 1}, sql("CREATE TABLE t (a)")),
        {"op": "transaction", "body": [], "via": "storage"},
    ]
    script: Script = [transaction({"op": "rollback"}, *later), listing()]
    done, listed = laboratory.theirs(script)
    assert not [result for result in done["body"] if "error" in result]
    assert listed == {"ok": mapping(a=1, b=1)}
    for results in laboratory.ours(script):
        assert [result["error"]["name"] for result in results[0]["body"][1:]] == ["TransactionError"] * len(later)
        assert results[1] == {"ok": mapping()}


@difference("outer-rollback")
def _outer_rollback(laboratory: Laboratory) -> None:
    another = {"op": "transaction", "body": [], "via": "storage"}
    script: Script = [transaction(transaction({"op": "rollback"}, another, {"op": "rollback", "on": "outer"}))]
    assert "error" not in laboratory.theirs(script)[0]["body"][0]["body"][2]
    for results in laboratory.ours(script):
        assert results[0]["body"][0]["body"][2]["error"]["name"] == "TransactionError"


@difference("nested")
def _nested(laboratory: Laboratory) -> None:
    has = {"op": "has", "names": ["transaction"]}
    assert laboratory.theirs([transaction(has)])[0]["body"] == [{"ok": []}]
    assert [results[0]["body"] for results in laboratory.ours([transaction(has)])] == [[{"ok": ["transaction"]}]] * 2


@difference("txn-methods")
def _txn_methods(laboratory: Laboratory) -> None:
    has = {"op": "has", "names": ["deleteAll", "delete_all", "adelete_all"]}
    there = laboratory.theirs([transaction(has, {"op": "delete_all"})])[0]["body"]
    assert there[0] == {"ok": ["deleteAll"]}
    assert settled({"op": "delete_all"}, there[1]) == "raised TransactionError"
    assert [results[0]["body"] for results in laboratory.ours([transaction(has)])] == [[{"ok": []}]] * 2


@difference("alarm-time")
def _alarm_time(laboratory: Laboratory) -> None:
    script: Script = [{"op": "set_alarm", "when": 4_102_444_800_123, "as": "date"}, {"op": "get_alarm"}]
    assert last(laboratory, *script) == (4_102_444_800_123, 4_102_444_800_123)
    with laboratory.object() as thing:
        storage: Any = thing.storage
        storage.set_alarm(4_102_444_800.123)
        when = storage.get_alarm()
        assert isinstance(when, datetime)
        assert when.utcoffset() == timedelta(0)
        assert when.isoformat(timespec="milliseconds") == "2100-01-01T00:00:00.123+00:00"


@difference("kv-list")
def _kv_list(laboratory: Laboratory) -> None:
    keys = [put(key) for key in "abcd"]
    there, here = last(laboratory, *keys, {"op": "kv_walk", "at": "b", "body": [{"op": "kv_list"}]})
    assert there.startswith("Error: kv.list() iterator was invalidated because a new call to kv.list() was started.")
    assert here == ["a", "b", "c", "d"]
    change: Script = [{"op": "kv_delete", "key": "c"}, {"op": "kv_put", "key": "cc", "value": 1}]
    there, here = last(laboratory, *keys, {"op": "kv_walk", "at": "b", "body": change})
    assert there == ["a", "b", "cc", "d"]
    assert here == ["a", "b", "c", "d"]
    crowd = {"op": "put_crowd", "prefix": "c", "count": 1200}
    deletion: Script = [{"op": "kv_delete", "key": "c0009"}, {"op": "kv_delete", "key": "c1100"}]
    there, here = last(laboratory, crowd, {"op": "kv_walk", "at": "c0000", "body": deletion})
    assert (len(there), len(here)) == (1198, 1199)


@difference("sql-cursor")
def _sql_cursor(laboratory: Laboratory) -> None:
    late = {"op": "sql_late", "query": "SELECT a FROM t", "body": [sql("INSERT INTO t VALUES (2)")]}
    there, here = last(laboratory, sql("CREATE TABLE t (a)"), sql("INSERT INTO t VALUES (1)"), late)
    assert (there, here) == ([[1], [2]], [[1]])
    three = "SELECT 1 AS x UNION ALL SELECT 2 UNION ALL SELECT 3"
    first, others, left, done = theirs(laboratory, {"op": "sql_next", "query": three})[0]
    values = [[dict(row["v"])["x"] for row in part] for part in ([first], others, left)]
    assert (values, done) == ([[1], [2, 3], []], True)
    with laboratory.object() as thing:
        cursor = thing.storage.sql.exec(three)
        assert not hasattr(cursor, "next")
        assert next(iter(cursor)) == {"x": 1}
        assert [*cursor] == cursor.to_list() == [{"x": 1}, {"x": 2}, {"x": 3}]
        assert cursor.raw() == [(1,), (2,), (3,)]


@difference("sql-version")
def _sql_version(laboratory: Laboratory) -> None:
    newer: dict[str, tuple[Any, tuple[int, int]]] = {
        "SELECT unhex('41')": ({"$": "buffer", "v": "41"}, (3, 41)),
        "SELECT json('{a:1}')": ('{"a":1}', (3, 42)),
        "SELECT octet_length('é')": (2, (3, 43)),
        "SELECT timediff('2024-01-02', '2024-01-01')": ("+0000-00-01 00:00:00.000", (3, 43)),
        "SELECT concat('a', NULL, 1)": ("a1", (3, 44)),
        "SELECT string_agg(1, '-')": ("1", (3, 44)),
        "SELECT json(jsonb('[1]'))": ("[1]", (3, 45)),
        "SELECT 1_000": (1000, (3, 46)),
    }
    for query, (value, since) in newer.items():
        there, here = last(laboratory, sql(query))
        assert rows(there) == [[value]]
        assert (here == "SQLError") if sqlite3.sqlite_version_info < since else (rows(here) == [[value]]), query
    there, _ = last(laboratory, sql("SELECT x'00' LIKE x'00'"))
    assert rows(there) == [[1]]


@difference("sql-functions")
def _sql_functions(laboratory: Laboratory) -> None:
    there = theirs(laboratory, sql("CREATE VIRTUAL TABLE r USING rtree(id, low, high)"), sql("SELECT rtreecheck('r')"))
    assert rows(there[-1]) == [["ok"]]
    assert ours(laboratory, sql("SELECT rtreecheck('r')")) == ["SQLError"]


@difference("sql-names")
def _sql_names(laboratory: Laboratory) -> None:
    for name in "dbstat", "bytecode", "fts3tokenize", "tables_used":
        there, here = last(laboratory, sql(f"CREATE TABLE {name} (a)"))
        assert (rows(there), here) == ([], "SQLError")


@difference("sql-references")
def _sql_references(laboratory: Laboratory) -> None:
    reference = sql("CREATE TABLE t (a REFERENCES _cf_KV (value))")
    made, changed = theirs(laboratory, put("a"), reference, put("a", 2))[1:]
    assert rows(made) == []
    assert changed.startswith("Error: internal error")
    assert ours(laboratory, put("a"), reference, put("a", 2), get("a"))[1:] == ["SQLError", UNDEFINED, 2]


@difference("sql-shadows")
def _sql_shadows(laboratory: Laboratory) -> None:
    there, here = last(laboratory, sql("CREATE VIRTUAL TABLE f USING fts5(a)"), sql("DELETE FROM f_data"))
    assert there == "Error: table f_data may not be modified: SQLITE_ERROR"
    assert rows(here) == []


@difference("sql-internals")
def _sql_internals(laboratory: Laboratory) -> None:
    names = sql("SELECT name FROM sqlite_master WHERE name LIKE '\\_cf%' ESCAPE '\\' ORDER BY name")
    listed = sql("SELECT name FROM pragma_table_list WHERE name LIKE '\\_cf%' ESCAPE '\\' ORDER BY name")
    for question, made in (names, ["_cf_KV", "_cf_KV_key", "_cf_METADATA"]), (listed, ["_cf_KV", "_cf_METADATA"]):
        there, here = last(laboratory, question)
        assert (rows(there), rows(here)) == ([], [[name] for name in made])
        assert rows(theirs(laboratory, put("a"), question)[-1]) == [["_cf_KV"]]
    there, here = last(laboratory, sql("ANALYZE"), sql("SELECT tbl FROM sqlite_stat1"))
    assert (rows(there), rows(here)) == ([], [["_cf_METADATA"]])
    there, here = last(laboratory, sql("PRAGMA data_version"))
    assert rows(there) != rows(here)


@difference("sql-counters")
def _sql_counters(laboratory: Laboratory) -> None:
    counters = sql("SELECT changes(), total_changes(), last_insert_rowid()")
    there, here = last(laboratory, counters)
    assert (rows(there), rows(here)) == ([[0, 0, 0]], [[1, 1, 3]])
    own = sql("CREATE TABLE t (a)"), sql("INSERT INTO t VALUES (1), (2)"), sql("SELECT changes(), last_insert_rowid()")
    there, here = last(laboratory, *own)
    assert rows(there) == rows(here) == [[2, 2]]


@difference("sql-turns")
def _sql_turns(laboratory: Laboratory) -> None:
    tables = sql("CREATE TABLE parent (i PRIMARY KEY)"), sql("CREATE TABLE child (i REFERENCES parent)")
    breaking = sql("PRAGMA defer_foreign_keys = ON"), sql("INSERT INTO child VALUES (1)")
    script: Script = [*tables, *breaking, sql("INSERT INTO parent VALUES (1)")]
    there = laboratory.theirs(script)
    blocking, awaiting = laboratory.ours(script)
    assert not [result for result in [*there, *awaiting] if "error" in result]
    assert [result.get("error", {}).get("name") for result in blocking] == [None, None, None, "StorageError", None]
    together = {"op": "transaction_sync", "body": [*breaking, sql("INSERT INTO parent VALUES (1)")]}
    assert last(laboratory, *tables, together) == ("returned", "returned")
    off = sql("PRAGMA foreign_keys = OFF"), sql("PRAGMA foreign_keys")
    assert rows(last(laboratory, *off)[0]) == rows(last(laboratory, *off)[1]) == [[0]]
    there_, here = last(laboratory, put("a"), *off)
    assert (rows(there_), rows(here)) == ([[1]], [[0]])
    results = [laboratory.theirs([*tables, *off]), *laboratory.ours([*tables, *off])]
    assert [rows(result[-1]["ok"]) for result in results] == [[[1]], [[0]], [[1]]]


@difference("sql-broken")
def _sql_broken(laboratory: Laboratory) -> None:
    tables = sql("CREATE TABLE parent (i PRIMARY KEY)"), sql("CREATE TABLE child (i REFERENCES parent)")
    broken = {"op": "transaction", "body": [sql("PRAGMA defer_foreign_keys = ON"), sql("INSERT INTO child VALUES (1)")]}
    twice = sql("INSERT INTO parent VALUES (1)"), sql("INSERT OR ROLLBACK INTO parent VALUES (1)")
    for script in (*tables, broken), (*tables, put("a"), *twice):
        with pytest.raises(RuntimeError, match="status 500"):
            laboratory.theirs([*script])
    assert ours(laboratory, *tables, broken, sql("SELECT * FROM child"))[2] == "StorageError"
    blocking, awaiting = laboratory.ours([*tables, {"op": "flush"}, *twice, {"op": "flush"}, listing()])
    assert [result.get("error", {}).get("name") for result in blocking[4:]] == ["StorageError", None, None]
    assert [result.get("error", {}).get("name") for result in awaiting[4:]] == ["SQLError", "StorageError", None]


@difference("database-size")
def _database_size(laboratory: Laboratory) -> None:
    size = {"op": "database_size"}
    assert theirs(laboratory, size, put("a"), size, sql("PRAGMA page_size"))[::2] == [4096, 8192]
    assert rows(theirs(laboratory, sql("PRAGMA page_size"))[0]) == [[4096]]
    assert rows(ours(laboratory, sql("PRAGMA page_size"))[0]) == [[16384]]
    with laboratory.object() as thing:
        assert thing.storage.database_size == 0
        thing.storage.put("a", 1)
        assert thing.storage.database_size == 5 * 16384  # one of them says which page is whose, for the file to shrink
        assert not hasattr(thing.storage.sql, "database_size")


@difference("sql-counts")
def _sql_counts(laboratory: Laboratory) -> None:
    assert theirs(laboratory, sql("CREATE TABLE t (a)"), {"op": "sql_counts", "query": "SELECT * FROM t"})[-1] == 1
    with laboratory.object() as thing:
        cursor = thing.storage.sql.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)")
        assert cursor.rows_written == 1
        assert not hasattr(cursor, "rows_read")


@difference("sql-comment")
def _sql_comment(laboratory: Laboratory) -> None:
    there, here = last(laboratory, sql("SELECT 1 AS x; -- and no more"))
    assert there == "Error: SQL code did not contain a statement."
    assert rows(here) == [[1]]
    there, here = last(laboratory, sql("SELECT 1 AS x;;"))
    assert there == "Error: SQL code did not contain a statement."
    assert rows(here) == [[1]]


@difference("row-size")
def _row_size(laboratory: Laboratory) -> None:
    long = "x" * (3 * 1024 * 1024)
    there, here = last(laboratory, put("a", long), put("b" * len(long)), {"op": "get", "key": "b" * len(long)})
    assert there == 1
    assert here != 1
    assert [*map(str, ours(laboratory, put("a", long)))] == ["InvalidValueError"]


@difference("sql-repeat")
def _sql_repeat(laboratory: Laboratory) -> None:
    twice = [sql("SELECT 1; SELECT 2 AS x")] * 2
    there, here = theirs(laboratory, *twice), ours(laboratory, *twice)
    assert there[1] == "Error: A SQL prepared statement can only be executed once at a time."
    assert [*map(rows, here)] == [[[2]], [[2]]] == [rows(there[0]), [[2]]]


@difference("sql-integers")
def _sql_integers(laboratory: Laboratory) -> None:
    there, here = last(laboratory, sql("SELECT typeof(?), ? / 2", 1, 5))
    assert (rows(there), rows(here)) == ([["real", 2.5]], [["integer", 2]])
    there, here = last(laboratory, sql("SELECT 9007199254740993"))
    assert (rows(there), rows(here)) == ([[2**53]], [[{"$": "bigint", "v": "9007199254740993"}]])
    there, here = last(laboratory, sql("SELECT ?", {"$": "bigint", "v": "9007199254740993"}))
    assert there == "TypeError: Cannot convert a BigInt value to a number"
    assert rows(here) == [[{"$": "bigint", "v": "9007199254740993"}]]


@difference("sql-bindings")
def _sql_bindings(laboratory: Laboratory) -> None:
    for binding, converted in (True, "true"), ([1, 2], "1,2"), ({"$": "object", "v": []}, "[object Object]"):
        there, here = last(laboratory, sql("SELECT ?", binding))
        assert (rows(there), here) == ([[converted]], "SQLError")


@difference("sql-surrogates")
def _sql_surrogates(laboratory: Laboratory) -> None:
    there, here = last(laboratory, sql("SELECT ?", "\ud800"))
    assert (rows(there), here) == ([["\ufffd" * 3]], "SQLError")
    there, here = last(laboratory, sql("SELECT CAST(x'ff' AS TEXT)"))
    assert (rows(there), here) == ([["\ufffd"]], "SQLError")


@difference("object-names")
def _object_names(laboratory: Laboratory) -> None:
    names = ["", "../up", "tab\t", "n" * 1025]
    assert len(laboratory.workerd.ids(NAMESPACE, names)) == 4
    for name in names:
        with pytest.raises(InvalidNameError):
            laboratory.namespace().get_by_name(name)

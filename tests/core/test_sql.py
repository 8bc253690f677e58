"""SQL on tables of the user's own: what it gives, what it may not, and with what it is committed."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from chatcache import ObjectNamespace, SQLError, Storage, StorageError, Transaction, TransactionError
from chatcache.storage import sql
from tests.waiting import auntil


@pytest.fixture
def elsewhere(storage: Storage, tmp_path: Path) -> Storage:
    """The same object, as another process has it."""
    return ObjectNamespace(tmp_path, timeout=1).get_by_name("thing").storage


@pytest.fixture
def filled(storage: Storage) -> Storage:
    storage.sql.exec("CREATE TABLE own (number INTEGER PRIMARY KEY, text TEXT)")
    storage.sql.exec("INSERT INTO own VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    return storage


class OddError(Exception):
    pass


def has_module(name: str) -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        return (name,) in connection.execute("SELECT name FROM pragma_module_list").fetchall()


def rows(storage: Storage) -> list[tuple[Any, ...]]:
    return storage.sql.exec("SELECT * FROM own ORDER BY number").raw()


def test_a_cursor_gives_rows_in_every_form(filled: Storage) -> None:
    cursor = filled.sql.exec("SELECT number, text AS word FROM own ORDER BY number")
    assert cursor.column_names == ("number", "word")
    assert cursor.raw() == [(1, "one"), (2, "two"), (3, None)]
    assert cursor.to_list() == [{"number": 1, "word": "one"}, {"number": 2, "word": "two"}, {"number": 3, "word": None}]
    assert list(cursor) == cursor.to_list() == [*cursor]
    assert filled.sql.exec("SELECT text FROM own WHERE number = 2").one() == {"text": "two"}


def test_a_statement_without_rows_gives_none(filled: Storage) -> None:
    cursor = filled.sql.exec("UPDATE own SET text = 'x' WHERE number < 3")
    assert (cursor.column_names, cursor.raw(), cursor.to_list(), list(cursor)) == ((), [], [], [])


def test_one_wants_exactly_one_row(filled: Storage) -> None:
    with pytest.raises(SQLError, match="expected exactly one row from the SQL query, but got 0"):
        filled.sql.exec("SELECT * FROM own WHERE number = 9").one()
    with pytest.raises(SQLError, match="expected exactly one row from the SQL query, but got 3"):
        filled.sql.exec("SELECT * FROM own").one()


def test_rows_written_are_counted(filled: Storage) -> None:
    counts = {
        "INSERT INTO own VALUES (4, 'four'), (5, 'five')": 2,
        "UPDATE own SET text = 'x' WHERE number < 4": 3,
        "SELECT * FROM own": 0,
        "DELETE FROM own": 5,
        "CREATE INDEX by_text ON own (text)": 0,
    }
    assert {statement: filled.sql.exec(statement).rows_written for statement in counts} == counts


def test_a_writing_statement_may_give_rows(filled: Storage) -> None:
    cursor = filled.sql.exec("INSERT INTO own (text) VALUES ('a'), ('b') RETURNING number")
    assert cursor.raw() == [(4,), (5,)]
    assert cursor.rows_written == 2


@pytest.mark.parametrize(
    "value", [None, 0, 1, -(2**63), 2**63 - 1, 1.5, -0.0, "", "ü\0\U0001f5fc", b"", b"\0\xff", float("inf")], ids=repr
)
def test_bindings_come_back(storage: Storage, value: Any) -> None:
    ((found,),) = storage.sql.exec("SELECT ?", value).raw()
    assert (type(found), repr(found)) == (type(value), repr(value))


@pytest.mark.parametrize("value", [2**63, object(), [1], "\ud800", {"a": 1}, 1j], ids=lambda each: type(each).__name__)
def test_bindings_that_sql_does_not_know_are_refused(storage: Storage, value: Any) -> None:
    with pytest.raises(SQLError):
        storage.sql.exec("SELECT ?", value)


@pytest.mark.parametrize(("query", "bindings"), [("SELECT ?, ?", (1,)), ("SELECT 1", (1,)), ("SELECT ?", ())])
def test_the_wrong_number_of_bindings_is_refused(storage: Storage, query: str, bindings: tuple[int, ...]) -> None:
    with pytest.raises(SQLError, match="number of bindings"):
        storage.sql.exec(query, *bindings)


def test_of_several_statements_the_last_has_bindings_and_rows(storage: Storage) -> None:
    cursor = storage.sql.exec(
        """
        CREATE TABLE own (number, text);  -- a comment; with a semicolon
        INSERT INTO own VALUES (1, 'a;b');
        CREATE TRIGGER third AFTER INSERT ON own WHEN new.number = 2 BEGIN
            INSERT INTO own VALUES (3, 'by trigger'); INSERT INTO own VALUES (4, ';');
        END;
        INSERT INTO own VALUES (2, /* ; */ "b");;
        SELECT * FROM own WHERE number >= ? ORDER BY number; -- the end
        """.replace('"b"', "'b'"),
        2,
    )
    assert cursor.raw() == [(2, "b"), (3, "by trigger"), (4, ";")]


@pytest.mark.parametrize("query", ["", " ", ";", "\n;; ;"])
def test_no_statement_is_refused(storage: Storage, query: str) -> None:
    with pytest.raises(SQLError, match="does not contain a statement"):
        storage.sql.exec(query)


@pytest.mark.parametrize("query", ["-- nothing", "/* nothing */", "SELECT 1; -- and no more"])
def test_a_comment_is_no_statement(storage: Storage, query: str) -> None:
    if query.startswith("SELECT"):
        assert storage.sql.exec(query).raw() == [(1,)]
    else:
        with pytest.raises(SQLError, match="does not contain a statement"):
            storage.sql.exec(query)


@pytest.mark.parametrize(
    "query", ["SELECT 1; /* open", "SELECT 1;\f", "SELECT 1;\ufeff", "SELECT 1 -- '", "-- '\nSELECT 1"]
)
def test_what_is_blank_hides_no_rows(storage: Storage, query: str) -> None:
    assert storage.sql.exec(query).raw() == [(1,)]


MANY = 2_000_000


def test_semicolons_in_names_and_strings_end_nothing(storage: Storage) -> None:
    storage.sql.exec("""CREATE TABLE "a;b" ([c;d], `e;f`); INSERT INTO "a;b" VALUES ('it''s;', '--;')""")
    assert storage.sql.exec('SELECT * FROM "a;b" -- ;').raw() == [("it's;", "--;")]


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT '{';' * MANY}' AS x",
        f"/*{';' * MANY}*/ SELECT 1",
        f"SELECT 1{' ;' * MANY}",
        f"SELECT [{';' * MANY}",
    ],
    ids=["string", "comment", "nothing", "open name"],
)
def test_many_semicolons_are_split_in_linear_time(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """In quadratic time it would take hours."""
    monkeypatch.setattr(sql, "LONGEST_QUERY", 10 * MANY)
    assert len(sql._statements(query)) == 1


LIMITED: dict[str, tuple[Callable[[int], str], int]] = {
    "bytes": (lambda n: f"SELECT 1{' ' * (n - 8)}", 100_000),
    "bytes of UTF-8": (lambda n: f"SELECT '{'é' * 1000}'{' ' * (n - 2009)}", 100_000),
    "columns": (lambda n: f"CREATE TABLE wide{n} ({','.join(f'c{each}' for each in range(n))})", 100),
    "results": (lambda n: f"SELECT {','.join('1' * n)}", 100),
    "arguments": (lambda n: f"SELECT max({','.join('1' * n)})", 127),
    "terms": (lambda n: " UNION ALL ".join(["SELECT 1"] * n), 5),
    "depth": (lambda n: f"SELECT {'+'.join('1' * n)}", 100),
    "pattern": (lambda n: f"SELECT 'x' LIKE '{'a' * n}'", 50),
    "parameter": (lambda n: f"SELECT ?{n}", 100),
    "value": (lambda n: f"SELECT length(zeroblob({n}))", 8 * 1024 * 1024 + 34),
}


@pytest.mark.filterwarnings("ignore:Binding .* is a named parameter")  # wrongly, by CPython 3.12.0 to 3.12.3
@pytest.mark.parametrize("limited", LIMITED)
def test_the_limits_of_workerd_hold(storage: Storage, limited: str) -> None:
    make, most = LIMITED[limited]
    bindings = [1] * most if limited == "parameter" else []
    storage.sql.exec(make(most), *bindings)
    with pytest.raises(SQLError, match=r"too|more than|must be between|Expression tree"):
        storage.sql.exec(make(most + 1), *bindings, *bindings[:1])


def test_the_limits_of_sql_are_none_for_keys_and_values(tmp_path: Path) -> None:
    storage = ObjectNamespace(tmp_path, longest_row=20_000_000).get_by_name("thing").storage
    storage.sql.exec("CREATE TABLE own (x)")
    storage.put("key", b"x" * 10_000_000)
    assert storage.sql.exec("SELECT 1 AS x").one() == {"x": 1}
    storage.put("other", b"y" * 10_000_000)
    assert storage.get("other") == b"y" * 10_000_000


@pytest.mark.parametrize("query", [None, 5, b"SELECT 1"])
def test_sql_that_is_no_str_is_refused(storage: Storage, query: Any) -> None:
    with pytest.raises(SQLError, match="pass a str"):
        storage.sql.exec(query)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM absent", "no such table: absent"),
        ("SELECT absent FROM own", "no such column: absent"),
        ("INSERT INTO own VALUES (1, 'again')", "UNIQUE constraint failed"),
        ("INSERT INTO own VALUES ('no number', 'x')", "datatype mismatch"),
        ("CREATE TABLE own (x)", "already exists"),
        ("SELECT 'unfinished", "unrecognized token"),
        ("SELECT abs(-9223372036854775808)", "integer overflow"),
        ("SELECT zeroblob(2000000000)", "too big"),
        ("SELECT \0", "null char"),
        ("SELECT '\ud800'", "surrogate"),
    ],
    ids=ascii,
)
def test_what_fails_is_an_sql_error_and_the_object_stays_usable(filled: Storage, query: str, problem: str) -> None:
    with pytest.raises(SQLError, match=problem):
        filled.sql.exec(query)
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert len(rows(filled)) == 4


INTERNAL = [
    "SELECT * FROM _cf_KV",
    "SELECT * FROM _CF_kv",
    'SELECT * FROM "_cf_METADATA"',
    "SELECT * FROM main._cf_KV",
    "SELECT count(*) FROM _cf_KV",
    "SELECT (SELECT value FROM _cf_KV LIMIT 1)",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM _cf_KV)",
    "WITH w AS (SELECT * FROM _cf_KV) SELECT * FROM w",
    "SELECT * FROM own JOIN _cf_KV",
    "SELECT number FROM own UNION SELECT key FROM _cf_KV",
    "INSERT INTO own SELECT 9, value FROM _cf_KV",
    "INSERT INTO _cf_KV VALUES ('key', x'01')",
    "UPDATE _cf_KV SET value = x'01'",
    "UPDATE own SET text = (SELECT value FROM _cf_KV)",
    "DELETE FROM _cf_KV",
    "DROP TABLE _cf_KV",
    "ALTER TABLE _cf_KV RENAME TO mine",
    "ALTER TABLE _cf_KV ADD COLUMN mine",
    "CREATE TABLE _cf_own (x)",
    "CREATE TEMP TABLE _cf_own (x)",
    "CREATE VIEW _cf_own AS SELECT 1",
    "CREATE VIEW view AS SELECT * FROM _cf_KV; SELECT * FROM view",
    "CREATE INDEX own_index ON _cf_KV (value)",
    "CREATE INDEX _cf_own ON own (text)",
    "CREATE TRIGGER own_trigger AFTER INSERT ON _cf_KV BEGIN SELECT 1; END",
    "CREATE TRIGGER _cf_own AFTER INSERT ON own BEGIN SELECT 1; END",
    "CREATE TRIGGER t AFTER INSERT ON own BEGIN DELETE FROM _cf_KV; END; INSERT INTO own VALUES (9, '')",
    "CREATE TABLE mine AS SELECT * FROM _cf_KV",
    "CREATE TABLE mine (x REFERENCES _cf_KV (value))",
    "CREATE TABLE mine (x REFERENCES _cf_KV (key))",
    "CREATE TABLE mine (x REFERENCES _CF_kv)",
    'CREATE TABLE mine (x REFERENCES/**/"_cf_KV"(value)) -- "',
    "CREATE TABLE mine (x, FOREIGN KEY (x) REFERENCES [_cf_METADATA] (value))",
    "CREATE TABLE mine (x REFERENCES '_cf_KV' (value))",
    "CREATE TABLE mine (x REFERENCES _cf_not_there (x))",
    "ALTER TABLE own ADD COLUMN mine REFERENCES _cf_KV (value)",
    "ALTER TABLE own RENAME TO _cf_own",
    'ALTER TABLE own RENAME TO/**/"_CF_own"',
    "CREATE VIRTUAL TABLE mine USING dbstat; SELECT * FROM _cf_KV",
    "PRAGMA table_info(_cf_KV)",
    "SELECT * FROM pragma_table_info('_cf_KV')",
    "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, '')",
    "UPDATE sqlite_master SET sql = 'CREATE TABLE _cf_KV (x)'",
    "DELETE FROM sqlite_master",
    "PRAGMA writable_schema = ON",
]


@pytest.mark.parametrize("query", INTERNAL)
def test_internal_tables_are_off_limits(filled: Storage, query: str) -> None:
    filled.put("key", "value")
    with pytest.raises(SQLError):
        filled.sql.exec(query)
    assert filled.list() == {"key": "value"}
    filled.put("key", "other")
    assert filled.get("key") == "other"
    assert rows(filled)[:3] == [(1, "one"), (2, "two"), (3, None)]


@pytest.mark.parametrize(
    "query",
    [
        "CREATE TABLE mine (x DEFAULT 'REFERENCES _cf_KV (value)')",
        "CREATE TABLE mine (x) /* REFERENCES _cf_KV (value) */",
        "CREATE TABLE mine (_cf_x REFERENCES own)",
        "ALTER TABLE own RENAME TO mine -- and not to _cf_own",
        "ALTER TABLE own ADD COLUMN mine DEFAULT '_cf_own'",
        "ALTER TABLE own RENAME COLUMN text TO _cf_text",
        "SELECT _cf_w.number AS _cf_x FROM own AS _cf_w",
    ],
)
def test_what_only_looks_like_an_internal_table_is_allowed(filled: Storage, query: str) -> None:
    filled.put("key", "value")
    filled.sql.exec(query)
    filled.put("key", "other")
    assert filled.get("key") == "other"


async def test_what_refers_to_an_internal_table_is_undone_alone(filled: Storage) -> None:
    await filled.aput("key", 1)
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    with pytest.raises(SQLError, match="internal tables is prohibited"):
        filled.sql.exec("CREATE TABLE mine (x REFERENCES _cf_KV (value))")
    filled.sql.exec("CREATE TABLE mine (x REFERENCES own)")
    await filled.aput("key", 2)
    await filled.aflush()
    assert (filled.list(), len(rows(filled))) == ({"key": 2}, 4)
    assert filled.sql.exec("SELECT * FROM mine").raw() == []


def test_the_error_names_what_is_off_limits(filled: Storage) -> None:
    with pytest.raises(SQLError, match="access to _cf_KV is prohibited: names that begin with _cf_ are internal"):
        filled.sql.exec("SELECT * FROM _cf_KV")


@pytest.mark.parametrize(
    "query", ["BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "ROLLBACK TO a"]
)
def test_statements_about_transactions_are_refused_with_what_to_use(filled: Storage, query: str) -> None:
    with pytest.raises(SQLError, match=r"use transaction\(\) or transaction_sync\(\) instead"):
        filled.sql.exec(query)
    with pytest.raises(SQLError, match=r"use transaction\(\) or transaction_sync\(\) instead"):
        filled.transaction(lambda _: filled.sql.exec(query))
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert len(rows(filled)) == 4


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA page_count",
        "PRAGMA user_version = 5",
        "PRAGMA wal_checkpoint",
        "SELECT * FROM pragma_database_list",
        "SELECT sqlite_version()",
        "SELECT load_extension('x')",
        "SELECT sqlite_compileoption_get(0)",
        "SELECT fts3_tokenizer('simple')",
        "SELECT * FROM pragma_function_list",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
        "CREATE VIRTUAL TABLE mine USING fts4(x)",
        "CREATE VIRTUAL TABLE mine USING dbstat",
        "PRAGMA foreign_keys = 7",
        "PRAGMA temp.table_list",
        "ANALYZE temp",
        "VACUUM",
        "VACUUM INTO '/tmp/never'",
    ],
)
def test_what_reaches_beyond_the_object_is_refused(filled: Storage, query: str) -> None:
    with pytest.raises(SQLError):
        filled.sql.exec(query)
    assert len(rows(filled)) == 3


def test_pragmas_that_only_look_are_allowed(filled: Storage) -> None:
    assert [column["name"] for column in filled.sql.exec("PRAGMA table_info(own)")] == ["number", "text"]
    assert filled.sql.exec("SELECT name FROM pragma_table_info('own')").raw() == [("number",), ("text",)]
    assert filled.sql.exec("PRAGMA foreign_keys").one() == {"foreign_keys": 1}


def test_what_a_pragma_sets_holds_until_the_file_is_released(filled: Storage, tmp_path: Path) -> None:
    filled.sql.exec("CREATE TABLE child (x REFERENCES own)")
    filled.sql.exec("PRAGMA foreign_keys = OFF")
    filled.put("key", 1)
    filled.sql.exec("INSERT INTO child VALUES (9)")
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.close()
    with pytest.raises(SQLError, match="FOREIGN KEY constraint failed"):
        thing.storage.sql.exec("INSERT INTO child VALUES (9)")


def test_the_schema_of_ones_own_can_be_read(filled: Storage) -> None:
    found = filled.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'").raw()
    assert found == [("own",)]


def test_views_triggers_and_ctes_of_ones_own_work(filled: Storage) -> None:
    filled.sql.exec("CREATE VIEW words AS SELECT text FROM own WHERE text IS NOT NULL")
    filled.sql.exec("CREATE TABLE log (number)")
    filled.sql.exec("CREATE TRIGGER logged AFTER INSERT ON own BEGIN INSERT INTO log VALUES (new.number); END")
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert filled.sql.exec("SELECT * FROM words").raw() == [("one",), ("two",), ("four",)]
    assert filled.sql.exec("SELECT * FROM log").raw() == [(4,)]
    recursive = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) AS s FROM n"
    assert filled.sql.exec(recursive).one() == {"s": 15}


def test_outside_a_loop_each_call_is_committed(filled: Storage, elsewhere: Storage) -> None:
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert elsewhere.sql.exec("SELECT text FROM own WHERE number = 4").one() == {"text": "four"}


def test_what_the_statements_before_a_wrong_one_wrote_stays(filled: Storage) -> None:
    with pytest.raises(SQLError):
        filled.sql.exec("INSERT INTO own VALUES (4, 'four'); SELECT * FROM absent")
    assert len(rows(filled)) == 4


async def test_in_a_turn_sql_is_committed_with_what_is_put(filled: Storage, elsewhere: Storage) -> None:
    await filled.aput("before", 1)
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    await filled.aput("after", 2)
    filled.kv.put("kv", 3)
    assert len(rows(filled)) == 4
    assert (elsewhere.list(), len(rows(elsewhere))) == ({}, 3)
    await filled.aflush()
    assert (elsewhere.list(), len(rows(elsewhere))) == ({"after": 2, "before": 1, "kv": 3}, 4)


async def test_in_a_turn_sql_reads_what_was_written_before_it(filled: Storage) -> None:
    for number in range(4, 20):
        filled.sql.exec("INSERT INTO own VALUES (?, 'x')", number)
        if number % 3 == 0:
            await asyncio.sleep(0)
        assert filled.sql.exec("SELECT count(*) AS n FROM own").one() == {"n": number}
    await filled.aflush()
    assert filled.sql.exec("SELECT count(*) AS n FROM own").one() == {"n": 19}


async def test_a_pause_commits_what_sql_wrote(filled: Storage, elsewhere: Storage) -> None:
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    await auntil(lambda: len(rows(elsewhere)) == 4)


@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
async def test_a_transaction_undoes_what_sql_wrote(filled: Storage, elsewhere: Storage, colour: str) -> None:
    def write(txn: Transaction) -> None:
        txn.put("key", 1)
        filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
        filled.sql.exec("CREATE TABLE more (x)")
        assert len(rows(filled)) == 4
        raise OddError

    async def awrite(txn: Transaction) -> None:
        await asyncio.sleep(0)
        write(txn)

    async def transact() -> None:
        if colour == "blocking":
            filled.transaction(write)
        else:
            await filled.atransaction(awrite)

    with pytest.raises(OddError):
        await transact()
    assert len(rows(filled)) == len(rows(elsewhere)) == 3
    with pytest.raises(SQLError, match="no such table: more"):
        filled.sql.exec("SELECT * FROM more")


def test_a_nested_transaction_undoes_what_it_wrote_by_sql(filled: Storage, elsewhere: Storage) -> None:
    def inner(_txn: Transaction) -> None:
        filled.sql.exec("INSERT INTO own VALUES (5, 'inner')")
        raise OddError

    def body(txn: Transaction) -> None:
        filled.sql.exec("INSERT INTO own VALUES (4, 'outer')")
        with pytest.raises(OddError):
            txn.transaction(inner)
        txn.transaction(lambda _: filled.sql.exec("INSERT INTO own VALUES (6, 'kept')"))

    filled.transaction(body)
    assert [number for number, _ in rows(elsewhere)] == [1, 2, 3, 4, 6]


@pytest.mark.parametrize("in_loop", [True, False])
@pytest.mark.parametrize("wrote_before", [True, False])
def test_transaction_sync_undoes_what_sql_wrote(
    filled: Storage, elsewhere: Storage, *, in_loop: bool, wrote_before: bool
) -> None:
    def failing() -> None:
        filled.kv.put("key", 1)
        filled.sql.exec("INSERT INTO own VALUES (5, 'undone')")
        raise OddError

    def outer() -> None:
        filled.sql.exec("INSERT INTO own VALUES (6, 'kept')")
        with pytest.raises(OddError):
            filled.transaction_sync(failing)
        filled.kv.put("outer", 1)

    async def main() -> None:
        work()
        await filled.aput("last", 1)
        await filled.aflush()

    def work() -> None:
        if wrote_before:
            filled.sql.exec("INSERT INTO own VALUES (4, 'before')")
        with pytest.raises(OddError):
            filled.transaction_sync(failing)
        filled.transaction_sync(outer)

    if in_loop:
        asyncio.run(main())
    else:
        work()
    assert [number for number, _ in rows(elsewhere)] == [1, 2, 3, *([4] if wrote_before else []), 6]
    assert set(elsewhere.list()) == {"outer", *(["last"] if in_loop else [])}


def test_foreign_keys_are_enforced(storage: Storage) -> None:
    storage.sql.exec("CREATE TABLE parent (x PRIMARY KEY); CREATE TABLE child (x REFERENCES parent (x))")
    with pytest.raises(SQLError, match="FOREIGN KEY constraint failed"):
        storage.sql.exec("INSERT INTO child VALUES (1)")
    storage.sql.exec("INSERT INTO parent VALUES (1)")
    storage.sql.exec("INSERT INTO child VALUES (1)")


def test_full_text_search_works(storage: Storage) -> None:
    storage.sql.exec("CREATE VIRTUAL TABLE words USING fts5(text)")
    storage.sql.exec("INSERT INTO words VALUES ('some words'), ('others')")
    assert storage.sql.exec("SELECT text FROM words WHERE words MATCH 'words'").raw() == [("some words",)]


@pytest.mark.skipif(not has_module("rtree"), reason="SQLite is built without it here")
def test_an_rtree_works(storage: Storage) -> None:
    storage.sql.exec("CREATE VIRTUAL TABLE boxes USING rtree(id, low, high)")
    storage.sql.exec("INSERT INTO boxes VALUES (1, 0, 5), (2, 3, 9)")
    assert storage.sql.exec("SELECT id FROM boxes WHERE low > 1").raw() == [(2,)]


def test_what_analyze_found_goes_with_delete_all(filled: Storage) -> None:
    filled.sql.exec("CREATE INDEX by_text ON own (text)")
    filled.sql.exec("ANALYZE")
    assert filled.sql.exec("SELECT idx FROM sqlite_stat1 WHERE tbl = 'own'").raw() == [("by_text",)]
    filled.put("key", 1)
    filled.delete_all()
    with pytest.raises(SQLError, match="no such table: sqlite_stat1"):
        filled.sql.exec("SELECT * FROM sqlite_stat1")


def test_tables_that_another_program_made_are_told_of_as_such(filled: Storage, tmp_path: Path) -> None:
    filled.put("key", 1)
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")), isolation_level=None)
    connection.execute("CREATE TABLE harm (x REFERENCES _cf_KV (value))")
    connection.close()
    with pytest.raises(StorageError, match=r"foreign key mismatch .*: undo what another program changed there"):
        filled.put("key", 2)
    filled.sql.exec("DROP TABLE harm")
    filled.put("key", 3)
    assert filled.get("key") == 3


async def test_while_another_task_has_a_transaction_sql_is_refused(filled: Storage) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def body(txn: Transaction) -> None:
        await txn.aput("key", 1)
        filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
        inside.set()
        await go_on.wait()

    task = asyncio.create_task(filled.atransaction(body))
    await inside.wait()
    for query in ("INSERT INTO own VALUES (5, 'five')", "SELECT * FROM own"):
        with pytest.raises(TransactionError, match="would wait for a task of the loop that it stops"):
            filled.sql.exec(query)
    go_on.set()
    await task
    assert [number for number, _ in rows(filled)] == [1, 2, 3, 4]


async def test_a_failing_statement_leaves_the_turn_as_it_was(filled: Storage, elsewhere: Storage) -> None:
    await filled.aput("key", 1)
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    with pytest.raises(SQLError):
        filled.sql.exec("INSERT INTO own VALUES (4, 'again')")
    with pytest.raises(SQLError):
        filled.sql.exec("SELECT * FROM _cf_KV")
    filled.sql.exec("INSERT INTO own VALUES (5, 'five')")
    await filled.aflush()
    assert elsewhere.list() == {"key": 1}
    assert [number for number, _ in rows(elsewhere)] == [1, 2, 3, 4, 5]


async def test_or_rollback_takes_nothing_else_with_it(filled: Storage, elsewhere: Storage) -> None:
    await filled.aput("key", 1)
    filled.sql.exec("INSERT INTO own VALUES (4, 'four')")
    with pytest.raises(SQLError):
        filled.sql.exec("INSERT OR ROLLBACK INTO own VALUES (4, 'again')")
    await filled.aput("after", 1)
    with suppress(StorageError):
        await filled.aflush()
    with suppress(StorageError):
        await filled.aget("key")
    assert set(elsewhere.list()) <= {"after", "key"}
    await filled.aput("later", 1)
    await filled.aflush()
    assert elsewhere.get("later") == 1


def test_sql_of_another_process_is_seen(filled: Storage, elsewhere: Storage) -> None:
    elsewhere.sql.exec("INSERT INTO own VALUES (4, 'four')")
    elsewhere.sql.exec("CREATE TABLE more (x)")
    assert len(rows(filled)) == 4
    assert filled.sql.exec("SELECT * FROM more").raw() == []


def test_a_locked_file_is_a_storage_error(filled: Storage, elsewhere: Storage, tmp_path: Path) -> None:
    elsewhere.put("warm", 1)
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="held its write lock"):
        elsewhere.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert len(rows(elsewhere)) == 3
    connection.execute("ROLLBACK")
    connection.close()
    elsewhere.sql.exec("INSERT INTO own VALUES (4, 'four')")
    assert len(rows(filled)) == 4


CLEARED: list[Callable[[Storage], object]] = [Storage.delete_all, lambda storage: asyncio.run(storage.adelete_all())]


@pytest.mark.parametrize("delete_all", CLEARED, ids=["blocking", "awaiting"])
def test_delete_all_drops_every_table(filled: Storage, delete_all: Callable[[Storage], object]) -> None:
    filled.put_many({"a": "x" * 100_000, "b": 1})
    filled.sql.exec(
        """
        CREATE TABLE 'odd "name' (x); CREATE VIEW v AS SELECT * FROM own;
        CREATE TABLE counted (x INTEGER PRIMARY KEY AUTOINCREMENT);
        INSERT INTO counted VALUES (NULL);
        CREATE TABLE parent (x PRIMARY KEY); CREATE TABLE child (x REFERENCES parent (x));
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1);
        CREATE TRIGGER t AFTER DELETE ON own BEGIN INSERT INTO counted VALUES (NULL); END;
        CREATE VIRTUAL TABLE words USING fts5(text); INSERT INTO words VALUES ('some words')
        """
    )
    size = filled.database_size
    delete_all(filled)
    assert filled.list() == {}
    assert filled.database_size < size
    names = "SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf\\_%' ESCAPE '\\'"
    assert [name for (name,) in filled.sql.exec(names).raw() if not name.startswith("sqlite_")] == []
    filled.put("a", 1)
    filled.sql.exec("CREATE TABLE own (x)")
    assert filled.list() == {"a": 1}


def test_a_crash_in_delete_all_would_leave_either_keys_and_tables_or_neither(filled: Storage, tmp_path: Path) -> None:
    filled.put("key", 1)
    path = next(tmp_path.glob("default/*.sqlite"))
    states = set()

    def look(statement: str) -> None:
        with closing(sqlite3.connect(path)) as another:
            ((keys,),) = another.execute("SELECT count(*) FROM _cf_KV")
            ((tables,),) = another.execute("SELECT count(*) FROM sqlite_master WHERE name = 'own'")
            states.add((keys, tables))

    with filled._turns.writer() as connection:
        connection.set_trace_callback(look)
    filled.delete_all()
    assert states == {(1, 1), (0, 0)}


BROKEN = {
    "missing": "CREATE TABLE child (x REFERENCES missing)",
    "mismatch": "CREATE TABLE child (x REFERENCES own (text)); CREATE TABLE other (x REFERENCES own ON DELETE CASCADE)",
    "restrict": "CREATE TABLE child (x REFERENCES own ON DELETE RESTRICT); INSERT INTO child VALUES (1)",
    "itself": "CREATE TABLE child (x INTEGER PRIMARY KEY, y REFERENCES child ON DELETE CASCADE, z REFERENCES missing)",
}


@pytest.mark.parametrize("delete_all", CLEARED, ids=["blocking", "awaiting"])
@pytest.mark.parametrize("broken", BROKEN)
def test_delete_all_drops_what_foreign_keys_hold(
    filled: Storage, delete_all: Callable[[Storage], object], broken: str
) -> None:
    filled.put("key", 1)
    filled.sql.exec(BROKEN[broken])
    delete_all(filled)
    assert filled.list() == {}
    filled.sql.exec("CREATE TABLE own (x PRIMARY KEY); CREATE TABLE child (x REFERENCES own)")
    with pytest.raises(SQLError, match="FOREIGN KEY constraint failed"):
        filled.sql.exec("INSERT INTO child VALUES (1)")


async def test_the_size_of_the_database_grows_with_it(filled: Storage) -> None:
    before = filled.database_size
    filled.sql.exec("INSERT INTO own VALUES (4, ?)", "x" * 100_000)
    await filled.aflush()
    assert before + 50_000 < filled.database_size < before + 300_000

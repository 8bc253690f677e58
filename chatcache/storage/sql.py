"""SQL in the file of an object, on tables of the user's own, as ``storage.sql`` of Cloudflare's."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chatcache.codec import is_utf8
from chatcache.errors import SQLError

from .turn import Turn
from .turns import Turns

__all__ = ["SQL", "SQLCursor"]

Binding = str | int | float | bytes | None

_BINDINGS = frozenset({str, int, float, bytes, type(None)})
_INTERNAL = "_cf_"
_OWN = (
    "SELECT name FROM sqlite_master WHERE type = ? "
    r"AND name NOT LIKE '\_cf\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' "
    "ORDER BY sql LIKE 'CREATE VIRTUAL %' DESC"
)
_REMOVALS = (
    ("DROP TRIGGER IF EXISTS", "trigger"),
    ("DROP VIEW IF EXISTS", "view"),
    ("DELETE FROM", "table"),
    ("DROP TABLE IF EXISTS", "table"),
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_PRAGMAS = frozenset(
    {
        "case_sensitive_like",
        "data_version",  # full text search asks for it
        "defer_foreign_keys",
        "foreign_key_check",
        "foreign_key_list",
        "function_list",
        "ignore_check_constraints",
        "index_info",
        "index_list",
        "index_xinfo",
        "legacy_alter_table",
        "optimize",
        "quick_check",
        "recursive_triggers",
        "reverse_unordered_selects",
        "table_info",
        "table_list",
        "table_xinfo",
    }
)
_READS = frozenset(
    {
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_PRAGMA,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_SELECT,
    }
)
_NEVER = frozenset(
    {
        sqlite3.SQLITE_ATTACH,
        sqlite3.SQLITE_DETACH,
        sqlite3.SQLITE_CREATE_TEMP_INDEX,
        sqlite3.SQLITE_CREATE_TEMP_TABLE,
        sqlite3.SQLITE_CREATE_TEMP_TRIGGER,
        sqlite3.SQLITE_CREATE_TEMP_VIEW,
    }
)
_TRANSACTIONS = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT})
_FUNCTIONS_NEVER = frozenset({"load_extension", "sqlite_version", "sqlite_source_id", "sqlite_compileoption_used"})


@dataclass(frozen=True)
class SQLCursor:
    """The rows that a statement gave, all of them, read when it was run.

    Attributes:
        column_names: the names of the columns.
        rows_written: how many rows it inserted, changed or deleted.
    """

    column_names: tuple[str, ...]
    rows_written: int
    _rows: tuple[tuple[Any, ...], ...]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.to_list())

    def to_list(self) -> list[dict[str, Any]]:
        """Return the rows as dictionaries by the names of their columns."""
        return [dict(zip(self.column_names, row, strict=True)) for row in self._rows]

    def raw(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples."""
        return [*self._rows]

    def one(self) -> dict[str, Any]:
        """Return the only row.

        Raises:
            SQLError: there is none, or there are several.
        """
        if len(self._rows) != 1:
            raise SQLError(f"expected exactly one row from the SQL query, but got {len(self._rows)}")
        return self.to_list()[0]


class SQL:
    """Runs SQL in the turn of the running loop, or in the transaction that the caller is in, or else by itself.

    A statement may wait for the disk, and for another process, where it is the first of its turn that writes.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def exec(self, query: str, *bindings: Binding) -> SQLCursor:
        """Run one or more statements, and return what the last one gave.

        Args:
            query: SQL. Tables whose names begin with ``_cf_`` are off limits, so are statements about transactions
                (there is `Storage.transaction` for that), ``ATTACH`` and most pragmas.
            bindings: the values of the parameters ``?`` of the last statement: str, int, float, bytes or None.

        Raises:
            SQLError: a statement is wrong, is not allowed, or failed. What the statements before it wrote stays, unless
                a transaction undoes it.
        """
        _check(bindings)
        *before, last = _statements(query)
        failed: SQLError | None = None
        with self._turns.join() as turn:
            try:
                for statement in before:
                    self._run(turn, statement, ())
                cursor = self._run(turn, last, bindings)
            except SQLError as error:
                failed = error  # to be raised when what was written before is committed
        if failed is not None:
            raise failed
        return cursor

    def drop_all(self) -> None:
        """Drop everything that is not internal; within a turn that is locked."""
        with self._turns.writer() as connection:
            connection.execute("PRAGMA defer_foreign_keys = ON")  # until every table is empty
            for before, kind in _REMOVALS:
                for (name,) in connection.execute(_OWN, (kind,)).fetchall():
                    quoted = name.replace('"', '""')
                    connection.execute(f'{before} "{quoted}"')

    def _run(self, turn: Turn, statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        if not turn.locked:
            self._turns.commit()  # so that what was written in the turns before is seen
            guard = _Guard(statement, may_write=False)
            try:
                return self._execute(turn, guard, statement, bindings)
            except SQLError:
                if not guard.would_write:
                    raise
            self._turns.lock(turn)
        return self._execute(turn, _Guard(statement, may_write=True), statement, bindings)

    def _execute(self, turn: Turn, guard: "_Guard", statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        with self._turns.writer() as connection, guard.over(connection):
            if turn.locked:
                self._turns.must_be_locked(connection)
            before = connection.total_changes
            try:
                cursor = connection.execute(statement, bindings)
                rows = tuple(cursor.fetchall())
            except (sqlite3.Error, OverflowError, ValueError) as error:
                raise SQLError(guard.refused or f"{error} in {statement:.200}") from error
            names = tuple(column[0] for column in cursor.description or ())
            return SQLCursor(names, connection.total_changes - before, rows)


class _Guard:
    """Decides what a statement may do, and notes why not."""

    def __init__(self, statement: str, *, may_write: bool) -> None:
        self._statement = statement
        self._may_write = may_write
        self.would_write = False
        self.refused: str | None = None

    @contextmanager
    def over(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.set_authorizer(self._decide)
        try:
            yield
        finally:
            connection.set_authorizer(None)

    def _decide(
        self, action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        reason = _prohibited(action, first, second, self._statement)
        if reason is not None:
            self.refused = reason
            return sqlite3.SQLITE_DENY
        if action not in _READS and not self._may_write:
            self.would_write = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _prohibited(action: int, first: str | None, second: str | None, statement: str) -> str | None:
    """Return why a statement may not do something, or None where it may."""
    if action in _TRANSACTIONS:
        return "use transaction() or transaction_sync() instead of BEGIN, COMMIT and SAVEPOINT"
    if action in _NEVER:
        return "ATTACH, DETACH and what is TEMPORARY are not allowed"
    if action == sqlite3.SQLITE_PRAGMA and str(first).lower() not in _PRAGMAS:
        return f"the pragma {first} is not allowed"
    if action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS_NEVER:
        return f"the function {second} is not allowed"
    renames = action == sqlite3.SQLITE_ALTER_TABLE and _INTERNAL in statement.lower()  # the new name is not told
    if renames or any(str(name).lower().startswith(_INTERNAL) for name in (first, second) if name):
        return f"access to {first} is prohibited: names that begin with {_INTERNAL} are internal"
    return None


def _check(bindings: tuple[Binding, ...]) -> None:
    for binding in bindings:
        if type(binding) not in _BINDINGS:
            raise SQLError(
                f"the binding {binding!r:.200} is of type {type(binding).__name__}: pass str, int, float, bytes or None"
            )


def _statements(query: str) -> list[str]:
    """Split SQL into its statements."""
    if not isinstance(query, str):
        raise SQLError(f"query {query!r:.200} is of type {type(query).__name__}: pass a str")
    if "\0" in query or not is_utf8(query):
        raise SQLError(f"query {query!r:.200} holds a null character or a lone surrogate: use Unicode text")
    statements, begun = [], ""
    for part in query.split(";"):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    statements = [each for each in [*statements, begun] if _COMMENT.sub("", each).strip(" \t\r\n;")]
    if not statements:
        raise SQLError("the SQL does not contain a statement")
    return [each.removesuffix(";") for each in statements]

"""SQL in the file of an object, on tables of the user's own, as ``storage.sql`` of Cloudflare's."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chatcache.errors import SQLError

from .turns import Turn, Turns

__all__ = ["SQL", "SQLCursor"]

Binding = str | int | float | bytes | None

_BINDINGS = frozenset({str, int, float, bytes, type(None)})
_INTERNAL = "_cf_"
_PRAGMAS = frozenset(
    {
        "case_sensitive_like",
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
_NEVER = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
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
            SQLError: a statement is wrong, is not allowed, or failed. In a running loop, and in a transaction, what the
                statements before it wrote stays; elsewhere nothing of the query does.
        """
        _check(bindings)
        *before, last = _statements(query)
        with self._turns.join() as turn:
            for statement in before:
                self._run(turn, statement, ())
            return self._run(turn, last, bindings)

    def drop_all(self) -> None:
        """Drop everything that is not internal; within a turn that is locked."""
        with self._turns.writer() as connection:
            names = connection.execute(
                "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') "
                "AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            ).fetchall()
            for kind, name in names:
                quoted = name.replace('"', '""')
                connection.execute(f'DROP {kind} IF EXISTS "{quoted}"')

    def _run(self, turn: Turn, statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        if not turn.locked:
            self._turns.commit()  # so that what was written in the turns before is seen
            guard = _Guard(may_write=False)
            try:
                return self._execute(guard, statement, bindings)
            except SQLError:
                if not guard.would_write:
                    raise
            self._turns.lock(turn)
        return self._execute(_Guard(may_write=True), statement, bindings)

    def _execute(self, guard: "_Guard", statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        with self._turns.writer() as connection, guard.over(connection):
            before = connection.total_changes
            try:
                cursor = connection.execute(statement, bindings)
                rows = tuple(cursor.fetchall())
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                raise SQLError(guard.refused or f"{error} in {statement:.200}") from error
            names = tuple(column[0] for column in cursor.description or ())
            return SQLCursor(names, connection.total_changes - before, rows)


class _Guard:
    """Decides what a statement may do, and notes why not."""

    def __init__(self, *, may_write: bool) -> None:
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
        reason = _prohibited(action, first, second)
        if reason is not None:
            self.refused = reason
            return sqlite3.SQLITE_DENY
        if action not in _READS and not self._may_write:
            self.would_write = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _prohibited(action: int, first: str | None, second: str | None) -> str | None:
    """Return why a statement may not do something, or None where it may."""
    if action in _TRANSACTIONS:
        return "use transaction() or transaction_sync() instead of BEGIN, COMMIT and SAVEPOINT"
    if action in _NEVER:
        return "ATTACH and DETACH are not allowed"
    if action == sqlite3.SQLITE_PRAGMA and str(first).lower() not in _PRAGMAS:
        return f"the pragma {first} is not allowed"
    if action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS_NEVER:
        return f"the function {second} is not allowed"
    if any(str(name).lower().startswith(_INTERNAL) for name in (first, second) if name):
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
    statements, begun = [], ""
    for part in query.split(";"):
        begun += part + ";"
        if sqlite3.complete_statement(begun):
            statements.append(begun)
            begun = ""
    statements = [each for each in [*statements, begun.removesuffix(";")] if each.strip(" \t\r\n;")]
    if not statements:
        raise SQLError("the SQL does not contain a statement")
    return statements

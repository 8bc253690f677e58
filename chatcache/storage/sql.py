"""SQL in the file of an object, on tables of the user's own, as ``storage.sql`` of Cloudflare's."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from chatcache.codec import is_utf8
from chatcache.errors import SQLError
from chatcache.interrupts import raise_interrupt

from .database import explained
from .guard import LONGEST_QUERY, Guard, internal_kept, names_internal
from .turn import Turn
from .turns import Turns

__all__ = ["SQL", "SQLCursor"]

Binding = str | int | float | bytes | None

_BINDINGS = frozenset({str, int, float, bytes, type(None)})
_OWN = (
    "SELECT name FROM sqlite_master WHERE type = ? "
    r"AND name NOT LIKE '\_cf\_%' ESCAPE '\' "
    r"AND (name NOT LIKE 'sqlite\_%' ESCAPE '\' OR name LIKE 'sqlite\_stat_' ESCAPE '\') "
    "ORDER BY sql LIKE 'CREATE VIRTUAL %' DESC"
)
_OF_THE_FILE = ("SQLITE_CORRUPT", "SQLITE_IOERR", "SQLITE_FULL")  # errors that are none of the statement
_KINDS = ("trigger", "view", "table")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_BLANK = " \t\r\n\f\v\ufeff;"  # besides comments, what is no statement
_PIECE = re.compile(  # what ends with a semicolon that is in no string, no quoted name and no comment
    r"""(?: [^;'"`\[/-]++
          | '[^']*+'? | "[^"]*+"? | `[^`]*+`? | \[[^\]]*+\]?
          | --[^\n]*+ | /\*.*?(?:\*/|\Z) | [/-]
        )*+ ;?""",
    re.DOTALL | re.VERBOSE,
)
_TRIGGER = re.compile(  # is the only statement with semicolons in it, up to one behind END
    r"(?:EXPLAIN\s+(?:QUERY\s+PLAN\s+)?)?CREATE\s+(?:TEMP\s+|TEMPORARY\s+)?TRIGGER\b", re.IGNORECASE
)


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
            query: SQL, of at most 100,000 bytes. Tables whose names begin with ``_cf_`` are off limits, so are
                statements about transactions (there is `Storage.transaction` for that), ``ATTACH``, most pragmas, and
                functions and modules that workerd has not. Its limits hold, such as 100 columns and 100 parameters.
            bindings: the values of the parameters ``?`` of the last statement: str, int, float, bytes or None.

        Raises:
            SQLError: a statement is wrong, is not allowed, or failed. What the statements before it wrote stays, unless
                a transaction undoes it.
        """
        _check(bindings)
        *before, last = _statements(query)

        def run(turn: Turn) -> SQLCursor | SQLError:
            try:
                for statement in before:
                    self._run(turn, statement, ())
                return self._run(turn, last, bindings)
            except SQLError as error:
                return error  # to be raised when what was written before is committed

        result = self._turns.join(run)
        if isinstance(result, SQLError):
            raise result
        return result

    def drop_all(self, turn: Turn) -> None:
        """Drop everything that is not internal, in a turn that is locked and wrote nothing by SQL.

        Foreign keys, which may be broken, are turned off until it is committed. That has an effect between two
        transactions only, so the lock is given up for a moment.
        """
        with self._turns.writing, self._turns.writer() as connection:
            connection.execute("ROLLBACK")
            turn.locked = False
            ((enforced,),) = connection.execute("PRAGMA foreign_keys")
            connection.execute("PRAGMA foreign_keys = OFF")
            self._turns.afterwards = f"PRAGMA foreign_keys = {enforced}"
            self._turns.begin(connection)
            turn.locked = True
            for kind in _KINDS:
                for (name,) in connection.execute(_OWN, (kind,)).fetchall():
                    quoted = name.replace('"', '""')
                    connection.execute(f'DROP {kind} IF EXISTS "{quoted}"')

    def _run(self, turn: Turn, statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        if not turn.locked:
            self._turns.commit()  # so that what was written in the turns before is seen
            guard = Guard(may_write=False)
            try:
                return self._execute(turn, guard, statement, bindings)
            except SQLError:
                if not guard.would_write:
                    raise
            self._turns.lock(turn)
        return self._execute(turn, Guard(may_write=True), statement, bindings)

    def _execute(self, turn: Turn, guard: Guard, statement: str, bindings: tuple[Binding, ...]) -> SQLCursor:
        with self._turns.writing, self._turns.writer() as connection:
            if turn.locked:
                self._turns.must_be_locked(connection)
            before = connection.total_changes
            with internal_kept(connection) if turn.locked and names_internal(statement) else nullcontext():
                try:
                    guard.watch(connection)
                    cursor = connection.execute(statement, bindings)
                    rows = tuple(cursor.fetchall())
                except (sqlite3.Error, OverflowError, ValueError) as error:
                    raise_interrupt(error)
                    what: Exception = error
                    if getattr(error, "sqlite_errorname", "").startswith(_OF_THE_FILE):
                        what = explained(error, self._turns.path)
                    raise SQLError(guard.refused or f"{what} in {statement:.200}") from error
                finally:
                    try:
                        guard.leave(connection)
                    finally:  # a signal may come within that, too
                        guard.leave(connection)
            names = tuple(column[0] for column in cursor.description or ())
            return SQLCursor(names, connection.total_changes - before, rows)


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
    if len(query.encode()) > LONGEST_QUERY:
        raise SQLError(f"query {query!r:.200} takes more than {LONGEST_QUERY} bytes: split it, or pass values apart")
    statements: list[str] = []
    begin, in_trigger = 0, False
    for piece in _PIECE.finditer(query):
        words = _COMMENT.sub(" ", piece[0]).strip(_BLANK)
        if not in_trigger:
            begin, in_trigger = piece.start(), _TRIGGER.match(words) is not None
            if words and not in_trigger:
                statements.append(piece[0])
        elif words.upper() == "END":
            statements.append(query[begin : piece.end()])
            in_trigger = False
    if in_trigger:
        statements.append(query[begin:])
    if not statements:
        raise SQLError("the SQL does not contain a statement")
    return [each.removesuffix(";") for each in statements]

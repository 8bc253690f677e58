"""What SQL of the user's own may do: the functions, pragmas and limits of workerd's, and no way to internal tables."""

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from chatcache.errors import SQLError

__all__ = ["LONGEST_QUERY", "Guard", "internal_kept", "names_internal"]

LONGEST_QUERY = 100_000
"""How many bytes SQL may take."""

_INTERNAL = "_cf_"
_LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 5,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 127,
    sqlite3.SQLITE_LIMIT_LENGTH: 8 * 1024 * 1024 + 34,  # bytes of a row, and of a value
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 50,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 100,
}
_FUNCTIONS = frozenset(
    """
    abs changes char coalesce concat concat_ws format glob hex if ifnull iif instr last_insert_rowid length like
    likelihood likely lower ltrim max min nullif octet_length printf quote random randomblob replace round rtrim sign
    substr substring total_changes trim typeof unhex unicode unlikely upper zeroblob
    avg count group_concat string_agg sum total
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
    current_date current_time current_timestamp date datetime julianday strftime time timediff unixepoch
    acos acosh asin asinh atan atan2 atanh ceil cos cosh degrees exp floor ln log log2 mod pi pow radians sin sinh sqrt
    tan tanh trunc
    -> ->> json json_array json_array_length json_extract json_group_array json_group_object json_insert json_object
    json_patch json_quote json_remove json_replace json_set json_type json_valid
    jsonb jsonb_array jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch
    jsonb_remove jsonb_replace jsonb_set
    bm25 fts5_locale highlight match snippet
    sqlite_drop_column sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table sqlite_rename_test
    """.split()  # noqa: SIM905 - a column of words is read more easily; those of the last line ALTER TABLE itself calls
)
_MODULES = frozenset({"fts5", "fts5vocab", "rtree", "rtree_i32"})
_TABLES_NEVER = frozenset({"bytecode", "dbstat", "fts3tokenize", "sqlite_dbpage", "sqlite_stmt", "tables_used"})
_NOTHING = re.compile("")
_SWITCH = re.compile("|(?:true|false|yes|no|on|off|1|0).*", re.IGNORECASE | re.DOTALL)
_MASK = re.compile(r"|[+-]?(?:0x[0-9a-f]+|\d+)", re.IGNORECASE)
_NAME = re.compile("(?!_cf_).+", re.IGNORECASE | re.DOTALL)
_ANY_NAME = re.compile("(?!_cf_).*", re.IGNORECASE | re.DOTALL)
_ANYTHING = re.compile(".*", re.DOTALL)
_PRAGMAS = {  # with what they may be given
    "case_sensitive_like": _SWITCH,
    "data_version": _NOTHING,
    "defer_foreign_keys": _SWITCH,
    "foreign_key_check": _ANY_NAME,
    "foreign_key_list": _NAME,
    "foreign_keys": _SWITCH,
    "ignore_check_constraints": _SWITCH,
    "index_info": _NAME,
    "index_list": _NAME,
    "index_xinfo": _NAME,
    "legacy_alter_table": _SWITCH,
    "optimize": _MASK,
    "page_size": _NOTHING,
    "quick_check": _ANY_NAME,
    "recursive_triggers": _SWITCH,
    "reverse_unordered_selects": _SWITCH,
    "table_info": _NAME,
    "table_list": _ANYTHING,
    "table_xinfo": _NAME,
}
_READS = frozenset(
    {
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_PRAGMA,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_SELECT,
    }
)
_NAMED = {  # what is done to something, and which of the two words that SQLite tells are names
    sqlite3.SQLITE_ALTER_TABLE: slice(1, 2),
    sqlite3.SQLITE_CREATE_INDEX: slice(2),
    sqlite3.SQLITE_CREATE_TABLE: slice(1),
    sqlite3.SQLITE_CREATE_TRIGGER: slice(2),
    sqlite3.SQLITE_CREATE_VIEW: slice(1),
    sqlite3.SQLITE_CREATE_VTABLE: slice(1),
    sqlite3.SQLITE_DELETE: slice(1),
    sqlite3.SQLITE_DROP_INDEX: slice(2),
    sqlite3.SQLITE_DROP_TABLE: slice(1),
    sqlite3.SQLITE_DROP_TRIGGER: slice(2),
    sqlite3.SQLITE_DROP_VIEW: slice(1),
    sqlite3.SQLITE_DROP_VTABLE: slice(1),
    sqlite3.SQLITE_INSERT: slice(1),
    sqlite3.SQLITE_READ: slice(1),
    sqlite3.SQLITE_REINDEX: slice(0),  # it changes nothing, and without a name it is of the internal indexes as well
    sqlite3.SQLITE_UPDATE: slice(1),
}
_ALLOWED = frozenset({sqlite3.SQLITE_ANALYZE, sqlite3.SQLITE_RECURSIVE, sqlite3.SQLITE_SELECT, *_NAMED})
_TRANSACTIONS = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT})
_TEMPORARY = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE})  # where ALTER TABLE looks for triggers
_WAYS_IN = r"""
    SELECT name FROM sqlite_master WHERE name LIKE '\_cf\_%' ESCAPE '\'
    UNION ALL
    SELECT own.name FROM sqlite_master AS own, pragma_foreign_key_list(own.name) AS foreign_key
    WHERE own.type = 'table' AND foreign_key."table" LIKE '\_cf\_%' ESCAPE '\'
"""


class Guard:
    """Decides what a statement may do, and notes why not.

    Attributes:
        would_write: whether it was stopped only because it writes.
        refused: why it was stopped, or None.
    """

    def __init__(self, *, may_write: bool) -> None:
        self._may_write = may_write
        self.would_write = False
        self.refused: str | None = None
        self._raised: BaseException | None = None  # by a signal handler within `_decide`: sqlite3 swallows it
        self._limits: dict[int, int] = {}  # of the connection

    def watch(self, connection: sqlite3.Connection) -> None:
        """Watch over what a connection runs, until `leave`: no context manager, whose end a signal could put off."""
        self._limits = {limit: connection.getlimit(limit) for limit in _LIMITS}
        _limit(connection, _LIMITS)
        connection.set_authorizer(self._decide)

    def leave(self, connection: sqlite3.Connection) -> None:
        """Let a connection run everything again; raise what a signal handler raised while SQLite asked."""
        connection.set_authorizer(None)
        _limit(connection, self._limits)
        if self._raised is not None:
            raise self._raised

    def _decide(self, action: int, first: str | None, second: str | None, database: str | None, _by: str | None) -> int:
        try:
            return self._decision(action, first, second, database)
        except BaseException as error:  # noqa: BLE001 - `leave` raises it
            self._raised = error
            return sqlite3.SQLITE_DENY

    def _decision(self, action: int, first: str | None, second: str | None, database: str | None) -> int:
        reason = _prohibited(action, first or "", second or "", database)
        if reason is not None:
            self.refused = reason
            return sqlite3.SQLITE_DENY
        if action not in _READS and not self._may_write:
            self.would_write = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


def _limit(connection: sqlite3.Connection, limits: Mapping[int, int]) -> None:
    for limit, most in limits.items():
        connection.setlimit(limit, most)


def names_internal(statement: str) -> bool:
    """Return whether an internal name may be in a statement."""
    return _INTERNAL in statement.lower()


@contextmanager
def internal_kept(connection: sqlite3.Connection) -> Iterator[None]:
    """Undo what gave a table an internal name, or made one refer to an internal table: a guard is told of neither.

    Raises:
        SQLError: there was such a thing to undo.
    """
    before = connection.execute(_WAYS_IN).fetchall()
    connection.execute("SAVEPOINT own")
    try:
        yield
        if connection.execute(_WAYS_IN).fetchall() != before:
            connection.execute("ROLLBACK TO own")
            raise SQLError(_off_limits("internal tables"))
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE own")


def _prohibited(action: int, first: str, second: str, database: str | None) -> str | None:  # noqa: PLR0911 - a table
    """Return why a statement may not do something, or None where it may."""
    if action in _TRANSACTIONS:
        return "use transaction() or transaction_sync() instead of BEGIN, COMMIT and SAVEPOINT"
    if database == "temp" and action not in _TEMPORARY:
        return "what is TEMPORARY is not allowed"
    if action == sqlite3.SQLITE_PRAGMA:
        return _prohibited_pragma(first, second)
    if action == sqlite3.SQLITE_FUNCTION:
        return None if second.lower() in _FUNCTIONS else f"the function {second} is not allowed"
    if action in {sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE} and second.lower() not in _MODULES:
        return f"the module {second} is not allowed: use one of {', '.join(sorted(_MODULES))}"
    for name in (first, second)[_NAMED.get(action, slice(0))]:
        if name.lower().startswith(_INTERNAL):
            return _off_limits(name)
        if name.lower() in _TABLES_NEVER:
            return f"the table {name}, in which some builds of SQLite show internals, is not allowed"
    return None if action in _ALLOWED else "ATTACH, DETACH and what is TEMPORARY are not allowed"


def _prohibited_pragma(name: str, argument: str) -> str | None:
    allowed = _PRAGMAS.get(name.lower())
    if allowed is None:
        return f"the pragma {name} is not allowed"
    if allowed.fullmatch(argument):
        return None
    if argument.lower().startswith(_INTERNAL):
        return _off_limits(argument)
    return f"the pragma {name} is not allowed with {argument:.200}" if argument else f"the pragma {name} wants a name"


def _off_limits(name: str) -> str:
    return f"access to {name} is prohibited: names that begin with {_INTERNAL} are internal"

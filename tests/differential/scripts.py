"""Random scripts: lists of operations that an object runs one after another, here and in workerd.

An operation is a JSON object: ``{"op": "put", "key": "a", "value": 1}``. A transaction has its operations in ``body``.
In there ``on`` says which handle one is called on: ``txn`` (the innermost transaction, which is the default), ``outer``
(the one around it), ``ended`` (the one that ended last) or ``storage``.

The alphabets are small, so that operations meet: few keys, most of them a neighbour or a prefix of another one in the
order of their UTF-8 bytes.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

__all__ = ["Op", "Script", "generate", "shrink", "size"]

Op = dict[str, Any]
Script = list[Op]

KEYS = [
    "",
    "\0",
    "A",
    "B",
    "_cf",
    "_cf_KV",
    "a",
    "a\0",
    "a\0b",
    "a\x01",
    "aa",
    "aaa",
    "ab",
    "b",
    "k" * 300,
    "k" * 300 + "é",
    "k" * 3000,
    "\x7f",
    "\x7f\x7f",
    "\x80",
    "e\u0301",
    "é",
    "éa",
    "ÿ",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\U00010000",
    "😀",
    "😀a",
    "\U0010ffff",
    "1",
    "10",
    "9",
    "__proto__",
]
PREFIXES = ["", "a", "a\0", "aa", "k", "_", "_cf", "\x7f", "é", "ÿ", "e", "\uffff", "😀", "\U0010ffff", "\0", "nothing"]
FAR = 4_102_444_800_000  # 2100, in milliseconds: no alarm of a script ever goes off
NUMBERS = [
    *(
        0,
        1,
        -1,
        2,
        0.5,
        -1.5,
        1e-7,
        1e21,
        1.7976931348623157e308,
        5e-324,
        2**29,
        -(2**31),
        2**31,
        2**32,
        2**53,
        -(2**53),
    ),
    *({"$": "number", "v": text} for text in ("NaN", "Infinity", "-Infinity", "-0")),
    *({"$": "bigint", "v": str(whole)} for whole in (2**53 + 1, -(2**53) - 1, 2**63, 2**64, -(2**63) - 1, 10**40)),
]
TEXTS = ["", "x", "é", "😀", "a\0b", "\ud800", "\udfff", "\udc00\ud800", "\u2028", "$", "long" * 500]
DATES = [{"$": "date", "v": milliseconds} for milliseconds in (0, -1, 1_700_000_000_123, FAR, -62_135_596_800_000)]
BYTES = [{"$": "bytes", "v": text} for text in ("", "00", "00ff80", "ab" * 300)]
# What Python takes for members of a set, or keys, that are equal (1, 1.0 and True), is not in here twice.
ELEMENTS = [None, "", "a", "é😀", "2", 2, -3, 2.5, 2**53, {"$": "bigint", "v": str(2**64)}, DATES[2], BYTES[2]]
MEMBERS = ["a", "b", "", "$", "$float", "__proto__", "constructor", "2", "1", "01", "é", "\udc00", "😀"]

BINDINGS = [None, 1, 2, 1.5, -3, 2**40, "a", "é😀", "a\0b", {"$": "bytes", "v": "00ff"}, {"$": "bytes", "v": ""}]
SETS_UP = [
    "CREATE TABLE t (a, b)",
    "CREATE TABLE IF NOT EXISTS t (a, b)",
    "CREATE TABLE u (k INTEGER PRIMARY KEY, v UNIQUE)",
    "CREATE TABLE parent (i PRIMARY KEY)",
    "CREATE TABLE child (i REFERENCES parent)",
    "CREATE VIRTUAL TABLE f USING fts5(a)",
    "CREATE INDEX by_a ON t (a)",
    "CREATE VIEW w AS SELECT a FROM t WHERE a IS NOT NULL",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO u (v) VALUES (new.a); DELETE FROM u WHERE v = 1; END",
]
CHANGES = [
    ("INSERT INTO t VALUES (?, ?)", 2),
    ("INSERT INTO t VALUES (?, ?) RETURNING a, b", 2),
    ("UPDATE t SET b = ? WHERE a = ?", 2),
    ("DELETE FROM t WHERE a = ?", 1),
    ("INSERT INTO u (v) VALUES (?)", 1),
    ("INSERT OR IGNORE INTO u VALUES (1, ?)", 1),
    ("INSERT INTO u VALUES (1, ?)", 1),
    ("INSERT INTO t VALUES (1, 2); INSERT INTO t VALUES (3, ?)", 1),
    ("INSERT INTO t VALUES (4, 5); INSERT INTO missing VALUES (1)", 0),
    ("DROP TABLE t", 0),
    ("DROP TRIGGER g; DROP VIEW w", 0),
    ("INSERT INTO parent VALUES (?)", 1),
    ("INSERT INTO child VALUES (?)", 1),
    ("DELETE FROM parent", 0),
    ("INSERT INTO f VALUES ('one two'), ('one')", 0),
    ("DELETE FROM f WHERE f MATCH 'two'", 0),
    ("ANALYZE", 0),
    ("ANALYZE t", 0),
    ("REINDEX", 0),
    ("ALTER TABLE t ADD COLUMN c DEFAULT '_cf_'", 0),
    ("ALTER TABLE t RENAME COLUMN b TO _cf_b", 0),
    ("ALTER TABLE t DROP COLUMN b", 0),
    ("ALTER TABLE u RENAME TO t -- and not to _cf_u", 0),
    ("INSERT OR REPLACE INTO u VALUES (1, ?)", 1),
    ("INSERT OR FAIL INTO u VALUES (5, 5), (1, 6), (7, 7)", 0),
    ("INSERT INTO u (v) VALUES (?) ON CONFLICT DO UPDATE SET v = v || 'x' RETURNING v", 1),
]
QUESTIONS = [
    ("SELECT a, b FROM t ORDER BY rowid", 0),
    ("SELECT b FROM t WHERE a = ? ORDER BY rowid", 1),
    ("SELECT count(*) AS n FROM t", 0),
    ("SELECT * FROM u", 0),
    ("SELECT ? AS x, ? AS y", 2),
    ("DELETE FROM t WHERE a = 2; SELECT ? AS x", 1),
    ("SELECT 1 AS x, 2 AS x", 0),
    ("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\' ORDER BY name", 0),
    ("SELECT * FROM w ORDER BY a", 0),
    ("SELECT i FROM child ORDER BY rowid", 0),
    ("SELECT a FROM f WHERE f MATCH 'one' ORDER BY rowid", 0),
    ("SELECT highlight(f, 0, '<', '>') FROM f('two')", 0),
    ("SELECT count(*) FROM sqlite_stat1 WHERE tbl IN ('t', 'u')", 0),
    ("WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5) SELECT sum(x) FROM n", 0),
    ("SELECT _cf_w.x AS _cf_x FROM (SELECT 1 AS x) AS _cf_w", 0),
    ("SELECT key, value FROM json_each('[1, \"a\", null]')", 0),
    ("SELECT length(zeroblob(8388642))", 0),
    ("SELECT ?100 IS NULL", 0),
    ("PRAGMA foreign_keys", 0),
    ("PRAGMA foreign_key_check", 0),
    ("PRAGMA Table_Info(t)", 0),
    ("PRAGMA table_list(t)", 0),
    ("PRAGMA quick_check", 0),
    ("PRAGMA recursive_triggers = no", 0),
    ("SELECT name FROM pragma_index_list('u')", 0),
    ("SELECT m.name, i.name FROM sqlite_master AS m, pragma_table_info(m.name) AS i WHERE m.name = 't'", 0),
]
REFUSED = [
    *("BEGIN", "begin immediate", "COMMIT", "END", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s", "VACUUM"),
    *("ATTACH 'x' AS y", "DETACH main", "PRAGMA journal_mode", "PRAGMA user_version = 5", "PRAGMA synchronous = 0"),
    *(
        "SELECT * FROM _cf_KV",
        "DELETE FROM _cf_KV",
        "DROP TABLE _cf_KV",
        "CREATE TABLE _cf_x (a)",
        "CREATE TABLE _CF_x (a)",
    ),
    *(
        "INSERT INTO _cf_KV VALUES ('a', x'00')",
        "CREATE TEMP TABLE x (a)",
        "SELECT load_extension('x')",
        "SELECT 1; BEGIN",
    ),
    *("nonsense", "", "-- nothing", "SELECT ?", "SELECT * FROM missing", "ALTER TABLE t RENAME TO _cf_t"),
    *("CREATE VIEW x AS SELECT * FROM _cf_KV; SELECT * FROM x", "CREATE INDEX _cf_i ON t (a)", "ANALYZE temp"),
    *(
        f"SELECT {name}(1)"
        for name in ("ceiling", "fts5", "json_pretty", "log10", "soundex", "sqlite_compileoption_get")
    ),
    *("SELECT sqlite_version()", "SELECT subtype(1)", "SELECT power(1, 1)", "SELECT sqlite_log(1, 1)"),
    *(f"CREATE VIRTUAL TABLE x USING {name}(a)" for name in ("fts3", "fts4", "dbstat", "json_each", "missing")),
    *("SELECT * FROM dbstat", "SELECT * FROM sqlite_stmt", "SELECT * FROM pragma_function_list"),
    *("PRAGMA function_list", "PRAGMA page_count", "PRAGMA page_size = 4096", "PRAGMA foreign_keys = 7"),
    *("PRAGMA table_info", "PRAGMA table_info(_cf_KV)", "PRAGMA temp.table_list", "PRAGMA recursive_triggers = maybe"),
    *("PRAGMA optimize(t)", "PRAGMA data_version(1)"),
    f"CREATE TABLE wide ({', '.join(f'c{number}' for number in range(101))})",
    f"SELECT {', '.join('1' * 101)}",
    f"SELECT {'+'.join('1' * 101)}",
    f"SELECT max({', '.join('1' * 128)})",
    f"SELECT 'x' LIKE '{'a' * 51}'",
    f"SELECT 1{' ' * 99_993}",
    " UNION ALL ".join(["SELECT 1"] * 6),
    *("SELECT ?101", "SELECT zeroblob(8388643)", "CREATE TABLE x AS SELECT zeroblob(8388640) AS x"),
]

DEEPEST = 3
CROWD = 1_200  # more than a page of what is read at once


def generate(seed: str) -> Script:
    """Return the script of a seed."""
    return _Generator(Random(seed)).script()  # noqa: S311 - chance, no secret


def size(script: Script) -> int:
    """Return how many operations a script has, those in transactions included."""
    return sum(1 + size(op.get("body", [])) for op in script)


def shrink(script: Script, fails: Callable[[Script], bool], attempts: int = 400) -> Script:
    """Return a script that still fails, from which hardly any operation can be left out."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _candidates(script):
            attempts -= 1
            if attempts < 0:
                return script
            if fails(candidate):
                script, smaller = candidate, True
                break
    return script


def _candidates(script: Script) -> Iterator[Script]:
    """Return scripts with less in them: large parts are left out first, then operations, then parts of these."""
    yield from _fewer(script)
    for at, op in enumerate(script):
        for less in _lesser(op):
            yield [*script[:at], less, *script[at + 1 :]]


def _lesser(op: Op) -> Iterator[Op]:
    for body in _candidates(op.get("body", [])):
        yield op | {"body": body}
    for name in {"entries", "keys"} & op.keys():
        for fewer in _fewer(op[name]):
            yield op | {name: fewer}
    options = op.get("options", {})
    for option in options:
        yield op | {"options": {name: value for name, value in options.items() if name != option}}


def _fewer(items: list[Any]) -> Iterator[list[Any]]:
    length = (len(items) + 1) // 2
    while length:
        for at in range(0, len(items), length):
            yield items[:at] + items[at + length :]
        length //= 2


class _Generator:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.keys = random.sample(KEYS, random.randint(4, 14))  # a script has few keys, so they meet again
        self.crowd = ""  # the prefix of many keys, in a script that has them

    def script(self) -> Script:
        first: Script = [self._put_many(most=12)] if self._chance(0.7) else []
        if self._chance(0.04):
            self.crowd = self.random.choice(["a", "c", "é"])
            first += [{"op": "put_crowd", "prefix": self.crowd, "count": self.random.choice([499, 500, 501, CROWD])}]
        if self._chance(0.5):
            first += [{"op": "sql", "query": query, "bindings": [], "form": "raw"} for query in SETS_UP]
        return first + [self._operation(0) for _ in range(self.random.randint(4, 24))]

    def _operation(self, depth: int) -> Op:
        makers: dict[Callable[[], Op], int] = {
            self._put: 14,
            self._put_many: 6,
            lambda: self._get("get"): 8,
            lambda: {"op": "get_many", "keys": self._some_keys()}: 5,
            lambda: {"op": "delete", "key": self._key()}: 6,
            lambda: {"op": "delete_many", "keys": self._some_keys()}: 4,
            lambda: {"op": "list", "options": self._options()}: 14,
            self._alarm: 5,
            lambda: self._sync_operation(depth): 22,
        }
        if self.crowd:
            makers[self._thin_out] = 8
        if depth < DEEPEST:
            makers[lambda: self._transaction(depth)] = 9
        if depth:
            makers[lambda: {"op": "rollback"}] = 4
        op: Op = self._one(makers)
        if op["op"] in _ON_HANDLES:
            op |= self._handle(depth)
        if op["op"] == "rollback" and op.get("on") == "storage":
            del op["on"]  # it has none
        return op

    def _handle(self, depth: int) -> Op:
        if depth and self._chance(0.1):
            return {"on": "storage"}
        if depth > 1 and self._chance(0.08):
            return {"on": "outer"}
        return {"on": "ended"} if self._chance(0.03) else {}

    def _body(self, depth: int) -> Script:
        body = [self._operation(depth) for _ in range(self.random.randint(1, 7))]
        if self._chance(0.05):
            body.append(self.random.choice([{"op": "delete_all", "on": "storage"}, {"op": "flush", "on": "storage"}]))
        if self._chance(0.2):
            body.append({"op": "rollback"})
            body.extend(self._operation(depth) for _ in range(self.random.randint(0, 3)))
        if self._chance(0.25):
            body.append({"op": "throw"})
        return _without(body, depth)

    def _transaction(self, depth: int) -> Op:
        op: Op = {"op": "transaction", "body": self._body(depth + 1)}
        return op | {"via": "storage"} if depth and self._chance(0.3) else op

    def _sync_operation(self, depth: int) -> Op:
        makers: dict[Callable[[], Op], int] = {
            lambda: self._get("kv_get"): 3,
            lambda: {"op": "kv_put", "key": self._key(), "value": self._value()}: 5,
            lambda: {"op": "kv_delete", "key": self._key()}: 3,
            lambda: {"op": "kv_list", "options": self._options()}: 5,
            self._sql: 8,
        }
        if depth < DEEPEST:
            makers[lambda: {"op": "transaction_sync", "body": self._sync_body(depth + 1)}] = 6
        if not depth:
            makers[lambda: {"op": self.random.choice(["delete_all", "flush", "flush"])}] = 2
        op: Op = self._one(makers)
        return op

    def _sync_body(self, depth: int) -> Script:
        body: Script = [self._sync_operation(depth) for _ in range(self.random.randint(1, 5))]
        if self._chance(0.35):
            body.append({"op": "throw"})
        return body

    def _get(self, name: str) -> Op:
        return {"op": name, "key": self._key()} | ({"bare": True} if self._chance(0.2) else {})  # bare: with no default

    def _put(self) -> Op:
        return {"op": "put", "key": self._key(), "value": {"$": "function"} if self._chance(0.04) else self._value()}

    def _put_many(self, most: int = 4) -> Op:
        keys = dict.fromkeys(self._key() for _ in range(self.random.randint(0, most)))
        entries = [[key, self._value()] for key in keys]
        if entries and self._chance(0.06):
            self.random.choice(entries)[1] = {"$": "function"}  # all of them, or none
        return {"op": "put_many", "entries": entries}

    def _thin_out(self) -> Op:
        """Write or delete some of the crowd, so that there are gaps and new values in the pages of what is read."""
        op = self.random.choice(["put_crowd", "delete_crowd"])
        return {"op": op, "prefix": self.crowd, "count": CROWD, "step": self.random.choice([1, 2, 3, 7, 500])}

    def _alarm(self) -> Op:
        choice = self.random.randrange(7)
        if choice < 3:
            return {"op": "get_alarm"}
        if choice == 3:
            return {"op": "delete_alarm"}
        when: Any = FAR + self.random.choice([0, 1, 123, 999, 1_000, self.random.randrange(10**9)])
        if self._chance(0.15):
            when = self.random.choice(
                [0, -1, -5000, {"$": "number", "v": "NaN"}, {"$": "number", "v": "Infinity"}, 10**18]
            )
            return {"op": "set_alarm", "when": when, "as": "number"}
        return {"op": "set_alarm", "when": when, "as": self.random.choice(["date", "number"])}

    def _sql(self) -> Op:
        kinds: list[list[Any]] = [SETS_UP, CHANGES, QUESTIONS, REFUSED]
        (kind,) = self.random.choices(kinds, [3, 6, 6, 3])
        chosen = self.random.choice(kind)
        query, wanted = chosen if isinstance(chosen, tuple) else (chosen, 0)
        given = wanted if self._chance(0.95) else self.random.randint(0, 3)
        form = self.random.choices(["raw", "dicts", "iterated", "one"], [3, 2, 1, 1])[0]
        bindings = [self.random.choice(BINDINGS) for _ in range(given)]
        return {"op": "sql", "query": query, "bindings": bindings, "form": form}

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self._chance(0.45):
            options["prefix"] = self.random.choice(PREFIXES) if self._chance(0.7) else self._key()
        if self._chance(0.35):
            options["start"] = self._key()
        if self._chance(0.25 if "start" not in options else 0.1):
            options["start_after"] = self._key()
        if self._chance(0.35):
            options["end"] = self._key()
        if self._chance(0.4):
            options["reverse"] = self._chance(0.8)
        if self._chance(0.4):
            options["limit"] = self.random.choice([1, 1, 2, 3, 5, 100, 101, 500, 501, 2**31 - 1, 0, -1])
        return options

    def _key(self) -> str:
        if self.crowd and self._chance(0.5):
            return f"{self.crowd}{self.random.randrange(CROWD):04}"
        return self.random.choice(self.keys if self._chance(0.9) else KEYS)

    def _some_keys(self) -> list[str]:
        return [self._key() for _ in range(self.random.randint(0, 6))]  # some of them twice

    def _value(self, depth: int = 0) -> Any:
        makers: dict[Callable[[], Any], int] = {
            lambda: self.random.choice([None, True, False]): 2,
            lambda: self.random.choice(NUMBERS): 4,
            lambda: self.random.choice(TEXTS): 3,
            lambda: self.random.choice([*DATES, *BYTES]): 2,
            lambda: {"$": "set", "v": self.random.sample(ELEMENTS, self.random.randint(0, 4))}: 1,
        }
        if depth < DEEPEST:
            makers[lambda: self._values(depth)] = 2
            makers[lambda: {"$": "object", "v": [[key, self._value(depth + 1)] for key in self._members()]}] = 3
            makers[lambda: self._map(depth)] = 1
        return self._one(makers)

    def _map(self, depth: int) -> Any:
        keys: list[Any] = [
            7,
            *self.random.sample(ELEMENTS, self.random.randint(0, 3)),
        ]  # with str keys only it would be an object
        self.random.shuffle(keys)
        return {"$": "map", "v": [[key, self._value(depth + 1)] for key in keys]}

    def _members(self) -> list[str]:
        return self.random.sample(MEMBERS, self.random.randint(0, 4))

    def _values(self, depth: int) -> list[Any]:
        return [self._value(depth + 1) for _ in range(self.random.randint(0, 3))]

    def _one(self, makers: dict[Callable[[], Any], int]) -> Any:
        return self.random.choices(list(makers), list(makers.values()))[0]()

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability


def _without(body: Script, depth: int) -> Script:
    """Leave out of a body what two differences are about, after its end.

    Of `after-rollback` all but calls on the handle; of `outer-rollback` that of the outer one in a nested one.
    """
    ends = [at for at, op in enumerate(body) if op["op"] == "rollback" and "on" not in op]
    if not ends:
        return body
    rest = body[ends[0] :]
    if depth == 1:
        rest = [op for op in rest if op["op"] in _ON_HANDLES | {"throw"} and op.get("on") != "storage"]
    else:
        rest = [op for op in rest if op != {"op": "rollback", "on": "outer"}]
    return body[: ends[0]] + rest


_ON_HANDLES = {
    *("get", "get_many", "put", "put_many", "delete", "delete_many", "list", "put_crowd", "delete_crowd"),
    *("get_alarm", "set_alarm", "delete_alarm", "rollback"),
}

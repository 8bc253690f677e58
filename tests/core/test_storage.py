"""The storage of an object, in both colours: what a key/value user of a Durable Object relies on."""

import math
import sqlite3
import tracemalloc
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import xxhash

from chatcache import (
    CorruptRecordError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    ObjectNamespace,
    Storage,
)
from chatcache.codec import encode

Call = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest, storage: Storage) -> Call:
    """Calls a method of the storage, or its awaiting twin."""

    async def either(name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(storage, name)(*args, **options)
        return await getattr(storage, f"a{name}")(*args, **options)

    return either


async def test_what_was_put_is_got(call: Call) -> None:
    await call("put", "key", {"a": [1, 2.5, None, True, "ü"]})
    assert await call("get", "key") == {"a": [1, 2.5, None, True, "ü"]}


async def test_a_key_that_is_absent_gives_the_default(call: Call) -> None:
    assert await call("get", "key") is None
    assert await call("get", "key", "nothing") == "nothing"


async def test_none_is_a_value(call: Call) -> None:
    await call("put", "key", None)
    assert await call("get", "key", "nothing") is None
    assert await call("list") == {"key": None}


async def test_each_read_gives_a_new_object(call: Call) -> None:
    await call("put", "key", {"list": []})
    (await call("get", "key"))["list"].append(1)
    assert await call("get", "key") == {"list": []}


async def test_put_overwrites(call: Call) -> None:
    await call("put", "key", 1)
    await call("put", "key", 2)
    assert await call("get", "key") == 2


async def test_delete_says_whether_there_was_something(call: Call) -> None:
    await call("put", "key", 1)
    assert await call("delete", "key") is True
    assert await call("delete", "key") is False
    assert await call("get", "key") is None


async def test_many_at_once(call: Call) -> None:
    await call("put_many", {"b": 2, "a": 1, "c": 3})
    assert await call("get_many", ["c", "a", "absent", "a"]) == {"a": 1, "c": 3}
    assert list(await call("get_many", ["c", "a"])) == ["a", "c"]
    assert await call("delete_many", ["a", "absent", "a", "b"]) == 2
    assert await call("list") == {"c": 3}


async def test_nothing_at_once(call: Call) -> None:
    await call("put_many", {})
    assert await call("get_many", []) == {}
    assert await call("delete_many", []) == 0


async def test_put_many_writes_all_or_nothing(call: Call) -> None:
    with pytest.raises(InvalidValueError, match="of type object"):
        await call("put_many", {"a": 1, "b": object()})
    assert await call("list") == {}


async def test_keys_are_in_the_order_of_their_utf8_bytes(call: Call) -> None:
    keys = ["\U0001f5fc", "\ufffd", "\ue000", "é", "~", "z", "a", "B", "", "a\0", "a\0b"]
    await call("put_many", dict.fromkeys(keys, 0))
    assert list(await call("list")) == ["", "B", "a", "a\0", "a\0b", "z", "~", "é", "\ue000", "\ufffd", "\U0001f5fc"]


LISTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["a", "b", "ba", "bb", "c"]),
    ({"prefix": "b"}, ["b", "ba", "bb"]),
    ({"prefix": "x"}, []),
    ({"start": "b"}, ["b", "ba", "bb", "c"]),
    ({"start_after": "b"}, ["ba", "bb", "c"]),
    ({"end": "b"}, ["a"]),
    ({"start": "b", "end": "b"}, []),
    ({"start": "c", "end": "b"}, []),
    ({"start": "b", "end": "c", "reverse": True}, ["bb", "ba", "b"]),
    ({"reverse": True, "limit": 2}, ["c", "bb"]),
    ({"limit": 2}, ["a", "b"]),
    ({"prefix": "b", "start": "a"}, ["b", "ba", "bb"]),
    ({"prefix": "b", "start": "ba"}, ["ba", "bb"]),
    ({"prefix": "b", "start": "c"}, []),
    ({"prefix": "b", "end": "bb"}, ["b", "ba"]),
    ({"prefix": "b", "end": "z"}, ["b", "ba", "bb"]),
    ({"prefix": "b", "end": "a"}, []),
    ({"prefix": "b", "start_after": "b", "limit": 1}, ["ba"]),
]


@pytest.mark.parametrize(("options", "keys"), LISTINGS, ids=str)
async def test_a_listing_covers_what_its_options_say(call: Call, options: dict[str, Any], keys: list[str]) -> None:
    await call("put_many", {key: key.upper() for key in ("c", "bb", "ba", "b", "a")})
    assert list((await call("list", **options)).items()) == [(key, key.upper()) for key in keys]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"limit": 1.5}, {"start": "a", "start_after": "a"}])
async def test_options_that_make_no_sense_are_refused(call: Call, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"list\(\) got"):
        await call("list", **options)


async def test_delete_prefix_takes_it_literally(call: Call) -> None:
    await call("put_many", dict.fromkeys(["a%b:1", "a%b:2", "aXb:1", "a_b:1", "A%B:1", "b"], 0))
    await call("delete_prefix", "a%b:")
    assert list(await call("list")) == ["A%B:1", "aXb:1", "a_b:1", "b"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**64, -(2**70), "\ud800", {"$float": "x"}])
async def test_values_beyond_json_come_back(call: Call, value: Any) -> None:
    await call("put", "key", [value])
    assert repr(await call("get", "key")) == repr([value])


VALUES = [
    None,
    True,
    0,
    -(2**63),
    2**64,
    -0.0,
    1e300,
    "",
    "ü\0\U0001f5fc\ud800",
    b"",
    b"\0\xff",
    datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1, seconds=1))),
    [],
    [1, [2, [3]]],
    (),
    (1, (2,)),
    set(),
    {1, "a", b"b", (2, 3)},
    frozenset({frozenset(), 1}),
    {},
    {"b": 1, "a": {"$float": "nan"}},
    {1: "a", (2, 3): "b", None: "c", b"d": "e", "\ud800": "f"},
    {"nested": [({"x": {1}}, b"y", datetime(2000, 1, 1, tzinfo=UTC))]},
]


def _told(value: Any) -> str:
    """Return what a value is called, the same in every process."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, set | frozenset) else ascii(value)


@pytest.mark.parametrize("value", VALUES, ids=_told)
async def test_values_of_every_type_come_back_from_memory_and_from_the_file(
    call: Call, tmp_path: Path, value: Any
) -> None:
    elsewhere = ObjectNamespace(tmp_path, timeout=9).get_by_name("thing").storage
    await call("put", "one", value)
    await call("put_many", {"many": value})
    before = [await call("get", "one"), *(await call("list")).values()]
    await call("flush")
    found = [*before, await call("get", "one"), *(await call("get_many", ["many"])).values(), elsewhere.get("one")]
    assert found == [value] * 6
    assert {(type(each), type(value) in (set, frozenset) or repr(each)) for each in found} == {
        (type(value), type(value) in (set, frozenset) or repr(value))
    }


async def test_what_was_put_is_not_changed_by_what_happens_to_the_value_later(call: Call) -> None:
    value = {"list": [1]}
    await call("put", "key", value)
    value["list"].append(2)
    assert await call("get", "key") == {"list": [1]}


@pytest.mark.parametrize("colour", ["", "a"])
async def test_a_row_that_is_too_long_is_refused_and_nothing_else(tmp_path: Path, colour: str) -> None:
    async def put(name: str, *args: Any) -> None:
        done = getattr(storage, f"{colour}{name}")(*args)
        if colour:
            await done

    thing = ObjectNamespace(tmp_path, longest_row=1000).get_by_name("thing")
    storage = thing.storage
    longest = "x" * (1000 - len("key") - len('"" '))
    await put("put", "key", longest)
    assert storage.get("key") == longest
    with pytest.raises(InvalidValueError, match=r"takes 998 bytes: a row holds at most 1,000, which ObjectNamespace"):
        await put("put", "key", longest + "x")
    with pytest.raises(InvalidValueError, match="under the key 'big'"):
        await put("put_many", {"small": 1, "big": "x" * 2000})
    with pytest.raises(InvalidValueError, match="longest_row="):
        await put("put", "x" * 2000, 1)
    with pytest.raises(InvalidValueError, match="a row holds at most"):
        await put("put", "é" * 500, 1)  # two bytes each
    assert storage.list() == {"key": longest}
    await put("put", "other", 1)
    assert storage.list() == {"key": longest, "other": 1}
    thing.close()


async def test_two_megabytes_are_stored_as_cloudflare_documents_it(call: Call) -> None:
    await call("put", "key", b"x" * 1_500_000)
    assert await call("get", "key") == b"x" * 1_500_000
    with pytest.raises(InvalidValueError, match="a row holds at most 2,097,152"):
        await call("put", "key", "x" * 2_097_152)
    assert await call("get", "key") == b"x" * 1_500_000


async def test_a_key_may_be_as_long_as_a_row(call: Call) -> None:
    await call("put", "k" * 100_000, 1)
    assert await call("list", prefix="k" * 100_000) == {"k" * 100_000: 1}
    assert await call("delete", "k" * 100_000) is True


async def test_thousands_of_keys_at_once(call: Call) -> None:
    entries = {f"{number:05}": number for number in range(2500)}
    await call("put_many", entries)
    assert await call("get_many", entries) == entries
    assert await call("delete_many", [*entries][::2]) == 1250
    assert len(await call("list")) == 1250


@pytest.mark.parametrize("method", ["get_many", "delete_many"])
async def test_one_str_is_no_list_of_keys(call: Call, method: str) -> None:
    with pytest.raises(InvalidInputError, match="is one str: pass a list of keys"):
        await call(method, "abc")


@pytest.mark.parametrize("value", [object(), range(3), bytearray(b"x"), len, 1j])
async def test_a_value_that_cannot_be_stored_is_refused_by_its_path(call: Call, value: Any) -> None:
    await call("put", "key", "before")
    with pytest.raises(InvalidValueError, match=r"^\$\.a\[1\]: "):
        await call("put", "key", {"a": [0, value]})
    assert await call("get", "key") == "before"


@pytest.mark.parametrize("key", [None, 5, b"x", "\ud800"])
async def test_a_key_that_is_none_is_refused(call: Call, key: Any) -> None:
    with pytest.raises(InvalidNameError, match="key"):
        await call("put", key, 1)
    with pytest.raises(InvalidNameError, match="key"):
        await call("get", key)


async def test_a_damaged_record_is_named(call: Call, tmp_path: Path) -> None:
    await call("put", "key", 1)
    await call("flush")
    path = next(tmp_path.glob("default/*.sqlite"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE _cf_KV SET value = x'09ff'")
    connection.close()
    with pytest.raises(CorruptRecordError, match=f"key 'key' in {path}"):
        await call("get", "key")


async def test_both_colours_see_each_other(storage: Storage) -> None:
    storage.put("a", 1)
    await storage.aput("b", 2)
    assert await storage.alist() == storage.list() == {"a": 1, "b": 2}


async def test_one_step_clears_writes_and_deletes(call: Call, storage: Storage) -> None:
    await call("put_many", {"a:1": 1, "a:2": 2, "b:1": 3, "b:2": 4, "c": 5, "d": 6})
    await call("change", {"a:3": encode([7]), "c": None, "absent": None}, prefixes=["b:", "a:"])
    assert await call("list") == {"a:3": [7], "d": 6}
    await call("change", {"d": None})
    assert await call("list") == {"a:3": [7]}


async def test_a_step_of_which_a_part_cannot_be_is_not_taken(call: Call, storage: Storage) -> None:
    await call("put_many", {"a": 1, "b": 2})
    for rows, options in (
        ({"a": None, "b": b"x" * 2_097_152}, {}),
        ({"a": None, "\ud800": None}, {}),
        ({"a": None}, {"prefixes": ["b", "\ud800"]}),
        ({"a": None}, {"alarm": 1e9}),  # nobody handles it
    ):
        with pytest.raises((InvalidValueError, InvalidNameError, InvalidInputError)):
            await call("change", rows, **options)
    assert await call("list") == {"a": 1, "b": 2}


async def test_sizes_are_those_of_the_values_as_stored(call: Call) -> None:
    await call("put_many", {"a": "xyz", "b": b"xyz", "c": 1, "d": "é"})
    assert await call("sizes") == {"a": 6, "b": 4, "c": 2, "d": 5}
    assert await call("sizes", prefix="b") == {"b": 4}
    assert await call("sizes", start_after="a", limit=2) == {"b": 4, "c": 2}


async def test_sizes_are_told_without_reading_the_values(call: Call) -> None:
    await call("put_many", {f"{number}": b"x" * 1_000_000 for number in range(8)})
    await call("flush")
    tracemalloc.start()
    try:
        assert sum((await call("sizes")).values()) > 8_000_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_space_is_given_back_a_little_at_a_time(call: Call, storage: Storage, tmp_path: Path) -> None:
    await call("put_many", {f"{number}": b"x" * 1_000_000 for number in range(8)})
    await call("flush")
    assert await call("give_back") is False
    await call("delete_many", [f"{number}" for number in range(1, 8)])
    await call("flush")
    sizes = []
    while await call("give_back"):
        sizes.append(next(tmp_path.glob("default/*.sqlite")).stat().st_size)
    assert len(sizes) > 3
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 7_000_000
    assert sizes[-1] < 3_000_000
    assert await call("get", "0") == b"x" * 1_000_000


async def test_a_file_that_somebody_else_is_just_making_can_shrink(
    call: Call, storage: Storage, tmp_path: Path
) -> None:
    path = storage._turns.path
    path.parent.mkdir(exist_ok=True)
    path.touch()  # as it is between the moment in which another process opens it and that in which it writes
    await call("put_many", {f"{number}": b"x" * 1_000_000 for number in range(8)})
    await call("delete_many", [f"{number}" for number in range(1, 8)])
    await call("flush")
    while await call("give_back"):
        pass
    assert next(tmp_path.glob("default/*.sqlite")).stat().st_size < 3_000_000


async def test_a_file_of_an_earlier_version_shrinks_when_all_is_deleted(
    call: Call, storage: Storage, tmp_path: Path
) -> None:
    await call("put", "key", 1)
    await call("flush")
    with storage._turns.writer() as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    await call("put_many", {f"{number}": b"x" * 1_000_000 for number in range(8)})
    await call("delete_many", [f"{number}" for number in range(1, 8)])
    await call("flush")
    assert await call("give_back") is False
    await call("delete_all")
    assert next(tmp_path.glob("default/*.sqlite")).stat().st_size < 100_000
    await call("put_many", {f"{number}": b"x" * 1_000_000 for number in range(8)})
    await call("delete_many", [f"{number}" for number in range(1, 8)])
    await call("flush")
    while await call("give_back"):
        pass
    assert next(tmp_path.glob("default/*.sqlite")).stat().st_size < 3_000_000


async def test_an_awaited_step_is_taken_at_once(storage: Storage) -> None:
    storage.put_many({"a": 1, "b": 2})
    step = storage.achange({"c": encode(3)}, prefixes=["a", "b"])
    with pytest.raises(StopIteration):
        step.send(None)
    assert storage.list() == {"c": 3}


def test_the_rows_on_disk(storage: Storage, tmp_path: Path) -> None:
    """The format of the file: a change of it shows here, and makes older files unreadable."""
    storage.put_many(
        {
            "beyond": [math.nan, 2**64],
            "dollar": {"$x": math.inf},
            "moment": datetime(2024, 2, 29, 12, 30, tzinfo=timezone(timedelta(hours=1))),
            "plain": {"a": [1, 2.5, None, "ü"]},
            "python": [b"x", (1,), {2, 1}, {1: 2}, "\ud800"],
            "\0\U0001f5fc": True,
        }
    )
    storage.sql.exec("CREATE TABLE own (number INTEGER PRIMARY KEY, any); INSERT INTO own VALUES (1, x'00'), (2, 2.5)")
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")))
    tables = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    rows = {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name, _ in tables}  # noqa: S608
    header = [connection.execute(f"PRAGMA {each}").fetchone()[0] for each in ("application_id", "user_version")]
    connection.close()
    assert header == [int.from_bytes(b"chcc"), 1]
    assert [sql for _, sql in tables] == [
        "CREATE TABLE _cf_KV (key TEXT NOT NULL, checksum BLOB, value BLOB)",
        "CREATE TABLE _cf_METADATA (key INTEGER PRIMARY KEY, checksum BLOB, value BLOB)",
        "CREATE TABLE own (number INTEGER PRIMARY KEY, any)",
    ]
    expected: dict[str, list[tuple[Any, ...]]] = {
        "_cf_KV": [
            ("\0\U0001f5fc", b"\x01true"),
            ("beyond", b'\x02[{"$float":"nan"},{"$int":"0x10000000000000000"}]'),
            ("dollar", b'\x02{"$dict":[["$x",{"$float":"inf"}]]}'),
            ("moment", b'\x02{"$datetime":"2024-02-29T12:30:00.000000+01:00"}'),
            ("plain", '\x01{"a":[1,2.5,null,"ü"]}'.encode()),
            ("python", b'\x02[{"$bytes":"eA=="},{"$tuple":[1]},{"$set":[1,2]},{"$dict":[[1,2]]},{"$str":"7aCA"}]'),
        ],
        "_cf_METADATA": [(3, xxhash.xxh3_64_digest(b"'thing'", xxhash.xxh32_intdigest(b"3")), "thing")],
        "own": [(1, b"\0"), (2, 2.5)],
    }
    expected["_cf_KV"] = [
        (key, xxhash.xxh3_64_digest(value, xxhash.xxh32_intdigest(key.encode())), value)
        for key, value in expected["_cf_KV"]
    ]
    assert rows == expected


def test_an_object_is_one_file_for_its_owner_only(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path / "root", "space").get_by_name("thing")
    thing.storage.put("key", 1)
    assert thing.path.parent == tmp_path / "root" / "space"
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in thing.path.parent.iterdir()} == {
        thing.path.name: "0o600",
        f"{thing.path.name}-wal": "0o600",
        f"{thing.path.name}-shm": "0o600",
    }
    assert oct(thing.path.parent.stat().st_mode & 0o777) == "0o700"
    assert oct(thing.path.parent.parent.stat().st_mode & 0o777) == "0o700"
    thing.close()
    assert [path.name for path in thing.path.parent.iterdir()] == [thing.path.name]


def test_reading_makes_nothing_on_disk(tmp_path: Path) -> None:
    storage = ObjectNamespace(tmp_path / "root").get_by_name("thing").storage
    assert storage.get("key") is None
    assert storage.list() == {}
    assert not (tmp_path / "root").exists()


def test_the_file_is_in_wal_mode(storage: Storage, tmp_path: Path) -> None:
    storage.put("key", 1)
    connection = sqlite3.connect(next(tmp_path.glob("default/*.sqlite")))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_closed_object_opens_again_when_it_is_used(tmp_path: Path) -> None:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    thing.storage.put("key", 1)
    thing.close()
    assert thing.storage.get("key") == 1
    thing.close()

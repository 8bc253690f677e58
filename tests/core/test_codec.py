"""Stored values: the bytes on disk, what is refused, and by which words."""

import math
import re
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum, StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

from chatcache import CorruptRecordError, InvalidValueError
from chatcache.codec import DAMAGED, decode, encode, part_of

NOON = datetime(2024, 2, 29, 12, 30, 0, 7, timezone(timedelta(hours=1)))

# The format of the disk: whoever changes a row makes the records of others unreadable.
STORED = [
    (None, b"\x01null"),
    (True, b"\x01true"),
    (1, b"\x011"),
    (1.0, b"\x011.0"),
    (-0.0, b"\x01-0.0"),
    (2**64 - 1, b"\x0118446744073709551615"),
    (-(2**63), b"\x01-9223372036854775808"),
    ("é\0", '\x01"é\\u0000"'.encode()),
    ({"b": [1, {"a": None}], "$a": "$b"}, b'\x01{"b":[1,{"a":null}],"$a":"$b"}'),
    ({"$int": "0x1"}, b'\x01{"$int":"0x1"}'),
    (math.nan, b'\x02{"$float":"nan"}'),
    (math.inf, b'\x02{"$float":"inf"}'),
    (-math.inf, b'\x02{"$float":"-inf"}'),
    (2**64, b'\x02{"$int":"0x10000000000000000"}'),
    (-(2**63) - 1, b'\x02{"$int":"-0x8000000000000001"}'),
    ("\ud800", b'\x02{"$str":"7aCA"}'),
    (b"", b"\x03"),
    (b"\xff\x00", b"\x03\xff\x00"),
    ([b"\xff\x00"], b'\x02[{"$bytes":"/wA="}]'),
    (NOON, b'\x02{"$datetime":"2024-02-29T12:30:00.000007+01:00"}'),
    (datetime(1, 1, 1, tzinfo=UTC), b'\x02{"$datetime":"0001-01-01T00:00:00.000000+00:00"}'),
    (
        datetime(9999, 12, 31, tzinfo=timezone(-timedelta(hours=5, seconds=7, microseconds=3))),
        b'\x02{"$datetime":"9999-12-31T00:00:00.000000-05:00:07.000003"}',
    ),
    ((), b'\x02{"$tuple":[]}'),
    ((1, [(2,)]), b'\x02{"$tuple":[1,[{"$tuple":[2]}]]}'),
    (set(), b'\x02{"$set":[]}'),
    ({"b", 10, 9, "a", None}, b'\x02{"$set":["a","b",10,9,null]}'),
    (frozenset({(1,), frozenset({2})}), b'\x02{"$frozenset":[{"$frozenset":[2]},{"$tuple":[1]}]}'),
    ({2: "b", 1: "a"}, b'\x02{"$dict":[[2,"b"],[1,"a"]]}'),
    ({(1, b"x"): 1, "s": 2}, b'\x02{"$dict":[[{"$tuple":[1,{"$bytes":"eA=="}]},1],["s",2]]}'),
    ({"$x": (1,)}, b'\x02{"$dict":[["$x",{"$tuple":[1]}]]}'),
    ({"\ud800": 1}, b'\x02{"$dict":[[{"$str":"7aCA"},1]]}'),
    ({"a": {"b": 1}, "c": b""}, b'\x02{"a":{"b":1},"c":{"$bytes":""}}'),
]


@pytest.mark.parametrize(("value", "data"), STORED, ids=[repr(data) for _, data in STORED])
def test_the_bytes_on_disk(value: Any, data: bytes) -> None:
    assert encode(value) == data
    assert repr(decode(data)) == repr(value) or decode(data) == value
    assert type(decode(data)) is type(value)


@pytest.mark.parametrize("number", [0, 1])
def test_an_int_a_float_and_a_bool_stay_apart(number: int) -> None:
    for kind in (int, float, bool):
        value = kind(number)
        ((key, item),) = decode(encode({value: value})).items()
        (member,) = decode(encode({value}))
        assert type(key) is type(item) is type(member) is kind


def test_minus_zero_stays_minus_zero() -> None:
    back = decode(encode([-0.0, {-0.0}, {-0.0: (-0.0,)}]))
    assert repr(back) == "[-0.0, {-0.0}, {-0.0: (-0.0,)}]"


def test_a_set_holds_as_many_nans_as_it_held() -> None:
    nans = {float("nan"), float("nan"), float("nan")}
    assert len(decode(encode(nans))) == len(decode(encode(dict.fromkeys(nans)))) == len(nans) == 3


def test_an_int_beyond_the_digits_that_python_writes_comes_back() -> None:
    assert decode(encode({10**9_000: -(10**9_000)})) == {10**9_000: -(10**9_000)}


def test_a_dictionary_keeps_its_order() -> None:
    for keys in ("ba", [2, 1], ["$b", "a"]):
        assert list(decode(encode(dict.fromkeys(keys)))) == list(keys)


class Paris(tzinfo):
    """Paris around the end of one summer: what zoneinfo knows, where no zones are installed."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        assert when is not None
        winter = when.replace(tzinfo=None) >= datetime(2024, 10, 27, 2 if when.fold else 3)  # noqa: DTZ001
        return timedelta(hours=1 if winter else 2)

    def tzname(self, when: datetime | None) -> str:
        return "Europe/Paris"

    def dst(self, when: datetime | None) -> timedelta:
        return self.utcoffset(when) - timedelta(hours=1)


def test_a_named_zone_comes_back_as_its_offset() -> None:
    summer = datetime(2024, 7, 14, 21, 30, tzinfo=Paris())
    back = decode(encode(summer))
    assert back == summer
    assert back.tzinfo == timezone(timedelta(hours=2))


def test_of_the_hour_that_a_zone_has_twice_each_comes_back() -> None:
    for fold in (0, 1):
        moment = datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=Paris())
        back = decode(encode(moment))
        assert back.timestamp() == moment.timestamp()
        assert back.utcoffset() == moment.utcoffset() == timedelta(hours=2 - fold)


@pytest.mark.parametrize("seconds", [-1e-6, 1e-6, -0.5, -1, 1, 86_399.999999])
def test_an_odd_offset_comes_back(seconds: float) -> None:
    moment = NOON.replace(tzinfo=timezone(timedelta(seconds=seconds)))
    assert decode(encode(moment)) == moment
    assert decode(encode(moment)).utcoffset() == moment.utcoffset()


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        object(), Decimal(1), 1j, bytearray(b"x"), memoryview(b"x"), range(3), NOON.date(), NOON.timetz(), timedelta(1),
        Colour.RED, Level.HIGH, Point(1), OrderedDict(), defaultdict(list), type("Text", (str,), {})("a"),
        type("Moment", (datetime,), {})(2024, 2, 29, tzinfo=UTC), type("Set", (set,), {})(), int, len, Broken(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_of_another_type_is_refused_by_its_path(value: Any) -> None:
    for around in ({"a": [0, 1, 2, {"b": value}]}, {"a": [math.nan, 1, b"", {1: 1, "b": value}]}):
        with pytest.raises(InvalidValueError) as caught:
            encode(around)
        assert caught.value.path == "$.a[3].b"
        assert f"is of type {type(value).__name__}, which cannot be stored; convert it to None, bool" in str(
            caught.value
        )


@pytest.mark.parametrize("key", [Colour.RED, Level.HIGH, Point(1), None.__class__])
def test_a_key_of_another_type_is_refused(key: Any) -> None:
    with pytest.raises(InvalidValueError, match="cannot be stored") as caught:
        encode({"a": {"b": 1, key: 2}})
    assert caught.value.path == f"$.a{{{key!r}}}"


ODD = Decimal("1.5")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (ODD, "$"),
        ({"é": ODD}, "$.é"),
        ({"a b": ODD}, '$["a b"]'),
        ({"": ODD}, '$[""]'),
        ({'"\n\ud800': ODD}, r'$["\"\n\ud800"]'),
        ({"x" * 999 + "-": ODD}, '$["' + "x" * 200 + '… (1,000 characters)"]'),
        ({"$float": ODD}, '$["$float"]'),
        ({"1": {1: ODD}}, '$["1"][1]'),
        ({(1, "x"): [ODD]}, "$[(1, 'x')][0]"),
        ({b"x": {None: ODD}}, "$[b'x'][None]"),
        ({10**9_000: ODD}, "$[<int object, whose repr fails>]"),
        ((0, (ODD,)), "$[1][0]"),
        ({"tags": {ODD}}, "$.tags{Decimal('1.5')}"),
        ([{(0, ODD)}], "$[0]{(0, Decimal('1.5'))}[1]"),
        ({"a": {ODD: 1}}, "$.a{Decimal('1.5')}"),
        ({"a": {"s": 1, (0, frozenset({ODD})): 1}}, "$.a{(0, frozenset({Decimal('1.5')}))}[1]{Decimal('1.5')}"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_path_to_what_is_refused(value: Any, path: str) -> None:
    with pytest.raises(InvalidValueError, match=r"Decimal\('1.5'\) is of type Decimal") as caught:
        encode(value)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    str(caught.value).encode()


def test_a_naive_datetime_is_refused() -> None:
    for naive in (
        NOON.replace(tzinfo=None),
        NOON.replace(tzinfo=type("Nowhere", (Paris,), {"utcoffset": lambda *_: None})()),
    ):
        with pytest.raises(
            InvalidValueError, match=r"^\$\.at\[0\]: datetime.* is naive.*pass an aware datetime"
        ) as caught:
            encode({"at": [naive]})
        assert caught.value.path == "$.at[0]"


def nested(kind: str, depth: int) -> Any:
    value: Any = math.nan
    for _ in range(depth):
        match kind:
            case "list":
                value = [value]
            case "dict":
                value = {"a": value}
            case "tuple":
                value = (value,)
            case "frozenset":
                value = frozenset({value})
            case _:
                value = {1: value}
    return value


@pytest.mark.parametrize(
    ("kind", "depth"), [("list", 250), ("dict", 250), ("tuple", 120), ("frozenset", 120), ("keys", 80)]
)
def test_what_nests_as_deeply_as_the_message_says_comes_back(kind: str, depth: int) -> None:
    assert repr(decode(encode(nested(kind, depth)))) == repr(nested(kind, depth))
    for deeper in (depth + 10, 900):
        with pytest.raises(InvalidValueError, match="nests too deeply"):
            encode(nested(kind, deeper))


@pytest.mark.parametrize("first", ["plain", math.nan, (1,)])
def test_what_contains_itself_is_refused(first: Any) -> None:
    circle: list[Any] = [first]
    circle.append(circle)
    with pytest.raises(InvalidValueError, match="contains itself"):
        encode(circle)


def test_what_contains_itself_twice_is_refused_as_soon() -> None:
    tree: dict[str, Any] = {}
    tree["children"] = [{"parent": tree}, {"parent": tree}]
    with pytest.raises(InvalidValueError, match="contains itself"):
        encode(tree)


@pytest.mark.parametrize("value", [[1, {"a": None}], ("x",), {"$a": b"x"}, b"x", 2.5])
def test_a_part_that_is_encoded_stands_for_its_value(value: Any) -> None:
    part = part_of(encode(value))
    assert decode(encode({"part": part, "at": 1})) == {"part": value, "at": 1}
    assert decode(encode((part,))) == (value,)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x00\x00", b"\x04{}", b"\x01", b"\x01{", b"\x01NaN", b"\x01\xff", b"\x02", b"\x01" + b"[" * 9_000,
        b"\x02" + b"[" * 1_000 + b"]" * 1_000, b"\x02" + b'{"$tuple":[' * 500 + b"]}" * 500,
        b'\x02{"$float":"1"}', b'\x02{"$float":1}', b'\x02{"$int":"x"}', b'\x02{"$int":1}', b'\x02{"$str":"/w=="}',
        b'\x02{"$str":null}', b'\x02{"$bytes":"a"}', '\x02{"$bytes":"é"}'.encode(), b'\x02{"$bytes":"YQ==\\n"}',
        b'\x02{"$datetime":"2024-02-30T00:00:00.000000+00:00"}', b'\x02{"$datetime":"2024-02-01T00:00:00.000000"}',
        b'\x02{"$datetime":"2024-02-01T00:00:00.000000+99:00"}', b'\x02{"$datetime":1}', b'\x02{"$tuple":"ab"}',
        b'\x02{"$tuple":{}}', b'\x02{"$set":[[]]}', b'\x02{"$set":[{"$tuple":[{}]}]}', b'\x02{"$frozenset":[{}]}',
        b'\x02{"$dict":[[[],1]]}', b'\x02{"$dict":[[1]]}', b'\x02{"$dict":[1]}', b'\x02{"$dict":{}}', b'\x02{"$":1}',
    ],
    ids=lambda data: repr(data[:40]),
)  # fmt: skip
def test_damaged_bytes_are_one_error(data: bytes) -> None:
    with pytest.raises(CorruptRecordError, match=r"^stored bytes "):
        decode(data)


def test_what_stands_for_a_damaged_row_is_told_as_such() -> None:
    with pytest.raises(CorruptRecordError, match="the record is damaged: its checksum does not match"):
        decode(DAMAGED)


def test_the_tag_of_a_newer_version_is_named() -> None:
    with pytest.raises(
        CorruptRecordError, match=re.escape("{'$fraction': [1, 2]}: damaged, or written by a newer version")
    ):
        decode(b'\x02[{"$fraction":[1,2]}]')
    with pytest.raises(InvalidValueError, match="of type Fraction"):
        encode(Fraction(1, 2))

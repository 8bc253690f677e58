"""Laws of stored values: everything comes back as it was, and no bytes do harm."""

from datetime import datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from chatcache import CorruptRecordError
from chatcache.codec import decode, encode

from .values import hashable_values, json_values, stored_values, texts

TAGS = ["$float", "$int", "$str", "$bytes", "$datetime", "$tuple", "$set", "$frozenset", "$dict", "$later"]
CONTENTS = [
    "nan",
    "-0x1",
    "0x" + "f" * 9_000,
    "YQ==",
    "YQ",
    "7aCA",
    "2024-02-29T12:30:00.000001+01:00",
    "2024-02-30",
    "é",
]


def strict(value: Any) -> Any:
    """What tells values apart: the types, too, all the way down; NaN is NaN, -0.0 is not 0.0, a set has no order."""
    match value:
        case list() | tuple():
            inside: Any = [strict(item) for item in value]
        case set() | frozenset():
            inside = sorted(map(strict, value), key=repr)
        case dict():
            inside = [(strict(key), strict(item)) for key, item in value.items()]
        case int():
            inside = hex(value)
        case datetime():
            inside = value.utcoffset(), value.replace(tzinfo=None)
        case _:
            inside = repr(value)
    return type(value), inside


def check_total(data: bytes) -> None:
    """Whatever the bytes: a value that can be stored again, or the one error."""
    try:
        value = decode(data)
    except CorruptRecordError:
        return
    assert strict(decode(encode(value))) == strict(value)


def tagged_json() -> st.SearchStrategy[Any]:
    """JSON full of tags, right ones and wrong ones."""
    return st.recursive(
        st.one_of(st.sampled_from(CONTENTS), json_values()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(st.lists(inner, min_size=2, max_size=2), max_size=2),
            st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1),
            st.dictionaries(texts(), inner, max_size=2),
        ),
        max_leaves=6,
    )


@given(stored_values())
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert strict(decode(encode(value))) == strict(value)


@given(json_values())
def test_a_json_value_is_stored_as_json_wherever_json_holds_it(value: Any) -> None:
    data = encode(value)
    if data[:1] == b"\x01":
        assert data[1:] == orjson.dumps(value)
    assert strict(decode(data)) == strict(value)


@given(stored_values(), stored_values())
def test_different_values_are_different_bytes(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (strict(one) == strict(other))


@given(
    st.lists(hashable_values(), max_size=6).flatmap(
        lambda members: st.tuples(st.just(members), st.permutations(members))
    )
)
def test_equal_sets_are_equal_bytes(orders: tuple[list[Any], list[Any]]) -> None:
    one, other = (set(dict.fromkeys(order)) for order in orders)
    if strict(one) == strict(other):
        assert encode(one) == encode(other)
        assert encode(frozenset(one)) == encode(frozenset(other))


@given(st.one_of(st.binary(), st.tuples(st.sampled_from([b"\x01", b"\x02"]), st.binary()).map(b"".join)))
def test_any_bytes_give_a_value_or_the_one_error(data: bytes) -> None:
    check_total(data)


@given(tagged_json())
def test_any_tagged_json_gives_a_value_or_the_one_error(value: Any) -> None:
    check_total(b"\x02" + encode([value])[1:])


@given(stored_values(), st.integers(0), st.integers(0, 3), st.binary(max_size=3))
def test_damaged_bytes_give_a_value_or_the_one_error(value: Any, place: int, gone: int, instead: bytes) -> None:
    data = encode(value)
    start = place % len(data)
    check_total(data[:start] + instead + data[start + gone :])

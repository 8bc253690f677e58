"""Laws of stored values: everything comes back as it was, and no bytes do harm."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatcache import CorruptRecordError
from chatcache.codec import decode, encode

from .values import json_values


def identical(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down; NaN is NaN, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    match one:
        case float():
            return (math.isnan(one) and math.isnan(other)) or (
                one == other and math.copysign(1, one) == math.copysign(1, other)
            )
        case list():
            return len(one) == len(other) and all(map(identical, one, other))
        case dict():
            return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
        case _:
            return bool(one == other)


@given(json_values())
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert identical(decode(encode(value)), value)


@given(st.one_of(st.binary(), st.tuples(st.sampled_from([b"\x01", b"\x02"]), st.binary()).map(b"".join)))
def test_any_bytes_give_a_value_or_the_one_error(data: bytes) -> None:
    try:
        value = decode(data)
    except CorruptRecordError:
        return
    assert identical(decode(encode(value)), value)


@given(json_values())
def test_any_tagged_json_gives_a_value_or_the_one_error(value: Any) -> None:
    data = b"\x02" + encode([value])[1:]
    try:
        decode(data)
    except CorruptRecordError:
        return

"""Laws of the canonical form, over any JSON value."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chatcache import canonical_json, request_key

from .values import json_values


def reference(value: Any) -> bytes:
    """The form as the documentation states it: Python's own json, with whole floats as ints."""

    def whole(part: Any) -> Any:
        match part:
            case float() if math.isfinite(part) and part == int(part):
                return int(part)
            case list():
                return [whole(each) for each in part]
            case dict():
                return {key: whole(each) for key, each in part.items()}
            case _:
                return part

    text = json.dumps(whole(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def same(one: Any, other: Any) -> bool:
    """Equality as keys mean it: 1 equals 1.0, True equals nothing but True, NaN equals NaN."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return isinstance(one, int | float) == isinstance(other, int | float) and one == other


def shuffled(value: Any, draw: st.DataObject) -> Any:
    match value:
        case list():
            return [shuffled(each, draw) for each in value]
        case dict():
            return {key: shuffled(value[key], draw) for key in draw.draw(st.permutations(sorted(value)))}
        case _:
            return value


@given(json_values())
def test_the_form_is_the_documented_one(value: Any) -> None:
    assert canonical_json(value) == reference(value)


@given(json_values(), st.data())
def test_the_order_of_keys_has_no_effect(value: Any, data: st.DataObject) -> None:
    assert request_key(shuffled(value, data)) == request_key(value)


@given(json_values(), json_values())
def test_keys_are_equal_exactly_where_requests_are(one: Any, other: Any) -> None:
    assert (request_key(one) == request_key(other)) == same(one, other)


@given(json_values(), st.text(), json_values())
def test_one_more_field_is_another_request(value: Any, name: str, extra: Any) -> None:
    request = {"prompt": value}
    assert request_key({**request, f"x{name}": extra}) != request_key(request)

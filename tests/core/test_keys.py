"""The key of a request: golden vectors, which a change of the derivation breaks, and what has no effect on it."""

import inspect
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chatcache import InvalidValueError, canonical_json, request_key

GOLDEN: list[tuple[Any, bytes, str]] = [
    (None, b"null", "c575a9e2d3f94b17cdc9d4c7136ae39b5436aa8eceba953dcfb67fe533922980"),
    (True, b"true", "ef17b1b8606377a25febd0d16d7d05680060e95d4dce412b4c94305d2a0ec22b"),
    ({"a": 1.0}, b'{"a":1}', "4883b96d139cc0154ac011a3d6f3a44b9d8fc2124e3981810951b6cb2fc74454"),
    (
        [math.nan, math.inf, -math.inf, None],
        b"[NaN,Infinity,-Infinity,null]",
        "15273fc5ec07bff117d2ff76ff1b3e7d972bed1cfdc86627e16107bc41005289",
    ),
    ("\ud800x", b'"\xed\xa0\x80x"', "e2ab1926ac41aa8bf0bfc13c61a9b2f096d405ed661491b22d9d012df782c3ab"),
    (
        {"b": {"d": [], "c": {}}, "a": 'é\u2028\U0001f5fc\x7f\x1f\n"\\/'},
        b'{"a":"\xc3\xa9\xe2\x80\xa8\xf0\x9f\x97\xbc\x7f\\u001f\\n\\"\\\\/","b":{"c":{},"d":[]}}',
        "7758a518d621eb93125386b0e65b154d4df834153745112d7633e25fedac9cbe",
    ),
    (
        {"model": "gpt-4o-mini", "temperature": 0.7, "messages": [{"role": "user", "content": "Hi"}]},
        b'{"messages":[{"content":"Hi","role":"user"}],"model":"gpt-4o-mini","temperature":0.7}',
        "53570d80f2e6b9ebfd3d3895ed6cc64c15f8a5f22dbd89e1962bd8cd39c3fa67",
    ),
]


@pytest.mark.parametrize(("request_", "form", "key"), GOLDEN)
def test_golden_vectors_hold(request_: Any, form: bytes, key: str) -> None:
    assert canonical_json(request_) == form
    assert request_key(request_) == key


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (1, b"1"),
        (1.0, b"1"),
        (-0.0, b"0"),
        (1e22, b"10000000000000000000000"),
        (10**22, b"10000000000000000000000"),
        (2**64, b"18446744073709551616"),
        (0.1, b"0.1"),
        (1e-7, b"1e-07"),
    ],
)
def test_a_number_is_written_in_one_way_whatever_its_type(number: float, form: bytes) -> None:
    assert canonical_json(number) == form


def test_what_is_equal_in_python_only_has_keys_of_its_own() -> None:
    alike = [1, "1", True, None, "null", math.nan, "NaN", 0, False, "", [], {}, [[]], [1], ["1"], {"a": None}]
    assert len({request_key(each) for each in alike}) == len(alike)


def test_neither_the_order_of_keys_nor_the_kind_of_sequence_has_an_effect() -> None:
    one = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    other = {"messages": ({"content": "x", "role": "user"},), "model": "m"}
    assert request_key(one) == request_key(other)


def test_the_order_of_a_list_has_an_effect() -> None:
    assert request_key(["a", "b"]) != request_key(["b", "a"])


def test_an_unknown_field_has_an_effect() -> None:
    assert request_key({"model": "m"}) != request_key({"model": "m", "min_p": 0.1})


def test_parts_cannot_run_together() -> None:
    assert request_key({"user": "ustop: x"}) != request_key({"user": "u", "stop": "x"})


def test_subclasses_of_json_types_count_as_those_types() -> None:
    class Colour(StrEnum):
        RED = "red"

    class Level(IntEnum):
        HIGH = 3

    class Point(NamedTuple):
        x: float
        y: int

    special = defaultdict(list, {Colour.RED: [Colour.RED, Level.HIGH, Point(0.5, 2)]})
    assert canonical_json(special) == canonical_json({"red": ["red", 3, [0.5, 2]]})


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Path("x"), object(), 1j])
def test_what_is_not_json_is_refused_by_its_path(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"^\$\.a\[3\]\.b: ") as caught:
        request_key({"a": [0, 1, 2, {"b": value}]})
    assert type(value).__name__ in str(caught.value)


def test_a_key_of_a_dictionary_that_is_no_str_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"^\$\.bias: a dictionary key is of type int, and JSON"):
        request_key({"bias": {50256: -100}})


@dataclass
class Client:
    api_key: str


class Unreadable:
    def __repr__(self) -> str:
        raise KeyError("repr")


class Broken(list[int]):
    def __iter__(self) -> Any:
        raise KeyError("items")


class BrokenInt(int):
    def __int__(self) -> int:
        raise KeyError("int")


@pytest.mark.parametrize("value", [Unreadable(), {Unreadable(): 1}, Broken([1]), BrokenInt(1)])
def test_what_the_code_of_an_object_raises_is_not_raised(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"^\$\.x"):
        request_key({"x": value})


class Measuring(list[Any]):
    """A list that measures the stack when it is read."""

    frames = 0

    def __iter__(self) -> Iterator[Any]:
        type(self).frames = max(self.frames, len(inspect.stack(0)))
        return super().__iter__()


@pytest.mark.parametrize("value", [Client("sk-live-1"), {Client("sk-live-1").api_key.encode(): 1}, b"sk-live-1"])
def test_the_text_of_an_object_is_in_no_message(value: Any) -> None:
    with pytest.raises(
        InvalidValueError, match=type(value).__name__ if value.__class__ is not dict else "bytes"
    ) as caught:
        request_key({"x": value})
    assert "sk-live" not in str(caught.value)


def test_what_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidValueError, match="contains itself"):
        request_key(circle)


def test_what_contains_itself_twice_is_refused_as_soon() -> None:
    tree: dict[str, Any] = {}
    tree["children"] = [{"parent": tree}, {"parent": tree}]
    with pytest.raises(InvalidValueError, match="contains itself"):
        request_key(tree)


def test_an_int_that_python_will_not_write_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="bits has no key"):
        request_key({"seed": 10**5000})


def test_depth_beyond_the_fast_encoder_has_a_key_too() -> None:
    nested: Any = 0.5
    for _ in range(400):
        nested = [nested]
    assert canonical_json(nested) == b"[" * 400 + b"0.5" + b"]" * 400


@pytest.mark.parametrize(
    "wrap",
    [lambda inner: [inner], lambda inner: (inner,), lambda inner: {"a": inner}, lambda inner: Measuring([inner])],
)
@pytest.mark.parametrize("levels", [200, 900, 3_000])
def test_however_deep_a_request_is_there_is_room_for_a_finalizer(wrap: Callable[[Any], Any], levels: int) -> None:
    nested: Any = Measuring([0.5])
    for number in range(levels):
        nested = wrap(nested if number % 100 else Measuring([nested]))
    before, Measuring.frames = len(inspect.stack(0)), 0
    with suppress(InvalidValueError):
        request_key(nested)
    assert 0 < Measuring.frames - before < 700


def test_a_request_is_left_as_it_was() -> None:
    request = {"temperature": 1.0, "messages": [{"weight": 2.0}]}
    request_key(request)
    assert repr(request) == "{'temperature': 1.0, 'messages': [{'weight': 2.0}]}"

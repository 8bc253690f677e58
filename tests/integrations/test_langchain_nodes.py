"""``node_key``: equal inputs of nodes hit in each process, and others do not."""

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from pydantic import BaseModel, ConfigDict, PrivateAttr, SecretStr

from langchain_chatcache import node_key

PROGRAM = """
import sys
from typing import TypedDict

import numpy as np
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import CachePolicy
from pydantic import BaseModel

from langchain_chatcache import DONodeCache, node_key

runs = []
policy = CachePolicy(key_func=node_key, ttl=600)


class Inner(BaseModel):
    tags: set[str] = set()
    price: float = 1.5


class State(BaseModel):
    question: str
    inner: Inner = Inner()
    answer: str = ""


def run(state, update, given):
    def node(state):
        runs.append(1)
        return update

    builder = StateGraph(state)
    builder.add_node("node", node, cache_policy=policy)
    builder.add_edge(START, "node")
    graph = builder.compile(cache=DONodeCache("g", path=sys.argv[1]))
    for _ in range(2):
        graph.invoke(given)


run(MessagesState, {"messages": []}, {"messages": [HumanMessage("why"), AIMessage("so")]})
run(State, {"answer": "A"}, State(question="why", inner=Inner(tags={"c", "a", "b"})))


@task(cache_policy=policy)
def total(arr):
    runs.append(1)
    return int(arr.sum())


@entrypoint(cache=DONodeCache("n", path=sys.argv[1]))
def flow(arr):
    return total(arr=arr).result()


print([flow.invoke(np.frombuffer(bytes([200]), dtype=kind)) for kind in (np.uint8, np.int8, np.uint8)], len(runs))
"""


def test_a_node_runs_once_for_all_processes(tmp_path: Path) -> None:
    said = []
    for seed in ("1", "2"):
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)]
        done = subprocess.run(command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())
    assert said == ["[200, -56, 200] 4", "[200, -56, 200] 0"]


class Colour(Enum):
    RED = 1


class Number(IntEnum):
    ONE = 1


@dataclass
class Point:
    x: int
    y: float = 0.0


class Order(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = 1
    _seen: set[str] = PrivateAttr(default_factory=set)

    @cached_property
    def doubled(self) -> int:
        return 2 * self.number


class Other(BaseModel):
    number: int = 1


class Tagged(dict[str, int]):
    """A dictionary that says something beside its items."""

    def __init__(self, tag: str | None = None) -> None:
        super().__init__(a=1)
        if tag is not None:
            self.tag = tag


def with_attribute(value: Any) -> Any:
    object.__setattr__(value, "more", 1)
    return value


PARIS = ZoneInfo("Europe/Paris")
EACH_ANOTHER: list[Any] = [
    *(Tagged(), Tagged("a"), Tagged("b"), with_attribute(Point(1)), with_attribute(Order())),
    *(datetime(2026, 10, 25, 2, tzinfo=PARIS), datetime(2026, 10, 25, 2, tzinfo=PARIS, fold=1)),
    *(datetime(2026, 10, 25, 2, tzinfo=timezone(timedelta(hours=2))), time(1), time(1, fold=1)),
    *(None, True, False, 1, 1.0, "1", b"1", "", [], (), {}, set(), [1], (1,), {1}, frozenset({1}), [[1], 2], [1, [2]]),
    *({"a": 1}, {"a": 2}, {1: "a"}, {"1": "a"}, {("a", 1): 2}, OrderedDict(a=1), Colour.RED, Number.ONE, "RED"),
    *(
        Point(1),
        Point(1, 2),
        Order(),
        Order(number=2),
        Order.model_validate({"more": 1}),
        Other(),
        Document("1"),
        Document("2"),
    ),
    *(HumanMessage("a"), HumanMessage("b"), AIMessage("a"), HumanMessage("a", name="b"), RemoveMessage(id="1")),
    *(RemoveMessage(id="2"), ToolMessage("a", tool_call_id="1"), ToolMessage("a", tool_call_id="1", artifact=[1])),
    *(np.uint8(1), np.int8(1), np.array([1, 2]), np.array([[1, 2]]), np.array([1.0, 2.0]), np.array(["1", "2"])),
    *(datetime(2026, 1, 1, tzinfo=UTC), timedelta(1), Decimal(1), Decimal("1.0"), UUID(int=1), Path("1")),
    *(float("nan"), 10**400, SecretStr("1"), SecretStr("2"), "\ud800"),
]


def test_no_two_different_inputs_share_a_key() -> None:
    keys = [node_key(value) for value in EACH_ANOTHER]
    assert keys == [node_key(value) for value in EACH_ANOTHER]
    assert len({*keys}) == len(keys)
    assert node_key(1, 2) != node_key((1, 2)) != node_key([1, 2])
    assert node_key(a=1) != node_key({"a": 1})


def test_equal_inputs_share_a_key() -> None:
    read = Order()
    assert read.doubled == 2
    for one, other in [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (HumanMessage("a", id="1"), HumanMessage("a", id="2")),
        ([HumanMessage("a")], [HumanMessage("a", id="2")]),
        (np.array([[1, 2], [3, 4]], order="F"), np.array([[1, 2], [3, 4]], order="C")),
        (Order(number=1), Order()),
        (read, Order()),
    ]:
        assert node_key(one) == node_key(other)
    seen = Order()
    seen._seen.add("a")
    assert node_key(seen) != node_key(Order())


class Opaque:
    pass


def test_what_is_no_data_has_no_key_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    opaque = Opaque()
    assert node_key([opaque]) != node_key([opaque])
    (record,) = caplog.records
    assert f"node_key() was given a {__name__}.Opaque, which it cannot read as data" in record.getMessage()
    deep: list[Any] = []
    deep.append(deep)
    assert node_key(deep) != node_key(deep)

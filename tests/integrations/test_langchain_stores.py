"""What LangChain and LangGraph keep in objects beside answers: conversations, bytes, and what nodes return."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.stores import BaseStore
from langchain_tests.integration_tests.base_store import BaseStoreAsyncTests, BaseStoreSyncTests
from langgraph.cache.base import BaseCache
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy

from chatcache import InvalidNameError, InvalidValueError
from chatcache.testing import ManualClock
from langchain_chatcache import DOByteStore, DOChatMessageHistory, DONodeCache

MESSAGES = [
    SystemMessage("Be brief."),
    HumanMessage(
        [{"type": "text", "text": "How high?"}, {"type": "image_url", "image_url": {"url": "data:,"}}], id="1"
    ),
    AIMessage(
        "",
        tool_calls=[{"name": "measure", "args": {"lc": 1, "type": "constructor"}, "id": "call_1"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model_name": "m"},
        additional_kwargs={"reasoning": "hm"},
    ),
    ToolMessage("8,848 m", tool_call_id="call_1", artifact={"raw": [1, 2]}),
    AIMessage("Very high. \U0001f5fc"),
]


class TestByteStore(BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self, tmp_path: Path) -> BaseStore[str, bytes]:
        return DOByteStore("suite", path=tmp_path)

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"one", b"", b"\0\xff"


class TestAwaitingByteStore(BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self, tmp_path: Path) -> BaseStore[str, bytes]:
        return DOByteStore("suite", path=tmp_path)

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"one", b"", b"\0\xff"


async def test_byte_stores_of_two_ids_have_nothing_in_common(tmp_path: Path) -> None:
    stores = [DOByteStore(name, path=tmp_path) for name in ("a", "a:b", "a%3Ab")]
    for number, store in enumerate(stores):
        store.mset([("b:k", bytes([number])), ("k", bytes([number]))])
    for number, store in enumerate(stores):
        assert await store.amget(["k", "b:k", "none"]) == [bytes([number])] * 2 + [None]
        assert list(store.yield_keys()) == [key async for key in store.ayield_keys()] == ["b:k", "k"]
    stores[0].mdelete(["k", "none"])
    assert stores[1].mget(["k"]) == [b"\1"]


async def test_a_byte_store_lists_many_keys(tmp_path: Path) -> None:
    store = DOByteStore("many", path=tmp_path)
    names = [f"{number:05}" for number in range(2_500)]
    await store.amset([(name, b"") for name in names])
    assert list(store.yield_keys()) == [key async for key in store.ayield_keys()] == names
    assert list(store.yield_keys(prefix="0249")) == names[2490:]


def test_a_byte_store_says_what_it_cannot_keep(tmp_path: Path) -> None:
    store = DOByteStore("store", path=tmp_path)
    with pytest.raises(InvalidNameError):
        store.mset([("\ud800", b"")])
    with pytest.raises(InvalidValueError, match="a row holds at most"):
        store.mset([("large", bytes(3_000_000)), ("small", b"1")])
    assert store.mget(["small"]) == [None]
    with pytest.raises(InvalidNameError):
        DOByteStore("", path=tmp_path)
    for not_bytes in ("text", None, {"a": 1}):
        entry: Any = ("k", not_bytes)
        with pytest.raises(InvalidValueError, match="a DOByteStore keeps bytes"):
            store.mset([("small", b"1"), entry])
    assert list(store.yield_keys()) == []
    not_a_str: Any = 1
    with pytest.raises(InvalidNameError, match="a key of a DOByteStore is a str"):
        store.mget([not_a_str])


class Counting(Embeddings):
    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [[float(len(text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


async def test_embeddings_are_made_once(tmp_path: Path) -> None:
    for _ in range(2):
        made = Counting()
        it = CacheBackedEmbeddings.from_bytes_store(
            made, DOByteStore("embeddings", path=tmp_path), namespace="m", key_encoder="sha256"
        )
        assert it.embed_documents(["a", "bb"]) == await it.aembed_documents(["a", "bb"]) == [[1.0], [2.0]]
    assert made.embedded == []


Add = Callable[[DOChatMessageHistory, list[Any]], Awaitable[list[Any]]]


@pytest.fixture(params=["blocking", "awaiting"])
def add(request: pytest.FixtureRequest) -> Add:
    async def either(history: DOChatMessageHistory, messages: list[Any]) -> list[Any]:
        if request.param == "blocking":
            history.add_messages(messages)
            return history.messages
        await history.aadd_messages(messages)
        return await history.aget_messages()

    return either


async def test_a_history_keeps_messages_of_every_kind(tmp_path: Path, add: Add) -> None:
    history = DOChatMessageHistory("a", path=tmp_path)
    assert history.messages == []
    assert await add(history, MESSAGES) == MESSAGES
    again = DOChatMessageHistory("a", path=tmp_path)
    assert await add(again, MESSAGES[:1]) == [*MESSAGES, MESSAGES[0]]
    assert again.messages[0] is not again.messages[0]
    assert DOChatMessageHistory("b", path=tmp_path).messages == []
    assert DOChatMessageHistory("a", store_id="other", path=tmp_path).messages == []
    await again.aclear()
    assert history.messages == []
    assert await add(history, MESSAGES[:2]) == MESSAGES[:2]


async def test_messages_of_one_addition_stay_together_whoever_else_adds(tmp_path: Path) -> None:
    async def awaited(name: str) -> None:
        history = DOChatMessageHistory("a", path=tmp_path)
        for number in range(20):
            await history.aadd_messages([HumanMessage(f"{name} {number}"), AIMessage(f"{name} {number}")])

    def blocking(name: str) -> None:
        history = DOChatMessageHistory("a", path=tmp_path)
        for number in range(20):
            history.add_messages([HumanMessage(f"{name} {number}"), AIMessage(f"{name} {number}")])

    program = (
        "import sys; from langchain_core.messages import *; from langchain_chatcache import DOChatMessageHistory\n"
        "it = DOChatMessageHistory('a', path=sys.argv[1])\n"
        "for n in range(20): it.add_messages([HumanMessage(f'process {n}'), AIMessage(f'process {n}')])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(tmp_path))
    await asyncio.gather(awaited("task 1"), awaited("task 2"), asyncio.to_thread(blocking, "thread"), process.wait())
    contents = [str(message.content) for message in DOChatMessageHistory("a", path=tmp_path).messages]
    assert len(contents) == 160
    assert contents[::2] == contents[1::2]
    for name in ("task 1", "task 2", "thread", "process"):
        assert [text for text in contents[::2] if text.startswith(name)] == [f"{name} {number}" for number in range(20)]


async def test_a_conversation_is_over_some_time_after_its_last_message(tmp_path: Path, add: Add) -> None:
    clock = ManualClock()
    history = DOChatMessageHistory("a", path=tmp_path, ttl=60, clock=clock)
    await add(history, MESSAGES[:1])
    clock.now += 59
    assert len(await add(history, MESSAGES[:1])) == 2
    clock.now += 59
    assert len(history.messages) == 2
    clock.now += 1
    assert history.messages == []
    assert len(await add(history, MESSAGES[:1])) == 1


def test_a_message_that_cannot_be_kept_keeps_none(tmp_path: Path) -> None:
    history = DOChatMessageHistory("a", path=tmp_path)
    with pytest.raises(InvalidValueError, match="a ToolMessage holds what is not JSON"):
        history.add_messages([HumanMessage("Hi"), ToolMessage("x", tool_call_id="1", artifact=object())])
    with pytest.raises(InvalidValueError, match="a Own could not be made again"):
        history.add_messages([HumanMessage("Hi"), Own(content="Hi")])
    assert history.messages == []


class Own(BaseMessage):
    type: str = "own"


async def test_a_large_message_is_kept(tmp_path: Path, add: Add) -> None:
    large = HumanMessage(
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A\u00e4" * 3_000_000}}]
    )
    assert await add(DOChatMessageHistory("a", path=tmp_path), [MESSAGES[0], large, MESSAGES[0]]) == [
        MESSAGES[0],
        large,
        MESSAGES[0],
    ]


@pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory is deprecated")
async def test_runnables_with_history(tmp_path: Path) -> None:
    model = FakeListChatModel(responses=["one", "two", "three"])
    it: Any = RunnableWithMessageHistory(model, lambda session_id: DOChatMessageHistory(session_id, path=tmp_path))
    config = {"configurable": {"session_id": "a"}}
    it.invoke([HumanMessage("1")], config)
    await it.ainvoke([HumanMessage("2")], config)
    texts = [message.content for message in DOChatMessageHistory("a", path=tmp_path).messages]
    assert texts == ["1", "one", "2", "two"]


NAMESPACES = [("a", "b"), ("a,b",), ("ab",), ("a", "", "b"), ()]


async def test_namespaces_of_nodes_have_nothing_in_common(tmp_path: Path) -> None:
    cache: BaseCache[Any] = DONodeCache("nodes", path=tmp_path)
    for number, namespace in enumerate(NAMESPACES):
        cache.set({(namespace, "k"): (number, None)})
        await cache.aset({(namespace, "l"): ({"messages": [HumanMessage(str(number))]}, 60)})
    again: BaseCache[Any] = DONodeCache("nodes", path=tmp_path)
    keys = [(namespace, "k") for namespace in NAMESPACES]
    assert again.get(keys) == await again.aget(keys) == {key: number for number, key in enumerate(keys)}
    assert again.get([((), "l"), ((), "none"), (("none",), "l")]) == {((), "l"): {"messages": [HumanMessage("4")]}}
    again.clear([("a", "b")])
    assert again.get(keys) == {key: number for number, key in enumerate(keys) if number}
    other: BaseCache[Any] = DONodeCache("others", path=tmp_path)
    other.set({((), "k"): ("other", None)})
    await again.aclear()
    assert again.get(keys) == {}
    assert other.get([((), "k")]) == {((), "k"): "other"}


class State(TypedDict):
    number: int


@pytest.mark.parametrize("awaited", [False, True])
async def test_nodes_run_once(tmp_path: Path, *, awaited: bool) -> None:
    ran = []

    def double(state: State) -> State:
        ran.append(state["number"])
        return {"number": 2 * state["number"]}

    builder: Any = StateGraph(State)
    builder.add_node("double", double, cache_policy=CachePolicy())
    builder.add_edge(START, "double")
    builder.add_edge("double", END)
    for _ in range(2):
        graph = builder.compile(cache=DONodeCache("nodes", path=tmp_path))
        for number in (1, 2, 1):
            state = await graph.ainvoke({"number": number}) if awaited else graph.invoke({"number": number})
            assert state == {"number": 2 * number}
    assert ran == [1, 2]


def test_nodes_run_where_the_cache_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache: DONodeCache[Any] = DONodeCache("nodes", path=tmp_path)
    cache.set({((), "k"): (1, None)})
    cache.set({((), "l"): (object(), None), ((), "m"): (2, None)})  # of the first no bytes can be made
    assert cache.get([((), "k"), ((), "l"), ((), "m")]) == {((), "k"): 1, ((), "m"): 2}
    (file,) = tmp_path.rglob("*.sqlite")
    cache._object.close()
    file.write_bytes(b"this is no database, and so long that SQLite looks at it " * 100)
    for _ in range(2):
        assert DONodeCache("nodes", path=tmp_path).get([((), "k")]) == {}
    assert "is not used" in caplog.text
    assert all(record.levelno == logging.WARNING for record in caplog.records)

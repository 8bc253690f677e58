"""Under blockbuster, which `langgraph dev` turns on, awaited calls go on, and hits are hits.

It forbids calls that block on the thread of an event loop: those of SQLite, looks at files, waiting for locks.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from provider import Provider

from tests.waiting import HANG

ENGINE = """
from chatcache import ResponseCache
cache = ResponseCache("shop", path="store")

async def call(request):
    calls.append(request)
    return "a"

async def chunks(request):
    calls.append(request)
    yield "a"
    yield "b"

async def main():
    assert await asyncio.gather(*(cache.acall("q", call) for _ in range(5))) == ["a"] * 5
    assert await cache.acall("q", call) == "a"
    assert [chunk async for chunk in cache.astream("s", chunks)] == ["a", "b"]
    assert [chunk async for chunk in cache.astream("s", chunks)] == ["a", "b"]
    await asyncio.sleep(0.2)  # from then on the file is looked for again
    assert await cache.acall("q", call) == "a"
    stats = await cache.astats()
    assert (len(calls), stats.hits, stats.stores, stats.bypasses) == (2, 3, 2, 0), stats
    await cache.ainvalidate("q")
    await cache.aclear()
    await cache.aclose()
"""

HOOK = """
from langchain_chatcache import DOCache
from langchain_core.language_models import FakeListChatModel
cache = DOCache("shop", path="store")
model = FakeListChatModel(responses=["one"], cache=cache)

async def main():
    assert [(await model.ainvoke("hi")).content for _ in range(3)] == ["one"] * 3
    stats = await cache.engine.astats()
    assert (stats.hits, stats.bypasses) == (2, 0), stats
"""

CACHED = """
from langchain_chatcache import DOCache, cached
from langchain_core.language_models import FakeListChatModel
cache = DOCache("shop", path="store")
model = cached(FakeListChatModel(responses=["one"]), cache)

async def main():
    answers = [(await model.ainvoke("hi")).content for _ in range(3)]
    assert answers == ["one"] * 3, answers
    first, again = [[chunk.content async for chunk in model.astream("hello")] for _ in range(2)]
    assert first == again != [], (first, again)
    stats = await cache.engine.astats()
    assert (stats.hits, stats.bypasses) == (3, 0), stats
"""

STORES = """
from langchain_core.messages import HumanMessage
from langchain_chatcache import DOByteStore, DOChatMessageHistory, DONodeCache
store, nodes = DOByteStore("bytes", path="store"), DONodeCache("nodes", path="store")
history = DOChatMessageHistory("chat", path="store")

async def main():
    await store.amset([("a", b"1"), ("b", b"2")])
    assert await store.amget(["a", "b", "c"]) == [b"1", b"2", None]
    assert sorted([key async for key in store.ayield_keys()]) == ["a", "b"]
    await store.amdelete(["a"])
    assert await store.amget(["a"]) == [None]
    key = (("graph", "node"), "key")
    assert await nodes.aget([key]) == {}
    await nodes.aset({key: ({"it": 1}, None)})
    assert await nodes.aget([key]) == {key: {"it": 1}}
    await nodes.aclear()
    assert await nodes.aget([key]) == {}
    await history.aadd_messages([HumanMessage("hi")])
    assert [message.content for message in await history.aget_messages()] == ["hi"]
"""

LITELLM = """
import litellm
from litellm_chatcache import DOCache
litellm.cache = DOCache("shop", path="store")
arguments = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}], "api_key": "none"}
arguments["api_base"] = sys.argv[1]

async def ask(cached):
    return await litellm.acompletion(**arguments, cache={"no-cache": not cached, "no-store": not cached})

async def begin():
    await ask(cached=False)  # LiteLLM reads files at its first call

async def main():
    answers = [await ask(cached=True) for _ in range(3)]
    assert [answer._hidden_params.get("cache_hit") for answer in answers] == [None, True, True], answers
    for _ in range(2):
        stream = await litellm.acompletion(**arguments, stream=True)
        assert [chunk async for chunk in stream]
    stats = await litellm.cache.engine.astats()
    assert (stats.hits, stats.bypasses) == (4, 0), stats
"""

BEGIN = """
import asyncio, sys
from blockbuster import blockbuster_ctx
calls = []

async def begin():
    pass
"""
END = """
async def program():
    await begin()
    with blockbuster_ctx({modules}):
        await main()

asyncio.run(program())
"""
# LiteLLM and LangChain block by themselves, where they load what they need at first.
LANGCHAIN_S = '["chatcache", "langchain_chatcache"]'
LITELLM_S = '["chatcache", "litellm_chatcache"]'


@pytest.mark.parametrize(
    ("program", "modules"),
    [(ENGINE, ""), (HOOK, LANGCHAIN_S), (CACHED, LANGCHAIN_S), (STORES, LANGCHAIN_S), (LITELLM, LITELLM_S)],
    ids=["engine", "LangChain's hook", "a cached model", "LangChain's stores", "LiteLLM"],
)
def test_awaited_calls_go_on_where_a_tool_forbids_to_block(
    program: str, modules: str, tmp_path: Path, provider: Provider
) -> None:
    code = BEGIN + program + END.format(modules=modules)
    command = [sys.executable, "-c", code, provider.url]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "chatcache" not in ended.stderr

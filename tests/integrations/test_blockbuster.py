"""Under blockbuster, which `langgraph dev` turns on, awaited calls go on, and hits are hits.

It forbids calls that block on the thread of an event loop: those of SQLite, looks at files, waiting for locks.
"""

import subprocess
from pathlib import Path

import pytest
from provider import Provider

from tests import warm

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

MADE_ON_THE_LOOP = """
import gc
import chatcache

async def call(request):
    return request

async def main():
    cache = chatcache.ResponseCache("shop", path="store")
    assert [await cache.acall("q", call) for _ in range(2)] == ["q", "q"]
    chunks = cache.astream("s", lambda _: endless())
    await anext(chunks)
    key = chatcache.request_key("hook")
    assert await cache.alookup(key, "hook", lambda hit: hit.answer) is None
    leader = await cache.alead(key, lambda hit: hit.answer)
    stats = await cache.astats()
    assert (stats.hits, stats.stores, stats.bypasses) == (1, 1, 0), stats
    storage = chatcache.ObjectNamespace("more").get_by_name("thing").storage
    await storage.aput("key", 1)
    assert await storage.alist() == {"key": 1}
    del cache, chunks, leader, storage
    gc.collect()
    await asyncio.sleep(0)
    gc.collect()

async def endless():
    while True:
        yield "chunk"
        await asyncio.sleep(0)
"""

BLOCKING = """
import chatcache
cache = chatcache.ResponseCache("shop", path="store")

def fails(call, *arguments):
    try:
        call(*arguments)
    except chatcache.StorageError as error:
        assert "because blockbuster forbids blocking calls there" in str(error), error
        return True

async def main():
    assert cache.call("q", lambda request: request) == "q"
    assert list(cache.stream("q", lambda request: iter(request))) == ["q"]
    assert cache.stats().bypasses > 0
    assert fails(cache.invalidate, "q") and fails(cache.story, "q") and fails(list, cache.records())
    try:
        cache.clear()
    except chatcache.StorageError:
        pass
    cache.close()
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


def run(program: str, modules: str, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    ended = warm.python("-c", BEGIN + program + END.format(modules=modules), url, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.mark.parametrize(
    ("program", "modules"),
    [
        (ENGINE, ""),
        (MADE_ON_THE_LOOP, ""),
        (HOOK, LANGCHAIN_S),
        (CACHED, LANGCHAIN_S),
        (STORES, LANGCHAIN_S),
        (LITELLM, LITELLM_S),
    ],
    ids=[
        "engine",
        "made and collected on the loop",
        "LangChain's hook",
        "a cached model",
        "LangChain's stores",
        "LiteLLM",
    ],
)
def test_awaited_calls_go_on_where_a_tool_forbids_to_block(
    program: str, modules: str, tmp_path: Path, provider: Provider
) -> None:
    ended = run(program, modules, tmp_path, provider.url)
    assert "chatcache" not in ended.stderr


def test_blocking_calls_go_on_without_the_cache_and_others_say_what_to_do(tmp_path: Path) -> None:
    ended = run(BLOCKING, "", tmp_path, "")
    assert "Calls proceed without the cache" in ended.stderr

"""Agents of ``create_agent`` over records: with a cached model, with the middleware, and with LangChain's hook."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware, ModelRetryMiddleware
from langchain_core.globals import set_llm_cache
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import BaseModel, SecretStr

from chatcache import Mode, ReplayMiss
from langchain_chatcache import DOCache, DOCacheMiddleware, cached
from tests.integrations.tool_provider import ToolProvider

ASKED = {"messages": [{"role": "user", "content": "The weather, the time and the news of 'Rome', please"}]}


def get_weather(place: str) -> str:
    """Say how the weather is."""
    return f"It rains in {place}."


def get_time(place: str) -> str:
    """Say what time it is."""
    return f"It is noon in {place}."


def get_news(place: str, number: int) -> str:
    """Tell some news."""
    return f"{number} things happened in {place}."


TOOLS: list[Any] = [get_weather, get_time, get_news]
Agent = Callable[[DOCache, str], Any]


@pytest.fixture
def provider() -> Iterator[ToolProvider]:
    with ToolProvider() as running:
        yield running


def model(url: str) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o", base_url=url, api_key=SecretStr("none"), max_retries=0)


def of_a_cached_model(cache: DOCache, url: str) -> Any:
    return create_agent(cached(model(url), cache), TOOLS)


def with_middleware(cache: DOCache, url: str) -> Any:
    return create_agent(model(url), TOOLS, middleware=[DOCacheMiddleware(cache)])


def with_the_hook(cache: DOCache, url: str) -> Any:
    set_llm_cache(cache)
    return create_agent(model(url), TOOLS)


@pytest.fixture(params=[of_a_cached_model, with_middleware, with_the_hook])
def agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    yield request.param
    set_llm_cache(None)


def said(messages: list[BaseMessage]) -> list[Any]:
    """What messages say; a hit of the hook says that it cost nothing."""
    found = [message.model_dump(exclude={"id"}) for message in messages]
    for message in found:
        (message.get("usage_metadata") or {}).pop("total_cost", None)
    return found


@pytest.mark.parametrize("awaited", [False, True])
async def test_an_agent_with_three_tools_replays_without_its_provider(
    tmp_path: Path, agent: Agent, *, awaited: bool
) -> None:
    cache = DOCache("agents", path=tmp_path)

    async def run(url: str) -> list[BaseMessage]:
        it = agent(cache, url)
        state = await it.ainvoke(ASKED) if awaited else it.invoke(ASKED)
        messages: list[BaseMessage] = state["messages"]
        return messages

    with ToolProvider() as provider:
        recorded = await run(provider.url)
        assert provider.calls == 2
    assert len(recorded) == 6
    cache.engine.mode = Mode.REPLAY
    ids = {message.id for message in recorded}
    for _ in range(10):
        replayed = await run(provider.url)
        assert said(replayed) == said(recorded)
        assert len({message.id for message in replayed}) == 6
        ids |= {message.id for message in replayed}
    assert len(ids) == 11 * 6
    with pytest.raises(ReplayMiss):
        agent(cache, provider.url).invoke({"messages": "Something else"})


async def test_an_agent_streams_the_tokens_of_a_replay(tmp_path: Path, agent: Agent, provider: ToolProvider) -> None:
    it = agent(DOCache("agents", path=tmp_path), provider.url)
    runs = [
        [str(chunk.content) async for chunk, _ in it.astream({"messages": "How high is it?"}, stream_mode="messages")]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 5
    assert provider.calls == 1


async def test_agents_that_run_at_once_share_their_calls(tmp_path: Path, agent: Agent, provider: ToolProvider) -> None:
    it = agent(DOCache("agents", path=tmp_path), provider.url)
    states = await asyncio.gather(*(it.ainvoke(ASKED) for _ in range(8)))
    assert provider.calls == 2
    assert len({str(said(state["messages"])) for state in states}) == 1


async def test_an_agent_that_fails_leaves_nobody_waiting(tmp_path: Path, agent: Agent, provider: ToolProvider) -> None:
    it = agent(DOCache("agents", path=tmp_path), provider.url)
    provider.status = 400
    outcomes = await asyncio.gather(*(it.ainvoke(ASKED) for _ in range(8)), return_exceptions=True)
    assert all(isinstance(each, Exception) for each in outcomes)
    provider.status = 200
    assert len((await it.ainvoke(ASKED))["messages"]) == 6


class Weather(BaseModel):
    place: str
    degrees: int


def test_the_format_of_an_answer_is_part_of_the_request(tmp_path: Path, provider: ToolProvider) -> None:
    cache = DOCache("agents", path=tmp_path)
    it: Any = create_agent(model(provider.url), [], middleware=[DOCacheMiddleware(cache)], response_format=Weather)
    for _ in range(2):
        state = it.invoke({"messages": "How is it in 'Rome'?"})
        assert state["structured_response"] == Weather(place="Rome", degrees=3)
    assert provider.calls == 1
    with_middleware(cache, provider.url).invoke({"messages": "How is it in 'Rome'?"})
    assert provider.calls == 2


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
@pytest.mark.parametrize(
    "middleware",
    [
        [ModelRetryMiddleware(max_retries=3, initial_delay=60)],
        [ModelFallbackMiddleware(ChatOpenAI(model="other", api_key=SecretStr("none")))],
    ],
    ids=["retry", "fallback"],
)
def test_a_miss_ends_an_agent_at_once(tmp_path: Path, middleware: list[Any], how: str) -> None:
    cache = DOCache("agents", path=tmp_path, mode="replay")
    agent: Any = create_agent(cached(model("http://127.0.0.1:9"), cache), TOOLS, middleware=middleware)
    ask = {"invoke": agent.invoke, "ainvoke": lambda asked: asyncio.run(agent.ainvoke(asked)), "stream": agent.stream}
    with pytest.raises(ReplayMiss):
        list(ask[how](ASKED))
    assert cache.stats().misses == 1


def test_a_miss_ends_a_graph_whose_nodes_are_tried_again(tmp_path: Path) -> None:
    cache = DOCache("graphs", path=tmp_path, mode="replay")
    asked = cached(model("http://127.0.0.1:9"), cache)
    graph: Any = StateGraph(dict)
    policy = RetryPolicy(max_attempts=3, initial_interval=60, retry_on=Exception)
    graph.add_node("node", lambda _state: {"said": asked.invoke("Hi").text}, retry_policy=policy)
    graph.add_edge(START, "node")
    graph.add_edge("node", END)
    with pytest.raises(ReplayMiss):
        graph.compile().invoke({})
    assert cache.stats().misses == 1

"""Models behind a cache, by ``cached()`` and by LangChain's hook: chunks, keys, shared calls, what they still do."""

import asyncio
import logging
import pickle
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, TypedDict

import httpx
import pytest
from httpx import Timeout
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel, Field, PrivateAttr, SecretStr

from chatcache import InvalidInputError, Mode, ObjectNamespace, ReplayMiss
from langchain_chatcache import DOCache, cached
from tests.integrations.tool_provider import ToolProvider
from tests.under_way import waiting
from tests.waiting import HANG, auntil

Ask = Callable[..., Awaitable[Any]]
Behind = Callable[[BaseChatModel, DOCache], Any]


@pytest.fixture
def provider() -> Iterator[ToolProvider]:
    with ToolProvider() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> DOCache:
    return DOCache("store", path=tmp_path)


@pytest.fixture(params=["cached", "hook"])
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    """Both ways in which a model comes to have a cache."""

    def hook(model: BaseChatModel, cache: DOCache) -> BaseChatModel:
        set_llm_cache(cache)
        return model

    yield cached if request.param == "cached" else hook
    set_llm_cache(None)


def model(provider: ToolProvider, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "gpt-4o", "base_url": provider.url, "api_key": SecretStr("none"), **options})


@pytest.fixture(params=["blocking", "awaiting"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def invoke(colour: str) -> Ask:
    async def either(model: Any, messages: Any, **options: Any) -> Any:
        return model.invoke(messages, **options) if colour == "blocking" else await model.ainvoke(messages, **options)

    return either


@pytest.fixture
def stream(colour: str) -> Ask:
    async def either(model: Any, messages: Any, **options: Any) -> list[Any]:
        if colour == "blocking":
            return list(model.stream(messages, **options))
        return [chunk async for chunk in model.astream(messages, **options)]

    return either


def seen(chunks: list[BaseMessage]) -> list[Any]:
    return [chunk.model_dump(exclude={"id"}) for chunk in chunks]


async def test_a_stream_is_replayed_in_its_chunks(
    cache: DOCache, behind: Behind, provider: ToolProvider, stream: Ask
) -> None:
    it = behind(model(provider, stream_usage=True), cache)
    first, second = await stream(it, "How high is it?"), await stream(it, "How high is it?")
    assert len(first) > 5
    assert seen(second) == seen(first)
    assert provider.calls == 1
    assert {chunk.id for chunk in first}.isdisjoint(chunk.id for chunk in second)
    assert len({chunk.id for chunk in second}) == 1


async def test_calls_and_streams_answer_each_other(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    it = behind(model(provider, stream_usage=True), cache)
    streamed = await stream(it, "How high is it?")
    assert (await invoke(it, "How high is it?")).content == "".join(chunk.content for chunk in streamed)
    called = await invoke(it, "How deep is it?")
    (whole,) = (chunk for chunk in await stream(it, "How deep is it?") if chunk.content)
    assert (whole.content, whole.usage_metadata) == (called.content, called.usage_metadata)
    with_tool = it.bind_tools([weather])
    call = await invoke(with_tool, "How is the weather in 'Rome'?")
    first, *rest = await stream(with_tool, "How is the weather in 'Rome'?")
    assert sum(rest, first).tool_calls == call.tool_calls != []
    assert provider.calls == 3


def weather(place: str) -> str:
    """Say how the weather is."""
    return f"It rains in {place}."


async def test_it_is_still_of_its_own_type(cache: DOCache, provider: ToolProvider, invoke: Ask) -> None:
    plain = model(provider)
    it = cached(plain, cache)
    assert isinstance(it, ChatOpenAI)
    assert (type(it).__name__, it.lc_id(), it.lc_secrets) == (type(plain).__name__, plain.lc_id(), plain.lc_secrets)
    assert type(plain) is ChatOpenAI
    for chain in (it.with_retry(), it.bind(stop=["x"]), it.with_config(tags=["a"]), it | (lambda message: message)):
        for _ in range(2):
            await invoke(chain, "Hi")
    assert provider.calls == 2  # what it is to stop at is part of the request


class Place(BaseModel):
    name: str


async def test_structured_output_is_keyed_by_its_schema(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask
) -> None:
    it = behind(model(provider), cache)
    for _ in range(2):
        found = await invoke(it.with_structured_output(Place, method="json_schema"), "Where is 'Rome'?")
        assert found == Place(name="Rome")
    assert provider.calls == 1

    class Place2(BaseModel):
        name: str
        height: int

    Place2.__name__, Place2.__qualname__ = Place.__name__, Place.__qualname__
    found = await invoke(it.with_structured_output(Place2, method="json_schema"), "Where is 'Rome'?")
    assert found == Place2(name="Rome", height=3)
    assert provider.calls == 2


async def test_a_model_is_keyed_by_what_it_holds_at_the_moment(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    it = behind(model(provider), cache)
    for ask in (invoke, stream):
        await ask(it, "Hi")
    assert provider.calls == 1
    it.temperature = 0.7
    await stream(it, "Hi")
    assert provider.calls == 2
    await invoke(it.model_copy(update={"temperature": 0.9}), "Hi")
    assert provider.calls == 3
    configurable: Any = it.configurable_fields(temperature=ConfigurableField("temperature"))
    for _ in range(2):
        await invoke(configurable.with_config(configurable={"temperature": 0.1}), "Hi")
    assert provider.calls == 4


async def test_a_model_is_keyed_by_what_the_callers_own_http_client_sends(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask
) -> None:
    async def ask(key: str, **sent: Any) -> None:
        sent["headers"] = {"Authorization": f"Bearer {key}", "User-Agent": key, **sent.get("headers", {})}
        with httpx.Client(**sent) as blocking:
            async with httpx.AsyncClient(**sent) as awaiting:
                it = model(provider, http_client=blocking, http_async_client=awaiting)
                await invoke(behind(it, cache), "Hi")

    for key in ("one", "two"):
        await ask(key)
        await ask(key, headers={"X-Variant": "short"})
        await ask(key, headers={"X-Variant": "long"})
        await ask(key, params={"variant": "short"})
    assert provider.calls == 4


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": SecretStr("another")},
        {"timeout": 7},
        {"max_retries": 5},
        {"streaming": True},
        {"tags": ["a"], "metadata": {"who": "me"}, "name": "it", "verbose": False},
    ],
)
async def test_what_does_not_change_an_answer_does_not_change_the_key(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, options: dict[str, Any]
) -> None:
    await invoke(behind(model(provider), cache), [HumanMessage("Hi", id="1")])
    await invoke(behind(model(provider, **options), cache), [HumanMessage([{"type": "text", "text": "Hi"}], id="2")])
    assert provider.calls == 1


async def test_no_secret_is_recorded_or_keyed(cache: DOCache, provider: ToolProvider, invoke: Ask) -> None:
    for number in range(2):
        secret = f"sk-secret-{number}"
        options: dict[str, Any] = {
            "api_key": SecretStr(secret),
            "default_headers": {"Authorization": secret, "X-Api-Key": secret, "X-Team": "a"},
            "default_query": {"key": secret, "sig": secret},
            "model_kwargs": {"extra_headers": {"Cookie": secret, "X-PAT": secret}},
            "extra_body": {
                "session": secret,
                "api_key": secret,
                "token": secret,
                "data_sources": [{"parameters": {"authentication": {"type": "api_key", "key": secret}}}],
                "servers": [{"url": f"https://mcp.example?token={secret}", "headers": {"X-Signature": secret}}],
            },
            "base_url": provider.url.replace("://", f"://user:{secret}@") + f"?sig={secret}",
        }
        further: dict[str, Any] = {
            "extra_headers": {"X-Token": secret, "X-Vault-Pass": secret},
            "extra_query": {"key": secret, "version": "3"},
        }
        await invoke(cached(model(provider, **options), cache), "Hi", **further)
        await invoke(model(provider, cache=cache, **options), "Ho", **further)
        await invoke(model(provider, cache=cache, **options), "Ho", **further, timeout=Timeout(30))
    assert provider.calls == 2
    cache.engine.close()
    (file,) = cache.engine.location.parent.glob("*.sqlite")
    assert b"sk-secret" not in file.read_bytes()
    assert b"X-Team" in file.read_bytes()


async def test_who_asks_does_not_change_the_key(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask
) -> None:
    fixed: dict[str, Any] = {"azure_endpoint": provider.url, "api_version": "1", "model": "gpt-4o"}
    await invoke(behind(AzureChatOpenAI(**fixed, azure_ad_token_provider=lambda: "one"), cache), "Hi")
    await invoke(behind(AzureChatOpenAI(**fixed, azure_ad_token=SecretStr("other")), cache), "Hi")
    assert provider.calls == 1


async def test_a_streamed_answer_in_a_conversation_says_what_the_whole_one_says(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    it = behind(model(provider), cache)
    first, *rest = await stream(it, "Hi")
    await invoke(it, [HumanMessage("Hi"), sum(rest, first), HumanMessage("And?")])
    whole = AIMessage((await invoke(it, "Hi")).content, id="mine", usage_metadata=None)
    await invoke(it, [HumanMessage("Hi"), whole, HumanMessage("And?")])
    assert provider.calls == 2


async def test_in_replay_a_miss_is_raised_and_nothing_is_called(
    tmp_path: Path, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    it = behind(model(provider), DOCache("store", path=tmp_path, mode="replay"))
    for ask in (invoke, stream):
        for asked in (it, it.bind_tools([weather]), it.with_retry()):
            with pytest.raises(ReplayMiss) as caught:
                await ask(asked, "Hi")
            assert "openai_api_key" in caught.value.left_out
            assert "model_name" not in caught.value.left_out
    assert provider.calls == 0


async def test_stable_ids_make_runs_equal(
    tmp_path: Path, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    for ask in (invoke, stream):
        runs = []
        for _ in range(3):
            it = behind(model(provider), DOCache("store", path=tmp_path, stable_ids=True))
            answer = await ask(it, f"Hi {ask.__name__}")
            runs.append([each.id for each in answer if each.content] if isinstance(answer, list) else answer.id)
        assert runs[0] == runs[1] == runs[2]


async def test_who_asks_at_once_shares_a_call(
    cache: DOCache, behind: Behind, provider: ToolProvider, colour: str
) -> None:
    it = behind(model(provider), cache)
    if colour == "blocking":
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(it.invoke, ["Hi"] * 8))
        answers += it.batch(["Ho"] * 8)
    else:
        answers = await asyncio.gather(*(it.ainvoke("Hi") for _ in range(8)))
        answers += await it.abatch(["Ho"] * 8)
    assert provider.calls == 2
    assert {str(answer.content) for answer in answers} == {"You said: Hi", "You said: Ho"}
    assert len({id(answer) for answer in answers}) == 16


async def test_all_who_wait_get_the_error_and_the_next_one_calls(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    it = behind(model(provider, max_retries=0), cache)
    provider.status = 400
    for ask in (invoke, stream):
        outcomes = await asyncio.gather(*(ask(it, "Hi") for _ in range(4)), return_exceptions=True)
        assert {type(each).__name__ for each in outcomes} == {"OpenAIInvalidRequestError"}
    provider.status = 200
    assert (await invoke(it, "Hi")).content == "You said: Hi"


async def test_a_stream_that_nobody_reads_to_its_end_is_not_recorded(
    cache: DOCache, behind: Behind, provider: ToolProvider
) -> None:
    it = behind(model(provider), cache)
    provider.goes_on.clear()
    reader: Any = it.stream("How high is it?")
    next(reader)
    reader.close()
    areader: Any = it.astream("How deep is it?")
    await anext(areader)
    await areader.aclose()
    assert cache.engine.stats().stores == 0


async def test_langchains_own_cache_is_left_alone(cache: DOCache, provider: ToolProvider, invoke: Ask) -> None:
    other = InMemoryCache()
    set_llm_cache(other)
    try:
        await invoke(cached(model(provider, cache=True), cache), "Hi")
    finally:
        set_llm_cache(None)
    assert not other._cache
    assert cache.engine.stats().stores == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda record: {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "PromptTemplate"]},
        lambda record: {**record, "generations": None, "kind": "ChatGeneration"},
        lambda record: {**record, "generations": [{"kind": "ChatGenerationOfTomorrow"}], "message": "HumanMessage"},
        lambda record: None,
    ],
)
async def test_a_record_of_another_make_is_a_miss(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask, change: Callable[[Any], Any]
) -> None:
    it = behind(model(provider), cache)
    called, streamed = await invoke(it, "Hi"), await stream(it, "Ho")
    storage = ObjectNamespace(cache.engine.location.parents[1], "calls").get_by_name("default").storage
    for row, (record, expires) in storage.list(prefix="store:").items():
        if "chunks" in record:
            record["chunks"][-1] = change(record["chunks"][-1])
        else:
            record["answer"] = change(record["answer"])
        storage.put(row, [record, expires])
    assert (await invoke(it, "Hi")).content == called.content
    assert [chunk.content for chunk in await stream(it, "Ho")] == [chunk.content for chunk in streamed]
    assert provider.calls == 4


class Limiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        return self.acquire(blocking=blocking)


async def test_a_rate_limit_is_for_calls_and_not_for_replays(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    limiter = Limiter()
    it = behind(model(provider, rate_limiter=limiter), cache)
    for _ in range(3):
        await invoke(it, "Hi")
        await stream(it, "Ho")
    assert limiter.asked == provider.calls == 2


async def test_a_model_that_holds_an_object_is_not_cached_which_is_said_once(
    cache: DOCache, behind: Behind, invoke: Ask, stream: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    it = behind(Custom(tool=object()), cache)
    for _ in range(2):
        await invoke(it, "Hi")
        await stream(it, "Hi")
    assert it.calls.number == 4
    (said,) = [record.getMessage() for record in caplog.records if record.name == "chatcache"]
    assert "Custom's field 'tool' is an object of type object" in said
    assert "name it in ignore=" in said
    await invoke(behind(Louder(tool=object()), cache), "Hi")
    assert "Louder's field 'tool' is an object of type object" in caplog.text
    cache.engine.mode = Mode.REPLAY
    with pytest.raises(ReplayMiss, match="cannot be read as data"):
        await invoke(it, "Hi")


async def test_an_object_that_changes_no_answer_may_be_ignored(cache: DOCache, invoke: Ask) -> None:
    it = Custom(tool=object())
    for _ in range(2):
        await invoke(cached(it, cache, ignore=["tool"]), "Hi")
    assert it.calls.number == 1


class Counted:
    """How often something happened. As it is no data, it does not count in a key where a model does not dump it."""

    def __init__(self) -> None:
        self.number = 0

    def add(self) -> None:
        self.number += 1


class Custom(BaseChatModel):
    """A model of a user's own, without streams."""

    tool: Any = None
    calls: Any = Field(default_factory=Counted, exclude=True)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        self.calls.add()
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hello", tool_calls=[]))])

    @property
    def _llm_type(self) -> str:
        return "custom"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        return {}


class Louder(Custom):
    """One that answers in another way."""

    persona: str = Field(default="a", exclude=True)
    _style: str = PrivateAttr("plain")


async def test_two_models_that_may_answer_otherwise_share_no_record(
    cache: DOCache, behind: Behind, invoke: Ask
) -> None:
    bold = Louder()
    bold._style = "bold"
    models = [Custom(), Louder(), Louder(persona="b"), bold]
    for _ in range(2):
        for it in models:
            await invoke(behind(it, cache), "Hi")
    assert [it.calls.number for it in models] == [1] * 4


async def test_models_of_classes_that_a_function_makes_are_told_apart_by_what_it_makes_them_of(
    cache: DOCache, behind: Behind, invoke: Ask
) -> None:
    asked = list[str]()

    def made(reply: str, *, times: tuple[int, ...] = (1,)) -> BaseChatModel:
        count = 0

        class Local(Custom):
            def _generate(
                self,
                messages: list[BaseMessage],
                stop: list[str] | None = None,
                run_manager: CallbackManagerForLLMRun | None = None,
                **kwargs: Any,
            ) -> ChatResult:
                nonlocal count
                count += 1
                asked.append(reply)
                return ChatResult(generations=[ChatGeneration(message=AIMessage(self.said))])

            @property
            def said(self) -> str:
                return " ".join(reply for _ in times)

        return Local()

    def named(reply: str) -> BaseChatModel:
        def _generate(self: BaseChatModel, *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=AIMessage(reply))])

        kind = type("Named", (Custom,), {"_generate": _generate, "__module__": __name__})
        it: BaseChatModel = kind()
        return it

    for _ in range(2):
        models = [made("a"), made("b"), made("b", times=(1, 2)), named("c"), named("d")]
        assert [(await invoke(behind(it, cache), "Hi")).content for it in models] == ["a", "b", "b b", "c", "d"]
    assert asked == ["a", "b", "b"]


async def test_what_a_model_iterates_over_is_left_to_it(
    cache: DOCache, behind: Behind, invoke: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    it = GenericFakeChatModel(messages=iter([AIMessage("one"), AIMessage("two")]))
    assert (await invoke(behind(it, cache), "Hi")).content == "one"
    assert "name it in ignore=" in caplog.text
    again = cached(it, cache, ignore=["messages"])
    assert [(await invoke(again, "Hi")).content for _ in range(2)] == ["two", "two"]


async def test_a_model_that_asks_another_one_of_its_class_replays_both(
    cache: DOCache, behind: Behind, invoke: Ask
) -> None:
    class Asking(Custom):
        other: Any = None

        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            if self.other is not None:
                self.other.invoke("inner")
            return super()._generate(messages, *args, **kwargs)

    inner = Asking()
    outer = Asking(other=behind(inner, cache))
    inner_calls, it = inner.calls, behind(outer, cache)
    it.other.invoke("inner")
    await invoke(it, "Hi")
    assert inner_calls.number == 1


async def test_several_choices_are_not_made_of_a_stream(
    cache: DOCache, behind: Behind, provider: ToolProvider, stream: Ask
) -> None:
    it = behind(model(provider, n=2), cache)
    await stream(it, "Hi")
    it.generate([[HumanMessage("Hi")]])
    assert provider.calls == 2


async def test_messages_that_one_call_answers_at_once_have_ids_of_their_own(cache: DOCache, behind: Behind) -> None:
    class Named(Custom):
        async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
            self.calls.add()
            await auntil(lambda: waiting(cache.engine) == 2)
            return ChatResult(generations=[ChatGeneration(message=AIMessage("hello", id="msg_1"))])

    it = Named()
    replayed = behind(it, cache)
    for _ in range(2):
        messages = await asyncio.gather(*(replayed.ainvoke("Hi") for _ in range(3)))
        assert len({message.id for message in messages}) == 3
    assert it.calls.number == 1


class Streaming(Custom):
    """One whose answer is put together of its stream, which is awaited only."""

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.calls.add()
        for text in ("hel", "lo"):
            await asyncio.sleep(0)
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))


async def test_a_model_without_streams_has_none(cache: DOCache, behind: Behind, stream: Ask) -> None:
    it = Custom()
    for _ in range(2):
        assert [chunk.content for chunk in await stream(behind(it, cache), "Hi")] == ["hello"]
    assert it.calls.number == 1


async def test_a_model_may_have_awaited_streams_only(cache: DOCache, behind: Behind) -> None:
    it = Streaming()
    for _ in range(2):
        chunks = [chunk.content async for chunk in behind(it, cache).astream("Hi")]
        assert [text for text in chunks if text] == ["hel", "lo"]
        assert [chunk.content for chunk in behind(it, cache).stream("Ho")] == ["hello"]
    assert it.calls.number == 2


def test_what_is_no_model_is_refused(cache: DOCache, provider: ToolProvider) -> None:
    bound: Any = model(provider).bind_tools([weather])
    with pytest.raises(InvalidInputError, match="pass the model itself, and bind tools"):
        cached(bound, cache)
    with pytest.raises(InvalidInputError, match="pass a list of names"):
        cached(model(provider), cache, ignore="seed")


def test_a_cached_model_and_a_cache_are_copied_and_pickled(cache: DOCache) -> None:
    it = cached(Custom(rate_limiter=Limiter()), cache)
    for copy in (pickle.loads(pickle.dumps(it)), deepcopy(it), it.model_copy(deep=True)):  # noqa: S301 - our own
        assert (type(copy).__name__, copy.invoke("Hi").content) == ("Custom", "hello")
    assert cache.engine.stats().stores == 1
    assert isinstance(it.rate_limiter, BaseRateLimiter)
    again = pickle.loads(pickle.dumps(cache))  # noqa: S301
    assert (again.engine.store_id, again.engine.location) == (cache.engine.store_id, cache.engine.location)
    assert Custom(cache=cache).model_copy(deep=True).cache is cache


async def test_events_are_those_of_the_stream(cache: DOCache, behind: Behind, provider: ToolProvider) -> None:
    it = behind(model(provider), cache)
    runs = [
        [
            (event["event"], getattr(event["data"].get("chunk"), "content", None))
            async for event in it.astream_events("Hi")
        ]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert [name for name, _ in runs[0]].count("on_chat_model_stream") > 4
    assert provider.calls == 1


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def graph(it: BaseChatModel, times: int) -> Any:
    """A graph that asks the same in each of its nodes."""

    async def ask(_state: State) -> dict[str, Any]:
        return {"messages": [await it.ainvoke("Say it again")]}

    builder: Any = StateGraph(State)
    names = [f"node {number}" for number in range(times)]
    for before, name in zip([START, *names], names, strict=False):
        builder.add_node(name, ask)
        builder.add_edge(before, name)
    builder.add_edge(names[-1], END)
    return builder.compile()


async def test_a_graph_that_asks_the_same_again_keeps_all_its_messages(
    cache: DOCache, behind: Behind, provider: ToolProvider
) -> None:
    for _ in range(2):
        state = await graph(behind(model(provider), cache), 5).ainvoke({"messages": []})
        assert len(state["messages"]) == 5
    assert provider.calls == 1


async def test_langgraph_streams_the_messages_of_a_replay_by_their_chunks(
    cache: DOCache, behind: Behind, provider: ToolProvider
) -> None:
    it = behind(model(provider), cache)
    runs = []
    for _ in range(2):
        chunks = [chunk async for chunk, _ in graph(it, 2).astream({"messages": []}, stream_mode="messages")]
        runs.append([chunk.content for chunk in chunks])
        assert len({chunk.id for chunk in chunks}) == 2
    assert runs[0] == runs[1]
    assert len(runs[0]) > 10
    assert provider.calls == 1


def test_a_thread_that_is_in_a_call_may_ask_another_model(
    cache: DOCache, behind: Behind, provider: ToolProvider
) -> None:
    inner = behind(model(provider), cache)

    class Outer(Custom):
        def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
            return ChatResult(generations=[ChatGeneration(message=inner.invoke(messages))])

    outer = behind(Outer(), cache)
    done = threading.Event()

    def work() -> None:
        outer.invoke("Hi")
        outer.invoke("Hi")
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(HANG)
    assert cache.engine.stats().stores == 2
    assert provider.calls == 1


def test_nothing_is_said_that_is_no_fault(
    cache: DOCache, behind: Behind, provider: ToolProvider, caplog: pytest.LogCaptureFixture
) -> None:
    it = behind(model(provider), cache)
    it.invoke("Hi")
    list(it.stream("Ho"))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_both_ways_share_their_records(tmp_path: Path, provider: ToolProvider, invoke: Ask, stream: Ask) -> None:
    cache = DOCache("store", path=tmp_path)
    ways = [cached(model(provider), cache), model(provider, cache=cache)]
    for first, second in (ways, ways[::-1]):
        for ask in (invoke, stream):
            text = f"Hi {ask.__name__} {type(first) is ChatOpenAI}"
            await ask(first, text)
            calls = provider.calls
            await ask(second, text)
            assert provider.calls == calls


@pytest.mark.skipif(not hasattr(BaseChatModel, "_chat_model_stream_v3"), reason="this LangChain has no such streams")
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
async def test_a_stream_of_events_is_replayed_and_waits_for_no_limiter(
    cache: DOCache, behind: Behind, provider: ToolProvider
) -> None:
    limiter = Limiter()
    it = behind(model(provider, rate_limiter=limiter), cache)
    texts = [str(it.stream_events("Hi", version="v3").text) for _ in range(2)]
    texts += [str(await (await it.astream_events("Hi", version="v3")).text) for _ in range(2)]
    assert set(texts) == {"You said: Hi"}
    assert provider.calls == limiter.asked == 1


class Counting(Custom):
    """A model that changes itself."""

    persona: str = "plain"
    _asked: int = PrivateAttr(0)

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        self._asked += 1
        self.persona = "polite"
        return super()._generate(*args, **kwargs)


async def test_a_model_under_the_hook_stays_as_it_is(cache: DOCache, provider: ToolProvider, invoke: Ask) -> None:
    it = Counting(cache=cache, rate_limiter=Limiter())
    await invoke(it, "Hi")
    assert (it._asked, it.persona, it.cache, type(it)) == (1, "polite", cache, Counting)
    assert isinstance(it.rate_limiter, Limiter)
    assert {"persona", "cache"} <= it.model_fields_set


async def test_a_cached_model_has_its_own_cache_whatever_the_hook_is(
    tmp_path: Path, provider: ToolProvider, invoke: Ask, stream: Ask
) -> None:
    own, of_all = DOCache("own", path=tmp_path), DOCache("of all", path=tmp_path)
    set_llm_cache(of_all)
    try:
        for ask in (invoke, stream):
            await ask(cached(model(provider), own), "Hi")
            await ask(model(provider, cache=False), "Hi")
    finally:
        set_llm_cache(None)
    assert (own.engine.stats().stores, of_all.engine.stats().stores) == (1, 0)


class Style(BaseModel):
    mood: str = "plain"


class Styled(Custom):
    style: Style = Style()
    weights: dict[str, float | None] = {"a": None}  # noqa: RUF012 - pydantic copies it
    warmth: float | None = None


async def test_settings_are_read_again_when_they_change(cache: DOCache, behind: Behind, invoke: Ask) -> None:
    it = behind(Styled(), cache)
    changes: list[Callable[[], object]] = [
        lambda: setattr(it.style, "mood", "bold"),
        lambda: it.weights.update(a=float("nan")),
        lambda: it.weights.update(a=float("inf")),
        lambda: setattr(it, "warmth", float("nan")),
        lambda: setattr(it, "warmth", 1),
        lambda: setattr(it, "warmth", True),
    ]
    for number, change in enumerate([lambda: None, *changes], 1):
        change()
        for _ in range(2):
            await invoke(it, "Hi")
        assert it.calls.number == number


async def test_an_answer_from_memory_is_the_one_that_langchain_makes_of_a_record(
    cache: DOCache, behind: Behind, provider: ToolProvider, invoke: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = behind(model(provider, logprobs=True), cache)
    await invoke(it, "Hi")
    from_memory = [await invoke(it, "Hi") for _ in range(2)]
    monkeypatch.setattr(cache.engine, "recall", lambda *_args, **_kwargs: None)
    from_record = await invoke(it, "Hi")
    assert seen(from_memory) == seen([from_record] * 2)
    assert {message.id[:8] for message in [*from_memory, from_record]} == {"lc_run--"}
    assert provider.calls == 1


def test_the_repr_of_a_cached_model_shows_its_cache(cache: DOCache, provider: ToolProvider) -> None:
    shown = repr(cached(model(provider), cache))
    assert shown.startswith("ChatOpenAI(")
    assert f"cache={cache!r}" in shown

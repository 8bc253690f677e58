"""DOCache in LangChain's hook: LangChain's own suites, and the traps that other caches fall into."""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.outputs.chat_result import ChatResult
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite
from provider import Provider
from pydantic import BaseModel, SecretStr

from chatcache import InvalidModeError, Mode, ModeName, NotStoredError, ObjectNamespace, Refusal, ReplayMiss
from langchain_chatcache import DOCache
from tests.integrations.gate import gate
from tests.under_way import waiting
from tests.waiting import auntil

Invoke = Callable[[Any, Any], Awaitable[Any]]


class TestLangChainsSuite(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, tmp_path: Path) -> BaseCache:
        return DOCache("suite", path=tmp_path)


class TestLangChainsAwaitingSuite(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, tmp_path: Path) -> BaseCache:
        return DOCache("suite", path=tmp_path)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[DOCache]:
    cache = DOCache("store", path=tmp_path)
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)


def model(provider: Provider, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "gpt-4o", "base_url": provider.url, "api_key": SecretStr("none"), **options})


@pytest.fixture(params=["blocking", "awaiting"])
def invoke(request: pytest.FixtureRequest) -> Invoke:
    async def either(model: Any, messages: Any) -> Any:
        return model.invoke(messages) if request.param == "blocking" else await model.ainvoke(messages)

    return either


async def test_a_second_call_is_replayed(cache: DOCache, provider: Provider, invoke: Invoke) -> None:
    first = await invoke(model(provider), "Why is the sky blue?")
    second = await invoke(model(provider), "Why is the sky blue?")
    assert second.content == first.content
    assert provider.calls == 1
    assert cache.engine.location.exists()


async def test_both_colours_share_their_records(cache: DOCache, provider: Provider) -> None:
    model(provider).invoke("Why is the sky blue?")
    await model(provider).ainvoke("Why is the sky blue?")
    assert provider.calls == 1


async def test_a_cache_may_belong_to_one_model(tmp_path: Path, provider: Provider, invoke: Invoke) -> None:
    cached = model(provider, cache=DOCache("store", path=tmp_path))
    for each in (cached, cached, model(provider)):
        await invoke(each, "Why is the sky blue?")
    assert provider.calls == 2


async def converse(provider: Provider, invoke: Invoke) -> list[BaseMessage]:
    said: list[BaseMessage] = []
    for turn in ("Why is the sky blue?", "And why are there tides?", "And why does iron rust?"):
        said.append(HumanMessage(turn))
        said.append(await invoke(model(provider), said))
    return said


async def test_a_conversation_of_many_turns_replays_at_the_first_repetition(
    cache: DOCache, provider: Provider, invoke: Invoke
) -> None:
    """With LangChain's own caches the upstream calls of equal runs are 3, 2, 1, 0: each hit changes the next prompt."""
    calls = []
    for _ in range(3):
        before = provider.calls
        await converse(provider, invoke)
        calls.append(provider.calls - before)
    assert calls == [3, 0, 0]


async def test_each_hit_is_made_of_new_objects_and_has_an_id_of_its_own(
    cache: DOCache, provider: Provider, invoke: Invoke
) -> None:
    answers = [await invoke(model(provider), "Why is the sky blue?") for _ in range(3)]
    assert len({answer.id for answer in answers}) == 3
    answers[1].response_metadata["token_usage"]["total_tokens"] = 0
    answers[1].content = "changed"
    again = await invoke(model(provider), "Why is the sky blue?")
    assert again.content == answers[0].content
    assert again.response_metadata == answers[0].response_metadata


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 3},
        {"max_retries": 7},
        {"streaming": True},
        {"name": "my model"},
        {"verbose": True},
        {"api_key": SecretStr("other")},
    ],
    ids=str,
)
async def test_what_does_not_change_the_answer_does_not_change_the_key(
    cache: DOCache, provider: Provider, invoke: Invoke, options: dict[str, Any]
) -> None:
    await invoke(model(provider), "Why is the sky blue?")
    await invoke(model(provider, **options), "Why is the sky blue?")
    assert provider.calls == 1


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.5},
        {"model": "gpt-4o-mini"},
        {"model_kwargs": {"user": "x"}},
        {"extra_body": {"x": 1}},
        {"stop": ["x"]},
    ],
    ids=str,
)
async def test_what_changes_the_answer_changes_the_key(
    cache: DOCache, provider: Provider, invoke: Invoke, options: dict[str, Any]
) -> None:
    await invoke(model(provider), "Why is the sky blue?")
    await invoke(model(provider, **options), "Why is the sky blue?")
    await invoke(model(provider), "Why is the sky green?")
    assert provider.calls == 3


async def test_another_cache_gets_langchains_own_text(
    cache: DOCache, provider: Provider, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Theirs(InMemoryCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            asked.append(prompt)
            return super().lookup(prompt, llm_string)

    await invoke(model(provider, cache=Theirs()), "Why is the sky blue?")
    assert asked == [dumps([HumanMessage("Why is the sky blue?")])]
    assert cache.engine.stats().misses == 0


async def test_the_arguments_of_a_call_count_unless_they_are_noise(
    cache: DOCache, provider: Provider, invoke: Invoke
) -> None:
    calls: list[dict[str, Any]] = [
        {"logit_bias": {50256: -100}},
        {"logit_bias": {"50256": -100}, "timeout": 5},
        {"logit_bias": {50256: -100.0}, "timeout": 6},
        {"logit_bias": {50256: 100}},
    ]
    for arguments in calls:
        await invoke(model(provider).bind(**arguments), "Why is the sky blue?")
    assert provider.calls == 2
    assert cache.engine.stats().bypasses == 0


async def test_in_replay_a_miss_is_raised_and_nothing_is_called(
    tmp_path: Path, provider: Provider, invoke: Invoke
) -> None:
    recorder = model(provider, cache=DOCache("store", path=tmp_path))
    replayer = model(provider, cache=DOCache("store", path=tmp_path, mode="replay"))
    answer = await invoke(recorder, "Why is the sky blue?")
    assert (await invoke(replayer, "Why is the sky blue?")).content == answer.content
    with pytest.raises(ReplayMiss, match=r"Why is the sky \{\+green\+\}") as caught:
        await invoke(replayer, "Why is the sky green?")
    assert "openai_api_key" in caught.value.left_out
    assert provider.calls == 1


@pytest.mark.parametrize(("mode", "calls"), [("auto", 1), ("read_only", 2), ("refresh", 2), ("off", 2)])
async def test_the_modes(tmp_path: Path, provider: Provider, invoke: Invoke, mode: ModeName, calls: int) -> None:
    cached = model(provider, cache=DOCache("store", path=tmp_path, mode=mode))
    for _ in range(2):
        await invoke(cached, "Why is the sky blue?")
    assert provider.calls == calls


async def test_the_mode_of_the_environment(
    tmp_path: Path, provider: Provider, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATCACHE_MODE", "replay")
    with pytest.raises(ReplayMiss):
        await invoke(model(provider, cache=DOCache("store", path=tmp_path)), "Why is the sky blue?")
    monkeypatch.setenv("CHATCACHE_MODE", "sometimes")
    with pytest.raises(InvalidModeError, match="CHATCACHE_MODE"):
        DOCache("store", path=tmp_path)


async def test_a_store_that_fails_fails_the_call_if_that_is_asked_for(
    tmp_path: Path, provider: Provider, invoke: Invoke
) -> None:
    cache = DOCache("store", path=tmp_path, on_store_error="raise", timeout=0.1)
    cache.engine.call("a request", lambda _: "an answer")
    with closing(sqlite3.connect(cache.engine.location, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotStoredError):
            await invoke(model(provider, cache=cache), "Why is the sky blue?")
    assert provider.calls == 1


def test_a_lookup_gives_a_list(cache: DOCache) -> None:
    """LangChain takes anything else for a miss."""
    cache.update("prompt", "llm", (Generation(text="answer"),))
    assert cache.lookup("prompt", "llm") == [Generation(text="answer")]


async def test_clear_removes_the_records_of_its_store_only(tmp_path: Path) -> None:
    one, other = DOCache("one", path=tmp_path), DOCache("other", path=tmp_path)
    for each in (one, other):
        each.update("prompt", "llm", [Generation(text="answer")])
    await one.aclear()
    assert one.lookup("prompt", "llm") is None
    assert other.lookup("prompt", "llm") is not None


async def test_a_write_that_fails_loses_no_answer(
    tmp_path: Path, provider: Provider, invoke: Invoke, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "calls").write_text("a file where the folder of the namespace would be")
    cache = DOCache("store", path=tmp_path)
    for _ in range(2):
        assert (await invoke(model(provider, cache=cache), "Why is the sky blue?")).content
    assert provider.calls == 2
    assert cache.engine.stats().bypasses == 2
    assert [record.levelno for record in caplog.records if record.name == "chatcache"] == [logging.WARNING]


class Answer(BaseModel):
    answer: str


class SameName:
    class Answer(BaseModel):
        verdict: bool


async def test_structured_output_by_function_calling_is_keyed_by_its_schema(cache: DOCache, provider: Provider) -> None:
    for schema in (Answer, Answer, SameName.Answer):
        model(provider).with_structured_output(schema, method="function_calling", include_raw=True).invoke("Why?")
    assert provider.calls == 2


def result(message: AIMessage, **info: Any) -> list[Generation]:
    return list(ChatResult(generations=[ChatGeneration(message=message, generation_info=info)]).generations)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (result(AIMessage("cut"), finish_reason="length"), "length"),
        (result(AIMessage("cut", response_metadata={"stop_reason": "max_tokens"})), "length"),
        (result(AIMessage("cut", response_metadata={"incomplete_details": {"reason": "max_output_tokens"}})), "length"),
        (result(AIMessage("no", response_metadata={"finish_reason": "SAFETY"})), "content_filter"),
        (result(AIMessage(""), finish_reason="stop"), "empty"),
        ([Generation(text="")], "empty"),
    ],
)
async def test_answers_not_worth_keeping_are_refused(cache: DOCache, answer: list[Generation], reason: str) -> None:
    cache.update("prompt", "llm", answer)
    await cache.aupdate("prompt", "llm", answer)
    assert cache.lookup("prompt", "llm") is None
    assert cache.engine.stats().refusals == {reason: 2}


USAGE: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
ANSWERS = [
    AIMessage(
        [{"type": "text", "text": "ü"}, {"type": "tool_use", "id": "1", "name": "f", "input": {"x": [1, None]}}],
        tool_calls=[{"name": "f", "args": {"x": [1, None]}, "id": "1", "type": "tool_call"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"logprobs": {"content": [{"logprob": -0.5}]}},
        additional_kwargs={"reasoning_content": "Hm.", "refusal": None},
        name="assistant",
    ),
    AIMessage('{"lc": 1}', additional_kwargs={"lc": 1, "type": "secret", "id": ["HOME"]}),
    AIMessage("", additional_kwargs={"audio": {"data": "AAAA"}}),
]


@pytest.mark.parametrize("message", ANSWERS, ids=range(len(ANSWERS)))
async def test_an_answer_comes_back_whole(cache: DOCache, message: AIMessage) -> None:
    await cache.aupdate("prompt", "llm", result(message))
    found = await cache.alookup("prompt", "llm")
    assert found is not None
    assert isinstance(found[0], ChatGeneration)
    found[0].message.id = message.id
    assert found == result(message)
    assert found[0].text == result(message)[0].text


@pytest.mark.parametrize("odd", [{"response_metadata": None}, {"usage_metadata": 5}])
async def test_what_a_provider_says_in_odd_ways_loses_no_answer(cache: DOCache, odd: dict[str, Any]) -> None:
    generation = ChatGeneration(message=AIMessage.model_construct(content="answer", type="ai", **odd))
    cache.update("prompt", "llm", [generation])
    await cache.aupdate("prompt", "llm", [generation])


async def test_a_record_that_is_none_of_ours_is_a_miss(cache: DOCache) -> None:
    cache.update("prompt", "llm", [Generation(text="answer")])
    ((key, (record, _)),) = cache.engine._object.storage.list(prefix="store:").items()
    for answer in ([{"kind": "ChatPromptTemplate"}], [{"lc": 1, "type": "constructor"}], "text", 5, [None], {"a": 1}):
        for other in (answer, {**record, "answer": answer}):
            cache.engine._object.storage.put(key, [other, None])
            assert cache.lookup("prompt", "llm") is None


async def test_an_answer_that_is_not_json_is_returned_and_not_kept(
    cache: DOCache, caplog: pytest.LogCaptureFixture
) -> None:
    await cache.aupdate("prompt", "llm", result(AIMessage("x", additional_kwargs={"object": object()})))
    assert await cache.alookup("prompt", "llm") is None
    assert "holds what is not JSON" in caplog.text


def test_a_plain_language_model_is_cached_too(cache: DOCache) -> None:
    llm = FakeListLLM(responses=["one", "two"])
    assert [llm.invoke("prompt"), llm.invoke("prompt"), llm.invoke("other")] == ["one", "one", "two"]


async def test_a_prompt_with_an_object_in_it_has_no_key(
    cache: DOCache, provider: Provider, invoke: Invoke, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await invoke(model(provider), [HumanMessage("Hi", additional_kwargs={"object": object()})])
    assert provider.calls == 2
    assert "a message of the prompt is an object of type object" in caplog.text


def test_a_cache_of_a_cache_is_told_too_little_of_a_chat_model(
    cache: DOCache, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """LangChain shows it no more of many models than their class: all of that class would share their answers."""

    class Outer(InMemoryCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            return cache.lookup(prompt, llm_string)

        def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
            cache.update(prompt, llm_string, return_val)

    for _ in range(2):
        model(provider, cache=Outer()).invoke("Why is the sky blue?")
    assert provider.calls == 2
    assert "or use cached(model, cache)" in caplog.text


async def test_a_long_prompt_is_cached(cache: DOCache, provider: Provider, invoke: Invoke) -> None:
    long = [HumanMessage("Why? " * 100_000)]
    first, second = [await invoke(model(provider), long) for _ in range(2)]
    assert first.content == second.content
    assert provider.calls == 1


async def test_the_parts_of_a_prompt_that_are_noise(cache: DOCache, provider: Provider, invoke: Invoke) -> None:
    call = {"name": "look", "args": {}, "id": "c", "type": "tool_call"}
    asked: list[BaseMessage] = [
        AIMessage("Hi", id="1", tool_calls=[call], usage_metadata=USAGE),
        ToolMessage("42", tool_call_id="c", artifact=object()),
    ]
    await invoke(model(provider), asked)
    again: list[BaseMessage] = [
        AIMessage("Hi", tool_calls=[call], response_metadata={"model": "m"}),
        ToolMessage("42", tool_call_id="c"),
    ]
    await invoke(model(provider), again)
    assert provider.calls == 1
    await invoke(model(provider), [again[0], ToolMessage("43", tool_call_id="c")])
    assert provider.calls == 2


@pytest.mark.parametrize("awaited", [False, True])
async def test_a_batch_of_equal_inputs_makes_one_call_of_each(
    cache: DOCache, provider: Provider, *, awaited: bool
) -> None:
    inputs: list[Any] = ["Hi", "Ho", "Hi", "Hi", "Ho"]
    it = model(provider)
    answers = await it.abatch(inputs) if awaited else it.batch(inputs)
    assert [answer.content for answer in answers] == [f"You said: {each}" for each in inputs]
    assert provider.calls == 2
    assert len({answer.id for answer in answers}) == 5
    assert cache.engine.stats().joins == 3


async def test_who_waits_for_a_call_that_fails_gets_its_error(cache: DOCache) -> None:
    it = ChatOpenAI(model="gpt-4o", base_url="http://127.0.0.1:1", api_key=SecretStr("none"), max_retries=0)
    outcomes = await it.abatch(["Hi"] * 5, return_exceptions=True)
    assert {type(each).__name__ for each in outcomes} == {"OpenAIConnectionError"}
    assert [str(each) for each in it.batch(["Hi"] * 5, return_exceptions=True)] == [str(each) for each in outcomes]


async def test_nobody_waits_for_a_call_that_was_cancelled(cache: DOCache, provider: Provider) -> None:
    it = model(provider)
    with gate(provider) as gated:
        tasks = [asyncio.create_task(it.ainvoke("Hi")) for _ in range(3)]
        await auntil(lambda: gated.arrived and waiting(cache.engine) == 2)
        tasks[0].cancel()
        await auntil(lambda: gated.arrived == 2)
        gated.opened.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert [getattr(each, "content", each) for each in answers[1:]] == ["You said: Hi"] * 2
    assert gated.arrived == 2


async def test_an_answer_that_is_refused_is_that_of_everybody_who_waited(
    cache: DOCache, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_chatcache.asked.refusal_of", lambda _generations: Refusal.LENGTH)
    with gate(provider) as gated:
        asked = asyncio.create_task(model(provider).abatch(["Hi"] * 4))
        await auntil(lambda: waiting(cache.engine) == 3)
        gated.opened.set()
        answers = await asked
    assert [answer.content for answer in answers] == ["You said: Hi"] * 4
    assert (provider.calls, cache.engine.stats().stores) == (1, 0)


async def test_stable_ids_are_those_of_the_record(tmp_path: Path, provider: Provider, invoke: Invoke) -> None:
    cache = DOCache("store", path=tmp_path, stable_ids=True)
    messages = [await invoke(model(provider, cache=cache), "Hi") for _ in range(3)]
    assert len({message.id for message in messages}) == 1


LC = {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "ChatPromptTemplate"], "kwargs": {}}


async def test_an_lc_key_in_a_models_output_is_data(cache: DOCache, invoke: Invoke) -> None:
    message = AIMessage(
        [LC, {"type": "text", "text": "x"}],
        tool_calls=[{"name": "f", "args": {"lc": LC}, "id": "1"}],
        additional_kwargs={"said": LC},
        response_metadata={"lc": LC},
    )
    await cache.aupdate("Hi", "[]", [ChatGeneration(message=message)])
    (found,) = cache.lookup("Hi", "[]") or []
    assert isinstance(found, ChatGeneration)
    assert found.message.model_dump(exclude={"id"}) == message.model_dump(exclude={"id"})


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: {**entry, "kind": "ChatPromptTemplate"},
        lambda entry: {**entry, "message": "HumanMessage"},
        lambda entry: {name: value for name, value in entry.items() if name != "fields"},
        lambda entry: {**entry, "fields": {"content": "half"}, "kind": "ChatGenerationOfTomorrow"},
        lambda entry: {**entry, "fields": {**entry["fields"], "content": 7}},
        lambda entry: LC,
        lambda entry: None,
    ],
)
async def test_a_record_of_another_make_is_a_miss(
    cache: DOCache, provider: Provider, invoke: Invoke, change: Callable[[Any], Any]
) -> None:
    await invoke(model(provider), "Hi")
    storage = ObjectNamespace(cache.engine.location.parents[1], "calls").get_by_name("default").storage
    rows = {row: value for row, value in storage.list().items() if row.startswith("store:")}
    for row, (record, expires) in rows.items():
        changed = {**record["answer"], "generations": [change(entry) for entry in record["answer"]["generations"]]}
        storage.put(row, [{**record, "answer": changed}, expires])
    answer = await invoke(model(provider), "Hi")
    assert answer.content == "You said: Hi"
    assert provider.calls == 2


async def test_a_record_of_fields_that_were_there_once_or_will_be_is_read(
    cache: DOCache, provider: Provider, invoke: Invoke
) -> None:
    first = await invoke(model(provider), "Hi")
    storage = ObjectNamespace(cache.engine.location.parents[1], "calls").get_by_name("default").storage
    ((row, (record, expires)),) = [each for each in storage.list().items() if each[0].startswith("store:")]
    (entry,) = record["answer"]["generations"]
    fields = {name: value for name, value in entry["fields"].items() if name != "invalid_tool_calls"}
    changed = {"generations": [{**entry, "fields": {**fields, "of_tomorrow": 1}}], "llm_output": None}
    storage.put(row, [{**record, "answer": changed}, expires])
    again = await invoke(model(provider), "Hi")
    assert (again.content, again.invalid_tool_calls, provider.calls) == (first.content, [], 1)


async def test_in_replay_a_stream_calls_nothing_either(cache: DOCache, provider: Provider) -> None:
    await model(provider).ainvoke("Hi")
    cache.engine.mode = Mode.REPLAY
    it = model(provider)
    for read in (lambda: list(it.stream("Ho")), lambda: list(it.stream_events("Ho", version="v3"))):
        with pytest.raises(ReplayMiss):
            read()
    with pytest.raises(ReplayMiss):
        [event async for event in it.astream_events("Ho", version="v2")]
    with pytest.raises(ReplayMiss):
        [chunk async for chunk in it.astream("Ho")]
    assert provider.calls == 1
    assert len(list(model(provider, cache=False).stream("Ho"))) > 1


async def test_a_hit_cost_nothing_as_with_langchains_own_caches(
    cache: DOCache, provider: Provider, invoke: Invoke
) -> None:
    called, *hits = [await invoke(model(provider), "Hi") for _ in range(3)]
    assert "total_cost" not in called.usage_metadata
    assert [hit.usage_metadata for hit in hits] == [{**called.usage_metadata, "total_cost": 0}] * 2

"""DOCache in LiteLLM's hook, and the traps that other caches fall into."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import litellm
import provider as provider_module
import pytest
from litellm.caching.caching import Cache
from litellm.exceptions import ServiceUnavailableError
from litellm.integrations.custom_logger import CustomLogger
from litellm.router import Router
from litellm.types.utils import Message
from provider import Provider
from pydantic import BaseModel

from chatcache import CorruptStorageError, InvalidInputError, InvalidModeError, ModeName, ReplayMiss
from litellm_chatcache import DOCache
from tests import warm
from tests.waiting import HANG, auntil

pytestmark = pytest.mark.asyncio(loop_scope="module")

Complete = Callable[..., Awaitable[Any]]
MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DOCache:
    cache = DOCache("store", path=tmp_path)
    monkeypatch.setattr(litellm, "cache", cache)
    return cache


@pytest.fixture(params=["blocking", "awaiting"])
def complete(request: pytest.FixtureRequest, provider: Provider) -> Complete:
    """Calls `completion`, or awaits `acompletion`; a stream is read to its end."""
    fixed = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none"}

    async def blocking(**arguments: Any) -> Any:
        answer = litellm.completion(**{**fixed, **arguments})
        return list(answer) if arguments.get("stream") else answer

    async def awaiting(**arguments: Any) -> Any:
        answer = await litellm.acompletion(**{**fixed, **arguments})
        return [chunk async for chunk in answer] if arguments.get("stream") else answer

    return blocking if request.param == "blocking" else awaiting


def text(answer: Any) -> str:
    if isinstance(answer, list):
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    content: str = answer.choices[0].message.content
    return content


async def test_a_second_call_is_replayed_at_once(cache: DOCache, provider: Provider, complete: Complete) -> None:
    first, second = await complete(), await complete()
    assert text(first) == text(second) != ""
    assert second._hidden_params["cache_hit"] is True
    assert provider.calls == 1


async def test_a_second_stream_is_replayed_at_once(cache: DOCache, provider: Provider, complete: Complete) -> None:
    first, second = await complete(stream=True), await complete(stream=True)
    assert text(first) == text(second) != ""
    assert len(second) > 10
    assert [chunk.choices[0].finish_reason for chunk in second][-1] == "stop"
    assert second[0].choices[0].delta.role == "assistant"
    assert provider.calls == 1


async def test_a_stream_brings_its_usage_if_it_was_asked_for(
    cache: DOCache, provider: Provider, complete: Complete
) -> None:
    first, second = [await complete(stream=True, stream_options={"include_usage": True}) for _ in range(2)]
    assert first[-1].usage.total_tokens == second[-1].usage.total_tokens > 0
    assert provider.calls == 1


async def test_both_colours_share_their_records(cache: DOCache, provider: Provider) -> None:
    call = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none"}
    litellm.completion(**call)
    await litellm.acompletion(**call)
    assert provider.calls == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_block_has_a_mode_of_its_own(
    cache: DOCache, provider: Provider, complete: Complete, *, stream: bool
) -> None:
    await complete(stream=stream)
    with cache.using(mode="refresh"):
        await complete(stream=stream)
    with cache.disabled():
        await complete(stream=stream)
    assert (provider.calls, cache.engine.stats().stores) == (3, 2)
    with cache.using(mode="replay"):
        await complete(stream=stream)
        with pytest.raises(ReplayMiss):
            await complete(stream=stream, temperature=1)
        await complete(stream=stream, temperature=1, cache={"mode": "auto"})
    assert provider.calls == 4


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_of_many_messages_is_cached(
    cache: DOCache, provider: Provider, complete: Complete, *, stream: bool
) -> None:
    """LiteLLM's own cache silently skips requests of more than four messages."""
    messages = [{"role": role, "content": str(turn)} for turn in range(10) for role in ("user", "assistant")]
    for _ in range(2):
        await complete(messages=[*messages, *MESSAGES], stream=stream)
    assert provider.calls == 1


async def test_max_messages_limits_what_is_cached(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, max_messages=1))
    for messages in (MESSAGES, MESSAGES, MESSAGES * 2, MESSAGES * 2):
        await complete(messages=messages)
    assert provider.calls == 3
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, max_messages=1, mode="replay"))
    with pytest.raises(ReplayMiss, match="it has more than max_messages=1"):
        await complete(messages=MESSAGES * 2)
    assert provider.calls == 3


async def test_each_hit_is_made_of_new_objects(cache: DOCache, provider: Provider, complete: Complete) -> None:
    first = await complete()
    (await complete()).choices[0].message.content = "changed"
    assert text(await complete()) == text(first)


class Answer(BaseModel):
    answer: str


class Other:
    class Answer(BaseModel):
        verdict: bool


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0, "seed": 1}, {"seed": 1, "temperature": 0.0}),
    ({"timeout": 5}, {"timeout": 6}),
    ({"metadata": {"run": 1}}, {"metadata": {"run": 2}}),
    ({"api_key": "one"}, {"api_key": "other"}),
    ({"num_retries": 0}, {"max_retries": 0}),
    ({"stream": False}, {}),
    ({"messages": [{"role": "user", "content": "x"}]}, {"messages": [{"content": "x", "role": "user"}]}),
    ({"logit_bias": {50256: -100}}, {"logit_bias": {"50256": -100}}),
    ({"user": None}, {}),
    ({"stream": True, "stream_options": {"include_usage": True}}, {}),
    ({"base_url": "http://one"}, {"api_base": "http://one"}),
    ({"messages": [Message(content="x", role="user")]}, {"messages": [{"role": "user", "content": "x"}]}),
]
DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"temperature": 0}, {"temperature": 1}),
    ({"extra_body": {"min_p": 0.1}}, {"extra_body": {"min_p": 0.2}}),
    ({"num_ctx": 1}, {"num_ctx": 2}),
    ({"response_format": Answer}, {"response_format": Other.Answer}),
    ({"user": "ustop: x"}, {"user": "u", "stop": "x"}),
    ({"extra_headers": {"x": "1"}}, {"extra_headers": {"x": "2"}}),
    ({"api_version": "1"}, {"api_version": "2"}),
    ({"stop": "a"}, {"stop": ["a"]}),
    ({"seed": 1}, {"seed": "1"}),
    ({"tools": [{"a": 1}, {"b": 1}]}, {"tools": [{"b": 1}, {"a": 1}]}),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
async def test_what_does_not_change_the_answer_does_not_change_the_key(
    cache: DOCache, one: dict[str, Any], other: dict[str, Any]
) -> None:
    fixed = {"model": "gpt-4o", "messages": MESSAGES}
    assert cache.get_cache_key(**{**fixed, **one}) == cache.get_cache_key(**{**fixed, **other}) != ""


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=str)
async def test_what_changes_the_answer_changes_the_key(
    cache: DOCache, one: dict[str, Any], other: dict[str, Any]
) -> None:
    fixed = {"model": "gpt-4o", "messages": MESSAGES}
    assert cache.get_cache_key(**{**fixed, **one}) != cache.get_cache_key(**{**fixed, **other}) != ""


async def test_another_address_of_the_provider_is_another_request(
    cache: DOCache, provider: Provider, complete: Complete
) -> None:
    await complete()
    await complete(api_base=f"{provider.url}/other")
    assert provider.calls == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("colour", ["blocking", "awaiting"])
async def test_a_router_is_cached_too(cache: DOCache, provider: Provider, colour: str, *, stream: bool) -> None:
    deployment = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "none"}
    router: Any = Router(model_list=[{"model_name": "group", "litellm_params": deployment}], cache_responses=True)
    for _ in range(3):
        if colour == "blocking":
            answer = router.completion("group", MESSAGES, stream=stream)
            assert text(list(answer) if stream else answer)
        else:
            answer = await router.acompletion("group", MESSAGES, stream=stream)
            assert text([chunk async for chunk in answer] if stream else answer)
    assert provider.calls == 1
    assert cache.engine.stats().bypasses == 0


async def test_an_abandoned_stream_is_not_stored(cache: DOCache, provider: Provider) -> None:
    call = {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none", "stream": True}
    next(litellm.completion(**call))
    await anext(await litellm.acompletion(**call))
    assert text(list(litellm.completion(**call)))
    assert provider.calls == 3


async def test_another_cache_works_after_this_one_was_made(
    cache: DOCache, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: Any = Cache()
    monkeypatch.setattr(litellm, "cache", others)
    for stream in (False, False, True, True):
        assert text(await complete(stream=stream))
        await auntil(lambda: len(others.cache.cache_dict) == provider.calls)  # nobody waits for its writes
    assert provider.calls == 2
    assert not cache.engine.location.exists()


async def test_positional_arguments_are_arguments(cache: DOCache, provider: Provider) -> None:
    litellm.completion("openai/gpt-4o", MESSAGES, api_base=provider.url, api_key="none")
    litellm.completion(messages=MESSAGES, model="openai/gpt-4o", api_base=provider.url, api_key="none")
    assert provider.calls == 1


async def test_a_request_that_has_no_key_is_called_and_said_once(
    cache: DOCache, provider: Provider, complete: Complete, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        await complete(prompt_variables={"thing": object()})
    assert provider.calls == 2
    assert caplog.text.count("$.arguments.prompt_variables.thing: an object of type object") == 1


async def test_in_replay_a_miss_is_raised_and_nothing_is_called(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    recorded = await complete()
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    assert text(await complete()) == text(recorded)
    with pytest.raises(ReplayMiss, match=r"temperature: is new\n    \+ 0\.5"):
        await complete(temperature=0.5)
    with pytest.raises(ReplayMiss):
        await complete(temperature=0.5, stream=True)
    assert provider.calls == 1


@pytest.mark.parametrize(("mode", "calls"), [("auto", 1), ("read_only", 2), ("refresh", 2), ("off", 2)])
async def test_the_modes(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch, mode: ModeName, calls: int
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode=mode))
    for _ in range(2):
        await complete()
    assert provider.calls == calls


CONTROLS: list[tuple[list[dict[str, Any]], int]] = [
    ([{"mode": "read_only"}, {}, {}], 2),
    ([{}, {"mode": "refresh"}, {}], 2),
    ([{}, {"mode": "off"}, {}], 2),
    ([{"no-store": True}, {}, {}], 2),
    ([{}, {"no-cache": True}, {}], 2),
    ([{"ttl": 0}, {}, {}], 2),
    ([{"ttl": 60}, {}, {}], 1),
    ([{"namespace": "a"}, {"namespace": "b"}, {"namespace": "a"}, {}], 3),
]


@pytest.mark.parametrize(("controls", "calls"), CONTROLS, ids=str)
async def test_the_controls_of_one_call(
    cache: DOCache, provider: Provider, complete: Complete, controls: list[dict[str, Any]], calls: int
) -> None:
    for each in controls:
        await complete(cache=each)
    assert provider.calls == calls


async def test_a_mode_of_one_call_that_is_none_is_refused(
    cache: DOCache, provider: Provider, complete: Complete
) -> None:
    with pytest.raises(InvalidModeError, match="invalid mode 'sometimes' in cache="):
        await complete(cache={"mode": "sometimes"})
    assert provider.calls == 0


async def test_a_write_that_fails_loses_no_answer(
    tmp_path: Path, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "calls").write_text("a file where the folder of the namespace would be")
    cache = DOCache("store", path=tmp_path)
    monkeypatch.setattr(litellm, "cache", cache)
    for stream in (False, True, False, True):
        assert text(await complete(stream=stream)) != ""
    assert provider.calls == 4
    assert cache.engine.stats().bypasses == 4
    assert [record.levelno for record in caplog.records if record.name == "chatcache"] == [logging.WARNING]


async def test_a_corrupt_file_is_bypassed(
    cache: DOCache, provider: Provider, complete: Complete, caplog: pytest.LogCaptureFixture
) -> None:
    cache.engine.location.parent.mkdir()
    cache.engine.location.write_bytes(b"no database" * 1000)
    assert text(await complete()) == text(await complete()) != ""
    assert provider.calls == 2
    assert caplog.text.count("is no SQLite database") == 1


async def test_a_store_that_fails_fails_the_call_if_that_is_asked_for(
    tmp_path: Path,
    provider: Provider,
    complete: Complete,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = DOCache("store", path=tmp_path, on_store_error="raise", timeout=0.1)
    monkeypatch.setattr(litellm, "cache", cache)
    cache.engine.call("a request", lambda _: "an answer")
    with closing(sqlite3.connect(cache.engine.location, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.gather(complete(), return_exceptions=True)  # LiteLLM stores an awaited call's answer beside it
        await auntil(lambda: "an answer could not be stored" in caplog.text or provider.calls == 1)
    cache.engine.close()
    cache.engine.location.write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptStorageError):
        await complete()
    assert provider.calls == 1


async def test_truncated_filtered_and_empty_answers_are_not_kept(cache: DOCache) -> None:
    for reason, content in (("length", "cut"), ("content_filter", "cut"), ("stop", "")):
        choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": content}}
        cache.add_cache(litellm.ModelResponse(choices=[choice]), model="gpt-4o", messages=MESSAGES)
    assert cache.engine.stats().refusals == {"length": 1, "content_filter": 1, "empty": 1}
    assert cache.get_cache(model="gpt-4o", messages=MESSAGES) is None


class Meddling(CustomLogger):
    """Changes the messages of a call after they were looked up, as some providers do."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        messages.append({"role": "assistant", "content": "prefill"})


async def test_the_key_of_the_lookup_is_that_of_the_store(
    cache: DOCache, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With LiteLLM's own cache such a call never hits."""
    monkeypatch.setattr(litellm, "callbacks", [Meddling()])
    for _ in range(2):
        await complete(messages=[*MESSAGES])
    assert provider.calls == 1


async def test_calls_of_one_id_are_not_mixed_up(cache: DOCache, provider: Provider, complete: Complete) -> None:
    other = [{"role": "user", "content": "Why are there tides?"}]
    first = text(await complete(litellm_call_id="trace"))
    await complete(messages=other, litellm_call_id="trace", cache={"no-cache": True})
    assert text(await complete()) == first != text(await complete(messages=other))
    assert provider.calls == 2


async def test_a_stream_that_breaks_off_is_not_kept(
    cache: DOCache, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an error, that is: a proxy in between closed it, say. LiteLLM says that it ended with "stop".

    Newer releases of LiteLLM notice it, and raise.
    """
    whole = provider_module._chunks
    monkeypatch.setattr(provider_module, "_chunks", lambda *asked: list(whole(*asked))[:5])
    try:
        assert text(await complete(stream=True))
    except ServiceUnavailableError:
        with pytest.raises(ServiceUnavailableError, match="before a finish_reason"):
            await complete(stream=True)
        assert (provider.calls, cache.engine.stats().stores) == (2, 0)
        return
    assert text(await complete(stream=True))
    assert provider.calls == 2
    assert cache.engine.stats().refusals == {"interrupted": 2}
    monkeypatch.setattr(litellm, "cache", DOCache("other", path=cache.engine.location.parent, allow=["interrupted"]))
    for _ in range(2):
        assert text(await complete(stream=True))
    assert provider.calls == 3


async def test_a_result_that_cannot_be_written_is_lost_to_the_cache_only(cache: DOCache) -> None:
    cache.add_cache("no JSON", model="gpt-4o", messages=MESSAGES)
    cache.add_cache(object(), model="gpt-4o", messages=MESSAGES)
    assert cache.engine.stats().bypasses == 2


class Unwritable(BaseModel):
    call: Callable[..., Any]


@pytest.mark.parametrize(
    "odd", [{"response_format": Unwritable}, {"x": Unwritable(call=print)}, {"logit_bias": {1: 5, "1": -5}}], ids=str
)
async def test_an_argument_without_a_form_in_json_is_bypassed(
    cache: DOCache, odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert cache.get_cache(model="gpt-4o", messages=MESSAGES, **odd) is None
    assert cache.get_cache_key(model="gpt-4o", messages=MESSAGES, **odd) == ""
    assert cache.engine.stats().bypasses == 1
    assert "is not used for a call" in caplog.text


async def test_no_secret_is_in_a_key_or_in_a_miss(tmp_path: Path) -> None:
    cache = DOCache("store", path=tmp_path, mode="replay")
    secrets = {
        "api_key": "hush",
        "aws_secret_access_key": "hush",
        "azure_ad_token": "hush",
        "client_secret": "hush",
        "vertex_credentials": {"private_key": "hush"},
        "extra_headers": {"Authorization": "hush", "X-Api-Key": "hush", "Cookie": "hush", "x-variant": "b"},
    }
    call = {"model": "gpt-4o", "messages": MESSAGES}
    for cached in (cache, DOCache("store", path=tmp_path, mode="replay", max_messages=0)):
        with pytest.raises(ReplayMiss) as missed:
            cached.get_cache(**call, **secrets)
        assert "hush" not in str(missed.value)
        assert "x-variant" in str(missed.value)
    assert cache.get_cache_key(**call, **secrets) == cache.get_cache_key(**call, extra_headers={"x-variant": "b"})


async def test_several_choices_are_not_made_into_another_form(
    cache: DOCache, provider: Provider, complete: Complete
) -> None:
    """LiteLLM merges their texts where it makes one answer of a stream."""
    for stream in (True, False, True, False):
        await complete(stream=stream, n=2)
    assert provider.calls == 2


async def test_a_greatest_age_is_never_exceeded(cache: DOCache, provider: Provider, complete: Complete) -> None:
    calls = []
    for age in (None, 60, 0, 60.5, "12h", timedelta(hours=1)):
        await complete(cache={} if age is None else {"s-maxage": age})
        calls.append(provider.calls)
    assert calls == [1, 1, 2, 2, 2, 2]
    with pytest.raises(InvalidInputError, match="s-maxage='an hour' in cache=: a TTL of"):
        await complete(cache={"s-maxage": "an hour"})


async def test_a_key_that_cannot_be_one_is_gone_without(cache: DOCache, provider: Provider, complete: Complete) -> None:
    for _ in range(2):
        await complete(cache_key="\ud800")
    assert provider.calls == 2
    assert cache.engine.stats().bypasses > 0


class Told(CustomLogger):
    def __init__(self) -> None:
        super().__init__()
        self.hits: list[tuple[str, Any]] = []

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        if kwargs.get("cache_hit"):
            self.hits.append(("awaiting", kwargs.get("response_cost")))

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        if kwargs.get("cache_hit"):
            self.hits.append(("blocking", kwargs.get("response_cost")))


TOLD = Told()  # one for all tests: LiteLLM takes two of one class for the same


@pytest.mark.parametrize("stream", [False, True])
async def test_callbacks_are_told_of_a_hit_once_at_no_cost(
    cache: DOCache, provider: Provider, complete: Complete, monkeypatch: pytest.MonkeyPatch, *, stream: bool
) -> None:
    await complete(stream=stream)
    monkeypatch.setattr(litellm, "callbacks", [TOLD])
    TOLD.hits.clear()
    await complete(stream=stream)
    told = (complete.__name__, 0.0)
    await auntil(lambda: told in TOLD.hits)
    await asyncio.sleep(0.1)  # a second report would come now
    assert TOLD.hits.count(told) == 1
    assert provider.calls == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_loop_goes_on_while_another_program_holds_the_file(
    cache: DOCache, provider: Provider, *, stream: bool
) -> None:
    call = {"model": "openai/gpt-4o", "api_base": provider.url, "api_key": "none", "stream": stream}
    await read(await litellm.acompletion(messages=[{"role": "user", "content": "first"}], **call))
    other = sqlite3.connect(cache.engine.location, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await asyncio.wait_for(read(await litellm.acompletion(messages=MESSAGES, **call)), HANG)
    other.execute("ROLLBACK")
    other.close()
    whole = {**call, "stream": False}
    await auntil(lambda: cache.get_cache(messages=MESSAGES, litellm_logging_obj=None, **whole) is not None)
    await read(await litellm.acompletion(messages=MESSAGES, **call))
    assert provider.calls == 2


async def read(answer: Any) -> None:
    if hasattr(answer, "__aiter__"):
        assert [chunk async for chunk in answer]


ENDS_AT_ONCE = """
import asyncio, sys, litellm
from litellm_chatcache import DOCache
litellm.cache = DOCache("store", path=sys.argv[1])
async def main():
    messages = [{"role": "user", "content": sys.argv[3]}]
    call = {"model": "openai/gpt-4o", "messages": messages, "api_base": sys.argv[2], "api_key": "x"}
    await litellm.acompletion(**call)
    async for chunk in await litellm.acompletion(**call, stream=True):
        pass
    async for chunk in await litellm.acompletion(**call, user="another", stream=True):
        pass
asyncio.run(main())
"""


async def test_a_program_that_ends_right_after_a_call_has_its_records(tmp_path: Path, provider: Provider) -> None:
    command = ["-c", ENDS_AT_ONCE, str(tmp_path), provider.url, "Why does bread rise?"]
    run = [sys.executable, *command]
    await asyncio.to_thread(subprocess.run, run, check=True, capture_output=True, timeout=HANG)
    again = await asyncio.to_thread(warm.python, *command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert provider.calls == 2

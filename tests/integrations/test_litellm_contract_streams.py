"""LiteLLM's own tests of cached streams, responses and messages, and of what callbacks are told of a hit, as far as
they test what its users rely on; see test_litellm_contract.py.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import ModelResponse
from provider import Provider

from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache, others, text_of
from tests.integrations.endpoints import Endpoints
from tests.waiting import auntil

__all__ = ["ask", "cache", "others"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture
def chat(provider: Provider) -> dict[str, Any]:
    return {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none"}


@pytest.fixture
def response(others: Endpoints) -> dict[str, Any]:
    return {"model": "openai/gpt-4o", "input": "Tell me a story", "api_base": others.url, "api_key": "none"}


# ---- chat completions


async def test_a_stream_is_replayed(cache: DOCache, provider: Provider, chat: dict[str, Any], ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_redis_cache_completion_stream, test_redis_cache_acompletion_stream,
    test_s3_cache_stream_azure, with its times, which LiteLLM does not look at.
    """
    first, second = [await ask("completion", **chat, max_tokens=40, temperature=1, stream=True) for _ in range(2)]
    assert {each.id for each in first} == {each.id for each in second}
    assert [each.created for each in first] == [each.created for each in second]
    assert text_of(first) == text_of(second) != ""
    assert provider.calls == 1


async def test_nothing_is_logged_of_a_stream_that_is_stored(
    cache: DOCache, chat: dict[str, Any], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """Of local_testing/test_caching.py: test_caching_redis_simple."""
    for _ in range(2):
        await ask("completion", **chat, stream=True)
    assert not [each for each in caplog.records if each.name == "chatcache"]


# ---- callbacks


class Listener(CustomLogger):
    """Notes what it is told of hits."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[tuple[str, dict[str, Any], Any]] = []

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.note("blocking", kwargs, response_obj)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.note("awaiting", kwargs, response_obj)

    def note(self, colour: str, kwargs: dict[str, Any], response: Any) -> None:
        if kwargs.get("cache_hit"):
            self.hits.append((colour, kwargs, response))

    def of(self, colour: str) -> list[tuple[str, dict[str, Any], Any]]:
        return [each for each in self.hits if each[0] == colour]


TOLD = Listener()  # one for all tests: LiteLLM takes two of one class for the same


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(litellm, "callbacks", [TOLD])
    TOLD.hits.clear()
    yield TOLD
    TOLD.hits.clear()


async def test_a_hit_is_told_once(cache: DOCache, chat: dict[str, Any], ask: Ask, told: Listener) -> None:
    """Of local_testing/test_caching_handler.py: test_async_log_cache_hit_on_callbacks."""
    await ask("completion", **chat)
    hit = await ask("completion", **chat)
    await auntil(lambda: told.of(ask.colour))
    await asyncio.sleep(0.1)  # a second report would come now
    [(_, kwargs, answer)] = told.of(ask.colour)
    assert answer.id == hit.id
    assert kwargs["response_cost"] == 0.0
    assert kwargs["custom_llm_provider"] == "openai"


async def test_the_key_of_a_hit_is_told(cache: DOCache, chat: dict[str, Any], told: Listener) -> None:
    """Of test_litellm/caching/test_caching_handler.py:
    test_cache_hit_records_the_looked_up_key_as_the_preset_cache_key;
    of test_cache_preset_key.py: test_preset_cache_key_is_set_in_litellm_params.
    """
    await litellm.acompletion(**chat)
    hit = await litellm.acompletion(**chat)
    await auntil(lambda: told.of("awaiting"))
    [(_, kwargs, _)] = told.of("awaiting")
    assert kwargs["litellm_params"]["preset_cache_key"] == hit._hidden_params["cache_key"] != ""


@pytest.mark.parametrize("function", ["completion", "responses"])
async def test_a_stream_is_told_when_it_was_read(
    cache: DOCache, chat: dict[str, Any], response: dict[str, Any], ask: Ask, told: Listener, function: str
) -> None:
    """Of local_testing/test_caching_handler.py: test_sync_get_cache_defers_streaming_completion_hit_callbacks,
    test_async_get_cache_defers_streaming_completion_hit_callbacks,
    test_sync_get_cache_does_not_eagerly_log_streaming_responses_hits,
    test_sync_stream_responses_cache_hit_sets_custom_llm_provider_on_logging_obj; of
    test_litellm/responses/test_streaming_iterator.py: test_cached_responses_stream_async_hit_triggers_success_callbacks
    and its blocking twin.
    """
    call = {**(chat if function == "completion" else response), "stream": True}
    recorded = await ask(function, **call)
    stream = await ask.begin(function, **call)
    await asyncio.sleep(0.1)  # a report that is too early would come now
    assert told.hits == []
    assert len(await ask.read(stream)) == len(recorded)
    await auntil(lambda: told.of(ask.colour))
    await asyncio.sleep(0.1)  # a second report would come now
    [(_, kwargs, answer)] = told.of(ask.colour)
    assert answer is not None
    assert kwargs["custom_llm_provider"] == "openai"
    assert kwargs["response_cost"] == 0.0


async def test_the_provider_of_embeddings_is_told(cache: DOCache, others: Endpoints, ask: Ask, told: Listener) -> None:
    """Of test_litellm/caching/test_caching_handler.py:
    test_embedding_cache_hit_sets_custom_llm_provider_on_logging_obj.
    """
    for _ in range(2):
        await ask("embedding", model="openai/embed", input="hello world", api_base=others.url, api_key="none")
    await auntil(lambda: told.of(ask.colour))
    [(_, kwargs, _)] = told.of(ask.colour)
    assert kwargs["custom_llm_provider"] == "openai"


# ---- responses


async def test_a_response_is_replayed(cache: DOCache, others: Endpoints, response: dict[str, Any], ask: Ask) -> None:
    """Of local_testing/test_caching_handler.py: test_async_responses_api_caching, test_sync_responses_api_caching,
    test_convert_cached_responses_api_result_to_model_response, test_convert_cached_responses_result_parameterized.
    """
    first, second = [await ask("responses", **response, max_output_tokens=100) for _ in range(2)]
    assert isinstance(second, ResponsesAPIResponse)
    assert (first.id, first.model, first.status) == (second.id, second.model, second.status)
    assert first.output == second.output
    assert second._hidden_params["cache_hit"] is True
    assert others.calls["responses"] == 1


async def test_another_input_is_another_response(
    cache: DOCache, others: Endpoints, response: dict[str, Any], ask: Ask
) -> None:
    """Of local_testing/test_caching_handler.py: test_responses_api_cache_with_different_inputs."""
    for each in ("First unique input", "Second unique input") * 2:
        await ask("responses", **{**response, "input": each})
    assert others.calls["responses"] == 2


async def test_a_streamed_response_is_stored_under_the_key_of_its_lookup(
    cache: DOCache, others: Endpoints, response: dict[str, Any], ask: Ask
) -> None:
    """Of local_testing/test_caching_handler.py:
    test_async_get_cache_updates_request_kwargs_for_streaming_responses; and
    test_async_get_cache_reuses_preset_cache_key_for_responses,
    test_async_get_cache_falls_back_to_sync_cache_for_responses.
    """
    await ask("responses", **response, stream=True)
    stream = await ask.begin("responses", **response, stream=True)
    explained = cache.explain("responses", **response, stream=True)
    assert stream._hidden_params["cache_key"] == explained.key
    assert explained.recorded == ["stream"]
    await ask.read(stream)
    assert others.calls["responses"] == 1


def stored(cache: DOCache, response: dict[str, Any], output: list[Any]) -> None:
    """Store a response as if it had been the answer to a call."""
    answer = ResponsesAPIResponse(
        id="resp_cached", created_at=1_760_000_000, status="completed", model="gpt-4o", object="response", output=output
    )
    cache.add_cache(answer, **response, litellm_logging_obj=SimpleNamespace(call_type="responses"))


MESSAGE = {
    "type": "message",
    "id": "msg_cached",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Streaming cache replay test.", "annotations": []}],
}
REASONING = {"type": "reasoning", "id": "rs_cached", "summary": [{"type": "summary_text", "text": "Cached reasoning."}]}
FUNCTION = {
    "type": "function_call",
    "id": "fc_cached",
    "call_id": "call_cached",
    "name": "get_weather",
    "arguments": '{"city":"Paris","unit":"celsius"}',
}
BEGINS = ["response.created", "response.in_progress", "response.output_item.added"]


@pytest.mark.parametrize(
    ("output", "begins", "ends"),
    [
        (
            MESSAGE,
            [*BEGINS, "response.content_part.added"],
            ["response.output_text.done", "response.content_part.done", "response.output_item.done"],
        ),
        (
            REASONING,
            BEGINS,
            [
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "response.output_item.done",
            ],
        ),
    ],
    ids=["message", "reasoning"],
)
async def test_a_stored_response_is_streamed_in_events(
    cache: DOCache,
    response: dict[str, Any],
    ask: Ask,
    output: dict[str, Any],
    begins: list[str],
    ends: list[str],
) -> None:
    """Of local_testing/test_caching_handler.py: test_convert_cached_streaming_responses_result_to_iterator,
    test_convert_cached_streaming_reasoning_result_to_iterator.
    """
    stored(cache, response, [output])
    events = await ask("responses", **response, stream=True)
    types = [str(getattr(each.type, "value", each.type)) for each in events]
    assert types[: len(begins)] == begins
    assert types[-4:] == [*ends, "response.completed"]
    assert any(each.endswith("delta") for each in types)
    assert events[-1].response.id == "resp_cached"


async def test_who_assembles_the_events_gets_nothing_twice(cache: DOCache, response: dict[str, Any], ask: Ask) -> None:
    """Of test_litellm/responses/test_synthetic_stream_replay_events.py: all four."""
    stored(
        cache, response, [FUNCTION, MESSAGE, REASONING, {"type": "web_search_call", "id": "ws", "status": "completed"}]
    )
    events = await ask("responses", **response, stream=True)

    def of(kind: str, index: int) -> list[Any]:
        return [each for each in events if each.type == f"response.{kind}" and each.output_index == index]

    def said(kind: str, index: int) -> str:
        return "".join(each.delta for each in of(kind, index))

    begun, done = [[of(f"output_item.{when}", index)[0].item for index in range(4)] for when in ("added", "done")]
    assert begun[0].arguments + said("function_call_arguments.delta", 0) == FUNCTION["arguments"]
    assert of("function_call_arguments.done", 0)[0].arguments == done[0].arguments == FUNCTION["arguments"]
    assert begun[1].content == []
    assert of("content_part.added", 1)[0].part.text + said("output_text.delta", 1) == "Streaming cache replay test."
    assert of("output_text.done", 1)[0].text == "Streaming cache replay test."
    assert done[1].content
    assert begun[2].summary == []
    assert said("reasoning_summary_text.delta", 2) == "Cached reasoning."
    assert (begun[3].type, begun[3].id, begun[3].status) == ("web_search_call", "ws", "completed")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_completion_that_is_a_response_within(
    cache: DOCache, others: Endpoints, ask: Ask, *, stream: bool
) -> None:
    """Of local_testing/test_caching_handler.py: test_convert_cached_aresponses_bridge_chat_completion_stream,
    test_convert_cached_responses_bridge_chat_completion_nonstream.
    """
    call: dict[str, Any] = {"model": "openai/responses/gpt-4o", "messages": MESSAGES, "stream": stream}
    call |= {"api_base": others.url, "api_key": "none"}
    first, second = [await ask("completion", **call) for _ in range(2)]
    assert text_of(first) == text_of(second) == "It is sunny."
    assert isinstance(second, list if stream else ModelResponse)
    assert others.calls["responses"] == 1


# ---- the other kinds


@pytest.mark.parametrize(("second", "hits"), [(3, True), (None, False)])
async def test_reranking(cache: DOCache, others: Endpoints, ask: Ask, second: int | None, *, hits: bool) -> None:
    """Of local_testing/test_rerank.py: test_basic_rerank_caching."""
    call: dict[str, Any] = {"model": "cohere/rerank-english-v3.0", "query": "hello", "documents": ["hello", "world"]}
    call |= {"api_base": others.url, "api_key": "none"}
    await ask("rerank", **call, top_n=3)
    answer = await ask("rerank", **call, top_n=second)
    assert ("cache_key" in answer._hidden_params) == hits
    assert answer.results


async def test_transcriptions(cache: DOCache, others: Endpoints, ask: Ask) -> None:
    """Of LiteLLM's tests/test_whisper.py: test_transcription_caching."""
    call: dict[str, Any] = {"model": "openai/whisper-1", "api_base": others.url, "api_key": "none"}
    first, second = [await ask("transcription", **call, file=("a.wav", b"RIFF", "audio/wav")) for _ in range(2)]
    assert first.text == second.text
    assert second._hidden_params["cache_hit"] is True
    third = await ask("transcription", **call, file=("a.wav", b"RIFF.." * 9, "audio/wav"))
    assert third._hidden_params.get("cache_hit") is not True
    assert third.text != second.text


@pytest.mark.parametrize("stream", [False, True])
async def test_text_completions(
    others: Endpoints, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, stream: bool
) -> None:
    """Of local_testing/test_caching.py: test_redis_cache_atext_completion; of
    test_litellm/caching/test_disk_cache_sdk.py: test_text_completion_cache_hit_sync,
    test_text_completion_cache_hit_async.
    """
    supported = ["text_completion", "atext_completion"]
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, supported_call_types=supported))
    call: dict[str, Any] = {"model": "text-completion-openai/babbage", "prompt": "hi", "stream": stream}
    call |= {"api_base": others.url, "api_key": "none", "max_tokens": 40, "temperature": 1}
    first, second = [await ask("text_completion", **call) for _ in range(2)]
    if stream:
        assert [each.choices[0].text for each in first] == [each.choices[0].text for each in second]
    else:
        assert (first.id, first.choices[0].text) == (second.id, second.choices[0].text)
    assert others.calls["completions"] == 1


@pytest.mark.parametrize("function", ["completion", "text_completion", "embedding", "rerank", "transcription"])
async def test_a_hit_is_of_the_class_that_the_call_answers_with(
    cache: DOCache, provider: Provider, others: Endpoints, ask: Ask, function: str
) -> None:
    """Of local_testing/test_caching_handler.py: test_convert_cached_result_to_model_response."""
    arguments: dict[str, Any] = {
        "completion": {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url},
        "text_completion": {"model": "text-completion-openai/babbage", "prompt": "Hello"},
        "embedding": {"model": "openai/embed", "input": "Hello"},
        "rerank": {"model": "cohere/rerank-v3", "query": "Hello", "documents": ["one", "two"]},
        "transcription": {"model": "openai/whisper-1", "file": ("a.wav", b"RIFF")},
    }
    call = {"api_base": others.url, "api_key": "none", **arguments[function]}
    first, second = [await ask(function, **call) for _ in range(2)]
    assert type(first) is type(second)
    assert second._hidden_params["cache_hit"] is True

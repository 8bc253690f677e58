"""LiteLLM's own tests of its caching, as far as they test what its users rely on, against `DOCache`.

The modules test_litellm_contract*.py stand for 141 of them, which their docstrings name, by the files that they are in.
Left out are those that need a network or a server (a provider, Redis, S3, GCS, Azure, Qdrant), those of what only
LiteLLM's own backends do (semantic search, eviction from a dictionary, files of diskcache), those that look at how
LiteLLM's methods call each other by way of mocks, and further ones that rely on the same as one that is here.
"""

import gc
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import ref

import litellm
import pytest
from litellm.caching.caching import Cache
from litellm.caching.caching_handler import LLMCachingHandler
from litellm.litellm_core_utils.litellm_logging import Logging
from litellm.router import Router
from litellm.types.utils import Choices, Message, ModelResponse, TextChoices, TextCompletionResponse
from provider import Provider

import litellm_chatcache
from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache, current, others, text_of
from tests.integrations.endpoints import Endpoints
from tests.waiting import auntil

__all__ = ["ask", "cache", "others"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture
def call(provider: Provider) -> dict[str, Any]:
    """The arguments of a chat completion."""
    return {"model": "openai/gpt-4o", "messages": MESSAGES, "api_base": provider.url, "api_key": "none"}


# ---- hits and misses


async def test_the_same_again_is_a_hit(cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_caching_v2, test_redis_cache_completion,
    test_cache_key_in_hidden_params_acompletion; of cache_unit_tests.py: test_cache_completion; of
    test_litellm/caching/test_disk_cache_sdk.py: test_completion_cache_hit_sync, test_completion_cache_hit_async; of
    test_search_caching.py: test_completion_cache_hit_still_resolves_provider and its awaiting twin.
    """
    first, second = [await ask("completion", **call, caching=True, max_tokens=20) for _ in range(2)]
    assert (first.id, first.created, text_of(first)) == (second.id, second.created, text_of(second))
    assert first._hidden_params.get("cache_hit") is not True
    assert "cache_key" not in first._hidden_params
    assert second._hidden_params["cache_hit"] is True
    assert re.fullmatch("[0-9a-f]{64}", second._hidden_params["cache_key"])
    assert provider.calls == 1


async def test_a_hit_needs_no_argument_of_its_own(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask
) -> None:
    """Of local_testing/test_caching_ssl.py: test_caching_router."""
    first, second = [await ask("completion", **call) for _ in range(2)]
    assert first.id == second.id


OTHERWISE = [
    {"temperature": 0.9},
    {"max_tokens": 7},
    {"top_p": 0.5},
    {"model": "openai/gpt-4o-mini"},
    {"messages": [{"role": "user", "content": "different"}]},
]


@pytest.mark.parametrize("otherwise", OTHERWISE, ids=str)
async def test_what_asks_for_something_else_is_a_miss(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, otherwise: dict[str, Any]
) -> None:
    """Of test_litellm/caching/test_disk_cache_sdk.py: test_completion_cache_miss_on_differing_param; of
    local_testing/test_caching.py: test_caching_with_models_v2, test_redis_cache_completion; of cache_unit_tests.py:
    test_cache_completion.
    """
    first, second = await ask("completion", **call), await ask("completion", **{**call, **otherwise})
    assert first.id != second.id
    assert second._hidden_params.get("cache_hit") is not True
    assert provider.calls == 2


@pytest.mark.parametrize(
    "thinks", [{"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}], ids=str
)
async def test_whether_a_model_thinks_is_a_part_of_what_is_asked(
    cache: DOCache, others: Endpoints, ask: Ask, thinks: dict[str, Any]
) -> None:
    """Of local_testing/test_caching.py: test_caching_with_reasoning_content, test_caching_reasoning_args_miss,
    test_caching_reasoning_args_hit, test_caching_thinking_args_miss, test_caching_thinking_args_hit.
    """
    server = others.url.removesuffix("/v1")
    call = {"model": "anthropic/claude-sonnet-4-5", "messages": MESSAGES, "api_base": server, "api_key": "none"}
    first, second = [await ask("completion", **call, **thinks) for _ in range(2)]
    assert second._hidden_params["cache_hit"] is True
    assert first.choices[0].message.reasoning_content == second.choices[0].message.reasoning_content == "Look out."
    assert first.choices[0].message.thinking_blocks == second.choices[0].message.thinking_blocks
    await ask("completion", **call)
    assert others.calls["messages"] == 2


async def test_a_new_cache_finds_what_another_one_stored(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of test_litellm/caching/test_disk_cache_sdk.py: test_persistence_across_new_cache_instance."""
    first = await ask("completion", **call)
    cache.engine.close()
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path))
    assert (await ask("completion", **call)).id == first.id
    assert provider.calls == 1


async def test_another_store_is_another_namespace(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of test_litellm/caching/test_disk_cache_sdk.py: test_namespace_isolates_keys."""
    await ask("completion", **call)
    monkeypatch.setattr(litellm, "cache", DOCache("another", path=tmp_path))
    await ask("completion", **call)
    assert provider.calls == 2


async def test_an_answer_without_choices_is_not_stored(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of LiteLLM's test_empty_choices_chat_completion_is_not_cached."""
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, ignore=["mock_response"]))
    answers = [
        await ask("completion", model="gpt-4o", messages=MESSAGES, mock_response=each)
        for each in (ModelResponse(choices=[]), "hi", "ho")
    ]
    assert answers[0].choices == []
    assert [text_of(each) for each in answers[1:]] == ["hi", "hi"]


# ---- what one call asks of the cache


async def test_caching_false_is_no_hit(cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_custom_redis_cache_with_key, its third call."""
    first = await ask("completion", **call, num_retries=3)
    second = await ask("completion", **call, num_retries=3)
    third = await ask("completion", **call, num_retries=3, caching=False)
    assert first.id == second.id != third.id
    assert provider.calls == 2


CONTROLS: list[tuple[list[dict[str, Any]], str]] = [
    ([{}, {"no-cache": True}], "ab"),
    ([{}, {"no-cache": True}, {}], "abb"),
    ([{"no-store": True}, {}], "ab"),
    ([{"ttl": 0}, {}], "ab"),
    ([{"ttl": 0}, {"s-maxage": 10}], "ab"),
    ([{"ttl": 5}, {"s-maxage": 5}], "aa"),
    ([{}, {"s-maxage": 1000}], "aa"),
    ([{}, {"s-maxage": -1}], "ab"),
    ([{}, {"s-maxage": 0}, {"s-maxage": 60}], "abb"),
    ([{}, {"s-max-age": 0}, {"s-max-age": 60}], "abb"),
    ([{"namespace": "a"}, {"namespace": "b"}, {"namespace": "a"}, {}], "abac"),
]


@pytest.mark.parametrize(("controls", "expected"), CONTROLS, ids=str)
async def test_the_controls(
    cache: DOCache, call: dict[str, Any], ask: Ask, controls: list[dict[str, Any]], expected: str
) -> None:
    """Each call gets the answer that the letter stands for.

    Of local_testing/test_caching.py: test_caching_with_ttl, test_caching_with_cache_controls,
    test_cache_control_overrides, test_sync_cache_control_overrides, test_redis_caching_multiple_namespaces; of
    test_litellm/caching/test_disk_cache_sdk.py: test_no_cache_skips_read, test_no_store_skips_write,
    test_ttl_zero_via_cache_control_expires_immediately, test_smaxage_fresh_within_window_hits,
    test_smaxage_too_old_misses; of test_caching.py: test_get_cache_honors_zero_s_maxage and its awaiting twin; and
    test_native_messages_no_cache_replaces_stored_response.
    """
    ids = [(await ask("completion", **call, cache=each)).id for each in controls]
    assert [ids.index(each) for each in ids] == [expected.index(each) for each in expected]


async def test_a_ttl_of_the_cache(
    provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of local_testing/test_caching.py: test_caching_with_default_ttl; of
    test_litellm/caching/test_disk_cache_sdk.py: test_global_ttl_zero_expires_immediately.
    """
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, ttl=0))
    for controls in ({}, {}, {"ttl": 60}, {}):
        await ask("completion", **call, cache=controls)
    assert provider.calls == 3


async def test_off_by_default_is_on_for_who_asks_for_it(
    provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of local_testing/test_caching.py: test_cache_default_off_acompletion; of
    test_litellm/caching/test_disk_cache_sdk.py: test_mode_default_off_does_not_cache_without_optin,
    test_mode_default_off_caches_with_use_cache.
    """
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, default_off=True))
    first, second = [await ask("completion", **call, caching=True) for _ in range(2)]
    assert first.id != second.id
    third, fourth = [
        await ask("completion", **call, cache={"use-cache": True}, metadata={"key": "value"}) for _ in range(2)
    ]
    assert third.id == fourth.id != second.id
    assert provider.calls == 3


async def test_only_the_call_types_that_were_asked_for_are_cached(
    provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of local_testing/test_caching.py: test_redis_cache_atext_completion, with its supported_call_types."""
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, supported_call_types=["completion"]))
    for _ in range(2):
        await ask("completion", **call)
    assert provider.calls == (1 if ask.colour == "blocking" else 2)


# ---- switching


async def test_litellms_switches(cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_cache_context_managers."""
    litellm.enable_cache()
    assert current() is cache
    for _ in range(2):
        litellm.disable_cache()
        assert litellm.cache is None
        assert "cache" not in litellm.success_callback
        assert "cache" not in litellm._async_success_callback
    await ask("completion", **call)
    litellm.update_cache()
    assert isinstance(litellm.cache, Cache)
    litellm.disable_cache()
    assert not cache.engine.location.exists()


@pytest.fixture
def switched_off() -> Iterator[None]:
    yield
    litellm_chatcache.disable()


async def test_our_switches(
    provider: Provider, call: dict[str, Any], ask: Ask, tmp_path: Path, switched_off: None
) -> None:
    """Of local_testing/test_caching.py: test_cache_context_managers, with the helpers that stand beside LiteLLM's."""
    litellm_chatcache.disable()
    for _ in range(2):
        cache = litellm_chatcache.enable("store", path=tmp_path)
        assert current() is cache
        assert vars(cache)
        for _ in range(2):
            await ask("completion", **call)
        litellm_chatcache.disable()
        assert litellm.cache is None
    assert provider.calls == 1
    await ask("completion", **call)
    assert provider.calls == 2


async def test_caches_can_be_changed(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of LiteLLM's tests of its native completions: the one that stores, replaces the cache, disables it, and puts the
    first one back.
    """
    stored = [(await ask("completion", **call)).id for _ in range(2)]
    monkeypatch.setattr(litellm, "cache", DOCache("another", path=tmp_path))
    replaced = [(await ask("completion", **call)).id for _ in range(2)]
    litellm.disable_cache()
    disabled = [(await ask("completion", **call)).id for _ in range(2)]
    monkeypatch.setattr(litellm, "cache", cache)
    restored = (await ask("completion", **call)).id
    assert [len(set(each)) for each in (stored, replaced, disabled)] == [1, 1, 2]
    assert restored == stored[0]
    assert provider.calls == 4


# ---- a router


def router_of(*names: str, provider: Provider, **options: Any) -> Any:
    deployments = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}-model", "api_base": provider.url, "api_key": name},
            "tpm": 100_000,
            "rpm": 10_000,
        }
        for name in names
    ]
    return Router(model_list=deployments, cache_responses=True, timeout=30, **options)


async def routed(ask: Ask, router: Any, model: str, **arguments: Any) -> Any:
    if ask.colour == "blocking":
        return router.completion(model=model, messages=MESSAGES, temperature=1, **arguments)
    return await router.acompletion(model=model, messages=MESSAGES, temperature=1, **arguments)


async def test_a_router_is_cached(cache: DOCache, provider: Provider, ask: Ask) -> None:
    """Of local_testing/test_router_caching.py: test_acompletion_caching_on_router and its blocking twin."""
    router = router_of("one", provider=provider)
    assert current() is cache
    first, second = [await routed(ask, router, "one") for _ in range(2)]
    assert first.id == second.id
    assert text_of(first) == text_of(second) != ""
    assert provider.calls == 1
    router.reset()


async def test_a_ttl_of_a_call_through_a_router(cache: DOCache, provider: Provider, ask: Ask) -> None:
    """Of local_testing/test_router_caching.py: test_acompletion_caching_with_ttl_on_router."""
    router = router_of("one", "one", provider=provider)
    first, second = [await routed(ask, router, "one", cache={"ttl": 0}) for _ in range(2)]
    assert first.id != second.id
    assert provider.calls == 2
    router.reset()


async def test_caching_groups(cache: DOCache, provider: Provider, ask: Ask) -> None:
    """Of local_testing/test_router_caching.py: test_acompletion_caching_on_router_caching_groups."""
    router = router_of("one", "other", "third", provider=provider, caching_groups=[("one", "other")])
    first, second, third = [await routed(ask, router, name) for name in ("one", "other", "third")]
    assert first.id == second.id != third.id
    assert provider.calls == 2
    router.reset()


# ---- the cache by itself, and LiteLLM's handler by itself


@pytest.mark.parametrize("controls", [{}, {"s-maxage": 60}], ids=str)
async def test_what_was_added_is_found_by_who_asks_the_cache(cache: DOCache, controls: dict[str, Any]) -> None:
    """Of local_testing/test_caching.py: test_redis_cache_basic; of test_litellm/caching/test_caching.py:
    test_get_cache_honors_zero_s_maxage and its awaiting twin.
    """
    request: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
    answer = ModelResponse(choices=[Choices(message=Message(role="assistant", content="because"))])
    cache.add_cache(answer, cache_key=cache.get_cache_key(**request))
    asked: dict[str, Any] = {**request, "cache": controls}
    assert cache.get_cache(**asked).id == (await cache.async_get_cache(**asked)).id == answer.id
    assert cache.get_cache(**request, cache={"s-maxage": 0}) is None
    assert await cache.async_get_cache(**request, cache={"s-maxage": 0}) is None


async def test_provider_specific_fields_are_kept(cache: DOCache) -> None:
    """Of test_litellm/caching/test_cache_provider_specific_fields.py:
    test_cache_round_trip_preserves_provider_specific_fields.
    """
    request: dict[str, Any] = {"model": "claude-sonnet-4-20250514", "messages": MESSAGES}
    fields = {"citations": [{"type": "web_search_result_location", "cited_text": "Pears are fruits."}]}
    message = Message(role="assistant", content="Pears are fruits.", provider_specific_fields=fields)
    await cache.async_add_cache(ModelResponse(choices=[Choices(message=message)]), **request)
    assert cache.get_cache(**request).choices[0].message.provider_specific_fields == fields


HANDED = [
    ("completion", {"messages": MESSAGES}, ModelResponse(choices=[Choices(message=Message(content="Hello"))])),
    ("text_completion", {"prompt": "Hello"}, TextCompletionResponse(choices=[TextChoices(text="Hello")])),
]


@pytest.mark.parametrize(("function", "asked", "answer"), HANDED, ids=["chat", "text"])
async def test_litellms_handler_stores_and_finds(
    cache: DOCache, ask: Ask, function: str, asked: dict[str, Any], answer: Any
) -> None:
    """Of local_testing/test_caching_handler.py: test_async_set_get_cache; of test_caching.py:
    test_caching_kwargs_input.
    """
    name = function if ask.colour == "blocking" else f"a{function}"
    called = getattr(litellm, name)
    handler: Any = LLMCachingHandler(original_function=called, request_kwargs={}, start_time=datetime.now())  # noqa: DTZ005 - LiteLLM's
    kwargs = {**asked, "caching": True, "litellm_call_id": "id", "preset_cache_key": "2f69f5640d5e"}
    where: Any = {"model": "gpt-3.5-turbo", "original_function": called, "call_type": name, "kwargs": kwargs}
    where |= {"logging_obj": logging_of(name), "start_time": handler.start_time}
    if ask.colour == "blocking":
        handler.sync_set_cache(result=answer, kwargs=kwargs)
        hit = handler._sync_get_cache(**where)
    else:
        await handler.async_set_cache(result=answer, original_function=called, kwargs=kwargs)
        hit = await handler._async_get_cache(**where)
    assert type(hit.cached_result) is type(answer)
    assert hit.cached_result.id == answer.id


def logging_of(function: str) -> Logging:
    return Logging(
        litellm_call_id="id",
        call_type=function,
        model="gpt-3.5-turbo",
        messages=MESSAGES,
        function_id="function",
        stream=False,
        start_time=datetime.now(),  # noqa: DTZ005 - LiteLLM's
    )


async def test_a_call_is_not_held_longer_than_it_lasts(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it take the garbage collector.

    Of test_litellm/caching/test_caching_handler.py: test_request_kwargs_does_not_retain_logging_obj.
    """
    made: list[ref[Logging]] = []
    begin = Logging.__init__

    def noted(self: Logging, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        made.append(ref(self))

    monkeypatch.setattr(Logging, "__init__", noted)
    gc.disable()
    try:
        for _ in range(2):
            await ask("completion", **call)
        await auntil(lambda: all(each() is None for each in made))
    finally:
        gc.enable()
    assert len(made) == 2


async def test_what_is_not_logged_is_cached_whole(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of local_testing/test_caching.py: test_logging_turn_off_message_logging_streaming."""
    monkeypatch.setattr(litellm, "turn_off_message_logging", True)
    first, second = [await ask("completion", **call, stream=True) for _ in range(2)]
    assert text_of(first) == text_of(second)
    assert "sunlight" in text_of(second)
    assert provider.calls == 1


async def test_no_prompt_is_in_a_log(
    cache: DOCache, provider: Provider, call: dict[str, Any], ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """Of test_litellm/caching/test_caching.py: test_cache_key_debug_log_does_not_include_prompt_material; of
    test_cache_key_logging.py: test_cache_key_logging_does_not_emit_raw_request_payload.
    """
    function = {"name": "lookup", "description": "tool marker", "parameters": {"type": "object"}}
    request: dict[str, Any] = {
        "model": "gpt-4.1",
        "messages": [{"role": "user", "content": "prompt marker"}],
        "tools": [{"type": "function", "function": function}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"description": "schema marker"}}},
    }
    with caplog.at_level(logging.DEBUG):
        key = cache.get_cache_key(**request, stream=True)
        assert cache.get_cache(**request) is None
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert "marker" not in caplog.text

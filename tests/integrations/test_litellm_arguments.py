"""The arguments of a call are those of its look-up, whoever edits them: LiteLLM, a callback, or the caller."""

import asyncio
import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm.anthropic_interface.messages import acreate
from litellm.integrations.custom_logger import CustomLogger
from litellm.router import Router
from provider import Provider

from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache, others
from tests.integrations.endpoints import Endpoints

__all__ = ["ask", "cache", "others"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "additionalProperties": False}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "look_up", "description": "x", "strict": True, "parameters": SCHEMA}}
]
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": KEPT}]},
    {"role": "user", "content": [{"type": "text", "text": "Where is it?", "cache_control": KEPT}]},
]
KINDS = ["text_completion", "atext_completion", "rerank", "arerank", "responses", "aresponses", "messages"]
EDITING = ["fireworks_ai/m", "openrouter/m", "together_ai/m", "xai/m", "cerebras/m", "hosted_vllm/m", "perplexity/m"]


class Editor(CustomLogger):
    """Edits in place whatever is about to be sent, as LiteLLM does for some providers."""

    def log_pre_api_call(self, model: str, messages: Any, kwargs: Any) -> None:
        spoil(messages)
        spoil(kwargs.get("optional_params"))


def spoil(value: Any) -> None:
    if isinstance(value, dict):
        value.pop("cache_control", None)
        value.pop("additionalProperties", None)
        for each in value.values():
            spoil(each)
    elif isinstance(value, list):
        for each in value:
            spoil(each)
        if value and isinstance(value[0], str):
            value.append("an edit")


@pytest.fixture
def editor() -> Iterator[None]:
    one = Editor()
    litellm.callbacks.append(one)
    yield
    manager: Any = litellm.logging_callback_manager
    manager.remove_callback_from_list_by_object(litellm.callbacks, one)
    for name in ("input_callback", "success_callback", "failure_callback", "_async_success_callback"):
        manager.remove_callback_from_list_by_object(getattr(litellm, name), one)


def chat(url: str, prompt: str = "Where is it?", **more: Any) -> dict[str, Any]:
    messages = [*copy.deepcopy(MESSAGES), {"role": "user", "content": prompt}]
    return {"model": "openai/gpt-4o", "messages": messages, "api_base": url, "api_key": "none", **more}


def requests_in(cache: DOCache) -> list[Any]:
    return [story.request["arguments"] for _, story in cache.engine.records() if story and story.request]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", EDITING)
async def test_equal_calls_are_one_whatever_a_provider_wants_edited(
    cache: DOCache, provider: Provider, ask: Ask, model: str, *, stream: bool
) -> None:
    call = chat(provider.url, model=model, tools=copy.deepcopy(TOOLS), drop_params=True, stream=stream)
    asked = copy.deepcopy(call)
    for _ in range(3):
        await ask("completion", **call)
        assert call == asked
    assert provider.calls == 1
    (recorded,) = requests_in(cache)
    assert (recorded["messages"], recorded["tools"]) == (asked["messages"], asked["tools"])


def kinds(others: Endpoints) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return calls of all kinds with what can be edited in place."""
    base, key = {"api_base": others.url}, {"api_key": "none"}
    tool = {"type": "function", "name": "f", "parameters": SCHEMA}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "hi", "cache_control": KEPT}]}]
    text = {"model": "text-completion-openai/babbage", "prompt": "hi", "stop": ["end"], **base, **key}
    rerank = {"model": "cohere/rerank-v3", "query": "weather", "documents": ["sun", "rain"], **base, **key}
    responses = {"model": "openai/gpt-4o", "input": items, "tools": [tool], **base, **key}
    message = {
        "model": "anthropic/claude-sonnet-4-5",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": KEPT}]}],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "api_base": others.url.removesuffix("/v1"),
        **key,
    }
    return {
        "text_completion": (litellm.text_completion, text),
        "atext_completion": (litellm.atext_completion, text),
        "rerank": (litellm.rerank, rerank),
        "arerank": (litellm.arerank, rerank),
        "responses": (litellm.responses, responses),
        "aresponses": (litellm.aresponses, responses),
        "messages": (acreate, message),
    }


@pytest.mark.parametrize("control", [{}, {"no-cache": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
async def test_calls_of_every_kind_are_recorded_as_they_were_asked(
    cache: DOCache, others: Endpoints, editor: None, kind: str, control: dict[str, Any]
) -> None:
    function, call = kinds(others)[kind]
    call, asked = copy.deepcopy(call), copy.deepcopy(call)
    for each in (control, {}):
        answer = function(**call, cache=each)
        await answer if inspect.isawaitable(answer) else None
    assert call == asked
    assert others.calls.total() == 1
    (recorded,) = requests_in(cache)
    counted = asked.keys() - {"api_key"}
    assert {name: recorded[name] for name in counted} == {name: asked[name] for name in counted}


async def test_arguments_without_names_are_copied_as_well(cache: DOCache, provider: Provider, editor: None) -> None:
    fixed: Any = {"api_base": provider.url, "api_key": "none"}
    messages = copy.deepcopy(MESSAGES)
    for _ in range(2):
        litellm.completion("openai/gpt-4o", messages, **fixed)
        await litellm.acompletion("openai/gpt-4o", messages, **fixed)
    assert messages == MESSAGES
    assert provider.calls == 1


async def test_a_message_of_an_answer_is_copied_as_well(
    cache: DOCache, provider: Provider, ask: Ask, editor: None
) -> None:
    first = await ask("completion", **chat(provider.url))
    call = chat(provider.url)
    call["messages"].append(first.choices[0].message)
    asked = copy.deepcopy(call)
    for _ in range(2):
        await ask("completion", **call)
    assert call == asked
    assert provider.calls == 2


async def test_a_router_leaves_the_arguments_alone(cache: DOCache, provider: Provider, ask: Ask, editor: None) -> None:
    deployment = {"model": "hosted_vllm/m", "api_base": provider.url, "api_key": "none"}
    router: Any = Router(model_list=[{"model_name": "group", "litellm_params": deployment}], cache_responses=True)
    messages, tools = copy.deepcopy(MESSAGES), copy.deepcopy(TOOLS)
    for _ in range(3):
        name = "completion" if ask.colour == "blocking" else "acompletion"
        answer = getattr(router, name)("group", messages, tools=tools)
        await answer if inspect.isawaitable(answer) else None
    assert (messages, tools) == (MESSAGES, TOOLS)
    assert provider.calls == 1


async def test_a_cache_that_is_off_changes_nothing(cache: DOCache, provider: Provider, editor: None) -> None:
    call = chat(provider.url, cache={"mode": "off"})
    litellm.completion(**call)
    assert "cache_control" not in str(call["messages"])


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_caller_edits_during_a_call_is_not_recorded(
    cache: DOCache, provider: Provider, *, stream: bool
) -> None:
    provider.delay = 0.05
    call = chat(provider.url, "first", stream=stream)
    asked = copy.deepcopy(call)
    begun = asyncio.ensure_future(litellm.acompletion(**call))
    while not provider.prompts:
        await asyncio.sleep(0.001)
    call["messages"].append({"role": "user", "content": "second"})
    answer: Any = await begun
    if stream:
        assert [chunk async for chunk in answer]
    (recorded,) = requests_in(cache)
    assert recorded["messages"] == asked["messages"]
    await litellm.acompletion(**asked)
    assert provider.prompts == ["first"]


@pytest.mark.parametrize("control", [{}, {"no-cache": True}], ids=str)
async def test_embeddings_are_recorded_as_they_were_asked(
    cache: DOCache, others: Endpoints, ask: Ask, editor: None, control: dict[str, Any]
) -> None:
    call: dict[str, Any] = {"model": "openai/embed", "input": ["one", "two"], "extra_body": {"places": ["a"]}}
    call |= {"api_base": others.url, "api_key": "none"}
    asked = copy.deepcopy(call)
    for each in (control, {}):
        await ask("embedding", **call, cache=each)
    assert call == asked
    assert others.inputs == ["one", "two"]
    assert sorted(each["input"] for each in requests_in(cache)) == ["one", "two"]
    assert all(each["extra_body"] == asked["extra_body"] for each in requests_in(cache))

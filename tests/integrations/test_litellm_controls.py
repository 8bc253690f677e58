"""Each way in which a program tells LiteLLM's cache what to do is honoured, or refused by name."""

import math
from functools import partial
from typing import Any

import litellm
import pytest
from litellm.types.utils import ModelResponse
from provider import Provider

from chatcache import InvalidInputError
from litellm_chatcache import DOCache
from litellm_chatcache.kinds import CHAT
from tests.integrations.asking import Ask, ask, cache, others
from tests.integrations.endpoints import Endpoints

__all__ = ["ask", "cache", "others"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def chat(url: str, prompt: str = "Why?", **more: Any) -> dict[str, Any]:
    return {
        "model": "openai/gpt-4o",
        "messages": [{"role": "user", "content": prompt}],
        "api_base": url,
        "api_key": "none",
        **more,
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "short", [{"ttl": 0}, {"ttl": "0"}, {"cache": {"ttl": 0}}, {"ttl": 60, "cache": {"ttl": 0}}], ids=str
)
async def test_an_answer_lives_no_longer_than_its_caller_says(
    cache: DOCache, provider: Provider, ask: Ask, short: dict[str, Any], *, stream: bool
) -> None:
    await ask("completion", **chat(provider.url, stream=stream, **short))
    await ask("completion", **chat(provider.url, stream=stream))
    assert provider.calls == 2


async def test_a_ttl_of_the_call_is_the_ttl_of_its_record(cache: DOCache, provider: Provider, ask: Ask) -> None:
    for ttl in (60, "60", "1m"):  # the proxy passes the text of a header
        await ask("completion", **chat(provider.url, ttl=ttl))
    assert provider.calls == 1
    (story,) = [story for _, story in cache.engine.records()]
    assert story is not None


@pytest.mark.parametrize("where", ["metadata", "litellm_metadata"])
async def test_a_namespace_in_the_metadata_keeps_records_apart(
    cache: DOCache, provider: Provider, ask: Ask, where: str
) -> None:
    namespaces: list[dict[str, Any]] = [{where: {"redis_namespace": name}} for name in ("a", "b", "a")]
    for each in (*namespaces, {"cache": {"namespace": "a"}}, {}):
        await ask("completion", **chat(provider.url, **each))
    assert provider.calls == 3


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"cache": {"ttl": "60"}}, "ttl='60'"),
    ({"cache": {"ttl": True}}, "ttl=True"),
    ({"ttl": math.nan}, "ttl=nan"),
    ({"ttl": "soon"}, "ttl='soon'"),
    ({"cache": {"no-cache": "true"}}, "no-cache='true'"),
    ({"cache": {"no-store": 1}}, "no-store=1"),
    ({"cache": {"s-maxage": math.nan}}, "s-maxage=nan"),
    ({"cache": {"namespace": 7}}, "namespace of 7"),
    ({"cache": {"max-age": 60}}, "cache= has no 'max-age'"),
]


@pytest.mark.parametrize(("control", "said"), INVALID, ids=str)
async def test_an_invalid_control_is_an_error_and_no_call(
    cache: DOCache, provider: Provider, ask: Ask, control: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await ask("completion", **chat(provider.url, **control))
    assert provider.calls == 0


async def test_a_preset_key_is_taken(cache: DOCache, provider: Provider, ask: Ask) -> None:
    preset: Any = {"litellm_params": {"preset_cache_key": "mine"}}
    assert cache.get_cache_key(**chat(provider.url, **preset)) == "mine"
    assert cache.explain(**chat(provider.url, **preset)).key == "mine"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_assigned_function_makes_the_keys(
    cache: DOCache, provider: Provider, ask: Ask, *, stream: bool
) -> None:
    cache.get_cache_key = lambda **arguments: f"{arguments['model']} for all"
    for prompt in ("one", "two"):
        await ask("completion", **chat(provider.url, prompt, stream=stream))
    assert provider.prompts == ["one"]
    assert [hit.key.removesuffix("/stream") for hit, _ in cache.engine.records()] == ["openai/gpt-4o for all"]


async def test_an_assigned_function_may_ask_the_one_that_was_there(
    cache: DOCache, provider: Provider, ask: Ask
) -> None:
    own = cache.get_cache_key
    cache.get_cache_key = lambda **arguments: "v2-" + own(**arguments)
    for _ in range(2):
        answer = await ask("completion", **chat(provider.url))
    assert answer._hidden_params["cache_key"] == "v2-" + own(**chat(provider.url))
    assert provider.calls == 1


async def test_an_assigned_function_is_asked_for_each_input_of_embeddings(
    cache: DOCache, others: Endpoints, ask: Ask
) -> None:
    cache.get_cache_key = lambda **arguments: f"vector of {arguments['input']}"
    for inputs in (["a", "b"], ["b", "c"]):
        await ask("embedding", model="openai/e", input=inputs, api_base=others.url, api_key="none")
    assert others.inputs == ["a", "b", "c"]


async def test_a_function_that_makes_no_key_caches_nothing(cache: DOCache, provider: Provider, ask: Ask) -> None:
    cache.get_cache_key = lambda **_: ""
    for _ in range(2):
        await ask("completion", **chat(provider.url))
    assert provider.calls == 2
    assert cache.engine.stats().bypasses > 0


async def test_one_key_for_all_inputs_of_embeddings_is_refused(cache: DOCache, others: Endpoints, ask: Ask) -> None:
    with pytest.raises(InvalidInputError, match="each input of embeddings has a key of its own"):
        await ask("embedding", model="openai/e", input=["a"], cache_key="k", api_base=others.url, api_key="none")


@pytest.mark.parametrize("name", ["mode", "namespace", "ttl"])
async def test_what_the_cache_is_made_with_cannot_be_assigned(cache: DOCache, name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} of a DOCache cannot be assigned"):
        setattr(cache, name, "x")


async def test_a_chunk_is_recorded_as_it_came_whatever_its_reader_does(
    cache: DOCache, provider: Provider, ask: Ask
) -> None:
    read = []
    for _ in range(3):
        stream = await ask.begin("completion", **chat(provider.url, stream=True))
        dumps = []
        for chunk in [each async for each in stream] if ask.colour == "awaiting" else stream:
            dumps.append(chunk.model_dump())
            chunk.model = "edited"
            chunk.choices[0].delta.content = "edited"
        read.append(dumps)
    assert read[0] == read[1] == read[2]


async def test_the_places_of_tool_calls_do_not_count(cache: DOCache) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    numbered = {**message, "tool_calls": [{**call, "index": 3}]}
    key = partial(cache.get_cache_key, model="m")
    assert key(messages=[message]) == key(messages=[numbered])
    assert key(messages=[litellm.Message(**message)]) == key(messages=[litellm.Message(**numbered)])
    assert key(messages=[message]) != key(messages=[{**message, "tool_calls": [call, call]}])


async def test_what_gemini_says_beside_its_text_is_hidden_in_a_replay_as_well() -> None:
    said = {"vertex_ai_grounding_metadata": [{"webSearchQueries": ["tides"]}], "vertex_ai_citation_metadata": []}
    record = CHAT.record(ModelResponse(**said))
    assert {name: CHAT.answer(record)._hidden_params.get(name) for name in said} == {
        "vertex_ai_grounding_metadata": [{"webSearchQueries": ["tides"]}],
        "vertex_ai_citation_metadata": None,
    }

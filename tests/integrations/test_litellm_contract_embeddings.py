"""LiteLLM's own tests of cached embeddings, as far as they test what its users rely on; see test_litellm_contract.py.

Those of its handler's inner methods are made of calls here, which go through the same methods.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import litellm
import pytest
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import Embedding, EmbeddingResponse, PromptTokensDetailsWrapper, Usage

from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache, others
from tests.integrations.endpoints import Endpoints

__all__ = ["ask", "cache", "others"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "local/text-embedding-005"
Answer = Callable[[Sequence[str]], EmbeddingResponse]


def vector(text: str) -> list[float]:
    return [float(len(text)), float(sum(text.encode()))]


def embedded(inputs: Sequence[str], *, details: PromptTokensDetailsWrapper | None = None, tokens: int = 5) -> Any:
    data = [Embedding(embedding=vector(each), index=at, object="embedding") for at, each in enumerate(inputs)]
    total = tokens * len(inputs)
    usage = Usage(prompt_tokens=total, completion_tokens=0, total_tokens=total, prompt_tokens_details=details)
    return EmbeddingResponse(model="text-embedding-005", data=data, usage=usage)


class Embedder(CustomLLM):
    """A provider within this process.

    Attributes:
        answer: makes the answer to some inputs.
        asked: the inputs of each call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answer: Answer = embedded
        self.asked: list[list[str]] = []

    def embedding(self, *_args: Any, **arguments: Any) -> EmbeddingResponse:
        self.asked.append([*arguments["input"]] if isinstance(arguments["input"], list) else [arguments["input"]])
        return self.answer(self.asked[-1])

    async def aembedding(self, *_args: Any, **arguments: Any) -> EmbeddingResponse:
        return self.embedding(**arguments)


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Embedder:
    embedder = Embedder()
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "local", "custom_handler": embedder}])
    monkeypatch.setattr(litellm, "provider_list", [*litellm.provider_list, "local"])
    monkeypatch.setattr(litellm, "_custom_providers", [*litellm._custom_providers, "local"])
    return embedder


def vectors(answer: EmbeddingResponse) -> list[Any]:
    return [each["embedding"] for each in answer.data]


def indices(answer: EmbeddingResponse) -> list[int]:
    return [each["index"] for each in answer.data]


# ---- whole calls


@pytest.mark.parametrize("inputs", [["small text\n" * 5], ["good morning", "another item"], "hello"], ids=str)
async def test_the_same_inputs_again_are_a_hit(
    cache: DOCache, embedder: Embedder, ask: Ask, inputs: str | list[str]
) -> None:
    """Of local_testing/test_caching.py: test_embedding_caching, test_embedding_caching_individual_items,
    test_embedding_caching_azure; of test_litellm/caching/test_disk_cache_sdk.py: test_embedding_cache_hit_sync,
    test_embedding_cache_hit_async; of test_caching_handler.py: test_process_async_embedding_cached_response.
    """
    first, second = [await ask("embedding", model=MODEL, input=inputs, caching=True) for _ in range(2)]
    assert vectors(first) == vectors(second)
    assert indices(first) == indices(second)
    assert first.usage == second.usage
    assert second.usage.prompt_tokens != 0
    assert second._hidden_params["cache_hit"] is True
    assert len(embedder.asked) == 1


async def test_another_input_is_a_miss(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of test_litellm/caching/test_disk_cache_sdk.py: test_embedding_cache_miss_on_different_input."""
    await ask("embedding", model=MODEL, input=["hi"])
    answer = await ask("embedding", model=MODEL, input=["bye"])
    assert answer._hidden_params.get("cache_hit") is not True
    assert vectors(answer) == [vector("bye")]


async def test_caching_false_is_no_hit(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_cache_override."""
    for _ in range(2):
        await ask("embedding", model=MODEL, input=["hello who are you"], caching=False)
    assert len(embedder.asked) == 2


async def test_embeddings_in_base64(cache: DOCache, others: Endpoints, ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_embedding_caching_base_64; of cache_unit_tests.py:
    test_disk_cache_embedding.
    """
    call: dict[str, Any] = {"model": "openai/text-embedding-ada-002", "input": ["this is", "this is again"]}
    call |= {"api_base": others.url, "api_key": "none", "encoding_format": "base64"}
    first, second = [await ask("embedding", **call) for _ in range(2)]
    assert vectors(first) == vectors(second)
    assert isinstance(vectors(second)[0], str)
    assert second._hidden_params["cache_hit"] is True
    assert (await ask("embedding", **call, user="charlie"))._hidden_params.get("cache_hit") is not True


async def test_the_model_is_the_one_that_answered(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of local_testing/test_caching_handler.py: test_embedding_cache_model_field_consistency,
    test_embedding_cache_model_field_with_vendor_prefix.
    """
    first, second = [await ask("embedding", model=MODEL, input=["input 1", "input 2"]) for _ in range(2)]
    assert first.model == second.model == "text-embedding-005"


# ---- one by one


async def test_inputs_are_found_one_by_one(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_embedding_caching_individual_items_and_then_list."""
    one = await ask("embedding", model=MODEL, input="hello")
    other = await ask("embedding", model=MODEL, input="world")
    both = await ask("embedding", model=MODEL, input=["hello", "world"])
    assert vectors(both) == vectors(one) + vectors(other)
    assert both._hidden_params["cache_hit"] is True
    assert both.usage.prompt_tokens == one.usage.prompt_tokens + other.usage.prompt_tokens
    assert len(embedder.asked) == 2
    more = await ask("embedding", model=MODEL, input=["hello", "world", "new"])
    assert more.usage.prompt_tokens > both.usage.prompt_tokens


async def test_an_input_is_found_in_another_place(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of local_testing/test_caching.py: test_embedding_caching_azure_individual_items_reordered."""
    first = await ask("embedding", model=MODEL, input=["hey", "common"])
    second = await ask("embedding", model=MODEL, input=["common"])
    assert vectors(second)[0] == vectors(first)[1]
    assert (indices(first)[1], indices(second)[0]) == (1, 0)
    assert second._hidden_params["cache_hit"] is True


PARTIAL: list[tuple[int, set[int]]] = [
    (3, {0, 2}),
    (5, {0, 3}),
    (5, {0}),
    (8, {1, 4}),
    (10, {1, 4, 7, 9}),
    (16, {1}),
    (16, {0, 2, 5}),
    (16, {*range(15)}),
    (4, {0, 1, 2, 3}),
    (4, set()),
    (128, {16, 17}),
]


async def test_arguments_need_no_names(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """With LiteLLM's own cache an awaited call without names is a KeyError."""
    function = litellm.embedding if ask.colour == "blocking" else litellm.aembedding
    for inputs in (["a", "b"], ["a", "b"], ["c", "a"], ["b", "c"]):
        asked: Any = function(MODEL, inputs)
        answer = await asked if ask.colour == "awaiting" else asked
        assert vectors(answer) == [vector(each) for each in inputs]
    assert embedder.asked == [["a", "b"], ["c", "a"]]
    assert cache.engine.stats().bypasses == 0


@pytest.mark.parametrize(("count", "known"), PARTIAL, ids=str)
async def test_what_is_known_is_not_asked_for_again(
    cache: DOCache, embedder: Embedder, ask: Ask, count: int, known: set[int]
) -> None:
    """LiteLLM itself looks up a blocking call as a whole only.

    Of local_testing/test_caching.py: test_embedding_caching_azure_individual_items; of test_caching_handler.py:
    test_combine_cached_embedding_response_with_api_result,
    test_combine_cached_embedding_response_multiple_missing_values,
    test_partial_embedding_cache_hit_sends_only_misses_and_keeps_input_order; all of
    test_litellm/caching/test_partial_cache_merge.py but the last; of test_embedding_cache_merge_indices.py:
    test_single_uncached_in_middle, test_large_batch_with_scattered_cache_hits.
    """
    inputs = [f"{index} {'x' * index}" for index in range(count)]
    if known:
        await ask("embedding", model=MODEL, input=[inputs[index] for index in sorted(known)])
    embedder.asked.clear()
    for _ in range(2):
        answer = await ask("embedding", model=MODEL, input=inputs)
        assert vectors(answer) == [vector(each) for each in inputs]
        assert indices(answer) == [*range(count)]
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5 * count
    assert answer._hidden_params["cache_hit"] is True
    unknown = [each for index, each in enumerate(inputs) if index not in known]
    assert embedder.asked == ([unknown] if unknown else [])


async def test_only_what_was_asked_for_is_billed(cache: DOCache, others: Endpoints) -> None:
    call: dict[str, Any] = {"model": "openai/text-embedding-3-small", "api_base": others.url, "api_key": "none"}
    litellm.embedding(**call, input=["a", "b"])
    mixed = litellm.embedding(**call, input=["a", "c", "b"])
    alone = litellm.embedding(**call, input=["c"], cache={"mode": "off"})
    assert mixed._hidden_params["response_cost"] == alone._hidden_params["response_cost"] > 0
    assert mixed._hidden_params["cache_hit"] is True
    assert mixed.usage.total_tokens == 3 * alone.usage.total_tokens


@pytest.mark.parametrize("first", ["blocking", "awaiting"])
async def test_both_colours_find_the_same_inputs(cache: DOCache, embedder: Embedder, first: str) -> None:
    """LiteLLM's own cache does not let them; see the tests of individual items above."""
    second = "awaiting" if first == "blocking" else "blocking"
    await Ask(first)("embedding", model=MODEL, input=["hello", "world"])
    answer = await Ask(second)("embedding", model=MODEL, input=["world", "hello"])
    assert vectors(answer) == [vector("world"), vector("hello")]
    assert len(embedder.asked) == 1


async def test_a_provider_may_answer_with_dictionaries(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of test_litellm/caching/test_partial_cache_merge.py: test_provider_returns_dicts_not_embedding_objects."""

    def as_dictionaries(inputs: Sequence[str]) -> Any:
        answer = embedded(inputs)
        answer.data = [dict(each) for each in answer.data]
        return answer

    embedder.answer = as_dictionaries
    inputs = ["one", "three", "seven!"]
    await ask("embedding", model=MODEL, input=inputs[1:2])
    for _ in range(2):
        answer = await ask("embedding", model=MODEL, input=inputs)
        assert vectors(answer) == [vector(each) for each in inputs]
        assert indices(answer) == [0, 1, 2]


# ---- tokens


async def test_the_tokens_of_the_inputs_add_up(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of test_litellm/caching/test_caching.py: test_get_per_item_prompt_tokens_distributes_with_remainder, and its
    sibling of a single item; of test_caching_handler.py: test_embedding_cache_sums_stored_prompt_tokens_across_items.
    """

    def ten(inputs: Sequence[str]) -> Any:
        answer = embedded(inputs)
        answer.usage = Usage(prompt_tokens=10, completion_tokens=0, total_tokens=10)
        return answer

    embedder.answer = ten
    inputs = ["a", "bb", "ccc"]
    await ask("embedding", model=MODEL, input=inputs)
    shares = [(await ask("embedding", model=MODEL, input=[each])).usage.prompt_tokens for each in inputs]
    assert shares == [4, 3, 3]
    assert (await ask("embedding", model=MODEL, input=inputs)).usage.total_tokens == 10
    await ask("embedding", model=MODEL, input=["dddd"])
    assert (await ask("embedding", model=MODEL, input=["dddd"])).usage.prompt_tokens == 10
    assert len(embedder.asked) == 2


@pytest.mark.parametrize("images", [1, 2])
async def test_the_details_of_tokens_are_kept(cache: DOCache, embedder: Embedder, ask: Ask, images: int) -> None:
    """Of local_testing/test_caching_handler.py: test_embedding_cache_preserves_prompt_tokens_details,
    test_embedding_cache_aggregates_multiple_image_counts,
    test_embedding_cache_restores_stored_prompt_tokens_for_image_input.
    """
    embedder.answer = lambda inputs: embedded(
        inputs, details=PromptTokensDetailsWrapper(image_count=len(inputs)), tokens=0
    )
    inputs = ["iVBORw0KGgoAAAANSUhEUg" * 50 * (index + 1) for index in range(images)]
    for _ in range(2):
        answer = await ask("embedding", model=MODEL, input=inputs)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == 0
        assert answer.usage.prompt_tokens_details.image_count == images
    assert len(embedder.asked) == 1


async def test_the_details_of_a_part_are_added(cache: DOCache, embedder: Embedder) -> None:
    """Of local_testing/test_caching_handler.py: test_combine_usage_merges_prompt_tokens_details,
    test_combine_usage_handles_none_details.
    """
    embedder.answer = lambda inputs: embedded(
        inputs,
        details=PromptTokensDetailsWrapper(image_count=len(inputs)) if "plain" not in inputs else None,
    )
    await litellm.aembedding(model=MODEL, input=["one"])
    both = await litellm.aembedding(model=MODEL, input=["one", "two", "three"])
    assert both.usage.prompt_tokens_details.image_count == 3
    again = await litellm.aembedding(model=MODEL, input=["one", "plain"])
    assert again.usage.prompt_tokens_details.image_count == 1
    assert len(embedder.asked) == 3


async def test_without_details_there_are_none(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    """Of local_testing/test_caching_handler.py: test_embedding_cache_backward_compat_no_prompt_tokens_details."""
    for _ in range(2):
        answer = await ask("embedding", model=MODEL, input=["one", "two"])
        assert answer.usage.prompt_tokens_details is None


async def test_what_is_awaited_together_is_found(cache: DOCache, embedder: Embedder) -> None:
    """Of LiteLLM's handler: it looks all inputs up at once, as tasks."""
    inputs = [[f"{each}", "shared"] for each in range(20)]
    await litellm.aembedding(model=MODEL, input=["shared", *(f"{each}" for each in range(20))])
    answers = await asyncio.gather(*(litellm.aembedding(model=MODEL, input=each) for each in inputs))
    assert [vectors(each) for each in answers] == [[vector(text) for text in each] for each in inputs]
    assert len(embedder.asked) == 1

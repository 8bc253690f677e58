"""Embeddings behind LiteLLM, beyond what its own tests ask: who shares a call, and what is recorded of it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.exceptions import BadRequestError
from litellm.llms.custom_llm import CustomLLM
from litellm.types.utils import Embedding, EmbeddingResponse, Usage

from chatcache import Mode, ReplayMiss
from litellm_chatcache import DOCache
from tests.integrations.asking import Ask, ask, cache
from tests.under_way import waiting
from tests.waiting import auntil, until

__all__ = ["ask", "cache"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "here/embedder"


def vector(value: Any) -> list[float]:
    return [float(len(str(value))), float(sum(str(value).encode()))]


class Embedder(CustomLLM):
    """A provider within this process, which answers when it may, so that those who ask at once overlap.

    Attributes:
        asked: the inputs of each call.
        reverses: whether it answers in the other order, by number.
        error: what it raises.
        may_answer: whether it may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[Any]] = []
        self.reverses = False
        self.error: Exception | None = None
        self.may_answer: Callable[[], object] = lambda: True

    def answer(self, given: Any) -> EmbeddingResponse:
        inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
        self.asked.append(inputs)
        if self.error is not None:
            raise self.error
        data = [Embedding(embedding=vector(each), index=at, object="embedding") for at, each in enumerate(inputs)]
        usage = Usage(prompt_tokens=5 * len(inputs), completion_tokens=0, total_tokens=5 * len(inputs))
        return EmbeddingResponse(model="embedder", data=data[::-1] if self.reverses else data, usage=usage)

    def embedding(self, *_args: Any, **arguments: Any) -> EmbeddingResponse:
        until(self.may_answer)
        return self.answer(arguments["input"])

    async def aembedding(self, *_args: Any, **arguments: Any) -> EmbeddingResponse:
        await auntil(self.may_answer)
        return self.answer(arguments["input"])


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Embedder:
    handler = Embedder()
    monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "here", "custom_handler": handler}])
    litellm.utils.custom_llm_setup()
    return handler


async def at_once(ask: Ask, count: int, inputs: list[Any]) -> list[Any]:
    """Have several tasks, or threads, ask for the same inputs at the same time."""
    if ask.colour == "awaiting":
        tasks = [litellm.aembedding(model=MODEL, input=inputs) for _ in range(count)]
        return [*await asyncio.gather(*tasks, return_exceptions=True)]

    def one(_: int) -> Any:
        try:
            return litellm.embedding(model=MODEL, input=inputs)
        except BadRequestError as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return await asyncio.to_thread(lambda: [*threads.map(one, range(count))])


async def test_those_who_ask_at_once_share_a_call(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    cache.single_flight = True
    await ask("embedding", model=MODEL, input=["known"])
    embedder.may_answer = lambda: waiting(cache.engine) >= 7
    answers = await at_once(ask, 8, ["known", "new", "other"])
    assert embedder.asked == [["known"], ["new", "other"]]
    for answer in answers:
        assert [each["embedding"] for each in answer.data] == [vector("known"), vector("new"), vector("other")]
    assert cache.engine.stats().joins == 7


async def test_those_who_wait_get_the_error(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    cache.single_flight = True
    embedder.error = BadRequestError("no such words", MODEL, "here")
    embedder.may_answer = lambda: waiting(cache.engine) >= 3
    errors = await at_once(ask, 4, ["new"])
    assert [type(each) for each in errors] == [BadRequestError] * 4
    assert embedder.asked == [["new"]]
    embedder.error = None
    embedder.may_answer = lambda: True
    assert (await ask("embedding", model=MODEL, input=["new"])).data[0]["embedding"] == vector("new")


async def test_what_comes_in_another_order_is_recorded_by_its_number(
    cache: DOCache, embedder: Embedder, ask: Ask
) -> None:
    embedder.reverses = True
    await ask("embedding", model=MODEL, input=["a", "bb"])
    mixed = await ask("embedding", model=MODEL, input=["ccc", "a", "dddd"])
    for answer, inputs in (
        (await ask("embedding", model=MODEL, input=["a", "bb"]), ["a", "bb"]),
        (mixed, ["ccc", "a", "dddd"]),
        (await ask("embedding", model=MODEL, input=["dddd", "ccc"]), ["dddd", "ccc"]),
    ):
        assert [each["embedding"] for each in answer.data] == [vector(each) for each in inputs]
        assert [each["index"] for each in answer.data] == [*range(len(inputs))]
    assert embedder.asked == [["a", "bb"], ["ccc", "dddd"]]


@pytest.mark.parametrize("inputs", [[1, 2, 3], [[1, 2, 3]], "text"])
async def test_both_functions_share_their_records(cache: DOCache, embedder: Embedder, ask: Ask, inputs: Any) -> None:
    await ask("embedding", model=MODEL, input=inputs)
    for colour in ("blocking", "awaiting"):
        answer = await Ask(colour)("embedding", model=MODEL, input=inputs)
        assert answer._hidden_params["cache_hit"] is True
        assert answer._hidden_params["response_cost"] == 0.0
        assert len(answer.data) == 1
    assert len(embedder.asked) == 1
    assert cache.engine.stats().bypasses == 0


async def test_a_failure_is_replayed(
    tmp_path: Path, embedder: Embedder, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DOCache("store", path=tmp_path, record_errors=True)
    monkeypatch.setattr(litellm, "cache", cache)
    await ask("embedding", model=MODEL, input=["known"])
    embedder.error = BadRequestError("no such words", MODEL, "here")
    with pytest.raises(BadRequestError) as first:
        await ask("embedding", model=MODEL, input=["known", "bad"])
    cache.engine.mode = Mode.REPLAY
    calls = len(embedder.asked)
    with pytest.raises(BadRequestError) as second:
        await ask("embedding", model=MODEL, input=["known", "bad"])
    assert str(second.value) == str(first.value)
    with pytest.raises(ReplayMiss):
        await ask("embedding", model=MODEL, input=["bad"])
    assert len(embedder.asked) == calls


async def test_no_input_at_all_is_a_miss_in_mode_replay(
    tmp_path: Path, embedder: Embedder, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "cache", DOCache("store", path=tmp_path, mode="replay"))
    for controls in ({}, {"no-cache": True}):
        with pytest.raises(ReplayMiss, match="it has no input"):
            await ask("embedding", model=MODEL, input=[], cache=controls)
    assert embedder.asked == []


async def test_one_input_of_a_call_is_invalidated_by_itself(cache: DOCache, embedder: Embedder, ask: Ask) -> None:
    await ask("embedding", model=MODEL, input=["one", "two"])
    cache.invalidate(model=MODEL, input=["one"])
    await ask("embedding", model=MODEL, input=["one", "two"])
    assert embedder.asked == [["one", "two"], ["one"]]

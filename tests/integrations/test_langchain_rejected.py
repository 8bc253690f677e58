"""Answers that a program cannot use, under LangChain: ``accept=``, and another mode for one block."""

import gc
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from chatcache import InvalidInputError, Mode, Refusal, ReplayMiss
from langchain_chatcache import DOCache, DOCacheMiddleware, cached
from tests.waiting import until

SAID = ["Sorry, here it is: 12", '{"number": 12}', '{"number": 13}']
STOPPED = {"finish_reason": "stop", "model_name": "indecisive-1"}
PARSER = JsonOutputParser()
CALLS: list[str] = []
FORMS = ("invoke", "ainvoke", "stream", "astream")


class Indecisive(BaseChatModel):
    """Answers with JSON from its second answer on."""

    @property
    def _llm_type(self) -> str:
        return "indecisive"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        generation = ChatGeneration(message=AIMessage(say()), generation_info=STOPPED)
        return ChatResult(generations=[generation])

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Iterator[Any]:
        said = say()
        for part in (said[:3], said[3:]):
            yield ChatGenerationChunk(message=AIMessageChunk(content=part))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", chunk_position="last"), generation_info=STOPPED)


def say() -> str:
    CALLS.append(SAID[len(CALLS)])
    return CALLS[-1]


@pytest.fixture(autouse=True)
def calls() -> Iterator[list[str]]:
    CALLS.clear()
    yield CALLS
    set_llm_cache(None)


async def ask(form: str, model: Any) -> str:
    match form:
        case "invoke":
            return str(model.invoke("Which order?").content)
        case "ainvoke":
            return str((await model.ainvoke("Which order?")).content)
        case "stream":
            return "".join(chunk.content for chunk in model.stream("Which order?"))
        case _:
            return "".join([chunk.content async for chunk in model.astream("Which order?")])


def of_the_hook(folder: Path, accept: Any) -> BaseChatModel:
    set_llm_cache(DOCache("s", path=folder, accept=accept))
    return Indecisive()


def of_the_cache(folder: Path, accept: Any) -> BaseChatModel:
    return cached(Indecisive(), DOCache("s", path=folder, accept=accept))


def of_the_model(folder: Path, accept: Any) -> BaseChatModel:
    return cached(Indecisive(), DOCache("s", path=folder), accept=accept)


@pytest.fixture(params=[of_the_hook, of_the_cache, of_the_model])
def behind(request: pytest.FixtureRequest) -> Callable[[Path, Any], BaseChatModel]:
    made: Callable[[Path, Any], BaseChatModel] = request.param
    return made


@pytest.mark.parametrize("form", FORMS)
async def test_a_message_that_the_parser_rejects_is_asked_for_again(
    tmp_path: Path, behind: Callable[[Path, Any], BaseChatModel], form: str
) -> None:
    model = behind(tmp_path, PARSER.invoke)
    assert [await ask(form, model) for _ in range(3)] == [SAID[0], SAID[1], SAID[1]]
    assert await ask(form, behind(tmp_path, PARSER.invoke)) == SAID[1]  # nor does a later run find the first answer


def test_a_chain_that_is_retried_gets_another_answer(
    tmp_path: Path, behind: Callable[[Path, Any], BaseChatModel]
) -> None:
    chain = (behind(tmp_path, PARSER.invoke) | PARSER).with_retry(wait_exponential_jitter=False)
    assert chain.invoke("Which order?") == {"number": 12}


@pytest.mark.parametrize("form", FORMS)
async def test_the_predicate_is_shown_the_whole_message(
    tmp_path: Path, behind: Callable[[Path, Any], BaseChatModel], form: str
) -> None:
    seen: list[AIMessage] = []

    def accept(message: AIMessage) -> bool:
        seen.append(message)
        return True

    model = behind(tmp_path, accept)
    await ask(form, model)
    (message,) = seen
    assert type(message) is AIMessage
    assert (message.content, message.response_metadata) == (SAID[0], STOPPED)


def test_a_language_model_of_texts_shows_its_text(tmp_path: Path) -> None:
    seen: list[str] = []

    def accept(text: str) -> bool:
        seen.append(text)
        return len(seen) > 1

    cache = DOCache("s", path=tmp_path, accept=accept)
    set_llm_cache(cache)
    model = FakeListLLM(responses=["a", "b", "c"], cache=True)
    assert [model.invoke("Which?") for _ in range(2)] == ["a", "b"]
    assert seen == ["a", "b"]
    assert (cache.engine.stats().refusals, cache.engine.stats().stores) == ({Refusal.REJECTED: 1}, 1)


def test_the_middleware_takes_a_predicate(tmp_path: Path) -> None:
    middleware = DOCacheMiddleware(DOCache("s", path=tmp_path), accept=PARSER.invoke)
    agent: Any = create_agent(Indecisive(), middleware=[middleware])
    said = [agent.invoke({"messages": "Which order?"})["messages"][-1].content for _ in range(3)]
    assert said == [SAID[0], SAID[1], SAID[1]]


def accept_json(message: AIMessage) -> bool:
    return bool(PARSER.invoke(message))


def test_a_cache_with_a_predicate_can_be_pickled(tmp_path: Path) -> None:
    cache = pickle.loads(pickle.dumps(DOCache("s", path=tmp_path, accept=accept_json)))  # noqa: S301 - ours
    assert cache.accept is accept_json


def test_a_predicate_for_each_request_takes_no_memory(tmp_path: Path) -> None:
    cache = DOCache("s", path=tmp_path)
    for _ in range(10):
        cached(Indecisive(), cache, accept=lambda message: True).invoke("Which order?")

    def is_gone() -> bool:
        gc.collect()  # what a finalizer held is collected by the next one
        return len(cache.accepting_classes) <= 1

    until(is_gone)


@pytest.mark.parametrize("make", [DOCacheMiddleware, lambda cache, accept: cached(Indecisive(), cache, accept=accept)])
def test_what_is_no_predicate_is_refused(tmp_path: Path, make: Callable[..., object]) -> None:
    with pytest.raises(InvalidInputError, match="accept=5: pass a function of the answer"):
        make(DOCache("s", path=tmp_path), accept=5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hook", [False, True])
async def test_a_block_has_a_mode_of_its_own(tmp_path: Path, form: str, *, hook: bool) -> None:
    cache = DOCache("s", path=tmp_path)
    model: BaseChatModel = Indecisive()
    if hook:
        set_llm_cache(cache)
    else:
        model = cached(model, cache)
    assert await ask(form, model) == SAID[0]
    with cache.using(mode="refresh"):
        assert await ask(form, model) == SAID[1]
    assert await ask(form, model) == SAID[1]
    with cache.disabled():
        assert await ask(form, model) == SAID[2]
    assert await ask(form, model) == SAID[1]
    with cache.using(mode="replay"), pytest.raises(ReplayMiss):
        await ask(form, model.bind(stop=["x"]))
    assert cache.engine.mode is Mode.AUTO


def test_a_batch_has_the_mode_of_its_block(tmp_path: Path) -> None:
    cache = DOCache("s", path=tmp_path)
    model = cached(Indecisive(), cache)
    with cache.disabled():
        model.batch(["Which order?", "Which one?"])
    assert (len(CALLS), cache.engine.stats().stores) == (2, 0)


async def test_a_miss_is_not_tried_again(tmp_path: Path) -> None:
    cache = DOCache("missing", path=tmp_path, mode="replay")
    chain = (cached(Indecisive(), cache) | PARSER).with_retry(stop_after_attempt=9)  # which would pause before each
    with pytest.raises(ReplayMiss):
        chain.invoke("What?")
    with pytest.raises(ReplayMiss):
        await chain.ainvoke("What?")
    with pytest.raises(ReplayMiss):
        chain.batch(["What?"])
    with pytest.raises(ReplayMiss):
        await chain.abatch(["What?"])
    assert cache.stats().misses == 4
    assert CALLS == []

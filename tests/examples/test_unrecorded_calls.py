"""Suites whose calls pass every cache by: they are listed when they are recorded, and fail under ``CI``."""

from pathlib import Path

import pytest

from tests.examples.test_caching_suites import run
from tests.examples.test_uncached_suites import LITELLM as UNCACHED
from tests.examples.test_uncached_suites import LOCAL, suite

LITELLM = (
    LOCAL
    + """
from litellm import moderation
from litellm.caching.caching import Cache

class Provider(Local):
    def image_generation(self, *args, **kwargs):
        count()
        return litellm.ImageResponse(created=1, data=[{"url": "https://images.invalid/1.png"}])
    async def aimage_generation(self, *args, **kwargs):
        return self.image_generation()

litellm.custom_provider_map = [{"provider": "local", "custom_handler": Provider()}]
NOWHERE = {"api_base": "http://127.0.0.1:1", "api_key": "none"}

class Other(Cache):
    pass
"""
)

UNRECORDED = {
    "image_generation": "litellm.image_generation(model='local/one', prompt='a cat')",
    "aimage_generation": "asyncio.run(litellm.aimage_generation(model='local/one', prompt='a cat'))",
    "moderation": "with pytest.raises(litellm.openai.APIConnectionError): moderation('a cat', **NOWHERE)",
    "completion": "litellm.cache = Other(); litellm.completion(**ASKED)",
}

LANGCHAIN = """
import asyncio

from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.embeddings import Embeddings
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, LLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult, GenerationChunk
from provider import count

class Texts(LLM):
    @property
    def _llm_type(self):
        return "texts"
    def _call(self, prompt, stop=None, run_manager=None, **more):
        return f"answer {count()}"
    def _stream(self, prompt, stop=None, run_manager=None, **more):
        yield GenerationChunk(text=f"answer {count()}")

class Chat(BaseChatModel):
    @property
    def _llm_type(self):
        return "chat"
    def _generate(self, messages, stop=None, run_manager=None, **more):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"answer {count()}"))])

async def astream():
    return [chunk async for chunk in Texts().astream("why")]

class Vectors(Embeddings):
    def __init__(self, held=None):
        self.held = held
    def embed_documents(self, texts, batch=None):
        return [[float(count())] for text in texts]
    def embed_query(self, text):
        return [float(count())]
"""

TEXTS = {
    "stream": "[*Texts().stream('why')]",
    "astream": "asyncio.run(astream())",
    "cache_false": "Texts(cache=False).invoke('why')",
    "own_cache": "Texts(cache=InMemoryCache()).invoke('why')",
    "embeddings_of_what": "Vectors(held=object()).embed_query('why')",
    "embeddings_of_what_awaited": "asyncio.run(Vectors(held=object()).aembed_documents(['why']))",
    "embeddings_with_more": "Vectors().embed_documents(['why'], batch=1)",
}

LITELLM_CACHES = """
@pytest.fixture(autouse=True)
def without():
    litellm.cache = None
    yield
    litellm.disable_cache()

def test_the_provider_is_asked_each_time():
    assert said(litellm.completion(**ASKED)) != said(litellm.completion(**ASKED))

def test_enabled():
    litellm.completion(**ASKED)
    litellm.enable_cache()
    first = litellm.completion(**ASKED)
    second = litellm.completion(**ASKED)
    assert said(first) == said(second) and second._hidden_params["cache_hit"]
    litellm.disable_cache()
    assert said(litellm.completion(**ASKED)) != said(first)

def test_assigned():
    litellm.cache = Cache(type="local", supported_call_types=["acompletion"])
    answers = [said(litellm.completion(**ASKED)) for _ in range(2)]
    answers += [said(asyncio.run(litellm.acompletion(**ASKED))) for _ in range(2)]
    assert len(set(answers)) == 3

def test_long():
    litellm.cache = Cache(type="local", max_messages=1)
    asked = {**ASKED, "messages": 2 * ASKED["messages"]}
    assert said(litellm.completion(**asked)) != said(litellm.completion(**asked))

def test_updated():
    litellm.enable_cache()
    litellm.completion(**ASKED)
    litellm.update_cache()
    first = said(litellm.completion(**ASKED))
    assert said(litellm.completion(**ASKED)) == first

def test_of_a_router():
    model = {"model_name": "one", "litellm_params": {"model": "local/one"}}
    router = litellm.Router(model_list=[model], cache_responses=True)
    answers = [said(router.completion(model="one", messages=ASKED["messages"])) for _ in range(2)]
    assert len(set(answers)) == 1
"""

LANGCHAIN_CACHES = """
class Own(InMemoryCache):
    pass

def test_none_is_set_in_the_middle():
    model = Chat()
    first = model.invoke("why").content
    set_llm_cache(None)
    assert model.invoke("why").content != first
    assert Texts().invoke("why") != Texts().invoke("why")

def test_a_cache_of_another_make():
    set_llm_cache(Own())
    model = Chat()
    first = model.invoke("why").content
    assert model.invoke("why").content == first
    assert model.invoke("who").content != first
    assert [chunk.content for chunk in model.stream("why")] == [first]
    set_llm_cache(None)

def test_a_cache_of_one_model():
    model = Chat(cache=Own())
    assert model.invoke("why").content == model.invoke("why").content
"""


@pytest.mark.parametrize(("text", "calls"), [(LITELLM, UNRECORDED), (LANGCHAIN, TEXTS)], ids=["lite", "chain"])
def test_calls_that_no_cache_sees_are_listed_and_fail_under_ci(
    tmp_path: Path, text: str, calls: dict[str, str]
) -> None:
    tests = [f"\ndef test_{name}():\n    {call}\n" for name, call in calls.items()]
    made = suite(tmp_path, "".join([text, *tests]))
    recorded = run(tmp_path, "--chatcache-strict")
    assert recorded.returncode == 1, recorded.stdout
    assert f"{len(calls)} calls were made and cannot be replayed:" in recorded.stdout
    for name in calls:
        assert f"  test_it.py::test_{name}: a call of store" in recorded.stdout
    made.unlink()
    replayed = run(tmp_path, CI="true")
    assert f"{len(calls)} failed" in replayed.stdout
    assert replayed.stdout.count("Nothing was called.") == len(calls)
    assert not made.exists()


@pytest.mark.parametrize("text", [LITELLM + LITELLM_CACHES, LANGCHAIN + LANGCHAIN_CACHES], ids=["lite", "chain"])
def test_the_caches_of_frameworks_work_as_usual_before_the_recorded_provider(tmp_path: Path, text: str) -> None:
    calls = suite(tmp_path, text)
    recorded = run(tmp_path, "--chatcache-strict")
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    calls.unlink()
    replayed = run(tmp_path, "--chatcache-strict", "-p", "no:randomly", CI="true")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert not calls.exists()


def test_a_mock_answers_what_is_not_recorded_where_the_test_is_marked_as_the_miss_says(tmp_path: Path) -> None:
    call = "litellm.image_generation(model='local/one', prompt='a cat')"
    suite(tmp_path, f"{LITELLM}\ndef test_image():\n    {call}\n")
    missed = run(tmp_path, CI="true")
    said = 'Where a mock or a cassette answers it: mark the test with @pytest.mark.chatcache(mode="off")'
    assert missed.returncode == 1
    assert said in missed.stdout
    suite(tmp_path, f"{LITELLM}\n@pytest.mark.chatcache(mode='off')\ndef test_image():\n    {call}\n")
    marked = run(tmp_path, "--chatcache-strict", CI="true")
    assert marked.returncode == 0, marked.stdout


def test_a_mock_answers_what_a_fixture_asks_where_it_is_of_one_test_as_the_miss_says(tmp_path: Path) -> None:
    call = "return litellm.image_generation(model='local/one', prompt='a cat')"
    fixture = f"@pytest.fixture(scope='{{scope}}')\ndef image():\n    {call}\n"
    suite(tmp_path, f"{LITELLM}\n{fixture.format(scope='module')}\ndef test_image(image):\n    pass\n")
    said = 'give the fixture the scope function, and mark the test with @pytest.mark.chatcache(mode="off")'
    assert f"where a mock or a cassette answers it, {said}" in run(tmp_path).stdout
    assert f"Where a mock or a cassette answers it: {said}" in run(tmp_path, CI="true").stdout
    marked = "@pytest.mark.chatcache(mode='off')\ndef test_image(image):\n    pass\n"
    suite(tmp_path, f"{LITELLM}\n{fixture.format(scope='function')}\n{marked}")
    mended = run(tmp_path, "--chatcache-strict", CI="true")
    assert mended.returncode == 0, mended.stdout


def test_an_unread_stream_is_recorded_once_it_is_read_to_its_end_as_the_miss_says(tmp_path: Path) -> None:
    call = "litellm.completion(**ASKED, stream=True)"
    made = suite(tmp_path, f"{UNCACHED}\ndef test_late():\n    next(iter({call}))\n")
    assert run(tmp_path, "-k", "late").returncode == 0
    missed = run(tmp_path, "-k", "late", CI="true")
    assert missed.returncode == 1
    assert "A stream is recorded once it is read to its end." in missed.stdout
    suite(tmp_path, f"{UNCACHED}\ndef test_late():\n    assert [*{call}]\n")
    assert run(tmp_path, "-k", "late", "--chatcache=once").returncode == 0
    made.unlink()
    replayed = run(tmp_path, "-k", "late", "--chatcache-strict", CI="true")
    assert replayed.returncode == 0, replayed.stdout
    assert not made.exists()

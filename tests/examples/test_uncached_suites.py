"""Suites of programs that set no cache: they are recorded, and replayed under ``CI`` without a provider."""

from pathlib import Path

import pytest

from tests.examples.test_caching_suites import PROVIDER, run

LOCAL = """
import asyncio

import litellm
import pytest
from provider import count

class Local(litellm.CustomLLM):
    def completion(self, *args, **kwargs):
        return litellm.ModelResponse(
            choices=[{"message": {"role": "assistant", "content": f"answer {count()}"}, "finish_reason": "stop"}]
        )
    async def acompletion(self, *args, **kwargs):
        return self.completion(*args, **kwargs)

litellm.suppress_debug_info = True
ASKED = {"model": "local/one", "messages": [{"role": "user", "content": "why"}]}

def said(response):
    return response.choices[0].message.content
"""

LITELLM = (
    LOCAL
    + """
class Provider(Local):
    def streaming(self, *args, **kwargs):
        for text, reason in (("answer ", ""), (str(count()), "stop")):
            chunk = {"text": text, "is_finished": bool(reason), "finish_reason": reason}
            yield {**chunk, "index": 0, "tool_use": None, "usage": None}

litellm.custom_provider_map = [{"provider": "local", "custom_handler": Provider()}]
@pytest.fixture(scope="session")
def shared():
    yield said(litellm.completion(**ASKED))
    litellm.completion(**ASKED)

@pytest.fixture
def own():
    return said(litellm.completion(**ASKED))

def test_each_call_has_an_answer_of_its_own(shared, own):
    answers = [said(litellm.completion(**ASKED)) for _ in range(3)]
    assert len({shared, own, *answers}) == 5

def test_whatever_a_call_says_of_caches(shared):
    answers = [litellm.completion(**ASKED, caching=False), litellm.completion(**ASKED, cache={"no-cache": True})]
    assert len(set(map(said, answers))) == 2

def test_async():
    async def main():
        return await asyncio.gather(*(litellm.acompletion(**ASKED) for _ in range(2)))
    assert all(said(each).startswith("answer") for each in asyncio.run(main()))

async def test_awaited():
    assert said(await litellm.acompletion(**ASKED)).startswith("answer")

def test_a_stream():
    chunks = litellm.completion(**ASKED, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith("answer")

def test_a_cache_of_the_program_takes_its_place(tmp_path):
    from litellm_chatcache import DOCache
    before = litellm.cache
    litellm.cache = DOCache("app", path=tmp_path)
    assert said(litellm.completion(**ASKED)) == said(litellm.completion(**ASKED))
    litellm.cache = before
"""
)

LANGCHAIN = """
import asyncio

import pytest
from provider import count

def models():
    from langchain_core.language_models import BaseChatModel, LLM  # not before a test runs
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

    class Texts(LLM):
        @property
        def _llm_type(self):
            return "texts"
        def _call(self, prompt, stop=None, run_manager=None, **more):
            return f"answer {count()}"

    class Chat(BaseChatModel):
        @property
        def _llm_type(self):
            return "chat"
        def _generate(self, messages, stop=None, run_manager=None, **more):
            return ChatResult(generations=[ChatGeneration(message=AIMessage(f"answer {count()}"))])
        def _stream(self, messages, stop=None, run_manager=None, **more):
            for text in ("answer ", str(count())):
                yield ChatGenerationChunk(message=AIMessageChunk(text))

    return {"texts": Texts, "chat": Chat}

def said(answer):
    return getattr(answer, "content", answer)

@pytest.mark.parametrize("kind", ["chat", "texts"])
def test_each_call_has_an_answer_of_its_own(kind):
    model = models()[kind]()
    answers = [said(model.invoke("why")) for _ in range(3)]
    answers.append(said(asyncio.run(model.ainvoke("why"))))
    assert len(set(answers)) == 4

def test_a_stream():
    model = models()["chat"]()
    assert "".join(chunk.content for chunk in model.stream("why")).startswith("answer ")

def test_a_model_that_wants_no_cache():
    model = models()["chat"](cache=False)
    assert said(model.invoke("why")) != said(model.invoke("why"))
"""

NESTED = """
import litellm
from langchain_core.globals import get_llm_cache
from provider import count

class Provider(litellm.CustomLLM):
    def completion(self, *args, **kwargs):
        return litellm.ModelResponse(
            choices=[{"message": {"role": "assistant", "content": f"answer {count()}"}, "finish_reason": "stop"}]
        )

litellm.custom_provider_map = [{"provider": "local", "custom_handler": Provider()}]

def model():
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult

    class Through(BaseChatModel):
        @property
        def _llm_type(self):
            return "through"
        def _generate(self, messages, stop=None, run_manager=None, **more):
            asked = [{"role": "user", "content": messages[0].content}]
            answer = litellm.completion(model="local/one", messages=asked).choices[0].message.content
            return ChatResult(generations=[ChatGeneration(message=AIMessage(answer))])

    return Through()

def test_one_call_is_recorded_once(chatcache):
    assert model().invoke("why").content.startswith("answer")
    assert len(chatcache.made) + chatcache.hits == 1

def test_nothing_is_left():
    pass
"""
EMBEDDINGS = """
import asyncio
from functools import partialmethod
import litellm
import pytest
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, PrivateAttr
from provider import count

class Plain(Embeddings):
    def embed_documents(self, texts):
        return [[float(count()), float(len(text))] for text in texts]
    def embed_query(self, text):
        return self.embed_documents([text])[0]

class Modelled(BaseModel, Embeddings):
    model: str = "one"
    def embed_documents(self, texts):
        return [[float(count())] for text in texts]
    def embed_query(self, text):
        return [float(count())]
    async def aembed_query(self, text):
        return [float(count())]

class Holding(Embeddings):  # as CacheBackedEmbeddings does
    def __init__(self, inner):
        self.inner, self.kept = inner, {}
    def embed_documents(self, texts):
        return [self.kept.setdefault(text, self.inner.embed_query(text)) for text in texts]
    def embed_query(self, text):
        return self.embed_documents([text])[0]

@pytest.mark.parametrize("kind", [Plain, Modelled])
def test_each_call_has_a_vector_of_its_own(kind, chatcache):
    it = kind()
    assert len({*map(str, [it.embed_query("a"), it.embed_query("a"), asyncio.run(it.aembed_query("a"))])}) == 3
    assert len(it.embed_documents(texts=["a", "b"])) == len(asyncio.run(it.aembed_documents(["a", "b"]))) == 2
    assert len(chatcache.made) + chatcache.hits == 7

class Mixin:
    def embed_documents(self, texts):
        return [[float(count())] for text in texts]
    def embed_query(self, text):
        return [float(count())]
    async def aembed_query(self, text):
        return [float(count())]

class Mixed(Mixin, Embeddings):
    pass

class Unplain(Mixed):
    def _embed(self, many, it):
        return [[float(count())] for text in it] if many else [float(count())]
    embed_documents = partialmethod(_embed, True)
    @staticmethod
    def embed_query(text):
        return [float(count())]

class Assigned(Mixed):
    pass

Assigned.embed_query = lambda self, text: [float(count())]

@pytest.mark.parametrize("kind", [Mixed, Unplain, Assigned])
def test_wherever_and_however_its_methods_are_defined(kind, chatcache):
    it = kind()
    assert it.embed_query("a") != it.embed_query("a") != asyncio.run(it.aembed_query("a"))
    assert len(it.embed_documents(["a", "b"])) == 2
    assert len(chatcache.made) + chatcache.hits == 5

def test_a_mock_of_a_method_answers_as_it_is(chatcache, monkeypatch):
    monkeypatch.setattr(Mixed, "embed_query", lambda self, text: [0.5])
    assert Mixed().embed_query("a") == [0.5]
    assert len(chatcache.made) + chatcache.hits == 0

def test_a_class_of_a_test():
    class Late(Modelled):
        model: str = "two"
    assert Late().embed_query("a") != Modelled().embed_query("a")

class HoldingSome(Holding):
    def __init__(self, inner):
        self.inners, self.kept = [inner], {}
    @property
    def inner(self):
        return self.inners[0]

class HoldingOneOfItsOwn(BaseModel, Holding):
    _inner: Embeddings = PrivateAttr(default_factory=Modelled)
    def __init__(self, inner):
        super().__init__()
    def embed_documents(self, texts):
        return self._inner.embed_documents(texts)

@pytest.mark.parametrize("kind", [Holding, HoldingSome, HoldingOneOfItsOwn])
def test_what_holds_others_leaves_it_to_them(kind, chatcache):
    it = kind(Modelled())
    assert len(it.embed_documents(["a", "b"])) == 2
    assert len(chatcache.made) + chatcache.hits == 2
    assert {record.request["embeddings"]["class"] for record in chatcache.made} <= {f"{__name__}.Modelled"}

def test_a_call_of_litellm_within_is_recorded_once(chatcache):
    class Provider(litellm.CustomLLM):
        def embedding(self, model, input, model_response, **more):
            count()
            model_response.data = [{"embedding": [0.5], "index": 0, "object": "embedding"}]
            return model_response
    litellm.custom_provider_map = [{"provider": "local", "custom_handler": Provider()}]
    class Through(Modelled):
        def embed_query(self, text):
            return litellm.embedding(model="local/one", input=[text]).data[0]["embedding"]
    assert Through().embed_query("a") == [0.5]
    assert len(chatcache.made) + chatcache.hits == 1
"""
AFTER = """
import sys

def pytest_unconfigure():
    litellm = sys.modules.get("litellm")  # pytest-xdist does without it in the process that starts the others
    assert litellm is None or litellm.cache is None
"""


def suite(folder: Path, text: str) -> Path:
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "provider.py").write_text(PROVIDER)
    (folder / "test_it.py").write_text(text)
    return folder / "calls.txt"


@pytest.mark.parametrize(
    "text", [LITELLM, LANGCHAIN, NESTED, EMBEDDINGS], ids=["lite", "chain", "nested", "embeddings"]
)
def test_a_suite_without_a_cache_is_recorded_and_replayed_under_ci(tmp_path: Path, text: str) -> None:
    calls = suite(tmp_path, text)
    if "litellm" in text:
        (tmp_path / "conftest.py").write_text(AFTER)
    recorded = run(tmp_path)
    assert recorded.returncode == 0, recorded.stdout + recorded.stderr
    assert calls.stat().st_size > 0
    calls.unlink()
    parallel = [("-p", "xdist", "-n", "2")] if text not in {NESTED, EMBEDDINGS} else []
    for options in (("--chatcache-strict",), *parallel):
        replayed = run(tmp_path, *options, CI="true")
        assert replayed.returncode == 0, replayed.stdout + replayed.stderr
        assert not calls.exists()


def test_a_call_that_is_not_recorded_fails_under_ci(tmp_path: Path) -> None:
    calls = suite(tmp_path, LITELLM)
    replayed = run(tmp_path, "-k", "awaited", CI="true")
    assert replayed.returncode == 1
    assert "Nothing was called." in replayed.stdout
    assert not calls.exists()


def test_frameworks_can_be_left_alone(tmp_path: Path) -> None:
    calls = suite(tmp_path, LITELLM)
    for setting in ("none", "langchain"):
        ended = run(tmp_path, "-k", "awaited", "-o", f"chatcache_frameworks={setting}", CI="true")
        assert ended.returncode == 0, ended.stdout
    assert calls.stat().st_size == 2
    wrong = run(tmp_path, "-o", "chatcache_frameworks=llama")
    assert "chatcache_frameworks='llama': use auto, none, or some of litellm, langchain" in wrong.stderr

"""Suites that test their own caching: with the plugin the provider is replayed, and the caches do what they always do.

Each suite runs without the plugin, while it is recorded, and replayed under ``CI``. The provider is a file that counts
its calls.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

PROVIDER = """
import os

def count():
    with open(os.environ["CALLS"], "a") as file:
        file.write("x")
    return os.path.getsize(os.environ["CALLS"])
"""

STANDARD = """
import pytest
from langchain_chatcache import DOCache
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, tmp_path):
        return DOCache("app", path=tmp_path)

class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, tmp_path):
        return DOCache("app", path=tmp_path)
"""

ENGINE = """
import asyncio
import threading

import pytest
from provider import count

from chatcache import Refusal, ReplayMiss, ResponseCache, request_key

ONE = {"question": "why"}
shared = ResponseCache("shared")

def answer(_request):
    return {"answer": count()}

def test_the_second_call_is_a_hit():
    first, hits = shared.call(ONE, answer), []
    assert shared.call(ONE, answer, on_hit=hits.append) == first
    assert hits[0].age < 60
    assert (shared.stats().hits, shared.stats().misses, shared.stats().stores) == (1, 1, 1)

def test_each_test_begins_with_an_empty_cache():
    assert shared.stats().misses == 0
    with pytest.raises(ReplayMiss):
        shared.call(ONE, answer, mode="replay")
    assert shared.call(ONE, answer)

def test_clear_and_invalidate():
    first = shared.call(ONE, answer)
    shared.clear()
    second = shared.call(ONE, answer)
    shared.invalidate(ONE)
    third = shared.call(ONE, answer)
    assert len({each["answer"] for each in (first, second, third)}) == 3
    assert shared.call(ONE, answer) == third

def test_a_record_expires():
    time = [1_000_000_000.0]
    cache = ResponseCache("expiring", ttl=60, clock=lambda: time[0])
    first = cache.call(ONE, answer)
    time[0] += 59
    assert cache.call(ONE, answer) == first
    time[0] += 1
    assert cache.call(ONE, answer) != first

def test_modes():
    first = shared.call(ONE, answer, mode="off")
    second = shared.call(ONE, answer, mode="read_only")
    third = shared.call(ONE, answer, mode="refresh")
    assert len({each["answer"] for each in (first, second, third)}) == 3
    assert shared.call(ONE, answer, mode="replay") == third

def test_a_refused_answer_is_asked_for_again():
    def refuse(answer):
        return Refusal.LENGTH
    first = shared.call(ONE, answer, refuse=refuse)
    assert shared.call(ONE, answer, refuse=refuse) != first
    assert shared.stats().refusals == {Refusal.LENGTH: 2}

def test_the_least_recently_used_record_is_evicted():
    cache = ResponseCache("small", max_entries=2)
    first, second = cache.call([1], answer), cache.call([2], answer)
    assert cache.call([1], answer) == first
    cache.call([3], answer)
    assert cache.call([1], answer) == first
    assert cache.call([2], answer) != second
    assert cache.stats().evictions == 2

def test_one_call_is_shared_by_threads():
    said = []
    threads = [threading.Thread(target=lambda: said.append(shared.call(ONE, answer)["answer"])) for _ in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert len(set(said)) == 1

def test_one_call_is_shared_by_tasks():
    async def slowly(request):
        await asyncio.sleep(0)
        return answer(request)
    async def main():
        return await asyncio.gather(*(shared.acall(ONE, slowly) for _ in range(8)))
    assert len({each["answer"] for each in asyncio.run(main())}) == 1

def test_a_stream_is_found_again():
    def stream(_request):
        yield {"n": count()}
        yield {"n": count()}
    assert [*shared.stream(ONE, stream)] == [*shared.stream(ONE, stream)]

def test_two_caches_of_one_store_share_records_and_others_do_not():
    first = shared.call(ONE, answer)
    assert ResponseCache("shared").call(ONE, answer) == first
    assert ResponseCache("other").call(ONE, answer) != first

def test_a_look_up_after_an_update_finds_it():
    key = request_key(ONE)
    assert shared.lookup(key, ONE, lambda hit: hit.answer, asks_tape=False) is None
    assert shared.update(key, {"answer": 1}, is_provided=False)
    assert shared.lookup(key, ONE, lambda hit: hit.answer, asks_tape=False) == {"answer": 1}
    assert [hit.answer for hit, _story in shared.records()] == [{"answer": 1}]

def test_a_record_tells_its_story():
    shared.call({"model": "gpt"}, answer)
    story = shared.story(request_key({"model": "gpt"}))
    assert (story.model, story.request) == ("gpt", {"model": "gpt"})

def test_samples_are_asked_for_one_by_one(chatcache):
    said = []
    for number in range(3):
        with chatcache.sample(number):
            said.append(shared.call(ONE, answer)["answer"])
    assert len(set(said)) == 3
"""

LANGCHAIN = """
import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from langchain_chatcache import DOCache, cached
from langchain_core.caches import InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel, LLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
import time_machine
from provider import count

class Texts(LLM):
    @property
    def _llm_type(self):
        return "texts"
    def _call(self, prompt, stop=None, run_manager=None, **more):
        return f"answer {count()} to {prompt}"

class Chat(BaseChatModel):
    reason: str = "stop"
    @property
    def _llm_type(self):
        return "chat"
    def _generate(self, messages, stop=None, run_manager=None, **more):
        message = AIMessage(f"answer {count()}", response_metadata={"finish_reason": self.reason})
        return ChatResult(generations=[ChatGeneration(message=message)])

@pytest.fixture(params=[Texts(), Chat()], ids=["texts", "chat"])
def model(request):
    return request.param

def said(answer):
    return getattr(answer, "content", answer)

@pytest.fixture
def cache(tmp_path):
    cache = DOCache("app", path=tmp_path)
    set_llm_cache(cache)
    yield cache
    set_llm_cache(None)

def test_the_second_call_is_a_hit(model, cache):
    first = said(model.invoke("why"))
    assert said(model.invoke("why")) == first
    assert said(model.invoke("who")) != first
    assert (cache.engine.stats().hits, cache.engine.stats().stores) == (1, 2)

def test_it_is_so_in_async_code(model, cache):
    async def main():
        first = said(await model.ainvoke("why"))
        assert said(await model.ainvoke("why")) == first
    asyncio.run(main())

def test_clear(model, cache):
    first = said(model.invoke("why"))
    cache.clear()
    second = said(model.invoke("why"))
    assert first != second == said(model.invoke("why"))

def test_a_record_expires(model, tmp_path):
    cache = DOCache("app", path=tmp_path, ttl=60)
    set_llm_cache(cache)
    first = said(model.invoke("why"))
    assert said(model.invoke("why")) == first
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        assert said(model.invoke("why")) != first
    set_llm_cache(None)

def test_a_batch(model, cache):
    first = said(model.invoke("why"))
    assert [said(each) for each in model.batch(["why", "why"])] == [first, first]

def test_cached(tmp_path):
    model = cached(Chat(), DOCache("app", path=tmp_path))
    assert model.invoke("why").content == model.invoke("why").content

def test_a_cut_answer_is_asked_for_again(tmp_path):
    model = cached(Chat(reason="length"), DOCache("app", path=tmp_path))
    assert model.invoke("why").content != model.invoke("why").content
"""

LITELLM = """
import asyncio
from datetime import UTC, datetime, timedelta

import litellm
import pytest
from litellm_chatcache import DOCache, disable, enable
import time_machine
from provider import count

class Provider(litellm.CustomLLM):
    def completion(self, *args, **kwargs):
        reason = "length" if kwargs["model"] == "short" else "stop"
        return litellm.ModelResponse(
            choices=[{"message": {"role": "assistant", "content": f"answer {count()}"}, "finish_reason": reason}]
        )
    async def acompletion(self, *args, **kwargs):
        return self.completion(*args, **kwargs)

litellm.custom_provider_map = [{"provider": "local", "custom_handler": Provider()}]
litellm.suppress_debug_info = True

def ask(question="why", model="local/long", **more):
    return litellm.completion(model=model, messages=[{"role": "user", "content": question}], **more)

def said(response):
    return response.choices[0].message.content

@pytest.fixture(params=["set", "enabled"])
def cache(request, tmp_path):
    if request.param == "set":
        litellm.cache = DOCache("app", path=tmp_path)
    else:
        enable("app", path=tmp_path)
    yield litellm.cache
    disable()

def test_the_second_call_is_a_hit(cache):
    first, second = ask(), ask()
    assert said(first) == said(second)
    assert not first._hidden_params.get("cache_hit")
    assert second._hidden_params["cache_hit"] is True
    assert (cache.engine.stats().hits, cache.engine.stats().stores) == (1, 1)

def test_it_is_so_in_async_code(cache):
    async def main():
        messages = [{"role": "user", "content": "why"}]
        both = [await litellm.acompletion(model="local/long", messages=messages) for _ in range(2)]
        assert said(both[0]) == said(both[1])
        assert not both[0]._hidden_params.get("cache_hit")
        assert both[1]._hidden_params["cache_hit"] is True
    asyncio.run(main())

def test_clear(cache):
    first = ask()
    cache.engine.clear()
    second = ask()
    assert said(first) != said(second) == said(ask())

def test_a_record_expires(cache):
    first = ask(cache={"ttl": 60})
    assert said(ask()) == said(first)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=61)):
        assert said(ask()) != said(first)

def test_the_controls_of_a_call(cache):
    first = ask()
    assert said(ask(cache={"no-cache": True})) != said(first)
    assert said(ask(caching=False)) != said(first)
    assert said(ask(cache={"namespace": "other"})) != said(first)
    assert said(ask(cache={"mode": "refresh"})) != said(first)
    assert said(ask(cache={"s-maxage": 0})) != said(first)

def test_a_cut_answer_is_asked_for_again(cache):
    assert said(ask(model="local/short")) != said(ask(model="local/short"))

def test_a_stream_is_found_again(cache):
    def text(stream):
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    first = said(ask())
    assert text(ask(stream=True)) == text(ask(stream=True)) == first
"""


def run(
    folder: Path, *options: str, plugin: bool = True, is_warm: bool = True, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run the suite of a folder.

    Args:
        folder: where it is.
        options: further ones of pytest.
        plugin: whether ours is loaded.
        is_warm: whether in a fork of a process that has imported what takes long, or in a new one.
        more: variables of the environment.
    """
    plugins = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "-W", "ignore"]
    plugins += ["-p", "pytest_socket", "-p", "pytest_chatcache.plugin"] if plugin else ["-p", "no:chatcache"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CALLS": str(folder / "calls.txt"), **more}
    for name in ("CI", "PYTEST_ADDOPTS"):
        if name not in more:
            environment.pop(name, None)
    command = ["-m", "pytest", "-q", *plugins, *options]
    if is_warm:
        return warm.python(*command, cwd=folder, env=environment)
    command.insert(0, sys.executable)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("suite", [STANDARD, ENGINE, LANGCHAIN, LITELLM], ids=["standard", "engine", "chain", "lite"])
def test_a_suite_that_tests_its_own_caching_passes_while_it_is_recorded_and_under_ci(
    tmp_path: Path, suite: str
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "provider.py").write_text(PROVIDER)
    (tmp_path / "test_it.py").write_text(suite)
    if "chatcache.sample" not in suite:
        plain = run(tmp_path, plugin=False, CHATCACHE_DIR=str(tmp_path / "plain"))
        assert plain.returncode == 0, plain.stdout
    recorded = run(tmp_path, is_warm=suite is not LITELLM)
    assert recorded.returncode == 0, recorded.stdout
    calls = tmp_path / "calls.txt"
    calls.unlink(missing_ok=True)
    replayed = run(tmp_path, "--chatcache-strict", CI="true")
    assert replayed.returncode == 0, replayed.stdout
    assert not calls.exists()
    assert not (tmp_path / ".chatcache").exists()

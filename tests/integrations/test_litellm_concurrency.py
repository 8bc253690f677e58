"""Many at once: a thousand tasks, threads, several loops, processes; and one call for all who ask for the same."""

import asyncio
import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any

import litellm
import pytest
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
from provider import Provider

import litellm_chatcache
from chatcache import ResponseCache
from litellm_chatcache import DOCache
from tests import warm
from tests.integrations.endpoints import Endpoints, endpoints
from tests.integrations.gate import Gate, gate
from tests.under_way import leads_elsewhere, waiting
from tests.waiting import HANG, auntil

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
MANY = 12


@pytest.fixture
def call(provider: Provider) -> dict[str, Any]:
    return {
        "model": "openai/gpt-4o",
        "messages": MESSAGES,
        "api_base": provider.url,
        "api_key": "none",
        "max_retries": 0,
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DOCache:
    cache = DOCache("store", path=tmp_path)
    monkeypatch.setattr(litellm, "cache", cache)
    return cache


@pytest.fixture(params=["enable", "hook"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DOCache]:
    """A cache whose calls under way are shared, switched on in each of the two ways."""
    if request.param == "enable":
        yield litellm_chatcache.enable("store", path=tmp_path)
        litellm_chatcache.disable()
    else:
        cache = DOCache("store", path=tmp_path, single_flight=True)
        monkeypatch.setattr(litellm, "cache", cache)
        yield cache


@pytest.fixture
def gated(provider: Provider) -> Iterator[Gate]:
    with gate(provider) as placed:
        yield placed


def text(answer: Any) -> str:
    if isinstance(answer, list):
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    content: str = answer.choices[0].message.content
    return content


async def awaited(call: dict[str, Any], **more: Any) -> str:
    answer = await litellm.acompletion(**call, **more)
    return text([chunk async for chunk in answer] if more.get("stream") else answer)


def blocking(call: dict[str, Any], **more: Any) -> str:
    answer = litellm.completion(**call, **more)
    return text(list(answer) if more.get("stream") else answer)


async def test_a_thousand_hits_at_once(cache: DOCache, provider: Provider, call: dict[str, Any]) -> None:
    recorded = await awaited(call)
    assert {*await asyncio.gather(*(awaited(call) for _ in range(1000)))} == {recorded}
    assert provider.calls == 1
    assert cache.engine.stats().hits == 1000


async def test_hits_from_threads(cache: DOCache, provider: Provider, call: dict[str, Any]) -> None:
    recorded = blocking(call)
    with ThreadPoolExecutor(16) as threads:
        got = [*threads.map(lambda stream: blocking(call, stream=stream), [False, True] * 100)]
    assert {*got} == {recorded}
    assert provider.calls == 1


async def test_hits_from_several_loops(
    cache: DOCache, provider: Provider, call: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = blocking(call)
    # LiteLLM logs with one worker for all loops, which raises a RuntimeError where two of them begin at once
    monkeypatch.setattr(
        GLOBAL_LOGGING_WORKER, "ensure_initialized_and_enqueue", lambda async_coroutine: async_coroutine.close()
    )

    async def some() -> list[str]:
        return await asyncio.gather(*(awaited(call) for _ in range(25)))

    with ThreadPoolExecutor(4) as threads:
        for got in threads.map(lambda _: asyncio.run(some()), range(4)):
            assert {*got} == {recorded}
    assert provider.calls == 1


@pytest.fixture
def others() -> Iterator[Endpoints]:
    with endpoints() as running:
        yield running


@pytest.mark.parametrize("kind", ["completion", "stream", "embedding", "responses", "text_completion"])
async def test_a_loop_that_ends_right_after_a_call_loses_no_record(
    cache: DOCache, provider: Provider, others: Endpoints, call: dict[str, Any], kind: str
) -> None:
    """As ``asyncio.run`` does, in a process or in a thread."""
    asked: dict[str, dict[str, Any]] = {
        "embedding": {"model": "openai/m", "input": ["a", "b"]},
        "responses": {"model": "openai/m", "input": "Why?"},
        "text_completion": {"model": "text-completion-openai/m", "prompt": "Why?"},
    }

    async def once() -> None:
        if kind in asked:
            await getattr(litellm, f"a{kind}")(**asked[kind], api_base=others.url, api_key="none")
        else:
            await awaited(call, stream=kind == "stream")

    for _ in range(2):
        await asyncio.to_thread(lambda: asyncio.run(once()))
    assert provider.calls + others.calls.total() == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_tasks_that_ask_at_once_share_a_call(
    shared: DOCache, provider: Provider, call: dict[str, Any], gated: Gate, *, stream: bool
) -> None:
    tasks = [asyncio.create_task(awaited(call, stream=stream)) for _ in range(MANY)]
    await auntil(lambda: gated.arrived and waiting(shared.engine) >= MANY - 1)
    gated.opened.set()
    assert len({*await asyncio.wait_for(asyncio.gather(*tasks), HANG)}) == 1
    assert (gated.arrived, provider.calls) == (1, 1)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_threads_that_ask_at_once_share_a_call(
    shared: DOCache, provider: Provider, call: dict[str, Any], gated: Gate, *, stream: bool
) -> None:
    with ThreadPoolExecutor(MANY) as threads:
        asked = [threads.submit(blocking, call, stream=stream) for _ in range(MANY)]
        await auntil(lambda: gated.arrived and waiting(shared.engine) >= MANY - 1)
        gated.opened.set()
        assert len({each.result(HANG) for each in asked}) == 1
    assert (gated.arrived, provider.calls) == (1, 1)


async def test_without_it_each_calls(cache: DOCache, call: dict[str, Any], gated: Gate) -> None:
    tasks = [asyncio.create_task(awaited(call)) for _ in range(MANY)]
    await auntil(lambda: gated.arrived == MANY)
    gated.opened.set()
    await asyncio.gather(*tasks)


async def test_all_who_wait_get_the_error_of_a_leader_that_fails(
    shared: DOCache, provider: Provider, call: dict[str, Any], gated: Gate
) -> None:
    gated.refusals.append(429)
    tasks = [asyncio.create_task(awaited(call)) for _ in range(MANY)]
    await auntil(lambda: gated.arrived and waiting(shared.engine) >= MANY - 1)
    gated.opened.set()
    failed = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), HANG)
    assert {type(each).__name__ for each in failed} == {"RateLimitError"}
    assert gated.arrived == 1
    assert await awaited(call)
    assert provider.calls == 1


async def test_where_a_leader_is_cancelled_another_one_leads(
    shared: DOCache, provider: Provider, call: dict[str, Any], gated: Gate
) -> None:
    leader = asyncio.create_task(awaited(call))
    await auntil(lambda: gated.arrived)
    others = [asyncio.create_task(awaited(call)) for _ in range(MANY)]
    await auntil(lambda: waiting(shared.engine) >= MANY)
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
    del leader
    gc.collect()
    await auntil(lambda: gated.arrived == 2)
    gated.opened.set()
    assert len({*await asyncio.wait_for(asyncio.gather(*others), HANG)}) == 1
    assert gated.arrived == 2


async def test_where_a_leader_leaves_its_stream_another_one_leads(
    shared: DOCache, provider: Provider, call: dict[str, Any]
) -> None:
    stream = await litellm.acompletion(**call, stream=True)
    await anext(stream)
    other = asyncio.get_running_loop().create_task(awaited(call, stream=True), context=Context())  # no part of the call
    await auntil(lambda: waiting(shared.engine))
    del stream
    gc.collect()
    assert await asyncio.wait_for(other, HANG)
    assert provider.calls == 2


ASKS = """
import sys, litellm, litellm_chatcache
from pathlib import Path
from tests.waiting import until
litellm_chatcache.enable("store", path=sys.argv[1])
Path(f"ready {sys.argv[3]}").touch()
until(Path("begin").exists)
answer = litellm.completion(
    model="openai/gpt-4o", messages=[{"role": "user", "content": "Why is the sky blue?"}], api_base=sys.argv[2],
    api_key="none",
)
print(answer.choices[0].message.content)
litellm_chatcache.disable()
"""


async def test_processes_that_ask_at_once_share_a_call(tmp_path: Path, provider: Provider, gated: Gate) -> None:
    def ask(name: str) -> str:
        return warm.python("-c", ASKS, str(tmp_path), provider.url, name, cwd=tmp_path).stdout

    asking = [asyncio.create_task(asyncio.to_thread(ask, name)) for name in "abc"]
    await auntil(lambda: len([*tmp_path.glob("ready *")]) == len(asking))
    (tmp_path / "begin").touch()
    here = ResponseCache("store", path=tmp_path)
    await auntil(lambda: gated.arrived and leads_elsewhere(here))
    gated.opened.set()
    answers = await asyncio.gather(*asking)
    assert len({*answers}) == 1
    assert answers[0]
    assert (gated.arrived, provider.calls) == (1, 1)


async def test_switching_it_off_undoes_all_of_it(tmp_path: Path, provider: Provider, call: dict[str, Any]) -> None:
    before = litellm.completion, litellm.acompletion, litellm.cache
    litellm_chatcache.enable("store", path=tmp_path)
    litellm_chatcache.enable("store", path=tmp_path)
    assert litellm.completion is not before[0]
    litellm_chatcache.disable()
    assert (litellm.completion, litellm.acompletion, litellm.cache) == before
    for _ in range(2):
        blocking(call)
    assert provider.calls == 2

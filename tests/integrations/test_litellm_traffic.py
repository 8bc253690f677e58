"""Every recorded exchange through real LiteLLM: without a cache, recording, replayed."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import litellm
import pytest
import pytest_asyncio
from litellm.llms.custom_httpx.async_client_cleanup import close_litellm_async_clients

from chatcache import Mode
from litellm_chatcache import DOCache
from tests.integrations.traffic import Upstream, exchanges, upstream

__all__ = ["upstream"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGES = exchanges()
NOT_OPENAIS = ("models", "moderation", "provider", "reasoning", "thinking", "transforms")
"""Parameters of other providers, which LiteLLM sends on in the body when asked so."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _close_clients() -> AsyncIterator[None]:
    yield
    await close_litellm_async_clients()


Ask = Callable[[dict[str, Any]], Coroutine[Any, Any, Any]]


def arguments(number: int, upstream: Upstream) -> dict[str, Any]:
    request = dict(EXCHANGES[number]["request"], model=f"openai/rec-{number}")
    extra = {name: request.pop(name) for name in NOT_OPENAIS if name in request}
    return {**request, "extra_body": extra, "api_base": upstream.url, "api_key": "none", "max_retries": 0}


async def blocking(arguments: dict[str, Any]) -> Any:
    answer = litellm.completion(**arguments)
    return list(answer) if arguments["stream"] else answer


async def awaiting(arguments: dict[str, Any]) -> Any:
    answer = await litellm.acompletion(**arguments)
    return [chunk async for chunk in answer] if arguments["stream"] else answer


def seen(answer: Any, arguments: dict[str, Any]) -> Any:
    """What a caller sees of an answer, apart from ids, times, and where a stream was cut into chunks."""
    if not arguments["stream"]:
        return _without_marks(answer.model_dump(exclude_none=True))
    assembled = litellm.stream_chunk_builder(answer, messages=arguments["messages"])
    assert assembled is not None
    usage = getattr(answer[-1], "usage", None) or answer[-1]._hidden_params.get("usage")
    return {
        "assembled": _without_marks(assembled.model_dump(exclude_none=True)),
        "text": "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices),
        "finish_reasons": [
            each.choices[0].finish_reason for each in answer if each.choices if each.choices[0].finish_reason
        ],
        "usage": usage.model_dump(exclude_none=True) if usage else None,
    }


def _without_marks(dumped: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in dumped.items() if name not in ("id", "created")}


async def outcome(ask: Ask, arguments: dict[str, Any]) -> tuple[str, Any]:
    """What a caller gets: an answer, or an error of some class and status, with the first line of its message."""
    try:
        return "answer", seen(await ask(arguments), arguments)
    except Exception as error:  # noqa: BLE001 - whatever a caller would get
        return type(error).__name__, (getattr(error, "status_code", None), str(error).split("\n")[0])


@pytest.mark.parametrize("ask", [blocking, awaiting])
@pytest.mark.parametrize("number", range(len(EXCHANGES)))
async def test_a_replay_equals_the_uncached_answer(
    number: int, ask: Ask, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = arguments(number, upstream)
    uncached = await outcome(ask, request)

    cache = DOCache("traffic", path=tmp_path, allow=("length", "content_filter", "empty"))
    monkeypatch.setattr(litellm, "cache", cache)
    recorded = await outcome(ask, request)
    assert recorded == uncached

    calls = upstream.calls
    if uncached[0] == "answer":
        cache.engine.mode = Mode.REPLAY
    assert await outcome(ask, request) == uncached
    if uncached[0] == "answer":
        assert upstream.calls == calls
    assert cache.engine.stats().bypasses == 0
    COVERED[ask.__name__, uncached[0] == "answer"] += 1


COVERED: Counter[tuple[str, bool]] = Counter()


async def test_no_exchange_dropped_out() -> None:
    """Of the 11 that fail uncached, 3 are recorded errors, 4 LiteLLM refuses itself, and 4 are no OpenAI answers."""
    if COVERED.total() < 2 * len(EXCHANGES) or not EXCHANGES:
        pytest.skip("not all of the exchanges were run")
    assert COVERED == {
        ("blocking", True): 98,
        ("blocking", False): 11,
        ("awaiting", True): 98,
        ("awaiting", False): 11,
    }

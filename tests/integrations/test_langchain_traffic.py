"""Every recorded exchange through the real ChatOpenAI: without a cache, recording, replayed."""

from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from chatcache import Mode
from langchain_chatcache import DOCache
from tests.integrations.traffic import Upstream, exchanges, upstream

__all__ = ["upstream"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXCHANGES = exchanges()
NOT_OPENAIS = ("models", "moderation", "provider", "reasoning", "thinking", "transforms")
"""Parameters of other providers, which ChatOpenAI sends on in the body when asked so."""

Ask = Callable[[ChatOpenAI, list[BaseMessage], dict[str, Any]], Coroutine[Any, Any, BaseMessage]]


async def blocking(model: ChatOpenAI, messages: list[BaseMessage], arguments: dict[str, Any]) -> BaseMessage:
    return model.invoke(messages, **arguments)


async def awaiting(model: ChatOpenAI, messages: list[BaseMessage], arguments: dict[str, Any]) -> BaseMessage:
    return await model.ainvoke(messages, **arguments)


def request(number: int) -> tuple[list[BaseMessage], dict[str, Any]]:
    """Return the messages of an exchange, and its other arguments."""
    body = {name: value for name, value in EXCHANGES[number]["request"].items() if name not in ("model", "stream")}
    messages = [{"content": "", **_said(message)} for message in body.pop("messages")]
    extra = {name: body.pop(name) for name in NOT_OPENAIS if name in body}
    return convert_to_messages(messages), {**body, "extra_body": extra}


def _said(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if value is not None}


def seen(message: BaseMessage) -> dict[str, Any]:
    """What a caller sees of an answer, apart from its id, and the cost of nothing that LangChain adds to a hit."""
    fields = {"class": type(message).__name__, **message.model_dump(exclude={"id"})}
    if isinstance(message, AIMessage):
        usage = {**(message.usage_metadata or {})}
        usage.pop("total_cost", None)
        fields["usage_metadata"] = usage
    return fields


async def outcome(ask: Ask, model: ChatOpenAI, number: int) -> tuple[str, Any]:
    """What a caller gets: an answer, or an error."""
    try:
        return "answer", seen(await ask(model, *request(number)))
    except Exception as error:  # noqa: BLE001 - whatever a caller would get
        return type(error).__name__, (getattr(error, "status_code", None), str(error))


@pytest.mark.parametrize("ask", [blocking, awaiting])
@pytest.mark.parametrize("number", range(len(EXCHANGES)))
async def test_a_replay_equals_the_uncached_answer(number: int, ask: Ask, upstream: Upstream, tmp_path: Path) -> None:
    def model(cache: DOCache | Literal[False]) -> ChatOpenAI:
        return ChatOpenAI(
            model=f"rec-{number}",
            base_url=upstream.url,
            api_key=SecretStr("none"),
            max_retries=0,
            streaming=EXCHANGES[number]["stream"],
            cache=cache,
        )

    uncached = await outcome(ask, model(cache=False), number)

    cache = DOCache("traffic", path=tmp_path, allow=("length", "content_filter", "empty"))
    assert await outcome(ask, model(cache), number) == uncached

    calls = upstream.calls
    if uncached[0] == "answer":
        cache.engine.mode = Mode.REPLAY
    assert await outcome(ask, model(cache), number) == uncached
    if uncached[0] == "answer":
        assert upstream.calls == calls
    assert cache.engine.stats().bypasses == 0
    COVERED[ask.__name__, uncached[0] == "answer"] += 1


COVERED: Counter[tuple[str, bool]] = Counter()


async def test_no_exchange_dropped_out() -> None:
    """Of the 10 that fail uncached, 3 are recorded errors, 4 are refused by ChatOpenAI itself, and 3 hold no answer."""
    if COVERED.total() < 2 * len(EXCHANGES) or not EXCHANGES:
        pytest.skip("not all of the exchanges were run")
    assert COVERED == {
        ("blocking", True): 99,
        ("blocking", False): 10,
        ("awaiting", True): 99,
        ("awaiting", False): 10,
    }

"""LiteLLM's own tests of cached Anthropic messages, of llms/anthropic/experimental_pass_through/messages/
test_response_cache.py; see test_litellm_contract.py.

As there, the provider is a function, so that a test says how the bytes of a stream are cut.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import litellm
import pytest

from litellm_chatcache import DOCache
from tests.integrations.asking import cache

__all__ = ["cache"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL: dict[str, Any] = {
    "model": "anthropic/claude-sonnet-4-5",
    "custom_llm_provider": "anthropic",
    "api_key": "none",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "which greek letter?"}],
}
BEGIN = (
    b'event: message_start\ndata: {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": '
    b'"assistant", "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "usage": {"input_tokens": 10, '
    b'"output_tokens": 0}}}\n\n'
)
BLOCK = (
    b'event: content_block_start\ndata: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", '
    b'"text": ""}}\n\n'
)
TEXT = (
    'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", '
    '"text": "ALPHA €"}}\n\n'
).encode()
BLOCK_END = b'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n'
DELTA = (
    b'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": '
    b'{"output_tokens": 3}}\n\n'
)
STOP = b'event: message_stop\ndata: {"type": "message_stop"}\n\n'
ERROR = b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}}\n\n'
WHOLE = [BEGIN, BLOCK, TEXT, BLOCK_END, DELTA, STOP]
EURO = TEXT.index("€".encode())


def message(text: str) -> dict[str, Any]:
    return {
        "id": f"msg_{text}",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 3},
    }


class Upstream:
    """Answers with messages ``1``, ``2``, and so on; a stream comes in the pieces that are next in `streams`."""

    def __init__(self) -> None:
        self.calls = 0
        self.streams: list[list[bytes]] = []

    def __call__(self, *_args: Any, **arguments: Any) -> Any:
        self.calls += 1
        return self.pieces(self.streams.pop(0)) if arguments.get("stream") else message(str(self.calls))

    async def pieces(self, pieces: list[bytes]) -> AsyncIterator[bytes]:
        for each in pieces:
            yield each


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    upstream = Upstream()
    inside = inspect.unwrap(litellm.anthropic_messages).__globals__
    monkeypatch.setitem(inside, "anthropic_messages_handler", upstream)
    return upstream


async def ask(**arguments: Any) -> Any:
    return await litellm.anthropic_messages(**CALL, **arguments)


async def heard(**arguments: Any) -> list[bytes]:
    return [piece async for piece in await ask(stream=True, **arguments)]


async def test_a_message_is_replayed(cache: DOCache, upstream: Upstream) -> None:
    """It is test_non_streaming_request_is_served_from_cache, and
    test_native_messages_share_the_configured_response_cache.
    """
    first, second = await ask(), await ask()
    assert first == second == message("1")
    assert upstream.calls == 1


@pytest.mark.parametrize("otherwise", [{"system": "answer BETA"}, {"top_k": 5}, {"stop_sequences": ["STOP"]}], ids=str)
async def test_what_only_anthropic_has_counts(cache: DOCache, upstream: Upstream, otherwise: dict[str, Any]) -> None:
    """It is test_cache_key_separates_different_system_prompts, test_cache_key_separates_anthropic_native_params."""
    first, second = await ask(system="answer ALPHA"), await ask(**{"system": "answer ALPHA", **otherwise})
    assert first != second
    assert upstream.calls == 2


async def test_no_cache_replaces_what_is_stored(cache: DOCache, upstream: Upstream) -> None:
    """It is test_native_messages_no_cache_replaces_stored_response."""
    first, refreshed, cached = await ask(), await ask(cache={"no-cache": True}), await ask()
    assert first != refreshed == cached
    assert upstream.calls == 2


async def test_a_stream_is_replayed_byte_by_byte(cache: DOCache, upstream: Upstream) -> None:
    """It is test_streaming_request_is_replayed_from_cache, and
    test_native_messages_stream_is_replayed_from_the_configured_cache.
    """
    upstream.streams = [WHOLE]
    assert await heard() == WHOLE
    stream = await ask(stream=True)
    assert [piece async for piece in stream] == WHOLE
    assert stream._hidden_params["cache_hit"] is True
    assert upstream.calls == 1


async def test_a_stream_may_be_cut_anywhere(cache: DOCache, upstream: Upstream) -> None:
    """It is test_message_stop_split_across_chunks_still_caches."""
    pieces = [*WHOLE[:-1], STOP[:10], STOP[10:]]
    upstream.streams = [pieces]
    assert await heard() == await heard() == pieces
    assert upstream.calls == 1


async def test_a_stream_answers_a_call_that_does_not_stream(cache: DOCache, upstream: Upstream) -> None:
    """It is test_streaming_cache_is_not_shared_with_non_streaming, which asks for the contrary: there a stream is of no
    use to a call that does not stream.
    """
    upstream.streams = [WHOLE]
    await heard()
    answer = await ask()
    assert answer["content"] == [{"type": "text", "text": "ALPHA €"}]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("end_turn", 3)
    assert upstream.calls == 1


async def test_a_stream_that_fails_is_not_stored(cache: DOCache, upstream: Upstream) -> None:
    """It is test_failed_stream_is_not_cached."""
    failed = [BEGIN, BLOCK, TEXT, ERROR]
    upstream.streams = [failed, WHOLE]
    assert await heard() == failed
    assert await heard() == await heard() == WHOLE
    assert upstream.calls == 2


async def test_an_abandoned_stream_is_not_stored(cache: DOCache, upstream: Upstream) -> None:
    """It is test_abandoned_stream_is_not_cached."""
    upstream.streams = [WHOLE, WHOLE]
    stream = await ask(stream=True)
    assert await anext(stream) == BEGIN
    await stream.aclose()
    assert await heard() == WHOLE
    assert upstream.calls == 2


async def test_a_stream_that_is_over_is_over(cache: DOCache, upstream: Upstream) -> None:
    """It is test_cached_stream_replay_logs_once_when_polled_after_exhaustion."""
    upstream.streams = [WHOLE]
    await heard()
    stream = await ask(stream=True)
    assert [piece async for piece in stream] == WHOLE
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


# FAULTS


async def test_a_character_may_be_cut_in_two(cache: DOCache, upstream: Upstream) -> None:
    """It is test_multibyte_utf8_split_across_chunks_streams_and_caches."""
    pieces = [BEGIN, BLOCK, TEXT[: EURO + 1], TEXT[EURO + 1 :], BLOCK_END, DELTA, STOP]
    upstream.streams = [pieces]
    assert await heard() == pieces
    assert b"".join(await heard()) == b"".join(pieces)
    assert upstream.calls == 1


async def test_a_stream_with_an_error_in_it_is_not_stored(cache: DOCache, upstream: Upstream) -> None:
    """It is test_error_event_split_across_chunks_is_not_cached."""
    failed = [BEGIN, BLOCK, TEXT, ERROR[:8], ERROR[8:], BLOCK_END, DELTA, STOP]
    upstream.streams = [failed, WHOLE]
    assert await heard() == failed
    assert await heard() == WHOLE
    assert upstream.calls == 2

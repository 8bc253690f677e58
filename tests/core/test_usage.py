"""What answers of providers say of themselves, in every shape that is known, and that anything else says nothing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from chatcache.cache.usage import model_of, tokens_of, usage_of

CHAT = {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 43, "completion_tokens": 9, "total_tokens": 52}}
COMPLETION = {"model": "davinci", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
RESPONSE = {"model": "gpt-4.1", "output": [], "usage": {"input_tokens": 329, "output_tokens": 12, "total_tokens": 341}}
EMBEDDINGS = {"model": "ada", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}
MESSAGE = {
    "model": "claude",
    "content": [],
    "usage": {
        "input_tokens": 3,
        "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 100},
        "output_tokens": 4,
        "service_tier": "standard",
    },
}
GEMINI = {
    "modelVersion": "gemini-2.5",
    "candidates": [],
    "usageMetadata": {
        "promptTokenCount": 9,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 5,
        "totalTokenCount": 34,
    },
}
CHAT_STREAM = [
    {"model": "gpt-4o", "choices": [{"delta": {"content": "4"}}], "usage": None},
    {"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 13, "completion_tokens": 11, "total_tokens": 24}},
]
RESPONSE_STREAM = [
    {"type": "response.created", "response": {"model": "gpt-4.1", "usage": None}},
    {"type": "response.output_text.delta", "delta": "4"},
    {"type": "response.completed", "response": {"model": "gpt-4.1", "usage": {"total_tokens": 24}}},
]
MESSAGE_STREAM = [
    {
        "type": "message_start",
        "message": {
            "model": "claude",
            "usage": {"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 1},
        },
    },
    {"type": "content_block_delta", "delta": {"text": "4"}},
    {"type": "message_delta", "delta": {}, "usage": {"input_tokens": None, "output_tokens": 200}},
]
GEMINI_STREAM = [
    {"modelVersion": "gemini-2.5", "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}},
    {"modelVersion": "gemini-2.5", "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 30}},
]


@pytest.mark.parametrize(
    ("answer", "model", "tokens"),
    [
        pytest.param(CHAT, "gpt-4o", 52, id="chat completion"),
        pytest.param(COMPLETION, "davinci", 12, id="completion without a total"),
        pytest.param(RESPONSE, "gpt-4.1", 341, id="response"),
        pytest.param(EMBEDDINGS, "ada", 8, id="embeddings"),
        pytest.param(MESSAGE, "claude", 127, id="message"),
        pytest.param(GEMINI, "gemini-2.5", 34, id="Gemini"),
        pytest.param(CHAT_STREAM, "gpt-4o", 24, id="stream of a chat completion"),
        pytest.param(RESPONSE_STREAM, "gpt-4.1", 24, id="stream of a response"),
        pytest.param(MESSAGE_STREAM, "claude", 300, id="stream of a message"),
        pytest.param(GEMINI_STREAM, "gemini-2.5", 30, id="stream of Gemini"),
    ],
)
def test_an_answer_says_which_model_it_is_from_and_how_many_tokens_it_took(
    answer: Any, model: str, tokens: int
) -> None:
    assert (model_of(answer), tokens_of(answer)) == (model, tokens)


def test_a_usage_is_given_as_the_provider_states_it() -> None:
    assert usage_of(MESSAGE) == MESSAGE["usage"]
    assert usage_of(MESSAGE_STREAM) == {"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 200}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        b"bytes",
        7,
        [],
        {},
        [None, 1, ["usage"], {"message": None}],
        {"usage": None, "model": None},
        {"usage": [], "model": {}, "message": "hello", "response": [1]},
        {"usage": {}, "model": ""},
    ],
)
def test_anything_else_says_nothing(answer: Any) -> None:
    assert (usage_of(answer), tokens_of(answer), model_of(answer)) == (None, 0, None)


@pytest.mark.parametrize("count", [None, "7", 7.5, -1, True, float("nan"), {}])
def test_what_is_no_count_is_not_counted(count: Any) -> None:
    assert tokens_of({"usage": {"total_tokens": count, "input_tokens": count, "output_tokens": 3}}) == 3


TRAFFIC = Path(__file__).parents[3] / "shared" / "traffic"


@pytest.mark.skipif(not TRAFFIC.is_dir(), reason="no recorded traffic of providers beside the clone")
@pytest.mark.parametrize(("kind", "silent"), [("chat_completions", 5), ("messages", 0), ("responses", 5)])
def test_recorded_answers_say_it_unless_they_are_errors_or_not_ready(kind: str, silent: int) -> None:
    exchanges = [json.loads(line) for line in (TRAFFIC / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()]
    without = [each for each in exchanges if not (model_of(_answer(each)) and tokens_of(_answer(each)))]
    assert len(without) == silent
    assert [each for each in without if re.search(r'"(total|output)_?[tT]okens": *[1-9]', each["body"])] == []


def _answer(exchange: dict[str, Any]) -> Any:
    if not exchange["stream"]:
        return json.loads(exchange["body"])
    events = [line.removeprefix("data:").strip() for line in exchange["body"].splitlines() if line.startswith("data:")]
    return [json.loads(event) for event in events if event != "[DONE]"]

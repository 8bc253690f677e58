"""LiteLLM's chat completions as records, and back. Pure."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import litellm
import orjson
from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices, Usage

from chatcache import Refusal

__all__ = ["chunks_of", "cost_of", "from_record", "refusal_of", "to_record"]

_WORDS = re.compile(r"\s*\S+\s*|\s+")
_SAID_ONCE = ("choices", "object", "usage")


def to_record(result: Any) -> dict[str, Any]:
    """Return a chat completion as a JSON value; LiteLLM passes it as an object, or as JSON.

    Raises:
        ValueError: it is neither.
    """
    match result:
        case ModelResponse():
            record: dict[str, Any] = result.model_dump(mode="json")
        case str():
            record = orjson.loads(result)
        case _:
            raise ValueError(f"LiteLLM handed over a {type(result).__name__} to keep, which is no chat completion")
    return record


def from_record(record: Any) -> ModelResponse:
    """Return the chat completion of a record, a new object.

    Raises:
        Exception: any at all, where the record is not what `to_record` writes.
    """
    return ModelResponse(**record)


def chunks_of(response: ModelResponse, *, with_usage: bool) -> Iterator[ModelResponseStream]:
    """Yield a chat completion as a stream does: everything is in it but the boundaries, which LiteLLM keeps nowhere.

    For each choice: the reasoning and whatever else is said in one piece, the content word by word, the tool calls, the
    reason to finish. The usage comes in a chunk of its own, if it was asked for, and else hidden in the last one, as
    LiteLLM does it.
    """
    record = response.model_dump()
    head = {name: value for name, value in record.items() if name not in _SAID_ONCE}
    usage = Usage(**record["usage"]) if record.get("usage") else None
    last = None
    for choice in record["choices"]:
        for delta in _deltas(choice["message"]):
            yield _chunk(head, choice["index"], delta)
        last = _chunk(head, choice["index"], Delta(), choice["finish_reason"], choice.get("logprobs"))
        if usage is not None and not with_usage:
            last._hidden_params["usage"] = usage  # noqa: SLF001 - where LiteLLM's users find it
        yield last
    if usage is not None and with_usage:
        yield ModelResponseStream(**head, choices=[], usage=usage)


def cost_of(record: dict[str, Any], model: str | None) -> float | None:
    """Return what a chat completion cost in US dollars by LiteLLM's prices, or None where it knows none.

    Args:
        record: the completion.
        model: the model that was asked for; providers answer by names that LiteLLM may not know.
    """
    asked = model or ""
    for name in (asked, asked.partition("/")[2], record.get("model")):
        if name in litellm.model_cost:  # LiteLLM prints something where it knows no provider of a name
            with suppress(Exception):  # a plain one, where it knows no price
                return litellm.completion_cost(completion_response=record, model=name) or None
    return None


def refusal_of(record: dict[str, Any]) -> Refusal | None:
    """Return why a chat completion is not worth keeping, if it is not."""
    choices = record.get("choices") or []
    reasons = {choice.get("finish_reason") for choice in choices}
    if "length" in reasons:
        return Refusal.LENGTH
    if "content_filter" in reasons:
        return Refusal.CONTENT_FILTER
    return None if any(_holds_something(choice.get("message") or {}) for choice in choices) else Refusal.EMPTY


def _holds_something(message: dict[str, Any]) -> bool:
    said = {name: value for name, value in message.items() if name != "role"}
    said.update(said.pop("provider_specific_fields", None) or {})
    return any(said.values())


def _deltas(message: dict[str, Any]) -> Iterator[Delta]:
    content, calls = message.pop("content", None), message.pop("tool_calls", None)
    yield Delta(**message, content=None if content is None else "")
    for piece in _WORDS.findall(content or ""):
        yield Delta(content=piece)
    if calls:
        yield Delta(tool_calls=[{**call, "index": index} for index, call in enumerate(calls)])


def _chunk(
    head: dict[str, Any], index: int, delta: Delta, finish_reason: str | None = None, logprobs: Any = None
) -> ModelResponseStream:
    choice = StreamingChoices(index=index, delta=delta, finish_reason=finish_reason, logprobs=logprobs)
    return ModelResponseStream(**head, choices=[choice])

"""Chat completions."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import litellm
from litellm.types.utils import Delta, ModelResponse, ModelResponseStream, StreamingChoices, Usage

from chatcache import Refusal

from .base import JSON, Kind, Streamed, dumped

__all__ = ["CHAT", "HIDDEN_USAGE", "refusal_of_choices"]

HIDDEN_USAGE = "hidden_usage"
"""Where the record of a chunk has the tokens that LiteLLM hides in it for who did not ask for them."""

_HIDDEN_TOO = "vertex_ai_"
_WORDS = re.compile(r"\s*\S+\s*|\s+")
_SAID_ONCE = ("choices", "object", "usage")
_CONTINUED = {"content", "reasoning", "reasoning_content", "refusal", "text"}
_OF_A_DELTA = ("message", "delta")
_OF_A_STREAM = (*_SAID_ONCE, HIDDEN_USAGE, "obfuscation")


class _Chat(Kind):
    name = "chat completions"
    functions = ("completion", "acompletion")
    model = ModelResponse

    def answer(self, record: JSON) -> ModelResponse:
        answer: ModelResponse = super().answer(record)
        for choice, each in zip(answer.choices, record["choices"], strict=True):
            if "logprobs" in each and "logprobs" not in vars(choice):
                choice.logprobs = None  # as LiteLLM has it where the provider said null
        beside = {name: value for name, value in record.items() if value and name.startswith(_HIDDEN_TOO)}
        answer._hidden_params.update(beside)  # noqa: SLF001 - where LiteLLM's users find it, too
        return answer

    def refusal(self, record: JSON) -> Refusal | None:
        return refusal_of_choices(record, lambda choice: _holds_something(choice.get("message") or {}))


class _Chunks(Streamed):
    def chunk_record(self, chunk: Any) -> JSON:
        record = dumped(chunk)
        self.complete(record, chunk)
        return record

    def complete(self, record: JSON, chunk: Any) -> None:
        usage = chunk._hidden_params.get("usage")  # noqa: SLF001 - where LiteLLM's users find it
        if usage is not None:
            record[HIDDEN_USAGE] = dumped(usage)

    def chunk(self, record: JSON) -> ModelResponseStream:
        usage = record.get(HIDDEN_USAGE)
        if usage is None:
            return ModelResponseStream(**record)
        chunk = ModelResponseStream(**{name: value for name, value in record.items() if name != HIDDEN_USAGE})
        chunk._hidden_params["usage"] = Usage(**usage)  # noqa: SLF001 - as above
        return chunk

    def ended(self, records: Sequence[JSON]) -> bool:
        return any(choice.get("finish_reason") for each in records for choice in each["choices"])

    def whole(self, records: Sequence[JSON]) -> JSON:
        usage = self.usage(records)
        whole = litellm.stream_chunk_builder([self.chunk(each) for each in records])
        if not isinstance(whole, ModelResponse):
            raise ValueError("LiteLLM makes no answer of the chunks")  # noqa: TRY004 - the record is the fault
        record = dumped(whole)
        if usage is not None:
            record["usage"] = usage
        return _completed(record, records)

    def chunks(self, record: JSON, *, with_usage: bool) -> Sequence[ModelResponseStream]:
        return [*_chunks(record, with_usage=with_usage)]

    def usage(self, records: Sequence[JSON]) -> Any:
        """Return what is hidden in a chunk, since LiteLLM may show less of it, under what is shown."""
        told = super().usage(records)
        hidden = next((each[HIDDEN_USAGE] for each in reversed(records) if HIDDEN_USAGE in each), None)
        if told is None or hidden is None:
            return told or hidden
        return {**hidden, **{name: value for name, value in told.items() if value is not None}}


CHAT = _Chat()
CHAT.streams = _Chunks()


def refusal_of_choices(record: JSON, holds_something: Any) -> Refusal | None:
    """Return why an answer that consists of choices is not worth keeping, if it is not."""
    choices = record.get("choices") or []
    reasons = {choice.get("finish_reason") for choice in choices}
    if "length" in reasons:
        return Refusal.LENGTH
    if "content_filter" in reasons:
        return Refusal.CONTENT_FILTER
    return None if any(holds_something(choice) for choice in choices) else Refusal.EMPTY


def _chunks(record: JSON, *, with_usage: bool) -> Iterator[ModelResponseStream]:
    """Yield a chat completion as a stream does: everything is in it but the boundaries.

    For each choice: the reasoning and whatever else is said in one piece, the content word by word, the tool calls, the
    reason to finish. The usage comes in a chunk of its own, if it was asked for, and else hidden in the last one, as
    LiteLLM does it.
    """
    head = {name: value for name, value in record.items() if name not in _SAID_ONCE}
    usage = Usage(**record["usage"]) if record.get("usage") else None
    for choice in record["choices"]:
        for delta in _deltas(dict(choice["message"])):
            yield _chunk(head, choice["index"], delta)
        said = {name: value for name, value in choice.items() if name not in _OF_A_DELTA}
        last = ModelResponseStream(**head, choices=[StreamingChoices(**said, delta=Delta())])
        if usage is not None and not with_usage:
            last._hidden_params["usage"] = usage  # noqa: SLF001 - where LiteLLM's users find it
        yield last
    if usage is not None and with_usage:
        yield ModelResponseStream(**head, choices=[], usage=usage)


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


def _chunk(head: dict[str, Any], index: int, delta: Delta) -> ModelResponseStream:
    return ModelResponseStream(**head, choices=[StreamingChoices(index=index, delta=delta)])


def _completed(record: JSON, chunks: Sequence[JSON]) -> JSON:
    """Return the record of an answer with what the chunks say, and LiteLLM leaves out when it joins them."""
    for chunk in chunks:
        for name, value in chunk.items():
            if value is None or name in _OF_A_STREAM:
                continue
            if isinstance(value, dict) and isinstance(record.get(name), dict):  # one chunk says more of it than another
                record[name] = {**record[name], **value}
            elif record.get(name) is None:
                record[name] = value
    for choice in record["choices"]:
        said: dict[str, Any] = {}
        for chunk in chunks:
            for each in chunk["choices"]:
                _add(said, each["delta"] if each["index"] == choice["index"] else {})
        message = choice["message"]
        message.update({name: value for name, value in said.items() if message.get(name) is None})
    return record


def _add(said: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        known = said.get(name)
        match known, value:
            case (str(), str()) | (list(), list()) if name in _CONTINUED or isinstance(value, list):
                said[name] = known + value
            case _ if value is not None:
                said[name] = value

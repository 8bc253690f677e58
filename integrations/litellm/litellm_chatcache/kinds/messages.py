"""Anthropic's Messages API, whose answers LiteLLM hands over as dictionaries, and streams as server-sent events."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from chatcache import Refusal

from .base import JSON, Kind, Streamed

__all__ = ["MESSAGES"]

_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_CUT = {"max_tokens": Refusal.LENGTH, "refusal": Refusal.CONTENT_FILTER}


class _Messages(Kind):
    name = "Anthropic messages"
    functions = ("anthropic_messages", "aanthropic_messages")

    def record(self, answer: Any) -> JSON:
        match answer:
            case dict():
                return {name: value for name, value in answer.items() if not name.startswith("_")}
            case str():
                return orjson.loads(answer)
            case _:
                raise ValueError(f"LiteLLM handed over a {type(answer).__name__} to keep, which is no message")

    def answer(self, record: JSON) -> JSON:
        return record

    def refusal(self, record: JSON) -> Refusal | None:
        cut = _CUT.get(record.get("stop_reason") or "")
        return cut or (None if record.get("content") else Refusal.EMPTY)


class _Events(Streamed):
    """A chunk is some bytes of the event stream, cut wherever LiteLLM cut them, so within a character, too.

    Such bytes are recorded as Latin-1, so a secret in them can be read and masked.
    """

    def chunk_record(self, chunk: Any) -> JSON:
        if isinstance(chunk, str):
            return {"text": chunk}
        try:
            text: str = chunk.decode()
        except UnicodeDecodeError:
            return {"text": chunk.decode("latin-1"), "encoding": "latin-1"}
        return text

    def chunk(self, record: JSON) -> bytes | str:
        if isinstance(record, dict) and "encoding" not in record:
            text: str = record["text"]
            return text
        return _bytes(record)

    def ended(self, records: Sequence[JSON]) -> bool:
        kinds = [event.get("type") for event in _events(records)]
        return "error" not in kinds and kinds[-1:] == ["message_stop"]

    def whole(self, records: Sequence[JSON]) -> JSON:
        message: dict[str, Any] = {}
        blocks: dict[int, dict[str, Any]] = {}
        inputs: dict[int, str] = {}
        for event in _events(records):
            match event:
                case {"type": "message_start", "message": dict(begun)}:
                    message = begun
                case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                    blocks[index] = block
                case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                    _grow(blocks[index], delta)
                    inputs[index] = inputs.get(index, "") + delta.get("partial_json", "")
                case {"type": "message_delta", "delta": dict(delta)}:
                    message.update(delta)
                    told = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
                    message["usage"] = {**(message.get("usage") or {}), **told}
        for index, text in inputs.items():
            if text:
                blocks[index]["input"] = json.loads(text)
        message["content"] = [block for _, block in sorted(blocks.items())]
        return message

    def chunks(self, record: JSON, *, with_usage: bool) -> Sequence[bytes]:  # noqa: ARG002 - it is in the last one
        return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in _told(record)]

    def usage(self, records: Sequence[JSON]) -> Any:
        return self.whole(records).get("usage")


MESSAGES = _Messages()
MESSAGES.streams = _Events()


def _bytes(record: JSON) -> bytes:
    match record:
        case str():
            return record.encode()
        case _:
            encoded: bytes = record["text"].encode(record.get("encoding", "utf-8"))
            return encoded


def _events(records: Sequence[JSON]) -> Iterator[dict[str, Any]]:
    for line in b"".join(map(_bytes, records)).decode().splitlines():
        if line.startswith("data:"):
            event = json.loads(line.removeprefix("data:"))
            if isinstance(event, dict):
                yield event


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    kind = delta.get("type", "")
    if kind in _GROWING:
        name = _GROWING[kind]
        block[name] = (block.get(name) or "") + delta[name]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _told(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a message that was not streamed: each block is said in one piece."""
    ends = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    yield {"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(ends)}}
    for index, block in enumerate(message["content"]):
        begun, deltas = _begun(block)
        yield {"type": "content_block_start", "index": index, "content_block": begun}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": ends, "usage": message.get("usage") or {}}
    yield {"type": "message_stop"}


def _begun(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as it begins, and what it grows by."""
    begun, deltas = dict(block), []
    for kind, name in _GROWING.items():
        if begun.get(name):
            deltas.append({"type": kind, name: begun[name]})
            begun[name] = ""
    deltas.extend({"type": "citations_delta", "citation": each} for each in begun.get("citations") or ())
    if begun.get("citations"):
        begun["citations"] = []
    if block.get("type") in {"tool_use", "server_tool_use"}:
        begun["input"] = {}
        deltas.append({"type": "input_json_delta", "partial_json": json.dumps(block.get("input") or {})})
    return begun, deltas

"""A provider that speaks with the clients of every partner package: each model says its name."""

import json
import re
from binascii import crc32
from collections.abc import Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from struct import pack
from threading import Thread
from typing import Any, Self

__all__ = ["PartnerProvider"]

_USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
_HEAD = {"id": "1", "created": 1_700_000_000, "system_fingerprint": "f"}


class PartnerProvider(ThreadingHTTPServer):
    """A server on 127.0.0.1 for as long as the ``with`` lasts.

    Attributes:
        url: where it is.
        calls: how many requests it answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.calls = 0

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: PartnerProvider

    def do_GET(self) -> None:
        """List no models, for clients that ask which there are."""
        self._send("application/json", [b'{"object": "list", "data": []}'])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        self.server.calls += 1
        kind, parts = _answer(self.path, body)
        self._send(kind, parts)

    def _send(self, kind: str, parts: Iterable[bytes]) -> None:
        with suppress(ConnectionError):  # where the client has gone
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _answer(path: str, body: dict[str, Any]) -> tuple[str, list[bytes]]:
    """Return the content type and the parts of an answer."""
    named = re.search(r"/models?/([^/:]+)", path)
    if path.endswith("/v1/chat/completions") and body.get("model") == "dummy":  # as Hugging Face calls what it reaches
        body["model"] = path.split("/")[1]
    words = ["I ", "am ", str(named[1] if named else body["model"]).rpartition("/")[2]]
    streams = bool(body.get("stream"))
    if path.endswith("/api/chat"):
        return "application/x-ndjson", [_line(each) for each in _of_ollama(words, streams=streams)]
    if "enerateContent" in path:
        return _of_google(words, streams="stream" in path)
    if path.endswith("/v1/messages"):
        return _of_anthropic(words, streams=streams)
    if "/converse" in path:
        return _of_bedrock(words, streams="stream" in path)
    if path.endswith("/v2/chat"):
        return _of_cohere(words, streams=streams)
    return _of_openai(words, streams=streams)


def _of_openai(words: list[str], *, streams: bool) -> tuple[str, list[bytes]]:
    head = {**_HEAD, "model": words[-1]}
    if not streams:
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return _whole({**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE})
    deltas = [{"role": "assistant", "content": word} for word in words]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {"content": ""}, "finish_reason": "stop"})
    chunks = [{**head, "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
    chunks[-1]["usage"] = _USAGE
    return _events([*map(json.dumps, chunks), "[DONE]"])


def _of_ollama(words: list[str], *, streams: bool) -> list[dict[str, Any]]:
    head = {"model": words[-1], "created_at": "2024-01-01T00:00:00Z"}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 5}
    if not streams:
        return [{**head, **end, "message": {"role": "assistant", "content": "".join(words)}}]
    said = [{**head, "done": False, "message": {"role": "assistant", "content": word}} for word in words]
    return [*said, {**head, **end, "message": {"role": "assistant", "content": ""}}]


def _of_google(words: list[str], *, streams: bool) -> tuple[str, list[bytes]]:
    texts = words if streams else ["".join(words)]
    answers = [
        {
            "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}],
            "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12},
            "modelVersion": words[-1],
        }
        for text in texts
    ]
    last: dict[str, Any] = answers[-1]
    last["candidates"][0]["finishReason"] = "STOP"
    return "application/json", [json.dumps(answers if streams else last).encode()]


def _of_anthropic(words: list[str], *, streams: bool) -> tuple[str, list[bytes]]:
    usage = {"input_tokens": 7, "output_tokens": 5}
    message = {"id": "m", "type": "message", "role": "assistant", "model": words[-1], "content": [], "usage": usage}
    if not streams:
        return _whole({**message, "content": [{"type": "text", "text": "".join(words)}], "stop_reason": "end_turn"})
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": each}} for each in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return _events(map(json.dumps, events), [event["type"] for event in events])


def _of_cohere(words: list[str], *, streams: bool) -> tuple[str, list[bytes]]:
    tokens = {"input_tokens": 7, "output_tokens": 5}
    usage = {"tokens": tokens, "billed_units": tokens}
    if not streams:
        message = {"role": "assistant", "content": [{"type": "text", "text": "".join(words)}]}
        return _whole({"id": "m", "finish_reason": "COMPLETE", "message": message, "usage": usage})
    events: list[dict[str, Any]] = [
        {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": []}}},
        *({"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": each}}}} for each in words),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    return _events(map(json.dumps, events), [event["type"] for event in events])


def _of_bedrock(words: list[str], *, streams: bool) -> tuple[str, list[bytes]]:
    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}
    if not streams:
        message = {"role": "assistant", "content": [{"text": "".join(words)}]}
        metrics = {"latencyMs": 1}
        return _whole({"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": metrics})
    events: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in words),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
    ]
    return "application/vnd.amazon.eventstream", [_frame(name, json.dumps(said).encode()) for name, said in events]


def _frame(event: str, payload: bytes) -> bytes:
    """Return an event as AWS frames it: lengths, their checksum, headers, the payload, and the checksum of all."""
    said = {":event-type": event, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        pack(">B", len(name)) + name.encode() + pack(">BH", 7, len(value)) + value.encode()
        for name, value in said.items()
    )
    lengths = pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + pack(">I", crc32(lengths)) + headers + payload
    return message + pack(">I", crc32(message))


def _whole(answer: dict[str, Any]) -> tuple[str, list[bytes]]:
    return "application/json", [json.dumps(answer).encode()]


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _events(texts: Iterable[str], names: Iterable[str] = ()) -> tuple[str, list[bytes]]:
    heads = [f"event: {name}\n" for name in names]
    texts = list(texts)
    heads = heads or [""] * len(texts)
    return "text/event-stream", [f"{head}data: {text}\n\n".encode() for head, text in zip(heads, texts, strict=True)]

"""A local provider of all that LiteLLM calls but chat completions."""

import json
import struct
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["Endpoints", "endpoints"]


class Endpoints(ThreadingHTTPServer):
    """Answers each endpoint in its provider's form, and counts.

    Attributes:
        calls: how often each endpoint was asked.
        inputs: the inputs of all embeddings that were asked for, in order.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: Counter[str] = Counter()
        self.inputs: list[Any] = []

    @property
    def url(self) -> str:
        """Where it is reached, with the version in the path, as the base of a client has it."""
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def endpoints() -> Iterator[Endpoints]:
    """Give a provider that answers until the block ends."""
    with Endpoints() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Endpoints

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        is_json = "json" in self.headers.get("Content-Type", "")
        body = json.loads(raw) if is_json else {"file": raw}
        endpoint = self.path.removeprefix("/v1/")
        self.server.calls[endpoint] += 1
        answer = _ANSWERS[endpoint](self.server, body)
        if isinstance(answer, list):
            self._stream(_lines(answer))
        else:
            self._send(json.dumps(answer).encode(), "application/json")

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, lines: Iterator[str]) -> None:
        """Send each line as a piece of its own, as a provider does."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for line in lines:
            self.wfile.write(line.encode())
            self.wfile.flush()
            time.sleep(0.002)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def _lines(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        yield f"{name}data: {json.dumps(event)}\n\n"
    if "type" not in events[-1]:
        yield "data: [DONE]\n\n"


def _text(_server: Endpoints, body: dict[str, Any]) -> Any:
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1_760_000_000, "model": body["model"]}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    words = ["It ", "is  a", "\n\nsunny", " day."]
    if body.get("stream"):
        pieces = [{**head, "choices": [_choice(word, None)]} for word in words]
        last = {**head, "choices": [_choice("", "stop")]}
        return [*pieces, last, {**head, "choices": [], "usage": usage}]
    return {**head, "choices": [_choice("".join(words), "stop")], "usage": usage}


def _choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}


def _embeddings(server: Endpoints, body: dict[str, Any]) -> Any:
    asked = body["input"]
    inputs = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    server.inputs.extend(inputs)
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(json.dumps(each), body.get("encoding_format"))}
        for index, each in enumerate(inputs)
    ]
    usage = {"prompt_tokens": 5 * len(inputs), "total_tokens": 5 * len(inputs)}
    return {"object": "list", "model": f"{body['model']}-v1", "data": data, "usage": usage}


def _vector(text: str, encoding: str | None) -> Any:
    vector = [byte / 255 - 0.1 for byte in sha256(text.encode()).digest()[:8]]
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if encoding == "base64" else vector


def _transcription(_server: Endpoints, body: dict[str, Any]) -> Any:
    return {"text": f"Somebody says {len(body['file']) % 1000}.", "usage": {"type": "duration", "seconds": 3}}


def _rerank(_server: Endpoints, body: dict[str, Any]) -> Any:
    results = [{"index": index, "relevance_score": 0.9 - index / 10} for index in range(len(body["documents"]))]
    return {"id": "rerank-1", "results": results, "meta": {"billed_units": {"search_units": 1}}}


def _image(_server: Endpoints, _body: dict[str, Any]) -> Any:
    return {"created": 1_760_000_000, "data": [{"url": "http://127.0.0.1/image.png"}]}


def _moderation(_server: Endpoints, _body: dict[str, Any]) -> Any:
    result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
    return {"id": "modr-1", "model": "omni-moderation-latest", "results": [result]}


def _response(_server: Endpoints, body: dict[str, Any]) -> Any:
    content = [{"type": "output_text", "text": "It is sunny.", "annotations": []}]
    message = {"type": "message", "id": "msg-1", "role": "assistant", "status": "completed", "content": content}
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 9,
    }
    head = {"id": "resp-1", "object": "response", "created_at": 1_760_000_000, "model": body["model"], "error": None}
    whole = {**head, "status": "completed", "output": [message], "usage": usage, "incomplete_details": None}
    whole |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "temperature": 1.0, "top_p": 1.0}
    if not body.get("stream"):
        return whole
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": "msg-1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        *({"type": "response.output_text.delta", **place, "delta": each} for each in ("It ", "is sun", "ny.")),
        {"type": "response.output_text.done", **place, "text": "It is sunny."},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": whole},
    ]
    return [{**event, "sequence_number": index} for index, event in enumerate(events)]


def _message(_server: Endpoints, body: dict[str, Any]) -> Any:
    thought = {"type": "thinking", "thinking": "Look out.", "signature": "c2lnbmVk"}
    usage = {"input_tokens": 5, "output_tokens": 4, "cache_read_input_tokens": 2}
    head = {"id": "msg-1", "type": "message", "role": "assistant", "model": body["model"]}
    content = [thought, {"type": "text", "text": "It is sunny."}]
    whole = {**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        return whole
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    deltas: list[tuple[int, dict[str, Any]]] = [
        (0, {"type": "thinking_delta", "thinking": "Look "}),
        (0, {"type": "thinking_delta", "thinking": "out."}),
        (0, {"type": "signature_delta", "signature": "c2lnbmVk"}),
        (1, {"type": "text_delta", "text": "It is "}),
        (1, {"type": "text_delta", "text": "sunny."}),
    ]
    blocks: list[dict[str, Any]] = [{**thought, "thinking": "", "signature": ""}, {"type": "text", "text": ""}]
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.extend({"type": "content_block_delta", "index": at, "delta": each} for at, each in deltas if at == index)
        events.append({"type": "content_block_stop", "index": index})
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": ends, "usage": usage}, {"type": "message_stop"}]


_ANSWERS = {
    "responses": _response,
    "messages": _message,
    "completions": _text,
    "embeddings": _embeddings,
    "audio/transcriptions": _transcription,
    "rerank": _rerank,
    "v2/rerank": _rerank,
    "images/generations": _image,
    "moderations": _moderation,
}

"""A provider that calls the tools it is given, and answers in the schema it is asked for: OpenAI's chat completions."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

from tests.waiting import HANG

__all__ = ["ToolProvider"]

_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


class ToolProvider(ThreadingHTTPServer):
    """A server on 127.0.0.1 for as long as the ``with`` lasts; afterwards its port refuses connections.

    It calls the tools whose last word is in the last message of a user, or one that it has to call. All other answers
    are a text.

    Attributes:
        url: what a client takes as its base URL.
        requests: what arrived.
        status: what it answers with instead, where that is not 200.
        goes_on: whether it sends what follows the first chunk of a stream; cleared, it waits there.
    """

    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.requests: list[dict[str, Any]] = []
        self.status = 200
        self.goes_on = Event()
        self.goes_on.set()

    @property
    def calls(self) -> int:
        return len(self.requests)

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.goes_on.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ToolProvider

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        if self.server.status != 200:
            self._send("application/json", ['{"error": {"message": "it was told to fail"}}'])
            return
        message = _answer(request)
        head = {"id": f"chatcmpl-{self.server.calls}", "created": 1, "model": request["model"]}
        reason = "tool_calls" if "tool_calls" in message else "stop"
        if request.get("stream"):
            chunks: list[dict[str, Any]] = [
                *({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in _deltas(message)),
                {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
                {"choices": [], "usage": _USAGE},
            ]
            events = (json.dumps({**head, "object": "chat.completion.chunk", **chunk}) for chunk in chunks)
            self._send("text/event-stream", (f"data: {event}\n\n" for event in (*events, "[DONE]")))
        else:
            choice = {"index": 0, "message": message, "finish_reason": reason}
            completion = {**head, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
            self._send("application/json", [json.dumps(completion)])

    def _send(self, kind: str, parts: Iterable[str]) -> None:
        with suppress(ConnectionError):  # where the client has gone
            self.send_response(self.server.status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part.encode())
                self.server.goes_on.wait(HANG)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    last = request["messages"][-1]
    text = _text(last)
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        return _said(json.dumps(_instance(form["json_schema"]["schema"], {}, text)))
    if form.get("type") == "json_object":
        return _said(json.dumps({"setup": "Why?", "punchline": "Because."}))
    choice = request.get("tool_choice")
    tools = {tool["function"]["name"]: tool["function"] for tool in request.get("tools") or ()}
    if isinstance(choice, dict):
        called = [choice["function"]["name"]]
    else:
        called = [name for name in tools if name.rpartition("_")[2] in text and last["role"] == "user"]
        called = called or [*tools][: choice == "required"]
    calls = [
        {
            "id": f"call_{len(request['messages'])}_{place}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": json.dumps(_instance(tools[name].get("parameters") or {}, {}, text), ensure_ascii=False),
            },
        }
        for place, name in enumerate(called)
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls} if calls else _said(f"You said: {text}")


def _said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": ""}
    for word in re.findall(r"\s*\S+", message["content"] or ""):
        yield {"content": word}
    for index, call in enumerate(message.get("tool_calls", ())):
        arguments = call["function"]["arguments"]
        yield {"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]}
        for start in range(0, len(arguments), 5):
            yield {"tool_calls": [{"index": index, "function": {"arguments": arguments[start : start + 5]}}]}


def _instance(schema: dict[str, Any], defined: dict[str, Any], text: str) -> Any:  # noqa: PLR0911 - a table
    """An instance of a schema; its strings are what stands in quotes in the text."""
    defined = {**defined, **schema.get("$defs", {})}
    if "$ref" in schema:
        return _instance(defined[schema["$ref"].rpartition("/")[2]], defined, text)
    if "anyOf" in schema:
        return _instance(schema["anyOf"][0], defined, text)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "integer" | "number":
            return 3
        case "boolean":
            return True
        case "array":
            return [_instance(schema["items"], defined, text)]
        case "string":
            quoted = re.search(r"'([^']*)'", text)
            return quoted[1] if quoted else "a text"
        case _:
            return {name: _instance(each, defined, text) for name, each in schema.get("properties", {}).items()}


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

"""A provider on this machine that speaks OpenAI's chat completions and embeddings: no key, no network, calls counted.

::

    with Provider() as provider:
        litellm.completion(model="gpt-4o", base_url=provider.url, api_key="any", messages=[...])
        print(provider.calls)

Its answers are canned: the same prompt gets the same answer, and texts that share words get similar vectors. A tool is
called where a user says the name of what it takes. As a program it serves until it is interrupted::

    python examples/provider.py --port 8000 --delay 0.3
"""

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from uuid import uuid4
from zlib import crc32

__all__ = ["Provider", "answer_to"]

ANSWERS = {
    "sky": "Air scatters the short waves of sunlight more than the long ones, so blue light comes from everywhere.",
    "tides": "The moon pulls the water into two bulges, and as the earth turns, every coast passes under both.",
    "winter": "The axis of the earth leans: in winter your half leans away from the sun, and its light falls low.",
    "bread": "Yeast eats the sugar in the dough and gives off gas, and gluten holds the gas until the crumb is set.",
    "rust": "Iron gives electrons to oxygen where there is water, and the oxide flakes off and bares fresh iron.",
    "leaves": "In autumn a tree takes back its green chlorophyll, and the yellow that was there all summer shows.",
}


def answer_to(prompt: str) -> str:
    """Return the answer to a prompt: that of the first subject in it, or else the prompt, said back."""
    return next((answer for subject, answer in ANSWERS.items() if subject in prompt), f"You said: {prompt}")


class Provider(ThreadingHTTPServer):
    """A server on 127.0.0.1 for as long as the ``with`` lasts; afterwards its port refuses connections.

    Args:
        delay: how long it thinks before each answer, in seconds.
        port: where it listens; 0 for any free port.

    Attributes:
        url: what a client takes as its base URL.
        prompts: the last message, or the last text to embed, of every request that arrived, in order.
    """

    request_queue_size = 128  # calls that come at once are all taken

    def __init__(self, *, delay: float = 0.0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.delay = delay
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.prompts: list[str] = []

    @property
    def calls(self) -> int:
        """How many requests arrived."""
        return len(self.prompts)

    def __enter__(self) -> Self:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request a connection, as in HTTP/1.0: an answer ends where its connection does."""

    server: Provider

    def do_POST(self) -> None:
        """Answer ``.../chat/completions`` and ``.../embeddings``, and nothing else."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
            self.server.prompts.append(texts[-1])
            self._send("application/json", [json.dumps(_embeddings(request, texts))])
            return
        if not self.path.endswith("/chat/completions"):
            self.send_error(404)
            return
        prompt = _text(request["messages"][-1])
        self.server.prompts.append(prompt)
        time.sleep(self.server.delay)
        if request.get("stream"):
            events = (json.dumps(chunk) for chunk in _chunks(request, answer_to(prompt)))
            self._send("text/event-stream", (f"data: {event}\n\n" for event in (*events, "[DONE]")))
        else:
            self._send("application/json", [json.dumps(_completion(request, answer_to(prompt)))])

    def _send(self, kind: str, parts: Iterable[str]) -> None:
        with suppress(ConnectionError):  # where the client has gone
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            for part in parts:
                self.wfile.write(part.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: `Provider.prompts` holds what arrived."""


def _completion(request: dict[str, Any], answer: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    called = _called(request)
    if called is not None:
        call = {"id": f"call_{uuid4().hex}", "type": "function", "function": called}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return {**_head(request, "chat.completion"), "choices": [choice], "usage": _usage(request, answer)}


def _embeddings(request: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": index, "embedding": _vector(text)} for index, text in enumerate(texts)]
    tokens = sum(map(_tokens, texts))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}


def _vector(text: str) -> list[float]:
    """Return a vector of a text that is near to those of texts with the same words."""
    vector = [0.0] * 64
    for word in re.findall(r"\w+", text.lower()):
        vector[crc32(word.encode()) % len(vector)] += 1.0
    return vector


def _called(request: dict[str, Any]) -> dict[str, str] | None:
    """Return a call of a tool, where a user says the name of what it takes: the last word is passed as that."""
    message = request["messages"][-1]
    words = re.findall(r"\w+", _text(message)) if message["role"] == "user" else []
    for tool in (each["function"] for each in request.get("tools") or ()):
        taken = [name for name in tool["parameters"]["properties"] if name in words]
        if taken:
            return {"name": tool["name"], "arguments": json.dumps(dict.fromkeys(taken, words[-1]))}
    return None


def _chunks(request: dict[str, Any], answer: str) -> Iterator[dict[str, Any]]:
    """Yield the role, the answer word by word, the end, and the usage if it was asked for."""
    head = _head(request, "chat.completion.chunk")
    for delta in ({"role": "assistant", "content": ""}, *({"content": word} for word in re.findall(r"\s*\S+", answer))):
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if (request.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _usage(request, answer)}


def _head(request: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": request["model"]}


def _usage(request: dict[str, Any], answer: str) -> dict[str, int]:
    """Count tokens about as OpenAI does: words and punctuation marks, 4 more a message, 3 more a request."""
    asked = 3 + sum(4 + _tokens(_text(message)) for message in request["messages"])
    return {"prompt_tokens": asked, "completion_tokens": _tokens(answer), "total_tokens": asked + _tokens(answer)}


def _tokens(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve OpenAI's chat completions on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    server = Provider(**vars(parser.parse_args()))
    print(f"serving at {server.url}", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()

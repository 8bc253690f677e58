"""What ``pip install litellm-chatcache`` gives, as JSON on standard output. Run in build/venvs/litellm."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import litellm
from litellm.caching.caching import Cache
from litellm.types.caching import LiteLLMCacheType

import litellm_chatcache

calls: list[str] = []


class Provider(BaseHTTPRequestHandler):
    """Answers chat completions as OpenAI does, each with another text."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        calls.append(request["messages"][-1]["content"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if request.get("stream") else "application/json")
        self.end_headers()
        text = f"answer number {len(calls)}"
        self.wfile.write(streamed(text) if request.get("stream") else whole(text))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method overridden
        """Say nothing."""


def whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    return json.dumps(completion("chat.completion", choice) | {"usage": usage}).encode()


def streamed(text: str) -> bytes:
    deltas = [{"role": "assistant", "content": ""}, *({"content": f"{word} "} for word in text.split()), {}]
    ends = [*[None] * (len(deltas) - 1), "stop"]
    chunks = [{"index": 0, "delta": delta, "finish_reason": end} for delta, end in zip(deltas, ends, strict=True)]
    lines = [json.dumps(completion("chat.completion.chunk", chunk)) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode()


def completion(kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    return {"id": f"chatcmpl-{len(calls)}", "object": kind, "created": 1, "model": "gpt-4o-mini", "choices": [choice]}


@contextmanager
def provider() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked(text: str, url: str, *, stream: bool = False) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "openai/gpt-4o-mini", "messages": messages, "api_base": url, "api_key": "none", "stream": stream}


def blocking(url: str) -> str:
    response: Any = litellm.completion(**asked("blocking", url))
    return str(response.choices[0].message.content)


def awaited(url: str) -> str:
    response: Any = asyncio.run(litellm.acompletion(**asked("awaited", url)))
    return str(response.choices[0].message.content)


def blocking_stream(url: str) -> str:
    chunks: Any = litellm.completion(**asked("blocking stream", url, stream=True))
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def awaited_stream(url: str) -> str:
    async def read() -> str:
        chunks: Any = await litellm.acompletion(**asked("awaited stream", url, stream=True))
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

    return asyncio.run(read())


def twice_by_litellm(url: str) -> str:
    """Return what comes of a hit in LiteLLM's own cache: ``"served"``, or the error."""
    litellm.cache = Cache(type=LiteLLMCacheType.LOCAL)
    try:
        first = blocking(url)
        return "served" if blocking(url) == first else "called again"
    except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
        return f"{type(error).__name__}: {error}"


def twice_by_chatcache(url: str) -> dict[str, list[str]]:
    ways: tuple[Callable[[str], str], ...] = (blocking, awaited, blocking_stream, awaited_stream)
    return {way.__name__: [way(url), way(url)] for way in ways}


with provider() as url, TemporaryDirectory() as folder:
    before = twice_by_litellm(url)
    cache = litellm_chatcache.DOCache("packaging", path=folder)
    after = twice_by_litellm(url)
    calls.clear()
    litellm.cache = cache  # type: ignore[assignment]
    answers = twice_by_chatcache(url)
    facts = {
        "from": litellm_chatcache.__file__,
        "litellm": version("litellm"),
        "importable": [name for name in ("fastapi", "langchain_core", "langchain_chatcache") if find_spec(name)],
        "litellm's cache before": before,
        "litellm's cache after": after,
        "answers": answers,
        "calls": calls,
    }
json.dump(facts, sys.stdout)

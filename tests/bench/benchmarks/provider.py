"""A provider on this machine, a question of a usual size, and the answers to it: whole, streamed, and as vectors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import sqrt
from random import Random
from threading import Thread
from typing import Any

__all__ = ["ANSWER", "COMPLETION", "INPUTS", "MESSAGES", "PIECES", "Provider", "provider", "vectors"]

_RULES = "You answer questions about a web shop. Quote the order's number, keep to the facts in it, and be brief. " * 9
_ASKED = "My order 2024-1183 was to arrive on Tuesday, and the parcel's page still says that it is on its way. " * 4
ANSWER = "The parcel of order 2024-1183 left the depot on Monday evening, and is with the local carrier since. " * 16

MESSAGES = [{"role": "system", "content": _RULES}, {"role": "user", "content": _ASKED}]  # 1.5 kB as JSON

# What is streamed comes word by word: LiteLLM's own cache forgets the boundaries and makes new ones between the words,
# so that with either cache as many chunks are replayed.
PIECES = [f"{word} " for word in ANSWER.split()][:158]

INPUTS = [f"{number}: {_ASKED[:200]}" for number in range(100)]
_DIMENSIONS = 1536

COMPLETION = {  # 2.3 kB as JSON
    "id": "chatcmpl-BvZ2mT0q5gD3xJ8sKf1wPnYcR7uE4",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 331,
        "completion_tokens": 388,
        "total_tokens": 719,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_560af6e559",
}


class Provider(ThreadingHTTPServer):
    """Answers every chat completion alike, streams every stream alike, embeds every list of inputs, and counts them."""

    calls = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def address(self) -> dict[str, Any]:
        """How LiteLLM is told of it."""
        return {"api_base": self.base_url, "api_key": "none"}


@contextmanager
def provider() -> Iterator[Provider]:
    """Give a provider that answers until the block ends; from then on nothing is reached under its address."""
    with Provider(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@cache
def vectors() -> list[list[float]]:
    """Return the vectors of `INPUTS`: of length 1, in as many digits as OpenAI sends."""
    random = Random(2026)  # noqa: S311 - no secrets
    return [[round(random.gauss(0, 1 / sqrt(_DIMENSIONS)), 9) for _ in range(_DIMENSIONS)] for _ in INPUTS]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Provider)
        self.server.calls += 1
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/embeddings"):
            self._send("application/json", json.dumps(_embeddings(asked)))
        elif asked.get("stream"):
            events = [json.dumps(each) for each in _chunks()]
            self._send("text/event-stream", "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]))
        else:
            self._send("application/json", json.dumps(COMPLETION))

    def _send(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


def _embeddings(asked: dict[str, Any]) -> dict[str, Any]:
    assert asked["input"] == INPUTS
    assert asked.get("encoding_format", "float") == "float"
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors())]
    usage = {"prompt_tokens": 5_200, "total_tokens": 5_200}
    return {"object": "list", "data": data, "model": asked["model"], "usage": usage}


def _chunks() -> Iterator[dict[str, Any]]:
    head = {name: COMPLETION[name] for name in ("id", "created", "model", "service_tier", "system_fingerprint")}
    head["object"] = "chat.completion.chunk"

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in PIECES:
        yield chunk({"content": piece})
    yield chunk({}, "stop")

"""A provider on this machine, a question of a usual size, and the answer to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

__all__ = ["ANSWER", "MESSAGES", "Provider", "provider"]

_RULES = "You answer questions about a web shop. Quote the order's number, keep to the facts in it, and be brief. " * 9
_ASKED = "My order 2024-1183 was to arrive on Tuesday, and the parcel's page still says that it is on its way. " * 4
ANSWER = "The parcel of order 2024-1183 left the depot on Monday evening, and is with the local carrier since. " * 16

MESSAGES = [{"role": "system", "content": _RULES}, {"role": "user", "content": _ASKED}]  # 1.5 kB as JSON

_COMPLETION = {  # 2.3 kB as JSON
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
    """Answers every chat completion alike, and counts them."""

    calls = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


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


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Provider)
        self.server.calls += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(_COMPLETION).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

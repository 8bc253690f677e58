"""Hits of LiteLLM's proxy, which 20 clients ask at a time: with chatcache, and with its own local cache.

Each proxy is one process. The clients keep their connections for a round, and do no more than it takes to tell where an
answer ends, so that little of what is measured is theirs.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from socket import create_connection, socket
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

from .litellm_caches import CHAT
from .measure import AbsentError, Rounds, Row
from .provider import Provider, provider

__all__ = ["ROWS"]

_CLIENTS = 20
_START = 120  # seconds that a proxy may take to start
_EACH = 5  # requests of a client in a round
_KEY = "sk-bench"
_OURS = "callbacks: litellm_chatcache.proxy.callback"
_THEIRS = "cache: true\n  cache_params: {type: local, max_messages: 100}"
_CONFIG = """
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "{url}", api_key: none}}
litellm_settings:
  {cache}
general_settings:
  master_key: {key}
"""
_ENDS = b"\r\n0\r\n\r\n"  # of a body in chunks


@contextmanager
def _hits(*, streamed: bool) -> Iterator[Rounds]:
    with ExitStack() as stack:
        runner, server = stack.enter_context(asyncio.Runner()), stack.enter_context(provider())
        ports = [stack.enter_context(_proxy(server, cache)) for cache in (_OURS, _THEIRS)]
        question = _request(streamed=streamed)
        for before, port in enumerate(ports):
            _wait(port)
            for _ in range(5):
                runner.run(_ask(port, question, clients=1))
                assert server.calls == before + 1
        ours, theirs = (lambda port=port: runner.run(_ask(port, question)) for port in ports)
        yield ours, theirs


async def _ask(port: int, question: bytes, clients: int = _CLIENTS) -> float:
    """Have clients ask at once, each several times; return how many µs there were for each answer."""
    connected = [await asyncio.open_connection("127.0.0.1", port, limit=2**20) for _ in range(clients)]
    began = perf_counter()
    await asyncio.gather(*(_asked(*client, question, _EACH) for client in connected))
    took = perf_counter() - began
    for _, writer in connected:
        writer.close()
    return took / (_EACH * clients) * 1e6


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(question)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next((line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
        await (reader.readuntil(_ENDS) if length is None else reader.readexactly(int(length)))


def _request(*, streamed: bool) -> bytes:
    asked = {name: CHAT[name] for name in ("messages", "temperature", "max_tokens")}
    body = json.dumps({**asked, "model": "gpt-4o-mini", "stream": streamed}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: proxy\r\nAuthorization: Bearer {_KEY}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def _proxy(server: Provider, cache: str) -> Iterator[int]:
    """Give the port of a proxy that is starting."""
    program = Path(sys.executable).with_name("litellm")
    if not program.exists():
        raise AbsentError("no litellm[proxy]")
    with TemporaryDirectory() as folder:
        with socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG.format(url=server.base_url, cache=cache, key=_KEY))
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        settings = {"CHATCACHE_DIR": folder, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield port
        finally:
            process.terminate()
            process.wait()


def _wait(port: int) -> None:
    """Wait until a proxy serves."""
    left = perf_counter() + _START
    while perf_counter() < left:
        with suppress(OSError), create_connection(("127.0.0.1", port)):
            return
        sleep(0.1)
    raise AbsentError("the proxy does not start")


ROWS = [
    Row("litellm proxy, 20 clients, hit, DOCache : its local cache", 0.77, partial(_hits, streamed=False), rounds=20),
    Row(
        "litellm proxy, 20 clients, stream hit, DOCache : its local cache",
        0.67,
        partial(_hits, streamed=True),
        rounds=20,
    ),
]

"""Real recorded provider traffic, and a local provider that answers with it; see ../shared/traffic."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "traffic"

_SERVE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import provider
provider.Handler.disable_nagle_algorithm = True  # it writes twice: the second would wait for an ACK, which takes 40 ms
server = provider.Provider(sys.argv[1])
print(json.dumps({"port": server.server_address[1]}), flush=True)
server.serve_forever()
"""


def exchanges(kind: str = "chat_completions") -> list[dict[str, Any]]:
    """The recorded ones of ``chat_completions``, ``responses`` or ``messages``; none where there is no traffic."""
    path = FOLDER / f"{kind}.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


class Upstream:
    """The provider, and how often it was asked."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    @property
    def calls(self) -> int:
        with urlopen(f"{self.url}/__stats") as answer:
            total: int = json.load(answer)["total"]
        return total


@contextmanager
def running() -> Iterator[Upstream]:
    """The provider, which refuses all connections after the block."""
    command = [sys.executable, "-B", "-c", _SERVE, str(FOLDER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as provider:
        assert provider.stdout is not None
        try:
            yield Upstream(json.loads(provider.stdout.readline())["port"])
        finally:
            provider.terminate()


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    if not FOLDER.exists():
        pytest.skip(f"the recorded traffic is not at {FOLDER}")
    with running() as provider:
        yield provider

"""Real recorded provider traffic, and a local provider that answers with it; see ../shared/traffic."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "traffic"


def exchanges() -> list[dict[str, Any]]:
    """The recorded chat completions, or none where there is no traffic."""
    path = FOLDER / "chat_completions.jsonl"
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


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    if not FOLDER.exists():
        pytest.skip(f"the recorded traffic is not at {FOLDER}")
    command = [sys.executable, str(FOLDER / "provider.py"), str(FOLDER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as provider:
        assert provider.stdout is not None
        yield Upstream(json.loads(provider.stdout.readline())["port"])
        provider.terminate()

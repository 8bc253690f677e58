"""How tests ask LiteLLM: any of its functions, blocking or awaited, and a stream is read to its end."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest

from litellm_chatcache import DOCache
from tests.integrations.endpoints import Endpoints, endpoints

__all__ = ["Ask", "ask", "cache", "current", "others", "text_of"]


def current() -> object:
    """Return the cache of LiteLLM."""
    return litellm.cache


class Ask:
    """Calls a function of LiteLLM.

    Args:
        colour: ``blocking``, or ``awaiting``: then it is the function with an ``a`` before its name.
    """

    def __init__(self, colour: str) -> None:
        self.colour = colour

    async def __call__(self, function: str, **arguments: Any) -> Any:
        answer = await self.begin(function, **arguments)
        return await self.read(answer) if arguments.get("stream") else answer

    async def begin(self, function: str, **arguments: Any) -> Any:
        """Return what the function returns; a stream is not read."""
        answer = getattr(litellm, function if self.colour == "blocking" else f"a{function}")(**arguments)
        return await answer if inspect.isawaitable(answer) else answer

    async def read(self, stream: Any) -> list[Any]:
        return list(stream) if self.colour == "blocking" else [chunk async for chunk in stream]


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Ask:
    return Ask(request.param)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DOCache]:
    cache = DOCache("store", path=tmp_path)
    monkeypatch.setattr(litellm, "cache", cache)
    yield cache
    cache.engine.close()


@pytest.fixture
def others() -> Iterator[Endpoints]:
    """The provider of all but chat completions."""
    with endpoints() as running:
        yield running


def text_of(answer: Any) -> str:
    """Return the text of a chat completion, or of its chunks."""
    if isinstance(answer, list):
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    content: str = answer.choices[0].message.content
    return content

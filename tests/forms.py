"""The four forms of a call, for tests that run in each of them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from chatcache import ResponseCache

__all__ = ["FORMS", "Provider", "ask"]

FORMS = ("call", "acall", "stream", "astream")


class Provider:
    """Answers with the request, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, request: Any) -> Any:
        self.calls += 1
        return {"to": request}

    async def awaited(self, request: Any) -> Any:
        return self(request)

    def stream(self, request: Any) -> Iterator[Any]:
        yield self(request)

    async def astream(self, request: Any) -> AsyncIterator[Any]:
        yield self(request)


async def ask(form: str, cache: ResponseCache, request: Any, provider: Provider) -> Any:
    """Call a cache in one of the forms, and return the answer, or the only chunk of the stream."""
    match form:
        case "call":
            return cache.call(request, provider)
        case "acall":
            return await cache.acall(request, provider.awaited)
        case "stream":
            (chunk,) = cache.stream(request, provider.stream)
            return chunk
        case _:
            (chunk,) = [chunk async for chunk in cache.astream(request, provider.astream)]
            return chunk

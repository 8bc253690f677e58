"""A cache of the model's calls under ``create_agent``."""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from chatcache import Accept, MissingPackageError, parse_accept

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingPackageError("DOCacheMiddleware needs LangChain: pip install 'langchain-chatcache[agents]'") from error

from .cache import DOCache
from .model import cached

__all__ = ["DOCacheMiddleware"]


class DOCacheMiddleware(AgentMiddleware[Any, Any]):
    """Has the model of an agent answer from records, as `cached` does.

    Whatever the agent binds to the model, tools or a format of its answer, is part of the request. Who asks for the
    same at the same time shares one call.

    Args:
        cache: keeps the records.
        ignore: the names of fields of the model, and of arguments of calls, that do not change an answer.
        accept: is called with a message before it is kept, instead of the `accept` of the cache: see `DOCache`.
    """

    def __init__(self, cache: DOCache, *, ignore: Collection[str] = (), accept: Accept | None = None) -> None:
        super().__init__()
        self.cache = cache
        self._ignore = ignore
        self._accept = parse_accept(accept)

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the model with the cache."""
        return handler(self._cached(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Awaiting twin of `wrap_model_call`."""
        return await handler(self._cached(request))

    def _cached(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        return request.override(model=cached(request.model, self.cache, ignore=self._ignore, accept=self._accept))

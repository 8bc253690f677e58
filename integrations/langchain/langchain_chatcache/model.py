"""``cached(model, cache)``: a chat model whose calls and streams are recorded, and which is still what it was."""

from collections.abc import Collection
from typing import Any, TypeVar, overload

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from chatcache import Accept, InvalidInputError, parse_accept

from .cache import DOCache
from .embeddings import CachedEmbeddings
from .replaying import copy_of

__all__ = ["cached"]

M = TypeVar("M", bound=BaseChatModel)


@overload
def cached(model: M, cache: DOCache, *, ignore: Collection[str] = (), accept: Accept | None = None) -> M: ...


@overload
def cached(
    model: Embeddings, cache: DOCache, *, ignore: Collection[str] = (), accept: Accept | None = None
) -> CachedEmbeddings: ...


def cached(model: Any, cache: DOCache, *, ignore: Collection[str] = (), accept: Accept | None = None) -> Any:
    """Return a copy of a chat model whose calls and streams are recorded by a cache, and replayed.

    It is of the model's own type, so it takes ``bind_tools``, ``with_structured_output``, ``with_retry`` and the like,
    and works in agents and graphs. A stream is replayed in the very chunks that were recorded, also where LangChain
    streams behind the scenes (``astream_events``, LangGraph's ``messages`` mode). A call is answered by a recorded
    stream, and a stream by a recorded call, in one chunk, where there is no record of its own kind. Concurrent
    identical requests share one call. The key is made of what the model holds at the moment of the call, and of the
    JSON schemas of classes that it is to answer with. Neither LangChain's own cache nor, on a hit, the model's rate
    limiter has any part in it.

    Embeddings are wrapped, see `CachedEmbeddings`: of each text the vector is recorded.

    Args:
        model: the model, or embeddings, which stays as it is.
        cache: keeps the records, by its mode, its TTL and its limits.
        ignore: the names of fields of the model, and of arguments of calls, that do not change an answer.
        accept: is called with a message before it is kept, instead of the `accept` of the cache: see `DOCache`.
            Of embeddings it is called with a vector, and that of the cache is not asked.

    Raises:
        InvalidInputError: it is neither a chat model nor embeddings, or `accept` is no predicate; bind tools and
            arguments afterwards.
        ReplayMiss: from the copy, in mode ``replay``, there is no record.
    """
    if not isinstance(model, BaseChatModel | Embeddings):
        raise InvalidInputError(
            f"cached() was passed a {type(model).__name__}, which is no chat model and no embeddings: pass the "
            "model itself, and bind tools, retries and the like to what it returns"
        )
    if isinstance(ignore, str):
        raise InvalidInputError(f"ignore={ignore!r}: pass a list of names")
    if isinstance(model, Embeddings):
        inner = model.embeddings if isinstance(model, CachedEmbeddings) else model
        return CachedEmbeddings(inner, cache, ignore, parse_accept(accept))
    return copy_of(model, cache, ignore, parse_accept(accept))

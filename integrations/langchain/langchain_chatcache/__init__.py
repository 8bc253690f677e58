"""chatcache behind LangChain and LangGraph.

``set_llm_cache(DOCache(store_id=...))`` records the calls of all models, ``cached(model, cache)`` the calls and streams
of one, ``cached(embeddings, cache)`` vectors, and `DOCacheMiddleware` the calls of an agent. `DOChatMessageHistory`
keeps conversations, `DOByteStore` documents and other bytes, `DONodeCache` what the nodes of a graph return.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .byte_store import DOByteStore
from .cache import DOCache
from .embeddings import CachedEmbeddings
from .history import DOChatMessageHistory
from .keys import node_key
from .model import cached
from .standing_in import StandInCache

if TYPE_CHECKING:
    from .middleware import DOCacheMiddleware
    from .node_cache import DONodeCache

__all__ = [
    "CachedEmbeddings",
    "DOByteStore",
    "DOCache",
    "DOCacheMiddleware",
    "DOChatMessageHistory",
    "DONodeCache",
    "StandInCache",
    "cached",
    "node_key",
]

_ON_USE = {"DOCacheMiddleware": ".middleware", "DONodeCache": ".node_cache"}  # of packages that others need not have


def __getattr__(name: str) -> Any:
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_USE[name], __name__), name)

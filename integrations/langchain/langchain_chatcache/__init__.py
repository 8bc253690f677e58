"""chatcache behind LangChain: ``set_llm_cache(DOCache(store_id=...))``, and ``cached(model, cache)``."""

from .cache import DOCache
from .model import cached

__all__ = ["DOCache", "cached"]

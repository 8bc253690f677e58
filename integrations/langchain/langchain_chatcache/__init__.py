"""chatcache behind LangChain: ``set_llm_cache(DOCache(store_id=...))``."""

from .cache import DOCache

__all__ = ["DOCache"]

"""chatcache behind LiteLLM: ``litellm.cache = DOCache(store_id=...)``."""

from .cache import DOCache

__all__ = ["DOCache"]

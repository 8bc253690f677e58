"""chatcache behind LiteLLM: ``litellm.cache = DOCache(store_id=...)``, or ``enable(store_id=...)``."""

from .cache import DOCache
from .explanation import Explanation
from .switch import disable, enable

__all__ = ["DOCache", "Explanation", "disable", "enable"]

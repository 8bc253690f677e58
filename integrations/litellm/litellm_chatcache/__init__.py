"""chatcache behind LiteLLM: ``litellm.cache = DOCache(store_id=...)``, or ``enable(store_id=...)``."""

from .cache import DOCache
from .explanation import Explanation
from .standing_in import StandInCaches
from .switch import disable, enable

__all__ = ["DOCache", "Explanation", "StandInCaches", "disable", "enable"]

"""The arguments of `DOCache` in variables of the environment, where there is no program to pass them.

Two more the engine reads itself: ``CHATCACHE_DIR`` and ``CHATCACHE_MODE``.
"""

from chatcache import SETTINGS as SETTINGS_OF_THE_ENGINE
from chatcache import Setting

from .kinds import FUNCTIONS

__all__ = ["SETTINGS"]

SETTINGS = {
    **SETTINGS_OF_THE_ENGINE,
    "CHATCACHE_MAX_MESSAGES": Setting.count("max_messages"),
    "CHATCACHE_IGNORE": Setting.names("ignore", "names of arguments"),
    "CHATCACHE_CALL_TYPES": Setting.some_of("supported_call_types", [*FUNCTIONS]),
    "CHATCACHE_DEFAULT_OFF": Setting.switch("default_off"),
    "CHATCACHE_SINGLE_FLIGHT": Setting.switch("single_flight"),
    "CHATCACHE_RECORD_ERRORS": Setting.switch("record_errors"),
}
"""The variables, by name."""

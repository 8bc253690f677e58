"""The engine under every adapter: records of calls, and whoever makes those that are not recorded."""

from .decorator import cached
from .environment import SETTINGS, Setting, options_in
from .facade import Facade
from .leading import Leader
from .recorder import Accept, parse_accept
from .records import About, Form, Hit, Story
from .responses import ResponseCache
from .statistics import Statistics
from .stores import stores_in

__all__ = [
    "SETTINGS",
    "About",
    "Accept",
    "Facade",
    "Form",
    "Hit",
    "Leader",
    "ResponseCache",
    "Setting",
    "Statistics",
    "Story",
    "cached",
    "options_in",
    "parse_accept",
    "stores_in",
]

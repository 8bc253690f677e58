"""The engine under every adapter: records of calls, and whoever makes those that are not recorded."""

from .leading import Leader
from .recorder import Accept, parse_accept
from .records import About, Form, Hit, Story
from .responses import ResponseCache
from .statistics import Statistics
from .stores import stores_in

__all__ = [
    "About",
    "Accept",
    "Form",
    "Hit",
    "Leader",
    "ResponseCache",
    "Statistics",
    "Story",
    "parse_accept",
    "stores_in",
]

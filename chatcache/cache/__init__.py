"""The engine under every adapter: records of calls, and whoever makes those that are not recorded."""

from .leading import Leader
from .records import About, Form, Hit, Story
from .responses import ResponseCache
from .statistics import Statistics
from .stores import stores_in

__all__ = ["About", "Form", "Hit", "Leader", "ResponseCache", "Statistics", "Story", "stores_in"]

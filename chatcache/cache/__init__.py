"""The engine under every adapter: records of calls, and whoever makes those that are not recorded."""

from .records import About, Hit, Story
from .responses import ResponseCache
from .statistics import Statistics

__all__ = ["About", "Hit", "ResponseCache", "Statistics", "Story"]

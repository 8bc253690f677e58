"""The engine under every adapter: records of calls, and whoever makes those that are not recorded."""

from .responses import ResponseCache

__all__ = ["ResponseCache"]

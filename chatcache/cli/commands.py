"""All commands, in their group."""

from . import caring, looking, moving
from .group import chatcache

__all__ = ["caring", "chatcache", "looking", "moving"]

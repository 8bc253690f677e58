"""All commands, in their group."""

from . import caring, importing, looking, moving
from .group import chatcache

__all__ = ["caring", "chatcache", "importing", "looking", "moving"]

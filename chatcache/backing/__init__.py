"""Where the entries of a store are kept: a port, and its backends."""

from .memory import MemoryPersistence
from .objects import DurableObjectPersistence
from .port import Backing, BackingStore, Entry

__all__ = ["Backing", "BackingStore", "DurableObjectPersistence", "Entry", "MemoryPersistence"]

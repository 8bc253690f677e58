"""Where the entries of a store are kept: a port, and its backends."""

from .objects import DurableObjectPersistence
from .port import BackingStore, Entry

__all__ = ["BackingStore", "DurableObjectPersistence", "Entry"]

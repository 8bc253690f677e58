"""Where the entries of a store are kept: a port, and its backends."""

from .expiry import sweep_expired
from .limits import Limits
from .memory import MemoryPersistence
from .objects import DurableObjectPersistence
from .port import Backing, BackingStore, Entry
from .store import ObjectStore, Peeked

__all__ = [
    "Backing",
    "BackingStore",
    "DurableObjectPersistence",
    "Entry",
    "Limits",
    "MemoryPersistence",
    "ObjectStore",
    "Peeked",
    "sweep_expired",
]

"""Records every LLM call once and replays it for ever.

The adapters are distributions of their own: ``litellm_chatcache.DOCache`` and ``langchain_chatcache.DOCache``. This
package is the engine under them, and imports neither framework.
"""

from .backing import Backing, BackingStore, DurableObjectPersistence, MemoryPersistence
from .cache import ResponseCache
from .errors import (
    ChatcacheError,
    CorruptRecordError,
    CorruptStorageError,
    DecodeError,
    InvalidInputError,
    InvalidModeError,
    InvalidNameError,
    InvalidTTLError,
    InvalidValueError,
    MissingPackageError,
    PersistenceError,
    ReplayedError,
    ReplayMiss,
    SQLError,
    StorageError,
    TransactionError,
)
from .exit import Exit, Failure, Success
from .keys import canonical_json, request_key
from .mode import Mode, Refusal, parse_mode
from .persisted_cache import PersistedCache
from .persistence import Persistence, PersistenceStore, Stored
from .schema import PLAIN, FailureSchema, Persistable, Schema, typed
from .storage import Alarm, DurableObject, ObjectInfo, ObjectNamespace, Storage, Transaction
from .ttl import TTL

__all__ = [
    # what adapters are made of
    "ResponseCache",
    "Mode",
    "Refusal",
    "TTL",
    "parse_mode",
    # keys
    "canonical_json",
    "request_key",
    # objects and stores
    "ObjectNamespace",
    "DurableObject",
    "ObjectInfo",
    "Storage",
    "Transaction",
    "Alarm",
    "DurableObjectPersistence",
    "MemoryPersistence",
    "Backing",
    "BackingStore",
    # typed results
    "PersistedCache",
    "Persistence",
    "PersistenceStore",
    "Stored",
    "Persistable",
    "Exit",
    "Success",
    "Failure",
    "Schema",
    "FailureSchema",
    "PLAIN",
    "typed",
    # errors
    "ChatcacheError",
    "InvalidInputError",
    "InvalidNameError",
    "InvalidModeError",
    "InvalidTTLError",
    "InvalidValueError",
    "PersistenceError",
    "StorageError",
    "CorruptStorageError",
    "SQLError",
    "TransactionError",
    "CorruptRecordError",
    "DecodeError",
    "ReplayedError",
    "ReplayMiss",
    "MissingPackageError",
]

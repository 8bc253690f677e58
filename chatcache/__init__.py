"""Records every LLM call once and replays it for ever.

The adapters are distributions of their own: ``litellm_chatcache.DOCache`` and ``langchain_chatcache.DOCache``. This
package is the engine under them, and imports neither framework.
"""

from .backing import BackingStore, DurableObjectPersistence
from .cache import ResponseCache
from .errors import (
    ChatcacheError,
    CorruptRecordError,
    CorruptStorageError,
    InvalidInputError,
    InvalidModeError,
    InvalidNameError,
    InvalidTTLError,
    InvalidValueError,
    PersistenceError,
    ReplayMiss,
    SQLError,
    StorageError,
    TransactionError,
)
from .keys import canonical_json, request_key
from .mode import Mode, Refusal, parse_mode
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
    "BackingStore",
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
    "ReplayMiss",
]

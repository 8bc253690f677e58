"""Records every LLM call once and replays it forever.

The adapters are distributions of their own: ``litellm_chatcache.DOCache`` and ``langchain_chatcache.DOCache``. This
package is the engine under them, and imports neither framework.
"""

from typing import TYPE_CHECKING, NoReturn

from .backing import Backing, BackingStore, DurableObjectPersistence, Limits, MemoryPersistence, sweep_expired
from .cache import (
    SETTINGS,
    About,
    Accept,
    Facade,
    Form,
    Hit,
    Leader,
    ResponseCache,
    Setting,
    Statistics,
    Story,
    cached,
    options_in,
    parse_accept,
)
from .cache.missed import EXPLAINER, Missed
from .chats import Chat, Chats, MessageLog
from .credentials import without_credentials
from .errors import (
    BundleError,
    ChatcacheError,
    ChatNotFoundError,
    CorruptRecordError,
    CorruptStorageError,
    DecodeError,
    InvalidInputError,
    InvalidModeError,
    InvalidNameError,
    InvalidTTLError,
    InvalidValueError,
    LeftOut,
    MissingPackageError,
    NotRecordedError,
    NotStoredError,
    PersistenceError,
    QueueEmptyError,
    ReplayedError,
    ReplayMiss,
    SecretError,
    SQLError,
    StorageError,
    StreamInterruptedError,
    TransactionError,
    UnsupportedLibraryError,
)
from .exit import Exit, Failure, Success
from .interrupts import is_interrupt, raise_interrupt
from .key_value_store import KeyValueStore
from .keys import canonical_json, key_of, request_key
from .memory_storage import MemoryStorage, Rows, RowStorage
from .mode import Allowed, Mode, ModeName, Refusal, parse_mode
from .persisted_cache import PersistedCache
from .persistence import Persistence, PersistenceStore, Stored
from .queues import Attempt, PersistedQueue
from .schema import PLAIN, FailureSchema, Persistable, Schema, typed
from .storage import Alarm, DurableObject, ObjectInfo, ObjectNamespace, Storage, Transaction
from .ttl import TTL, parse_duration, parse_ttl

if TYPE_CHECKING:
    from .recording import ExplainedMiss

__all__ = [
    # what adapters are made of
    "ResponseCache",
    "cached",
    "Facade",
    "About",
    "Accept",
    "parse_accept",
    "Form",
    "Hit",
    "Leader",
    "Story",
    "Statistics",
    "Mode",
    "ModeName",
    "Refusal",
    "Allowed",
    "TTL",
    "parse_mode",
    "parse_duration",
    "parse_ttl",
    "SETTINGS",
    "Setting",
    "options_in",
    "LeftOut",
    "is_interrupt",
    "raise_interrupt",
    # conversations
    "Chat",
    "Chats",
    "MessageLog",
    # keys
    "canonical_json",
    "key_of",
    "request_key",
    "without_credentials",
    # objects and stores
    "ObjectNamespace",
    "DurableObject",
    "ObjectInfo",
    "Storage",
    "Transaction",
    "Alarm",
    "DurableObjectPersistence",
    "Limits",
    "MemoryPersistence",
    "sweep_expired",
    "Backing",
    "BackingStore",
    # text and bytes, and work to be done
    "KeyValueStore",
    "PersistedQueue",
    "Attempt",
    "MemoryStorage",
    "Rows",
    "RowStorage",
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
    "ChatNotFoundError",
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
    "NotRecordedError",
    "NotStoredError",
    "CorruptRecordError",
    "DecodeError",
    "QueueEmptyError",
    "ReplayedError",
    "ReplayMiss",
    "BundleError",
    "SecretError",
    "StreamInterruptedError",
    "MissingPackageError",
    "UnsupportedLibraryError",
]

_OF_ADAPTERS = {
    "DOCache": ("litellm", "langchain"),
    "enable": ("litellm",),
    "disable": ("litellm",),
    "DOCacheMiddleware": ("langchain",),
    "DOByteStore": ("langchain",),
    "DOChatMessageHistory": ("langchain",),
    "DONodeCache": ("langchain",),
}


def _explain(missed: Missed) -> "ExplainedMiss":
    from .recording.missed import explain

    return explain(missed)


EXPLAINER.use(_explain)


def __getattr__(name: str) -> NoReturn:
    if name in _OF_ADAPTERS:
        ways = " or ".join(
            f"from {adapter}_chatcache import {name} (in a clone: pip install ./integrations/{adapter})"
            for adapter in _OF_ADAPTERS[name]
        )
        raise MissingPackageError(f"chatcache has no {name}, its adapters have: {ways}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

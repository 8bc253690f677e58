"""Objects, each with a storage of its own in one SQLite file, after Cloudflare's Durable Objects.

The names are Cloudflare's in snake_case. A method of a storage that may wait has an awaiting twin, whose name begins
with ``a``. What differs from the real thing stands in ``docs/storage-differences.md``.
"""

from .alarms import Alarm
from .namespace import DurableObject, ObjectInfo, ObjectNamespace
from .patience import Budget, seconds_left
from .sql import SQL, SQLCursor
from .storage import Storage, SyncKV
from .transaction import Transaction

__all__ = [
    "Alarm",
    "Budget",
    "DurableObject",
    "ObjectInfo",
    "ObjectNamespace",
    "SQL",
    "SQLCursor",
    "Storage",
    "SyncKV",
    "Transaction",
    "seconds_left",
]

"""Objects, each with a key/value storage of its own in one SQLite file, after Cloudflare's Durable Objects.

Differences from the real thing are stated where they are; the names are Cloudflare's in snake_case, and each method has
an awaiting twin whose name begins with ``a``.
"""

from .alarms import Alarm
from .namespace import DurableObject, ObjectInfo, ObjectNamespace
from .sql import SQL, SQLCursor
from .storage import Storage, SyncKV
from .transaction import Transaction

__all__ = [
    "Alarm",
    "DurableObject",
    "ObjectInfo",
    "ObjectNamespace",
    "SQL",
    "SQLCursor",
    "Storage",
    "SyncKV",
    "Transaction",
]

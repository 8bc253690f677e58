"""Objects, each with a key/value storage of its own in one SQLite file, after Cloudflare's Durable Objects.

Differences from the real thing are stated where they are; the names are Cloudflare's in snake_case, and each method has
an awaiting twin whose name begins with ``a``.
"""

from .namespace import DurableObject, ObjectNamespace
from .storage import Storage

__all__ = ["DurableObject", "ObjectNamespace", "Storage"]

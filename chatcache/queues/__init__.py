"""Work that is to be done at least once."""

from .persisted_queue import Attempt, PersistedQueue, backoff

__all__ = ["Attempt", "PersistedQueue", "backoff"]

"""What others need to test a backend of their own: the contract as test classes, and a clock that stands still.

Subclass a suite in a test file of your own, and give it one fixture::

    from chatcache.testing import BackingSuite, ManualClock

    class TestMyBacking(BackingSuite):
        @pytest.fixture
        def backing(self, clock: ManualClock) -> Backing:
            return MyBacking(clock=clock)

What is over the storage of an object is held to the contract by `KeyValueStoreSuite` and
`PersistedQueueSuite`, with a fixture ``storage``.

Each test says which statement of the contract it shows, and runs twice, with blocking and with awaiting calls. pytest
is needed here, and nowhere else in chatcache: ``pip install 'chatcache[testing]'``.
"""

import pytest

_SUITES = ("backing", "persistence", "persisted_cache", "key_value_store", "persisted_queue")
pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in _SUITES))

from .backing import BackingSuite  # noqa: E402 - its assertions are to be rewritten
from .clock import ManualClock  # noqa: E402
from .key_value_store import KeyValueStoreSuite  # noqa: E402
from .persisted_cache import PersistedCacheSuite  # noqa: E402
from .persisted_queue import PersistedQueueSuite  # noqa: E402
from .persistence import PersistenceSuite  # noqa: E402

__all__ = [
    "BackingSuite",
    "KeyValueStoreSuite",
    "ManualClock",
    "PersistedCacheSuite",
    "PersistedQueueSuite",
    "PersistenceSuite",
]

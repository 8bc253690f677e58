"""The contract over memory."""

import pytest

from chatcache import MemoryPersistence, MemoryStorage
from chatcache.testing import (
    BackingSuite,
    KeyValueStoreSuite,
    ManualClock,
    PersistedCacheSuite,
    PersistedQueueSuite,
    PersistenceSuite,
)


class OverMemory:
    @pytest.fixture
    def backing(self, clock: ManualClock) -> MemoryPersistence:
        return MemoryPersistence(clock=clock)

    @pytest.fixture
    def storage(self, clock: ManualClock) -> MemoryStorage:
        return MemoryStorage(clock=clock)


class TestBacking(OverMemory, BackingSuite):
    pass


class TestPersistence(OverMemory, PersistenceSuite):
    pass


class TestPersistedCache(OverMemory, PersistedCacheSuite):
    pass


class TestKeyValueStore(OverMemory, KeyValueStoreSuite):
    pass


class TestPersistedQueue(OverMemory, PersistedQueueSuite):
    pass

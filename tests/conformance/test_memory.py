"""The contract over memory."""

import pytest

from chatcache import MemoryPersistence
from chatcache.testing import BackingSuite, ManualClock, PersistedCacheSuite, PersistenceSuite


class OverMemory:
    @pytest.fixture
    def backing(self, clock: ManualClock) -> MemoryPersistence:
        return MemoryPersistence(clock=clock)


class TestBacking(OverMemory, BackingSuite):
    pass


class TestPersistence(OverMemory, PersistenceSuite):
    pass


class TestPersistedCache(OverMemory, PersistedCacheSuite):
    pass

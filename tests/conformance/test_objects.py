"""The contract over the storage of an object."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from chatcache import BackingStore, DurableObjectPersistence, Limits, ObjectNamespace, Storage
from chatcache.backing import Backing
from chatcache.testing import (
    BackingSuite,
    KeyValueStoreSuite,
    ManualClock,
    PersistedCacheSuite,
    PersistedQueueSuite,
    PersistenceSuite,
)


class OverObjects:
    @pytest.fixture
    def backing(self, clock: ManualClock, tmp_path: Path) -> DurableObjectPersistence:
        self.folder = tmp_path
        return DurableObjectPersistence(ObjectNamespace(tmp_path).get_by_name("thing").storage, clock=clock)

    @pytest.fixture
    def storage(self, clock: ManualClock, tmp_path: Path) -> Storage:
        return ObjectNamespace(tmp_path, clock=clock).get_by_name("thing").storage

    def corrupt(self, backing: Backing, store_id: str, key: str) -> None:
        with closing(self._file()) as file, file:
            changed = file.execute("UPDATE _cf_KV SET value = x'01ff' WHERE key = ?", [f"{store_id}:{key}"])
            assert changed.rowcount == 1

    def break_down(self, backing: Backing) -> None:
        with closing(self._file()) as file, file:
            for event in ("INSERT", "UPDATE", "DELETE"):
                file.execute(
                    f"CREATE TRIGGER no_{event} BEFORE {event} ON _cf_KV BEGIN SELECT RAISE(FAIL, 'broken'); END"
                )

    def _file(self) -> sqlite3.Connection:
        return sqlite3.connect(next(self.folder.glob("default/*.sqlite")))


class TestBacking(OverObjects, BackingSuite):
    pass


class Limited:
    """Makes stores with limits that nothing here reaches."""

    def __init__(self, persistence: DurableObjectPersistence) -> None:
        self._persistence = persistence

    def make(self, store_id: str) -> BackingStore:
        return self._persistence.make(store_id, limits=Limits(max_entries=1_000_000, max_bytes=1_000_000_000))


class TestLimitedBacking(OverObjects, BackingSuite):
    @pytest.fixture
    def backing(self, clock: ManualClock, tmp_path: Path) -> Limited:
        self.folder = tmp_path
        return Limited(DurableObjectPersistence(ObjectNamespace(tmp_path).get_by_name("thing").storage, clock=clock))


class TestPersistence(OverObjects, PersistenceSuite):
    pass


class TestPersistedCache(OverObjects, PersistedCacheSuite):
    pass


class TestKeyValueStore(OverObjects, KeyValueStoreSuite):
    pass


class TestPersistedQueue(OverObjects, PersistedQueueSuite):
    pass

"""What the suites have in common: a clock, and both colours."""

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from chatcache.backing import Backing
from chatcache.memory_storage import RowStorage
from chatcache.persistence import Persistence

from .clock import ManualClock
from .doubles import Watched

__all__ = ["Call", "StorageSuite", "Suite", "TypedSuite"]


class Call(Protocol):
    """Calls a method, or its awaiting twin, and returns what it gives."""

    def __call__(self, on: Any, name: str, /, *args: Any, **options: Any) -> Any:
        """Call ``on.name(...)``, or await ``on.aname(...)``."""
        ...


class Suite:
    """The fixtures of every suite. A subclass gives ``backing``, and may say how to do it harm."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Give the clock that the backing is to go by."""
        return ManualClock()

    @pytest.fixture
    def backing(self, clock: ManualClock) -> Backing:
        """Give a new, empty backing that goes by the clock."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `backing(self, clock)` that returns one")

    @pytest.fixture(params=["blocking", "awaiting"])
    def call(self, request: pytest.FixtureRequest) -> Iterator[Call]:
        """Call methods, or await their twins on a loop that lasts as long as the test."""
        with asyncio.Runner() as runner:

            def blocking(on: Any, name: str, /, *args: Any, **options: Any) -> Any:
                return getattr(on, name)(*args, **options)

            def awaiting(on: Any, name: str, /, *args: Any, **options: Any) -> Any:
                return runner.run(getattr(on, f"a{name}")(*args, **options))

            yield blocking if request.param == "blocking" else awaiting

    def corrupt(self, backing: Backing, store_id: str, key: str) -> None:
        """Make the stored value of an entry unreadable. Where a suite does not say how, that is not tested."""
        pytest.skip("this suite does not say how to corrupt a stored value")

    def break_down(self, backing: Backing) -> None:
        """Have every later call of the backend fail. Where a suite does not say how, that is not tested."""
        pytest.skip("this suite does not say how to make the backend fail")


class TypedSuite(Suite):
    """The fixtures of the suites of what is over a backing."""

    @pytest.fixture
    def watched(self, backing: Backing) -> Watched:
        """Give the backing, watched."""
        return Watched(backing)

    @pytest.fixture
    def persistence(self, watched: Watched, clock: ManualClock) -> Persistence:
        """Give the typed stores over it."""
        return Persistence(watched, clock=clock)


class StorageSuite(Suite):
    """The fixtures of the suites of what is over a storage. A subclass gives ``storage``."""

    @pytest.fixture
    def storage(self, clock: ManualClock) -> RowStorage:
        """Give a new, empty storage that goes by the clock."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `storage(self, clock)` that returns one")

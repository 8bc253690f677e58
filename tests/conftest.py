"""What every test has: no settings of the developer's own, and a clock that stands still."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from chatcache import ObjectNamespace, Storage
from chatcache.testing import ManualClock

# Every property test has this profile: on a busy machine an example may take long.
settings.register_profile("chatcache", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chatcache")

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else litellm asks the network for prices when it is imported


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHATCACHE_MODE", "CHATCACHE_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    thing = ObjectNamespace(tmp_path).get_by_name("thing")
    yield thing.storage
    thing.close()

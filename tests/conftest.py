"""What every test has: no settings of the developer's own, and a clock that stands still."""

import os
from collections import Counter
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


ROOT = Path(__file__).parent
LONGEST = (
    "examples/test_migration.py",
    "integrations/test_pytest.py",
    "examples/test_programs.py",
    "integrations/test_langchain_partners.py",
    "examples/test_uncached_suites.py",
    "integrations/test_litellm_proxy.py",
    "examples/test_suite.py",
    "test_typing.py",
    "integrations/test_litellm_traffic.py",
    "examples/test_caching_suites.py",
    "integrations/test_langchain_model_traffic.py",
    "docs/test_readme.py",
    "integrations/test_litellm_tenants.py",
    "core/test_alarms.py",
    "examples/test_demo.py",
    "packaging/test_wheels.py",
    "differential/test_workerd.py",
    "durability/test_kills.py",
    "durability/test_growth.py",
    "durability/test_locked_files.py",
)
"""Files that take long, the longest first: what ends last is to be short, or one of the workers would end alone."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, then those with the most tests."""
    order = {ROOT / file: number for number, file in enumerate(LONGEST)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (order.get(item.path, len(order)), -tests[item.path], item.path))


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

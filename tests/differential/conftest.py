"""workerd, started once for all tests, or the reason why they are skipped."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fetch import BINARY
from .laboratory import Laboratory
from .workerd import Workerd


@pytest.fixture(scope="session")
def workerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workerd]:
    if not BINARY.exists():
        reason = f"there is no workerd in {BINARY.parent}: run `python tests/differential/fetch.py`, which says why"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with Workerd(BINARY, tmp_path_factory.mktemp("workerd")) as running:
        yield running


@pytest.fixture
def laboratory(workerd: Workerd, tmp_path: Path) -> Iterator[Laboratory]:
    with asyncio.Runner() as runner:
        yield Laboratory(workerd, tmp_path, runner)

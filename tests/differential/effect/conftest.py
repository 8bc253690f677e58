"""Effect, started once for all tests, or the reason why they are skipped."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.differential.fetch import EFFECT

from .laboratory import Laboratory
from .oracle import Oracle

_LEAST_NODE = 20


@pytest.fixture(scope="session")
def effect() -> Iterator[Oracle]:
    node = shutil.which("node")
    reason = _missing(node)
    if node is None or reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with Oracle(node, EFFECT) as running:
        yield running


@pytest.fixture
def laboratory(effect: Oracle) -> Iterator[Laboratory]:
    with asyncio.Runner() as runner:
        yield Laboratory(effect, runner)


def _missing(node: str | None) -> str:
    if not EFFECT.exists():
        return f"there is no Effect in {EFFECT}: run `python tests/differential/fetch.py`, which says why"
    if node is None:
        return "there is no node, which runs Effect"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < _LEAST_NODE:
        return f"Effect needs node {_LEAST_NODE}, and this one is {version.strip()}"
    return ""

"""Random scripts give what Effect gives: in both colours, over memory and over objects, call for call.

``FUZZ_OPERATIONS`` and ``FUZZ_SEED`` in the environment say how many operations run, and which.
"""

import os
from itertools import count
from pathlib import Path

import pytest

from chatcache import DurableObjectPersistence, ObjectNamespace
from chatcache.backing import Backing
from chatcache.testing import ManualClock

from .laboratory import Laboratory, Makes, memory
from .scripts import generate

OPERATIONS = int(os.environ.get("FUZZ_OPERATIONS", "2000"))
SEED = os.environ.get("FUZZ_SEED", "1")
LENGTH = 40  # operations of a script


@pytest.fixture
def objects(tmp_path: Path) -> Makes:
    namespace, numbers = ObjectNamespace(tmp_path), count()

    def make(clock: ManualClock) -> Backing:
        return DurableObjectPersistence(namespace.get_by_name(str(next(numbers))).storage, clock=clock)

    return make


@pytest.mark.timeout(600 + OPERATIONS / 50)
def test_random_scripts_give_what_effect_gives(laboratory: Laboratory, objects: Makes) -> None:
    for number in range(-(-OPERATIONS // LENGTH)):
        script = generate(f"{SEED}/{number}", LENGTH)
        make = memory if number % 4 else objects  # a file for every script would take long
        if laboratory.mismatch(script, make):
            pytest.fail(f"script {number} of FUZZ_SEED={SEED}:\n{laboratory.report(script, make)}", pytrace=False)

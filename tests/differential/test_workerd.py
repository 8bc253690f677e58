"""Our storage does what workerd does: random scripts, in both colours, compared operation for operation.

``FUZZ_OPERATIONS`` and ``FUZZ_SEED`` in the environment say how many operations run, and which: ``make fuzz N=200000
SEED=1``.
"""

import json
import os

import pytest

from chatcache import ObjectNamespace

from .laboratory import Laboratory
from .scripts import generate, shrink, size
from .workerd import NAMESPACE, OTHER_NAMESPACE, Workerd

OPERATIONS = int(os.environ.get("FUZZ_OPERATIONS", "2000"))
SEED = os.environ.get("FUZZ_SEED", "1")


@pytest.mark.timeout(600 + OPERATIONS / 50)
def test_random_scripts_give_what_workerd_gives(laboratory: Laboratory) -> None:
    done = number = 0
    while done < OPERATIONS:
        script = generate(f"{SEED}/{number}")
        if laboratory.mismatch(script):
            script = shrink(script, lambda smaller: laboratory.mismatch(smaller) is not None)
            pytest.fail(
                f"script {number} of FUZZ_SEED={SEED}, without what can be left out:\n"
                + "\n".join(f"  {json.dumps(op)}" for op in script)
                + f"\n{laboratory.mismatch(script)}",
                pytrace=False,
            )
        done += size(script)
        number += 1


@pytest.mark.parametrize("namespace", [NAMESPACE, OTHER_NAMESPACE])
def test_names_stand_for_the_same_ids(workerd: Workerd, namespace: str, tmp_path: object) -> None:
    names = [
        "a",
        "thing",
        "é",
        "e\u0301",
        "😀",
        "with space",
        "tenant/42",
        "A" * 1024,
        "0" * 64,
        "__proto__",
    ]
    ours = ObjectNamespace(str(tmp_path), namespace)
    assert [ours.get_by_name(name).id for name in names] == workerd.ids(namespace, names)

"""What becomes of an element is what becomes of it in Effect: random operations on queues of one element each.

In which order several are taken is difference `queue-order`.
"""

import asyncio
import os
from concurrent.futures import CancelledError
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcache import (
    Attempt,
    InvalidValueError,
    MemoryStorage,
    ObjectNamespace,
    PersistedQueue,
    QueueEmptyError,
    RowStorage,
)
from chatcache.testing import ManualClock

from .laboratory import Laboratory
from .ours import Num, Text
from .scripts import Op

OPERATIONS = int(os.environ.get("FUZZ_OPERATIONS", "2000"))
SEED = os.environ.get("FUZZ_SEED", "1")
LENGTH = 60  # operations of a script

# Milliseconds
STEPS = [0, 1, 499, 500, 999, 1_000, 2_000, 4_000, 60_000, 86_400_000]
DELAYS = [0, 0, 0, -5, 1, 1_000, 2_000, None]
AGES = [0, 1_000, 60_000, 86_400_000]
SCHEMAS: dict[str, Any] = {"Num": Num.success, "Text": Text.success}


class FailedError(Exception):
    """What a handler raises."""


def generate(seed: str) -> list[Op]:
    random = Random(seed)  # noqa: S311 - chance, no secret
    return [operation(random) for _ in range(LENGTH)]


def operation(random: Random) -> Op:
    name = random.choice(["a", "b"])
    kind = random.choice(["Num"] * 9 + ["Text"])
    most = {"a": 3, "b": 10}[name]
    op = {"op": "queue", "name": name, "kind": kind, "most": most}
    match random.randrange(12):
        case 0 | 1 | 2:
            value = random.choice([1, 2.5, "text"])
            return op | {"method": "offer", "value": value, "delay": random.choice(DELAYS)}
        case 3:
            return op | {"method": "cleanup", "ages": [random.choice(AGES), random.choice([None, *AGES])]}
        case 4 | 5 | 6:
            return {"op": "advance", "by": random.choice(STEPS)}
        case _:
            return op | {
                "method": "take",
                "outcome": random.choice(["returns", "fails", "fails", "fails", "interrupts"]),
            }


class World:
    """What a script is run in."""

    def __init__(self, storage: RowStorage, clock: ManualClock, runner: asyncio.Runner | None) -> None:
        self._storage = storage
        self._clock = clock
        self._runner = runner

    def run(self, op: Op) -> Any:
        if op["op"] == "advance":
            self._clock.now += op["by"] / 1000
            return {"ok": None}
        queue = PersistedQueue[Any](
            self._storage, op["name"], schema=SCHEMAS[op["kind"]], max_attempts=op["most"], poll=0
        )
        match op["method"]:
            case "offer":
                delay = float("inf") if op["delay"] is None else op["delay"] / 1000
                try:
                    return {"ok": self._call(queue, "offer", op["value"], id="one", delay=delay)}
                except InvalidValueError:
                    return {"raised": "SchemaError"}
            case "cleanup":
                completed, failed = (None if age is None else age / 1000 for age in op["ages"])
                for name in ("a", "b"):  # Effect's does it for all queues
                    self._call(PersistedQueue[Any](self._storage, name), "cleanup", completed=completed, failed=failed)
                return {"ok": None}
            case _:
                return {"ok": self._take(queue, op["outcome"])}

    def _take(self, queue: PersistedQueue[Any], outcome: str) -> Any:
        def handle(value: Any, attempt: Attempt) -> Any:
            if outcome == "returns":
                return {"success": {"value": value, "id": attempt.id, "attempts": attempt.attempts}}
            raise FailedError if outcome == "fails" else CancelledError

        async def ahandle(value: Any, attempt: Attempt) -> Any:
            return handle(value, attempt)

        try:
            return self._call(queue, "take", handle if self._runner is None else ahandle, timeout=0)
        except QueueEmptyError:
            return "empty"
        except FailedError:
            return {"fail": 5}
        except CancelledError:
            return {"interrupt": True}

    def _call(self, queue: PersistedQueue[Any], name: str, *args: Any, **options: Any) -> Any:
        if self._runner is None:
            return getattr(queue, name)(*args, **options)
        return self._runner.run(getattr(queue, f"a{name}")(*args, **options))


@pytest.mark.timeout(600 + OPERATIONS / 50)
def test_what_becomes_of_an_element_is_what_becomes_of_it_in_effect(laboratory: Laboratory, tmp_path: Path) -> None:
    clock = ManualClock()
    namespace = ObjectNamespace(tmp_path, clock=clock)
    with asyncio.Runner() as runner:
        for number in range(-(-OPERATIONS // LENGTH)):
            script = generate(f"{SEED}/{number}")
            theirs = [each["is"] for each in laboratory.effect.run({"stores": [], "caches": [], "ops": script})]
            for awaiting in (False, True):
                thing = namespace.get_by_name(f"{number} {awaiting}").storage
                storage = MemoryStorage(clock=clock) if number % 8 else thing  # a file for every script would take long
                world = World(storage, clock, runner if awaiting else None)
                ours = [world.run(op) for op in script]
                differing = next((at for at in range(LENGTH) if theirs[at] != ours[at]), None)
                if differing is not None:
                    before = "\n".join(f"{script[at]} {theirs[at]}" for at in range(differing + 1))
                    pytest.fail(f"script {number} of FUZZ_SEED={SEED}, {awaiting=}:\n{before}\nhere {ours[differing]}")

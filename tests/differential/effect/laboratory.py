"""Runs one script everywhere: in Effect, and in ours with blocking and with awaiting calls."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from chatcache import MemoryPersistence
from chatcache.backing import Backing
from chatcache.testing import ManualClock
from tests.differential.scripts import shrink

from .oracle import Oracle
from .ours import Result, World
from .scripts import Op, Script

__all__ = ["Laboratory", "Makes", "memory"]

Makes = Callable[[ManualClock], Backing]


def memory(clock: ManualClock) -> Backing:
    """Make a backing in memory."""
    return MemoryPersistence(clock=clock)


class Laboratory:
    """Runs scripts.

    Args:
        effect: where they run there.
        runner: the loop of the awaiting calls.
    """

    def __init__(self, effect: Oracle, runner: asyncio.Runner) -> None:
        self.effect = effect
        self._runner = runner

    def ours(self, script: Script, make: Makes = memory, *, awaiting: bool = True, **options: Any) -> list[Result]:
        """Return what a script gives here, with options for its caches."""
        return World(make, self._runner, awaiting=awaiting, **options).run(script)

    def mismatch(self, script: Script, make: Makes) -> str | None:
        """Return where and how one of our colours differs first from Effect, or None."""
        theirs = self.effect.run(script)
        for awaiting in (False, True):
            ours = self.ours(script, make, awaiting=awaiting)
            for op, there, here in zip(script["ops"], theirs, ours, strict=True):
                if there != here:
                    return "\n".join(
                        [json.dumps(op), f"  Effect    {json.dumps(there)}", f"  chatcache {json.dumps(here)}"]
                    )
        return None

    def report(self, script: Script, make: Makes) -> str:
        """Return a script that differs, without what can be left out, and how it differs."""

        def of(ops: list[Op]) -> Script:
            return script | {"ops": ops}

        ops = shrink(script["ops"], lambda ops: self.mismatch(of(ops), make) is not None)
        lines = [json.dumps(each) for each in (*script["stores"], *script["caches"], *ops)]
        return "\n".join([*lines, str(self.mismatch(of(ops), make))])

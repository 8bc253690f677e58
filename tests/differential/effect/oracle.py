"""Effect in a running node, which runs scripts one after another."""

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.waiting import HANG

__all__ = ["Oracle"]

_PROGRAM = Path(__file__).with_name("oracle.mjs")


class Oracle:
    """Runs scripts in Effect, from ``with`` to its end.

    Args:
        node: the program.
        package: the folder of the package ``effect``.
    """

    def __init__(self, node: str, package: Path) -> None:
        self._command = [node, str(_PROGRAM), str(package)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=HANG)

    def run(self, script: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the results of a script, one an operation."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(script)}\n".encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"node ended with exit code {self._process.wait(HANG)}: {self._command}\n{script}")
        results: list[dict[str, Any]] = json.loads(line)
        return results

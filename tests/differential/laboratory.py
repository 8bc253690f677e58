"""Runs one script everywhere: in workerd, and in our storage with blocking and with awaiting calls."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from chatcache import DurableObject, ObjectNamespace

from .compare import difference
from .ours import run_awaiting, run_blocking
from .scripts import Op, Script
from .workerd import NAMESPACE, Workerd

__all__ = ["EPILOGUE", "Laboratory", "Results"]

# What every script ends with: all that is there.
EPILOGUE: Script = [
    {"op": "list"},
    {"op": "kv_list", "options": {"reverse": True}},
    {"op": "get_alarm"},
    {
        "op": "sql",
        "query": "SELECT name FROM sqlite_master WHERE substr(name, 1, 1) <> '_' ORDER BY name",
        "bindings": [],
        "form": "raw",
    },
]

_numbers = count()  # names are never used twice, since all tests share one workerd


@dataclass(frozen=True, slots=True)
class Results:
    """What one script gave, one result an operation."""

    workerd: list[dict[str, Any]]
    blocking: list[dict[str, Any]]
    awaiting: list[dict[str, Any]]


class Laboratory:
    """Runs scripts, each in new objects.

    Args:
        workerd: where they run there.
        folder: where our files are.
        runner: the loop of the awaiting calls.
    """

    def __init__(self, workerd: Workerd, folder: Path, runner: asyncio.Runner) -> None:
        self.workerd = workerd
        self.folder = folder
        self._runner = runner

    def run(self, script: Script) -> Results:
        """Run a script in workerd and here."""
        return Results(self.theirs(script), *self.ours(script))

    def theirs(self, script: Script) -> list[dict[str, Any]]:
        """Run a script in workerd alone."""
        return self.workerd.run(_new_name(), script)

    def ours(self, script: Script) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Run a script here alone: with blocking calls, and with awaiting ones."""
        name = _new_name()
        return self._blocking(f"{name}-blocking", script), self._awaiting(f"{name}-awaiting", script)

    @contextmanager
    def object(self) -> Iterator[DurableObject]:
        """Give a new object of ours."""
        thing = self._object(_new_name())
        try:
            yield thing
        finally:
            thing.close()

    def namespace(self) -> ObjectNamespace:
        """Return the namespace of our objects."""
        return ObjectNamespace(self.folder, NAMESPACE, alarm=_alarm)

    def mismatch(self, script: Script) -> str | None:
        """Return where a script, and the listing of everything after it, gave something else here, or None."""
        whole = [*script, *EPILOGUE]
        results = self.run(whole)
        for colour, ours in ("blocking", results.blocking), ("awaiting", results.awaiting):
            found = difference(whole, results.workerd, ours)
            if found:
                return f"{colour} calls: {found}"
        if _types(results.blocking) != _types(results.awaiting):
            return f"blocking and awaiting calls differ:\n  {results.blocking}\n  {results.awaiting}"
        return None

    def _blocking(self, name: str, script: Script) -> list[dict[str, Any]]:
        thing = self._object(name)
        try:
            results = run_blocking(thing, script)
        finally:
            thing.close()
        self._reopened(name, script, results)
        return results

    def _awaiting(self, name: str, script: Script) -> list[dict[str, Any]]:
        thing = self._object(name)
        try:
            return self._runner.run(run_awaiting(thing, script))
        finally:
            thing.close()

    def _reopened(self, name: str, script: Script, results: list[dict[str, Any]]) -> None:
        """Look at the file anew: what the script saw last is what it left there."""
        if script[-len(EPILOGUE) :] != EPILOGUE:
            return
        again = self._object(name)
        try:
            assert _types(run_blocking(again, EPILOGUE)) == _types(results[-len(EPILOGUE) :]), script
        finally:
            again.close()

    def _object(self, name: str) -> DurableObject:
        return self.namespace().get_by_name(name)


def _new_name() -> str:
    return f"script-{next(_numbers)}"


def _types(results: list[dict[str, Any]]) -> str:
    """Return results as text that tells 1 from 1.0; the words of errors may differ."""
    return json.dumps(_wordless(results))


def _wordless(results: list[dict[str, Any]]) -> list[Op]:
    return [
        {**result, "error": result.get("error", {}).get("name"), "body": _wordless(result.get("body", []))}
        for result in results
    ]


def _alarm(*_: object) -> None:
    raise AssertionError("the alarms of scripts are a lifetime away")

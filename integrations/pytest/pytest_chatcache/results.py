"""What became of the calls of one scope, as plain data: it crosses from a worker of pytest-xdist to who writes."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from chatcache import Form
from chatcache.recording import Record, RecordMode, Tape

__all__ = ["Result"]

Name = tuple[str, str, int]
"""The store, the key and the number of a record of a scope."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of the calls of a test, or of a fixture.

    Attributes:
        path: its bundle.
        scope: what it is called there.
        node: the id of the test, or of the one that the fixture was set up for.
        file: the file of that test, relative to the root.
        line: the line of that test in it, from 1 on.
        is_fixture: whether it is a fixture's, which may be set up more than once.
        passed: whether it passed: then what was recorded is kept.
        replaces: whether that takes the place of all its records.
        strict: whether it replays strictly, so that a record which was not used is of no use.
        there: how many records of it there were before.
        made: what was recorded.
        used: which records were replayed.
        hits: how many calls were replayed.
        misses: what was missed, as `chatcache.recording.ExplainedMiss` says it.
        unrecorded: why calls that were made have no record, a line each.
        saved: what was replayed would have taken: tokens, US dollars, seconds.
    """

    path: str
    scope: str
    node: str
    file: str
    line: int
    is_fixture: bool
    passed: bool
    replaces: bool
    strict: bool
    there: int
    made: list[Record]
    used: list[Name]
    hits: int
    misses: list[dict[str, Any]]
    unrecorded: list[str]
    saved: list[float]

    @classmethod
    def of(cls, tape: Tape, path: Path, item: pytest.Item, *, passed: bool, is_fixture: bool = False) -> "Result":
        """Return what became of the calls of a tape.

        Args:
            tape: the tape.
            path: the bundle that its records are for.
            item: the test that it was in for.
            passed: whether what was recorded is to be kept.
            is_fixture: whether it is a fixture's.
        """
        there = tape.shelf.of_scope(tape.scope)
        is_own = tape.shelf.bundle.path == path  # else another worker has recorded it in this run
        file, line, _ = item.location
        return cls(
            path=str(path),
            scope=tape.scope,
            node=item.nodeid,
            file=file,
            line=(line or 0) + 1,
            is_fixture=is_fixture,
            passed=passed,
            replaces=tape.mode is RecordMode.REFRESH,
            strict=is_own and tape.mode is RecordMode.REPLAY,
            there=len(there),
            made=tape.made if passed else [],
            used=[(each.store, each.key, each.number) for each in there if each.row in tape.used],
            hits=tape.hits,
            misses=[miss.to_dict() for miss in tape.misses],
            unrecorded=tape.unrecorded,
            saved=tape.saved,
        )

    def joined(self, other: "Result") -> "Result":
        """Return what became of two setups of one fixture, this one before the other."""
        return replace(
            other,
            passed=self.passed and other.passed,
            replaces=self.replaces or other.replaces,
            strict=self.strict and other.strict,
            made=[*self.made, *other.made],
            used=[*self.used, *other.used],
            hits=self.hits + other.hits,
            misses=[*self.misses, *other.misses],
            unrecorded=[*self.unrecorded, *other.unrecorded],
            saved=[one + more for one, more in zip(self.saved, other.saved, strict=True)],
        )

    def to_json(self) -> str:
        """Return it as text."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return json.dumps({**said, "made": [asdict(each) for each in self.made]}, default=repr)

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """Return what `to_json` returned."""
        said = json.loads(text)
        made = [Record(**{**each, "form": Form(each["form"])}) for each in said["made"]]
        return cls(**{**said, "made": made, "used": [tuple(each) for each in said["used"]]})

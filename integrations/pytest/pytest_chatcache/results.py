"""What became of the calls of one scope, as plain data: it crosses from a worker of pytest-xdist to who writes."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from chatcache import Form
from chatcache.recording import Record, RecordMode, Tape

__all__ = ["Result"]

Name = tuple[str, str, int]
"""The store, the key and the number of a record of a scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of the calls of a test, or of a fixture.

    Attributes:
        path: its bundle.
        scope: what it is called there.
        node: the id of the test, or the name of the fixture.
        passed: whether it passed: then what was recorded is kept.
        replaces: whether that takes the place of all its records.
        strict: whether it replays strictly, so that a record which was not used is of no use.
        there: how many records of it there were before.
        made: what was recorded.
        used: which records were replayed.
        hits: how many calls were replayed.
        misses: what was missed, as `chatcache.recording.ExplainedMiss` says it.
        saved: what was replayed would have taken: tokens, US dollars, seconds.
    """

    path: str
    scope: str
    node: str
    passed: bool
    replaces: bool
    strict: bool
    there: int
    made: list[Record]
    used: list[Name]
    hits: int
    misses: list[dict[str, Any]]
    saved: list[float]

    @classmethod
    def of(cls, tape: Tape, node: str, *, passed: bool) -> "Result":
        """Return what became of the calls of a tape."""
        there = tape.shelf.of_scope(tape.scope)
        return cls(
            path=str(tape.shelf.bundle.path),
            scope=tape.scope,
            node=node,
            passed=passed,
            replaces=tape.mode is RecordMode.REFRESH,
            strict=tape.mode is RecordMode.REPLAY,
            there=len(there),
            made=tape.made if passed else [],
            used=[(each.store, each.key, each.number) for each in there if each.row in tape.used],
            hits=tape.hits,
            misses=[miss.to_dict() for miss in tape.misses],
            saved=tape.saved,
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

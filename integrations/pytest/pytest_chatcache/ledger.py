"""What became of all tests of a run: it writes what was recorded, and says in the end what there is to say."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chatcache import BundleError
from chatcache.recording import SUFFIX, Bundle, Changes, Head, name_of, rescue

from .collected import Collected, Judge
from .results import Result
from .settings import Settings

__all__ = ["Files", "Ledger", "Verdict"]

_SHARE = 4  # times as long as writing takes it waits before it writes again, while tests go on

Name = tuple[str, str, str, int]
"""The name of a record in its bundle."""


@dataclass(slots=True)
class Files:
    """What is the matter with the records of one bundle.

    Attributes:
        replayed: how many calls were replayed.
        missed: how many were missed.
        expired: how many records were found too old.
        unused: the records of tests that passed, and did not use them.
        orphaned: the records of tests that there are no more.
        is_of_none: whether it is no test's at all.
    """

    replayed: int = 0
    missed: int = 0
    expired: int = 0
    unused: list[Name] = field(default_factory=list)
    orphaned: list[Name] = field(default_factory=list)
    is_of_none: bool = False


Verdict = dict[Path, Files]
"""What is the matter with each bundle, in the order of their paths."""


@dataclass(slots=True)
class _Written:
    """A bundle, and what is still to be written into it, from a time on, by the monotonic clock."""

    bundle: Bundle
    waiting: dict[str, Result] = field(default_factory=dict)
    due: float = float("-inf")


class Ledger:
    """What became of all tests of a run.

    Args:
        settings: what the run asks.

    Attributes:
        results: what became of each scope; of one that ran again, the last time.
        collected: the tests that there are; None where not all of them are known.
        changes: what this run changed in its bundles.
        problems: what could not be written.
        seen: the frameworks that were imported while a test ran.
        remarks: what there is to say of frameworks whose calls are not recorded.
    """

    def __init__(self, settings: Settings) -> None:
        self.results: dict[tuple[str, str], Result] = {}
        self.collected: Collected | None = None
        self.changes: dict[Path, Changes] = defaultdict(Changes)
        self.problems: list[str] = []
        self.seen: set[str] = set()
        self.remarks: dict[str, None] = {}
        self._settings = settings
        self._bundles: dict[str, _Written] = {}

    def add(self, result: Result) -> None:
        """Note what became of a scope; what was recorded is written at once, unless that would take all the time."""
        before = self.results.get((result.path, result.scope))
        if before is not None and result.is_fixture:
            result = before.joined(result)
        self.results[result.path, result.scope] = result
        if result.made or (result.passed and result.replaces and result.there):
            written = self._bundles.get(result.path)
            if written is None:
                written = self._bundles[result.path] = _Written(Bundle(result.path))
            written.waiting[result.scope] = result
        self.write(late=False)

    def write(self, *, late: bool = True) -> None:
        """Write what is still to be written; where it is not late, what is due."""
        now = time.monotonic()
        for written in self._bundles.values():
            if written.waiting and (late or now >= written.due):
                self._write(written, late=late)

    def verdict(self) -> Verdict:
        """Return what is the matter with each bundle that a test of this run has, or that is beside one."""
        verdict: dict[str, Files] = defaultdict(Files)
        for result in self.results.values():
            of = verdict[result.path]
            of.replayed += result.hits
            of.missed += len(result.misses)
            of.expired += sum(miss["code"] == "expired" for miss in result.misses)
        judge = None if self.collected is None else Judge(self._settings, self.collected)
        for path in {*verdict, *(() if judge is None else self._beside(judge))}:
            self._judge(verdict, path, judge)
        return {Path(path): of for path, of in sorted(verdict.items())}

    def prune(self, verdict: Verdict) -> int:
        """Remove unused and orphaned records, and blobs that nobody refers to; return how many.

        Raises:
            BundleError: a bundle could not be read, or written.
        """
        removed = 0
        for path, of in verdict.items():
            gone = {*of.unused, *of.orphaned}
            if gone:
                bundle = Bundle(path)
                with bundle.locked():
                    bundle.write([(head, text) for head, text in bundle.blocks() if name_of(head) not in gone])
                self.changes[path] += Changes(removed=len(gone))
                removed += len(gone)
        return removed + sum(Bundle(path).sweep_blobs() for path in {*verdict, *self.changes})

    def _write(self, written: _Written, *, late: bool) -> None:
        """Write what is waiting for a bundle; if that fails before the end of the run, it is tried again."""
        waiting, written.waiting = written.waiting, {}
        began = time.monotonic()
        try:
            self._revise(written.bundle, waiting)
        except BundleError:
            if late:
                self._write_singly(written.bundle, waiting)
            else:
                written.waiting = waiting
        now = time.monotonic()
        written.due = now + _SHARE * (now - began)

    def _write_singly(self, bundle: Bundle, waiting: dict[str, Result]) -> None:
        """Write each scope by itself, and note why one cannot be written, so that it costs no other one its records.

        What cannot be written is written elsewhere.
        """
        left = {**waiting}
        problems: dict[str, None] = {}
        try:
            with bundle.locked():
                for scope, result in waiting.items():
                    try:
                        self._revise(bundle, {scope: result})
                        del left[scope]
                    except BundleError as error:
                        problems[f"ERROR: {error}"] = None
        except BundleError as error:
            problems[f"ERROR: {error}"] = None
        records = [record for result in left.values() for record in result.made]
        self.problems += problems
        if records:
            self.problems[-1] += rescue(bundle, records)

    def _revise(self, bundle: Bundle, waiting: dict[str, Result]) -> None:
        self.changes[bundle.path] += bundle.revise(
            (record for result in waiting.values() for record in result.made),
            replacing={scope for scope, result in waiting.items() if result.replaces},
        )

    def _judge(self, verdict: dict[str, Files], path: str, judge: Judge | None) -> None:
        """Add to a verdict which records of a bundle are of no use."""
        names = [name_of(head) for head in _heads(Path(path))]
        unused, orphaned = [], []
        for name in names:
            result = self.results.get((path, name[0]))
            if result is not None:
                if result.passed and result.strict and name[1:] not in result.used:
                    unused.append(name)
            elif judge is not None and judge.is_gone(Path(path), name[0]):
                orphaned.append(name)
        if unused or orphaned:
            is_known = judge is None or path in judge.collected.tests
            of = verdict[path]
            of.unused, of.orphaned, of.is_of_none = unused, orphaned, len(orphaned) == len(names) and not is_known

    def _beside(self, judge: Judge) -> Iterator[str]:
        """Yield the paths of the bundles that are beside those of this run's tests, its own among them."""
        for folder in self._folders(judge.files):
            for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}"):  # of files, and of single tests
                yield from (str(path) for path in folder.glob(pattern) if judge.may_be_gone(path))

    def _folders(self, files: set[str]) -> set[Path]:
        """Return the folders of the bundles of tests, and of what the conftest.py files above them record."""
        root, name = self._settings.root, self._settings.folder
        inner = {Path(file).parent for file in files}
        above = {each for folder in inner for each in (folder, *folder.parents) if each.is_relative_to(root)}
        return {folder / name for folder in above}


def _heads(path: Path) -> list[Head]:
    try:
        return [head for head, _ in Bundle(path).blocks()]
    except BundleError:  # its tests have said so
        return []

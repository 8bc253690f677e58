"""What became of all tests of a run: it writes what was recorded, and says in the end what there is to say."""

import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from chatcache import BundleError
from chatcache.recording import SUFFIX, Bundle, Changes, Head, name_of

from .collected import Collected
from .results import Result

__all__ = ["Files", "Ledger"]

_PAUSE = 1.0  # seconds between two times that a bundle is written, while tests go on


@dataclass(slots=True)
class Files:
    """What is the matter with the records of one bundle.

    Attributes:
        replayed: how many calls were replayed.
        recorded: how many were recorded.
        missed: how many were missed.
        unused: records of tests that passed, and did not use them.
        expired: records that were found too old.
        orphaned: records of tests that there are no more.
    """

    replayed: int = 0
    recorded: int = 0
    missed: int = 0
    unused: int = 0
    expired: int = 0
    orphaned: int = 0


@dataclass(slots=True)
class _Written:
    """A bundle, and what is still to be written into it."""

    bundle: Bundle
    waiting: dict[str, Result] = field(default_factory=dict)
    at: float = float("-inf")


class Ledger:
    """What became of all tests of a run.

    Attributes:
        results: what became of each scope; of one that ran again, the last time.
        collected: the tests and fixtures that there are; None where not all of them are known.
    """

    def __init__(self) -> None:
        self.results: dict[tuple[str, str], Result] = {}
        self.collected: Collected | None = None
        self.changes: dict[Path, Changes] = defaultdict(Changes)  # what this run wrote
        self._bundles: dict[str, _Written] = {}
        self._read: dict[Path, list[Head]] = {}  # what is in bundles, until they are written

    def add(self, result: Result) -> None:
        """Note what became of a scope; what was recorded is written, at the latest in the end.

        Raises:
            BundleError: a bundle could not be read, or written.
        """
        self.results[result.path, result.scope] = result
        if result.made or (result.passed and result.replaces and result.there):
            written = self._bundles.get(result.path)
            if written is None:
                written = self._bundles[result.path] = _Written(Bundle(result.path))
            written.waiting[result.scope] = result
            if time.monotonic() - written.at >= _PAUSE:
                self._write(written)

    def write(self) -> None:
        """Write what is still to be written.

        Raises:
            BundleError: a bundle could not be read, or written.
        """
        for written in self._bundles.values():
            self._write(written)

    def files(self) -> dict[Path, Files]:
        """Return what is the matter with each bundle that a test of this run has."""
        files: dict[str, Files] = defaultdict(Files)
        for result in self.results.values():
            of = files[result.path]
            of.replayed += result.hits
            of.recorded += len(result.made)
            of.missed += len(result.misses)
            of.expired += sum(miss["code"] == "expired" for miss in result.misses)
        for path in [*files, *(self.collected.tests if self.collected else ())]:
            unused, orphaned = self._idle(Path(path))
            if unused or orphaned:
                files[path].unused, files[path].orphaned = len(unused), len(orphaned)
        return {Path(path): of for path, of in sorted(files.items())}

    def orphans(self) -> list[Path]:
        """Return the bundles in the folders of this run's that are of no test, where all tests are known."""
        if self.collected is None:
            return []
        known = {Path(path) for path in {*self.collected.tests, *(result.path for result in self.results.values())}}
        folders = {path.parent for path in known}
        return sorted(
            path
            for folder in folders
            for path in folder.glob(f"*{SUFFIX}")
            if path not in known and not self.collected.has_tests(path)
        )

    def prune(self) -> int:
        """Remove unused and orphaned records, orphaned bundles, and blobs that nobody refers to; return how many.

        Raises:
            BundleError: a bundle could not be read, or written.
        """
        removed = 0
        for path in self.files():
            unused, orphaned = self._idle(path)
            gone = {*unused, *orphaned}
            if gone:
                bundle = Bundle(path)
                bundle.write([(head, text) for head, text in bundle.blocks() if name_of(head) not in gone])
                self._read.pop(path, None)
                self.changes[path] += Changes(removed=len(gone))
                removed += len(gone)
        for path in self.orphans():
            number = sum(1 for _ in Bundle(path).blocks())
            self.changes[path] += Changes(removed=number)
            removed += number
            path.unlink()
        removed += sum(Bundle(path).sweep_blobs() for path in {*self.files(), *self.changes})
        return removed

    def _write(self, written: _Written) -> None:
        if not written.waiting:
            return
        waiting, written.waiting = written.waiting, {}
        path = written.bundle.path
        self._read.pop(path, None)
        self.changes[path] += written.bundle.revise(
            (record for result in waiting.values() for record in result.made),
            replacing={scope for scope, result in waiting.items() if result.replaces},
        )
        written.at = time.monotonic()

    def _heads(self, path: Path) -> list[Head]:
        if path not in self._read:
            try:
                self._read[path] = [head for head, _ in Bundle(path).blocks()]
            except BundleError:  # its tests have said so
                self._read[path] = []
        return self._read[path]

    def _has_passed(self, path: str, scope: str) -> bool:
        result = self.results.get((path, scope))
        return result is not None and result.passed

    def _idle(self, path: Path) -> tuple[list[tuple[str, str, str, int]], list[tuple[str, str, str, int]]]:
        """Return the records of a bundle that were not used, and those whose tests there are no more."""
        unused, orphaned = [], []
        for head in self._heads(path):
            name = name_of(head)
            result = self.results.get((str(path), name[0]))
            if result is not None:
                if result.passed and result.strict and name[1:] not in result.used:
                    unused.append(name)
            elif self.collected is not None and self.collected.is_gone(path, name[0], self._has_passed):
                orphaned.append(name)
        return unused, orphaned

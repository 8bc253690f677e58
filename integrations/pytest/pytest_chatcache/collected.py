"""What is known of the tests that there are: what is recorded of none of them is of no use any more."""

import glob
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatcache.recording import SUFFIX

from .names import CONFTEST, Owner, bundle_of, module_of, owner_of
from .settings import Layout, Settings

__all__ = ["Collected", "Judge"]

_PARTLY = ("lf", "failedfirst", "stepwise", "pyargs")  # options with which it is not known what was left out
_IGNORING = ("ignore", "ignore_glob")


@dataclass(frozen=True, slots=True)
class Collected:
    """The tests of a run that collects whole files.

    Attributes:
        tests: the files of the tests, by the paths of their bundles, and by what they are called there.
        folders: the folders all of whose tests are among them.
        is_whole: whether all of them are run.
    """

    tests: dict[str, dict[str, str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    is_whole: bool = True

    @classmethod
    def of(cls, settings: Settings, config: pytest.Config, items: Iterable[pytest.Item]) -> "Collected | None":
        """Return what was collected, or None where that may not be whole files.

        Raises:
            InvalidInputError: an argument of a marker cannot be right.
        """
        if any("::" in each for each in config.args) or any(config.getoption(each, default=False) for each in _PARTLY):
            return None
        collected = cls(folders=[str(each) for each in _folders(config)])
        for item in items:
            path, name = bundle_of(settings, item)
            collected.tests.setdefault(str(path), {})[name] = str(item.path)
        return collected

    def runs_all_of(self, file: Path) -> bool:
        """Whether all tests are run that can use what a file defines: a ``conftest.py``, or one of tests."""
        if file.name != CONFTEST:
            return self.is_whole and any(str(file) in names.values() for names in self.tests.values())
        return self.is_whole and any(file.parent.is_relative_to(folder) for folder in self.folders)


class Judge:
    """Says of what is recorded whether it is of no use any more, and nothing where that is not known.

    Args:
        settings: what the run asks.
        collected: the tests that there are.

    Attributes:
        collected: as above.
        files: the files of the tests.
    """

    def __init__(self, settings: Settings, collected: Collected) -> None:
        self.collected = collected
        self.files = {file for names in collected.tests.values() for file in names.values()}
        self._settings = settings

    def is_gone(self, bundle: Path, name: str) -> bool:
        """Whether there is no such test any more, or no file that defines such a fixture.

        A fixture of a ``conftest.py`` may be that of a plugin, and be needed by tests that this run does not know of.
        """
        if name in self.collected.tests.get(str(bundle), {}):
            return False
        owner = owner_of(name)
        file = None if owner is None else self._file_of(bundle, owner)
        if owner is None or file is None or file.name == CONFTEST:
            return False
        return not _is_there(file) or (not owner.is_fixture and str(file) in self.files)

    def may_be_gone(self, bundle: Path) -> bool:
        """Whether it is known enough to judge a bundle, so that it is worth reading."""
        module = module_of(self._settings, bundle)
        return module is None or not _is_there(module) or str(module) in self.files

    def _file_of(self, bundle: Path, owner: Owner) -> Path | None:
        """Return the file that defines a test or a fixture of a bundle, or None where that is not known."""
        if owner.file is None:
            return module_of(self._settings, bundle)
        if bundle.stem == "suite" and self._settings.layout is Layout.SUITE:
            return (self._settings.root / owner.file).resolve()
        beside = module_of(self._settings, bundle.with_name(f"any{bundle.suffix}"))
        return None if beside is None else (beside.parent / owner.file).resolve()


def _is_there(file: Path) -> bool:
    """Whether there is a file of tests, or one of that name and another sort, from which a plugin makes tests."""
    return any(each.suffix != SUFFIX for each in file.parent.glob(f"{glob.escape(file.stem)}.*"))


def _folders(config: pytest.Config) -> Iterable[Path]:
    """Yield the folders that a run collects all tests of."""
    if any(config.getoption(each, default=None) for each in _IGNORING):
        return
    for each in config.args:
        path = config.invocation_params.dir / each
        if path.is_dir():
            yield path.resolve()

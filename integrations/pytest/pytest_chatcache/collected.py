"""Which tests there are: what is recorded of others, and of fixtures that none of them needs, is of no use any more."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatcache.recording import SUFFIX

from .scopes import bundle_of, place_of_fixture
from .settings import Settings

__all__ = ["Collected"]


@dataclass(frozen=True, slots=True)
class Collected:
    """The tests of a run that collects whole files.

    Attributes:
        tests: the ids of the tests, by the paths of their bundles, and by what they are called there.
    """

    tests: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, items: Iterable[pytest.Item]) -> "Collected":
        """Return what was collected.

        Raises:
            InvalidInputError: an argument of a marker cannot be right.
        """
        collected, folders = cls(), set[Path]()
        for item in items:
            path, name = bundle_of(settings, item)
            collected.tests.setdefault(str(path), {})[name] = item.nodeid
            folders.add(item.path.parent)
        for folder in {each for inner in folders for each in (inner, *inner.parents)}:
            if folder.is_relative_to(settings.root):  # the fixtures of a conftest.py have a bundle there
                collected.tests.setdefault(str(folder / settings.folder / f"conftest{SUFFIX}"), {})
        return collected

    def is_gone(self, path: Path, scope: str, has_passed: Callable[[str, str], bool]) -> bool:
        """Whether there is no such test any more, or no test that needs such a fixture, as far as that is known.

        Args:
            path: a bundle.
            scope: what has a record in it, and did not run.
            has_passed: whether a test passed, by the path of its bundle and by what it is called there.
        """
        known = self.tests.get(str(path))
        if known is None or scope in known:
            return False
        place = place_of_fixture(scope)
        if place is not None:
            needing = [*self._tests_in(place)]
            return bool(needing) and all(has_passed(*test) for test in needing)
        file, of_several, _ = scope.partition(".py::")  # where the bundle is that of several files
        return not of_several or any(each.startswith(f"{file}.py::") for each in known)

    def has_tests(self, bundle: Path) -> bool:
        """Whether a bundle may be of tests that are not known: their file is there, or it is named after none."""
        return (
            bundle.stem in {"conftest", "suite"}
            or not bundle.stem.startswith("test_")
            or (bundle.parent.parent / f"{bundle.stem}.py").exists()
        )

    def _tests_in(self, place: str) -> Iterator[tuple[str, str]]:
        """Yield the tests that can use the fixtures of a file or a folder: their bundles and their names there."""
        inside = "" if place in {"", "."} else place
        for path, names in self.tests.items():
            for name, test in names.items():
                if test.startswith((f"{inside}::", f"{inside}/")) or not inside:
                    yield path, name

"""Whose calls are whose: each test has a tape of its own, and so has each fixture that more than one test uses.

What such a fixture calls belongs to it, whichever test is the first to need it: so it does not matter which tests run,
in what order, and in which process.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from chatcache.recording import SUFFIX, RecordMode, Session, Tape

from .results import Result
from .settings import Layout, Settings

__all__ = ["TAPE", "Scopes", "bundle_of", "place_of_fixture", "raise_what_was_missed"]

TAPE = pytest.StashKey[Tape | None]()
"""The tape of a test, None in mode ``off``."""

_ENTERED = pytest.StashKey[AbstractContextManager[Tape | None]]()
_OF_FIXTURES = pytest.StashKey[list[Result]]()
_SAID = "_chatcache_said"  # the mark of a miss that a test failed with
_FIXTURE = "fixture "
_PLAIN = (str, int, float, bool)
_LONGEST_NAME = 150  # characters of a file's
_NOT_IN_A_NAME = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


def bundle_of(settings: Settings, item: pytest.Item) -> tuple[Path, str]:
    """Return the bundle of a test, and what the test is called in it."""
    store = settings.store_of(item)
    within = item.nodeid.partition("::")[2] or item.nodeid
    if store is not None:
        return item.path.parent / settings.folder / f"{store}{SUFFIX}", item.nodeid
    if settings.layout is Layout.SUITE:
        return settings.root / settings.folder / f"suite{SUFFIX}", item.nodeid
    if settings.layout is Layout.TEST:
        name = within.translate(_NOT_IN_A_NAME)[:_LONGEST_NAME]
        return item.path.parent / settings.folder / item.path.stem / f"{name}{SUFFIX}", within
    return _beside(item.path, settings.folder), within


@lru_cache(maxsize=64)
def _beside(module: Path, folder: str) -> Path:
    """Return the bundle of a file of tests."""
    return module.parent / folder / f"{module.stem}{SUFFIX}"


def place_of_fixture(scope: str) -> str | None:
    """Return the file or the folder in which a fixture is defined, of what it is called in its bundle; else None."""
    within, fixture, name = scope.rpartition(_FIXTURE)
    return name.partition("::")[0] if fixture and (not within or within.endswith("::")) else None


def raise_what_was_missed(tape: Tape) -> None:
    """Raise the first miss of a tape that was not raised here before, or that something was not recorded.

    Raises:
        ExplainedMiss: a call was missed, whether or not somebody caught that.
        SecretError: something was not recorded, because it holds a secret.
    """
    misses = [miss for miss in tape.misses if not hasattr(miss, _SAID)]
    for miss in misses:
        setattr(miss, _SAID, True)
    if misses:
        raise misses[0]
    tape.raise_for_problems()


class Scopes:
    """Puts the tapes of tests and fixtures in, and takes them out.

    Args:
        settings: what the run asks.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session = Session()

    def begin(self, item: pytest.Item) -> None:
        """Put the tape of a test in.

        Raises:
            ChatcacheError: a setting, or the bundle, cannot be right.
        """
        item.stash[_OF_FIXTURES] = []
        path, name = bundle_of(self._settings, item)
        entered = self._session.scope(name, path, self._settings.policy_of(item), command=_command(item))
        item.stash[TAPE] = entered.__enter__()
        item.stash[_ENTERED] = entered

    def end(self, item: pytest.Item) -> None:
        """Take the tape of a test out."""
        entered = item.stash.get(_ENTERED, None)
        if entered is not None:
            del item.stash[_ENTERED]
            entered.__exit__(None, None, None)

    def results(self, item: pytest.Item, *, passed: bool) -> list[Result]:
        """Return what became of a test's calls, and of those of the fixtures that were set up for it; it is over."""
        tape, results = item.stash.get(TAPE, None), item.stash.get(_OF_FIXTURES, [])
        if tape is not None:
            results.append(Result.of(tape, item.nodeid, passed=passed))
            item.stash[TAPE] = None
        item.stash[_OF_FIXTURES] = []
        return results

    @contextmanager
    def of_fixture(self, fixture: pytest.FixtureDef[Any], request: Any) -> Iterator[None]:
        """Have the calls of a fixture's setup be its own, where more than one test uses it."""
        item = _item_of(request)
        policy = self._settings.policy_of(None)
        if item is None or policy.mode is RecordMode.OFF:
            yield
            return
        path, name = self._bundle_of_fixture(fixture, request, item)
        with self._session.scope(name, path, policy, command=_command(item)) as tape:
            yield
        assert tape is not None  # noqa: S101 - it is not off
        if tape.made or tape.hits or tape.misses:
            item.stash[_OF_FIXTURES].append(Result.of(tape, name, passed=not tape.misses and not tape.problems))
        raise_what_was_missed(tape)

    def close(self) -> None:
        """Release what was read."""
        self._session.close()

    def _bundle_of_fixture(self, fixture: pytest.FixtureDef[Any], request: Any, item: pytest.Item) -> tuple[Path, str]:
        """Return the bundle of a fixture, and a name that no other fixture has there, nor the same of other values."""
        value = getattr(request, "param", None)
        values = "" if value is None else f"[{value if isinstance(value, _PLAIN) else request.param_index}]"
        name = f"{_FIXTURE}{fixture.baseid}::{fixture.argname}{values}"
        if self._settings.layout is Layout.SUITE:
            return self._settings.root / self._settings.folder / f"suite{SUFFIX}", name
        if fixture.scope in {"module", "class"}:
            classes = [each.name for each in item.listchain() if isinstance(each, pytest.Class)]
            within = classes if fixture.scope == "class" else []
            return _beside(item.path, self._settings.folder), "::".join([*within, name])
        where = self._settings.root / fixture.baseid
        where = where if where.is_dir() else where.parent
        return where / self._settings.folder / f"conftest{SUFFIX}", name


def _command(item: pytest.Item) -> str:
    """Return what records a test."""
    return f'pytest "{item.nodeid}" --chatcache=refresh'


def _item_of(request: Any) -> pytest.Item | None:
    """Return the test for which a fixture is set up."""
    item = getattr(request, "_pyfuncitem", None)
    return item if isinstance(item, pytest.Item) else None

"""Whose calls are whose: each test has a tape of its own, and so has each fixture that more than one test uses.

What such a fixture calls, also when it is torn down, belongs to it, whichever test needs it first, or last: so it does
not matter which tests run, in what order, and in which process.
"""

import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatcache.recording import Advice, Policy, RecordMode, Session, Tape

from .cassettes import Cassettes
from .collected import Collected
from .frameworks import Frameworks
from .names import TEARDOWN, bundle_of, bundle_of_fixture, file_of_fixture
from .results import Result
from .settings import Settings
from .sharing import Sharing

__all__ = ["TAPE", "Scopes", "raise_what_was_missed"]

TAPE = pytest.StashKey[Tape | None]()
"""The tape of a test, None in mode ``off``."""

_ENTERED = pytest.StashKey[AbstractContextManager[None]]()
_OFF = 'mark the test with @pytest.mark.chatcache(mode="off"), which leaves all of its calls alone'
_OF_TESTS = Advice(
    errors="@pytest.mark.chatcache(errors=True) records errors",
    allow='If it is no secret: @pytest.mark.chatcache(not_secret=[r"..."]). If the test does not need it: '
    "@pytest.mark.chatcache(masked_answers=True).",
    mocked=_OFF,
    varying='@pytest.mark.chatcache(ignore=["name"]), or volatile={"name": r"pattern"}',
    listed="the end of the run says why, and what helps",
)
_OF_FIXTURES = replace(  # for which no marker counts
    _OF_TESTS,
    errors="chatcache_errors = true in the ini file records errors",
    allow="In the ini file, if it is no secret: chatcache_not_secret. If no test needs it: "
    "chatcache_masked_answers = true.",
    mocked=f"give the fixture the scope function, and {_OFF}",
    varying="chatcache_ignore in the ini file, or chatcache_volatile",
)
_SAID = "_chatcache_said"  # the mark of a miss that a test failed with


def raise_what_was_missed(tape: Tape | None) -> None:
    """Raise the first miss of a tape that was not raised here before, or that something was not recorded.

    Raises:
        ExplainedMiss: a call was missed, whether or not somebody caught that.
        NotRecordedError: a call could not be recorded; `SecretError` if it holds a secret.
    """
    if tape is None:
        return
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
        sharing: what is recorded once in a run.
        collected: returns the tests that there are, as far as they are known.
        cassettes: the cassettes that the suite is taken over from, if it is.
    """

    def __init__(
        self,
        settings: Settings,
        sharing: Sharing,
        collected: Callable[[], Collected | None],
        cassettes: Cassettes | None,
    ) -> None:
        self._cassettes = cassettes
        self._settings = settings
        self._sharing = sharing
        self._collected = collected
        self._session = Session()
        self.frameworks = Frameworks(settings.frameworks)
        self._of_fixtures: list[Result] = []  # since the last test was over

    def begin(self, item: pytest.Item) -> None:
        """Put the tape of a test in.

        Raises:
            ChatcacheError: a setting, or the bundle, cannot be right.
        """
        path, name = bundle_of(self._settings, item)
        if self._cassettes is not None:
            self._cassettes.begin_test(item.nodeid)
        policy = self._dated(self._settings.policy_of(item))
        tape = self._session.tape(name, path, policy, advice=partial(_advice, item, _OF_TESTS))
        entered = self._session.playing(tape)
        entered.__enter__()
        item.stash[TAPE], item.stash[_ENTERED] = tape, entered
        if tape is not None:
            self.frameworks.begin()

    def end(self, item: pytest.Item) -> None:
        """Take the tape of a test out."""
        entered = item.stash.get(_ENTERED, None)
        if entered is not None:
            del item.stash[_ENTERED]
            self.frameworks.end()
            entered.__exit__(None, None, None)

    def idle(self, item: pytest.Item) -> Tape:
        """Return a tape for a test that is run in mode ``off``: it is not put in."""
        path, name = bundle_of(self._settings, item)
        return self._session.idle(name, path, self._settings.policy_of(item), advice=partial(_advice, item, _OF_TESTS))

    def results(self, item: pytest.Item, *, passed: bool, torn_down: bool, cut: bool) -> list[Result]:
        """Return what became of a test's calls, and of those of the fixtures that were used for it; it is over.

        Args:
            item: the test.
            passed: whether what it recorded is to be kept.
            torn_down: whether no fixture failed as it was torn down.
            cut: whether it ended before its end, as it was expected to: so what it did not use may be of use.
        """
        results, self._of_fixtures = self._of_fixtures, []
        for result in results:
            if not torn_down and result.scope.endswith(TEARDOWN):
                result.passed, result.made = False, []
        tape = item.stash.get(TAPE, None)
        if tape is not None:
            passed = passed and (bool(tape.made) or not cut)
            result = Result.of(tape, tape.shelf.bundle.path, item, passed=passed)
            result.strict = result.strict and not cut
            results.append(result)
            item.stash[TAPE] = None
        return results

    @contextmanager
    def of_fixture(self, fixture: pytest.FixtureDef[Any], request: Any) -> Iterator[None]:
        """Have what a fixture calls be its own, where more than one test uses it; also what its teardown calls."""
        item = getattr(request, "_pyfuncitem", None)
        if not isinstance(item, pytest.Item):
            yield
            return
        path, name = bundle_of_fixture(self._settings, fixture, item)
        policy = self._policy_of_fixture(fixture)
        teardown: list[AbstractContextManager[None]] = []
        fixture.addfinalizer(lambda: teardown.pop().__exit__(None, None, None) if teardown else None)  # runs last
        try:
            with self._used(path, name, policy, item, is_shared=True):
                yield
        except BaseException as error:
            if fixture.cached_result is not None and fixture.cached_result[2] is None:  # it swallowed what it missed
                fixture.cached_result = (None, fixture.cached_result[1], (error, error.__traceback__))
            raise

        def begin() -> None:
            teardown.append(self._used(path, f"{name}{TEARDOWN}", policy, item, is_shared=False))
            teardown[0].__enter__()

        fixture.addfinalizer(begin)  # runs first

    def close(self) -> None:
        """Release what was read."""
        self._session.close()
        self._sharing.close()

    @contextmanager
    def _used(self, path: Path, name: str, policy: Policy, item: pytest.Item, *, is_shared: bool) -> Iterator[None]:
        """Have a fixture's tape in for as long as the body runs, and note what became of its calls."""
        tape = self._session.tape(name, path, policy, advice=partial(_advice, item, _OF_FIXTURES))
        is_shared = is_shared and tape is not None and tape.mode is not RecordMode.REPLAY
        with self._sharing.turn(path, name) if is_shared else nullcontext() as recorded:
            if recorded is not None:
                self._session.shelves.of(recorded).load()  # it may have been written since
                more = replace(policy, mode=RecordMode.AUTO)
                tape = self._session.tape(name, recorded, more, advice=partial(_advice, item, _OF_FIXTURES))
            ended = False
            try:
                with self._session.playing(tape), self.frameworks.within(tape):
                    yield
                ended = True
            except pytest.skip.Exception:
                ended = True
                raise
            finally:
                passed = ended and tape is not None and not tape.misses and not tape.problems
                if tape is not None and (tape.made or tape.hits or tape.misses or tape.unrecorded):
                    self._of_fixtures.append(Result.of(tape, path, item, passed=passed, is_fixture=True))
                if passed and is_shared and tape is not None:
                    self._sharing.keep(path, name, tape)
        raise_what_was_missed(tape)

    def _dated(self, policy: Policy) -> Policy:
        """Return a policy that gives a record the time of the answer in a cassette that it is made of."""
        return policy if self._cassettes is None else replace(policy, clock=self._cassettes.dated(policy.clock))

    def _policy_of_fixture(self, fixture: pytest.FixtureDef[Any]) -> Policy:
        """Return what is done with a fixture's calls: it is recorded anew only with all the tests that may use it."""
        policy = self._dated(self._settings.policy_of(None))
        collected = self._collected()
        if policy.mode is not RecordMode.REFRESH:
            return policy
        is_whole = collected is not None and collected.runs_all_of(file_of_fixture(self._settings, fixture).resolve())
        return policy if is_whole else replace(policy, mode=RecordMode.AUTO)


def _advice(item: pytest.Item, of: Advice) -> Advice:
    file, *names = item.nodeid.split("::")
    here = os.path.relpath(item.config.rootpath / file, item.config.invocation_params.dir)
    again = f"pytest {_quoted('::'.join([Path(here).as_posix(), *names]))} --chatcache="
    return replace(of, record=f"{again}refresh", first=f"{again}once")


def _quoted(text: str) -> str:
    """Return a test as an argument of a shell; in the quotes of all shells, unless it has what these do not quote."""
    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'

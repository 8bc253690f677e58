"""What a run, and a test in it, asks of the plugin: options, the environment, ini settings, and the marker."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import pytest

from chatcache import ChatcacheError, InvalidInputError, parse_duration, raise_interrupt
from chatcache.recording import (
    Policy,
    RecordMode,
    Volatile,
    mode_of_environment,
    parse_exhausted,
    parse_ignore,
    parse_not_secret,
    parse_record_mode,
)

from .faults import faults_of
from .frameworks import NAMES

__all__ = ["Layout", "Settings", "add_options"]

_OPTION = "--chatcache"
_MARKER = """chatcache(mode=, store=, ignore=, volatile=, not_secret=, masked_answers=, exhausted=, max_age=, errors=, \
fail=, times=): how the LLM calls of a test are recorded and replayed; see docs/pytest.md of chatcache"""
_TAKEN = (
    *("mode", "store", "ignore", "volatile", "not_secret", "masked_answers", "exhausted", "max_age", "errors"),
    *("fail", "times"),
)


class Layout(StrEnum):
    """Which tests share a bundle."""

    MODULE = "module"
    """Those of a file."""
    TEST = "test"
    """None: each has its own."""
    SUITE = "suite"
    """All of them."""


def add_options(parser: pytest.Parser) -> None:
    """Add the options and the ini settings."""
    group = parser.getgroup("chatcache", "LLM calls, recorded once and replayed")
    modes = "|".join(RecordMode)
    group.addoption(
        _OPTION,
        dest="chatcache",
        metavar=modes,
        help="replay: strictly, nothing is called. once: record the tests that have no records, replay the others "
        "strictly. auto: record what is missing. refresh: record all of it anew. off: leave the caches alone. "
        "Default: CHATCACHE_MODE, the marker, the ini setting, and else replay where CI is set, and once where not",
    )
    for flag, text in _FLAGS.items():
        group.addoption(f"{_OPTION}-{flag}", action="store_true", help=text)
    group.addoption(
        f"{_OPTION}-summary",
        metavar="FILE",
        help="add a summary in Markdown to a file; by default to that of GITHUB_STEP_SUMMARY where it is set",
    )
    group.addoption(f"{_OPTION}-report", metavar="FILE", help="write what became of each test's calls, as JSON")
    parser.addini("chatcache", f"the mode: {modes}")
    parser.addini("chatcache_layout", "which tests share a bundle: module, test or suite", default=Layout.MODULE.value)
    parser.addini("chatcache_dir", "the folder of the bundles, beside the tests", default="cassettes")
    parser.addini("chatcache_ignore", "names in requests that do not count, one a line", type="linelist")
    parser.addini("chatcache_volatile", "name=regular expression, one a line; name= alone: not that", type="linelist")
    parser.addini(
        "chatcache_not_secret", "patterns of texts that look like secrets and are none, one a line", type="linelist"
    )
    parser.addini(
        "chatcache_masked_answers", "record answers with secrets masked that a replay cannot put back", type="bool"
    )
    parser.addini("chatcache_exhausted", "error, last or cycle: when asked more often than recorded", default="error")
    parser.addini("chatcache_max_age", "how old records may be, such as 90d; by default any age", default="")
    parser.addini(
        "chatcache_frameworks",
        f"whose calls are recorded without a cache of the program: auto, none, or some of {', '.join(NAMES)}",
        default="auto",
    )
    parser.addini("chatcache_errors", "record the errors of providers, and replay them", type="bool", default=False)


_FLAGS = {
    "block-network": "let no test open a network connection (by pytest-socket)",
    "strict": "fail the run if there are unused, expired or orphaned records, or calls that cannot be replayed",
    "prune": "remove unused and orphaned records",
    "from-cassettes": "record what the cassettes of vcrpy, pytest-recording or pytest-vcr answer, as if they were the "
    "provider, and say which of them can be deleted; the mode is once, also where CI is set, and there is no network",
    "github": "write misses as annotations of GitHub; by default where GITHUB_ACTIONS is set",
}


@dataclass(frozen=True)
class _Asked:
    """What the markers of a test ask."""

    values: Mapping[str, Any]

    def get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value


_NOTHING = _Asked({})


class Settings:
    """What a run asks.

    Args:
        config: pytest's configuration.

    Raises:
        pytest.UsageError: a setting cannot be right.
    """

    def __init__(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", _MARKER)
        self._config = config
        self._of_run = self._checked(self._mode_of_run)
        self.layout = self._checked(lambda: Layout(config.getini("chatcache_layout")))
        self._checked(lambda: self.policy_of(None))
        self._checked(self._check_folder)
        self.frameworks = self._checked(self._frameworks)

    @property
    def root(self) -> Path:
        """The folder that test ids are relative to."""
        return self._config.rootpath

    def flag(self, name: str) -> bool:
        """Return whether a flag of the command line is set, such as ``strict``."""
        return bool(self._config.getoption(f"chatcache_{name}"))

    @cached_property
    def folder(self) -> str:
        """The name of the folder of the bundles."""
        return str(self._config.getini("chatcache_dir"))

    def _check_folder(self) -> None:
        folder = PurePath(self.folder)
        if folder.is_absolute() or ".." in folder.parts or not folder.parts or self.folder.startswith("~"):
            raise InvalidInputError(
                f"chatcache_dir is {self.folder!r}: name a folder beside the tests, such as cassettes"
            )

    def _frameworks(self) -> tuple[str, ...]:
        """Return the frameworks that get a cache of the plugin where they have none."""
        names = tuple(re.findall(r"[^\s,]+", self._config.getini("chatcache_frameworks")))
        if names == ("auto",):
            return NAMES
        if names == ("none",):
            return ()
        unknown = [name for name in names if name not in NAMES]
        if unknown or not names:
            given = ", ".join(names)
            raise InvalidInputError(f"chatcache_frameworks={given!r}: use auto, none, or some of {', '.join(NAMES)}")
        return names

    @property
    def annotates(self) -> bool:
        """Whether misses are written as annotations of GitHub."""
        return self.flag("github") or os.environ.get("GITHUB_ACTIONS") == "true"

    @property
    def summary(self) -> str | None:
        """The file that a summary is added to, if there is one."""
        return self._config.getoption("chatcache_summary") or os.environ.get("GITHUB_STEP_SUMMARY") or None

    @property
    def report(self) -> str | None:
        """The file that is to tell programs what became of each test's calls, if there is one."""
        return self._config.getoption("chatcache_report") or None

    def policy_of(self, item: pytest.Item | None) -> Policy:
        """Return what is done with the calls of a test, or of a fixture for more than one test.

        Args:
            item: the test, whose markers count, or None for a fixture.

        Raises:
            InvalidInputError: a setting, or an argument of a marker, cannot be right.
        """
        asked = _asked_by(item)
        return self._plain if asked is _NOTHING else self._policy(asked)

    @cached_property
    def _plain(self) -> Policy:
        """What is done with the calls of a test without a marker."""
        return self._policy(_NOTHING)

    def _policy(self, asked: _Asked) -> Policy:
        return Policy(
            mode=self._mode_of(asked),
            exhausted=parse_exhausted(asked.get("exhausted", self._config.getini("chatcache_exhausted"))),
            ignore=(*parse_ignore(self._config.getini("chatcache_ignore")), *parse_ignore(asked.get("ignore", []))),
            volatile=self._volatile(asked.get("volatile", None)),
            not_secret=(
                *parse_not_secret(self._config.getini("chatcache_not_secret")),
                *parse_not_secret(asked.get("not_secret", [])),
            ),
            masked_answers=_flag(
                "masked_answers", asked.get("masked_answers", self._config.getini("chatcache_masked_answers"))
            ),
            errors=_flag("errors", asked.get("errors", self._config.getini("chatcache_errors"))),
            max_age=_seconds(asked.get("max_age", self._config.getini("chatcache_max_age") or None)),
            faults=faults_of(asked.get("fail", None), asked.get("times", None)),
        )

    def store_of(self, item: pytest.Item) -> str | None:
        """Return the name of the bundle that a test shares with others, if its marker names one.

        Raises:
            InvalidInputError: an argument of a marker cannot be right.
        """
        store = _asked_by(item).get("store", None)
        if store is not None and (not isinstance(store, str) or not re.fullmatch(r"[\w.-]+", store)):
            raise InvalidInputError(f"chatcache(store={store!r}): a name is of letters, digits, and . - _")
        return store

    def _mode_of(self, asked: _Asked) -> RecordMode:
        marked = asked.get("mode", None)
        if marked is not None:
            marked = parse_record_mode(marked, "the marker chatcache")
        if marked is RecordMode.OFF:
            return marked
        return self._of_run or marked or self._default

    def _mode_of_run(self) -> RecordMode | None:
        option = self._config.getoption("chatcache")
        if option:
            return parse_record_mode(option, _OPTION)
        return mode_of_environment() or (RecordMode.ONCE if self.flag("from_cassettes") else None)

    @cached_property
    def _default(self) -> RecordMode:
        ini = self._config.getini("chatcache")
        if ini:
            return parse_record_mode(ini, "the ini setting chatcache")
        is_ci = os.environ.get("CI", "").lower() not in {"", "0", "false"}
        return RecordMode.REPLAY if is_ci else RecordMode.ONCE

    def _volatile(self, of_marker: Any) -> Volatile:
        if not of_marker:
            return self._volatile_of_ini
        if not isinstance(of_marker, Mapping):
            raise InvalidInputError(f"volatile={of_marker!r}: pass a dictionary of names and patterns")
        return Volatile({**self._patterns, **of_marker})

    @cached_property
    def _volatile_of_ini(self) -> Volatile:
        return Volatile(self._patterns)

    @cached_property
    def _patterns(self) -> dict[str, str | None]:
        lines = [line.partition("=") for line in self._config.getini("chatcache_volatile")]
        return {name.strip(): pattern.strip() or None for name, _, pattern in lines}

    def _checked(self, parse: Callable[[], Any]) -> Any:
        try:
            return parse()
        except (ChatcacheError, ValueError) as error:
            raise pytest.UsageError(str(error)) from error


def _asked_by(item: pytest.Item | None) -> _Asked:
    if item is None or item.get_closest_marker("chatcache") is None:
        return _NOTHING
    values: dict[str, Any] = {}
    for marker in reversed([*item.iter_markers("chatcache")]):  # the closest one last
        unknown = sorted(set(marker.kwargs) - {*_TAKEN})
        if marker.args or unknown:
            given = ", ".join([*map(repr, marker.args), *unknown])
            raise InvalidInputError(f"{item.nodeid}: the marker chatcache takes {', '.join(_TAKEN)}; it got {given}")
        values.update(marker.kwargs)
    return _Asked(values)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInputError(f"chatcache({name}={value!r}): say True or False")
    return value


def _seconds(age: object) -> float | None:
    """Return an age in seconds, however it is given."""
    if age is None:
        return None
    try:
        seconds = age.total_seconds() if isinstance(age, timedelta) else parse_duration(str(age))
    except InvalidInputError as error:
        raise_interrupt(error)
        seconds = 0
    if not seconds > 0:
        raise InvalidInputError(f"max_age is {age!r}; write seconds, or a number and a unit, such as 12h, 90d or 4w")
    return seconds

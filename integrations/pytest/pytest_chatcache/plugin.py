"""The hooks of pytest."""

import json
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

from chatcache import ChatcacheError, InvalidInputError, NotRecordedError
from chatcache.recording import ExplainedMiss, Tape, printable

from .cassettes import Cassettes, Opened
from .collected import Collected
from .ledger import Ledger, Verdict
from .migration import Migration
from .results import Result
from .scopes import TAPE, Scopes, raise_what_was_missed
from .settings import Settings, add_options
from .sharing import Sharing
from .summary import annotations, lines, markdown, needs_attention

__all__ = ["chatcache", "pytest_addoption", "pytest_configure"]

_NAME = "chatcache-run"
_RESULTS = "chatcache_results"  # the attribute of a report
_COLLECTED = "chatcache_collected"
_SHARED = "chatcache_shared"
_FRAMEWORKS = "chatcache_frameworks"
_CASSETTES = "chatcache_cassettes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    add_options(parser)


@pytest.hookimpl(tryfirst=True)  # before pytest-socket looks at its own options
def pytest_configure(config: pytest.Config) -> None:
    """Begin a run."""
    settings = Settings(config)
    if settings.flag("from_cassettes") and config.getoption("record_mode", None) == "rewrite":
        raise pytest.UsageError("--chatcache-from-cassettes reads the cassettes that --record-mode=rewrite deletes")
    if settings.flag("block_network") or settings.flag("from_cassettes"):
        if not config.pluginmanager.hasplugin("socket") and not config.pluginmanager.hasplugin("pytest_socket"):
            option = "block-network" if settings.flag("block_network") else "from-cassettes"
            raise pytest.UsageError(f"--chatcache-{option} needs the plugin pytest-socket, which is not loaded")
        config.option.disable_socket = True
        config.option.allow_unix_socket = True
    config.pluginmanager.register(_Run(config, settings), _NAME)


@pytest.fixture
def chatcache(request: pytest.FixtureRequest) -> Tape:
    """What this test replays and records: its ``mode``, ``hits``, ``made``, ``misses``; see `chatcache.recording.Tape`.

    ``misses.clear()`` forgives them: a test fails where a call was missed, also where somebody caught that error.
    """
    run: _Run = request.config.pluginmanager.getplugin(_NAME)
    return run.tape_of(request.node)


class _Run:
    """One run, or one worker of one."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._ledger = Ledger(settings)
        worker = getattr(config, "workerinput", None)
        self._is_worker = worker is not None
        self._sharing = Sharing(None if worker is None else Path(worker[_SHARED]))
        self._cassettes = Cassettes() if settings.flag("from_cassettes") else None
        self._opened: list[Opened] = []  # of all workers
        self._scopes = Scopes(settings, self._sharing, lambda: self._ledger.collected, self._cassettes)
        self._passed = self._failed = self._cut = self._is_broken = False
        self._verdict: Verdict = {}
        self._pruned = 0

    def tape_of(self, item: pytest.Item) -> Tape:
        """Return the tape of a test."""
        return item.stash.get(TAPE, None) or self._scopes.idle(item)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist which folder it has in common with the others."""
        node.workerinput[_SHARED] = str(self._sharing.folder)

    def pytest_sessionstart(self) -> None:
        """Have cassettes opened only to be read, if the tests are taken over from them."""
        if self._cassettes is not None:
            self._cassettes.begin()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note whether something could not be collected: then it is not known which tests there are."""
        self._is_broken = self._is_broken or report.failed

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, None, None]:
        """Note which tests there are, before some of them are deselected."""
        collected = None
        if not self._is_broken:
            with suppress(InvalidInputError):  # which the test will fail with
                collected = Collected.of(self._settings, self._config, items)
        number = len(items)
        yield
        if collected is not None:
            self._ledger.collected = replace(collected, is_whole=len(items) == number)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Put the tape of a test in."""
        self._passed = self._failed = self._cut = False
        problem = ""
        try:
            self._scopes.begin(item)
        except ChatcacheError as error:
            problem = printable(str(error), keep="\n")
        if problem:
            pytest.fail(problem, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: Any) -> Generator[None, Any, Any]:
        """Have a fixture for more than one test own its calls."""
        if fixturedef.scope == "function":
            return (yield)
        with self._scopes.of_fixture(fixturedef, request):
            return (yield)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        """Fail a test where something was missed, or not recorded, and nobody said so, also where it skips itself."""
        try:
            yield
        except pytest.skip.Exception:
            raise_what_was_missed(item.stash.get(TAPE, None))
            raise
        raise_what_was_missed(item.stash.get(TAPE, None))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        """Take the tape of a test out."""
        try:
            yield
            if not self._failed:  # else the test has said what was missed
                raise_what_was_missed(item.stash.get(TAPE, None))
        finally:
            self._scopes.end(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach to the last report of a test what became of its calls, and print a problem with them on one screen."""
        report = yield
        problem = None if call.excinfo is None else _problem_in(call.excinfo.value)
        is_xfailed = report.skipped and hasattr(report, "wasxfail")
        if problem is not None and is_xfailed:  # that is not what was expected
            report.outcome = "failed"
            del report.wasxfail
        if problem is not None and report.failed:
            report.longrepr = _told(problem, call, item)
        self._failed = self._failed or report.failed
        self._cut = self._cut or (report.skipped and report.when != "teardown")  # or it failed as it was expected to
        self._passed = self._passed or self._cut or (report.passed and report.when == "call")
        if report.when == "teardown":
            passed = self._passed and report.passed and not self._failed
            results = self._scopes.results(item, passed=passed, torn_down=report.passed, cut=self._cut)
            setattr(report, _RESULTS, [each.to_json() if self._is_worker else each for each in results])
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write what was recorded; with pytest-xdist that is done by the process that all workers report to."""
        self._failed = self._failed or report.failed  # a subtest, too, which is told of here only
        if not self._is_worker:
            for result in getattr(report, _RESULTS, ()):
                self._ledger.add(Result.from_json(result) if isinstance(result, str) else result)

    def pytest_runtest_logstart(self) -> None:
        """Write what is due, before the next test takes its time."""
        self._ledger.write(late=False)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over which tests a worker of pytest-xdist collected."""
        output = getattr(node, "workeroutput", {})
        if output.get(_COLLECTED) is not None:
            self._ledger.collected = Collected(**output[_COLLECTED])
        self._note_frameworks(*output.get(_FRAMEWORKS, ((), ())))
        self._opened += [Opened(**each) for each in output.get(_CASSETTES, ())]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what is not written so far, and judge."""
        self._scopes.close()
        if self._cassettes is not None:
            self._cassettes.end()
            self._opened += self._cassettes.opened
        frameworks = self._scopes.frameworks
        if self._is_worker:
            output = self._config.workeroutput  # type: ignore[attr-defined]
            output[_CASSETTES] = [asdict(each) for each in self._opened]
            output[_FRAMEWORKS] = [*frameworks.seen], [*frameworks.remarks]
            if self._ledger.collected is not None:
                output[_COLLECTED] = asdict(self._ledger.collected)
            return
        self._note_frameworks(frameworks.seen, frameworks.remarks)
        is_whole = session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
        if not is_whole or getattr(session, "shouldfail", False) or getattr(session, "shouldstop", False):
            self._ledger.collected = None  # there may be more tests
        self._ledger.write()
        self._verdict = self._ledger.verdict()
        try:
            if self._settings.flag("prune") and is_whole:
                self._pruned = self._ledger.prune(self._verdict)
                self._verdict = self._ledger.verdict()
            self._write_reports()
        except (ChatcacheError, OSError) as error:
            self._ledger.problems.append(f"ERROR: {error}")
        fails = self._ledger.problems or self._is_strictly_wrong()
        if fails and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _is_strictly_wrong(self) -> bool:
        return self._settings.flag("strict") and needs_attention(self._ledger, self._verdict)

    def _note_frameworks(self, seen: Iterable[str], remarks: Iterable[str]) -> None:
        self._ledger.seen.update(seen)
        self._ledger.remarks.update(dict.fromkeys(remarks))

    def _write_reports(self) -> None:
        if self._settings.report:
            results = [json.loads(each.to_json()) for each in self._ledger.results.values()]
            Path(self._settings.report).expanduser().write_text(json.dumps(results, indent=2), encoding="utf-8")
        if self._settings.summary:
            with Path(self._settings.summary).expanduser().open("a", encoding="utf-8") as file:
                file.write(markdown(self._ledger, self._verdict, self._settings.root))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what became of the calls."""
        verbose = self._config.option.verbose > 0
        told = lines(self._ledger, self._verdict, self._settings.root, verbose=verbose)
        said = [*told, *self._ledger.problems]
        if self._cassettes is not None:
            is_whole = self._ledger.collected is not None and self._ledger.collected.is_whole
            migration = Migration(self._opened, self._ledger.results.values(), self._settings.root)
            said += migration.lines(is_whole=is_whole)
        if self._pruned:
            said.append(f"{self._pruned} records and blobs removed")
        if said:
            how = " (--chatcache-strict: failed)" if self._is_strictly_wrong() else ""
            terminalreporter.section(f"LLM calls{how}", sep="=")
            for line in said:
                terminalreporter.line(printable(line))
        if self._settings.annotates:
            for line in annotations(self._ledger):
                terminalreporter.line(line)


def _problem_in(raised: BaseException) -> ExplainedMiss | NotRecordedError | None:
    """Return the miss, or the call that was not recorded, that a test failed with, whatever error wraps it."""
    left = [raised]
    seen: set[int] = set()
    while left:
        error = left.pop()
        if isinstance(error, ExplainedMiss | NotRecordedError):
            return error
        if id(error) not in seen:
            seen.add(id(error))
            left += [each for each in (error.__context__, error.__cause__) if each is not None]
            left += reversed(error.exceptions) if isinstance(error, BaseExceptionGroup) else ()
    return None


def _told(
    problem: ExplainedMiss | NotRecordedError, call: pytest.CallInfo[None], item: pytest.Item
) -> ReprExceptionInfo:
    """Return a problem as it is printed: the line of the program that asked, or of the test, and what is wrong."""
    assert call.excinfo is not None  # noqa: S101 - the problem is in it
    root = item.config.rootpath
    own = [
        entry
        for entry in call.excinfo.traceback
        if Path(entry.path).is_relative_to(root) and "site-packages" not in str(entry.path)
    ]
    path, line, statement = item.location[0], item.location[1] or 0, item.location[2]
    if own:
        path, line = str(Path(own[-1].path).relative_to(root)), own[-1].lineno
        with suppress(OSError, IndexError):
            statement = str(own[-1].statement).strip()
    if isinstance(problem, ExplainedMiss):
        kind, said = problem.explanation.reason.value, str(problem)
    else:
        kind, said = type(problem).__name__, f"{type(problem).__name__}: {problem}"
    where = ReprFileLocation(path, line + 1, kind)
    text = f"{printable(f'{path}:{line + 1}: {statement}')}\n\n{said}\n"
    return ReprExceptionInfo(ReprTraceback([ReprEntryNative(text.splitlines(keepends=True))], None, "native"), where)

"""The plugin, in real runs of pytest."""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from chatcache.recording import Bundle
from tests import warm

pytest_plugins = ["pytester"]

APP = """
import os, pytest
from chatcache import ReplayMiss, ResponseCache

cache = ResponseCache("app")

def ask(question, **more):
    return cache.call({"question": question, **more}, model)["answer"]

def again(question):
    return cache.call({"question": question}, model, mode="refresh")["answer"]

def model(request):
    with open(os.environ["CALLS"], "a") as file:
        file.write("x")
    number = os.path.getsize(os.environ["CALLS"])
    return {"answer": f"answer {number} to {request['question']}"}
"""
BUNDLE = "cassettes/test_it.chatcache"


def _loading(*plugins: str) -> list[str]:
    """Return the options that load plugins; what else is installed is not loaded."""
    return [f"-p{name}" for name in (*plugins, "no:cacheprovider")]


_APART = _loading("xdist.plugin", "pytest_rerunfailures", "pytest_chatcache.plugin")


class Run:
    """A suite in a folder of its own."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = pytester.path
        self.pytester = pytester
        monkeypatch.setenv("CALLS", str(self.folder / "calls.txt"))
        for name in ("CI", "CHATCACHE_MODE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "PYTEST_ADDOPTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("CHATCACHE_DIR", str(self.folder / ".chatcache"))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        pytester.makeini("[pytest]\n")
        pytester.makepyfile(app=APP)
        pytester.syspathinsert()

    def tests(self, text: str, name: str = "test_it") -> None:
        head = "import pytest\nfrom app import *\n\n"
        self.pytester.makepyfile(**{name: head + text})
        for module in ("app", name):
            sys.modules.pop(module, None)

    def __call__(self, *options: str) -> pytest.RunResult:
        """Run it in this process."""
        return self.pytester.runpytest_inprocess(*_loading("pytest_socket", "pytest_chatcache.plugin"), *options)

    def apart(self, *options: str) -> pytest.RunResult:
        """Run it in processes of its own."""
        return self.pytester.runpytest_subprocess(*_APART, *options)

    def with_litellm(self, *options: str) -> pytest.RunResult:
        """Run it in a process of its own, where LiteLLM is imported within no time."""
        done = warm.python("-m", "pytest", "-W", "ignore", *_APART, *options, cwd=self.folder)
        return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0)

    def advised(self, *options: str) -> None:
        """Replay it, which misses, and run what the first miss advises."""
        missed = self("--chatcache=replay", *options)
        assert missed.ret == 1
        advice = re.search(r"To record it: pytest (.*)", str(missed.stdout))
        assert advice is not None
        assert self(*shlex.split(advice[1])).ret == 0

    @property
    def calls(self) -> int:
        path = self.folder / "calls.txt"
        return path.stat().st_size if path.exists() else 0

    def bundle(self, path: str = BUNDLE) -> Bundle:
        return Bundle(self.folder / path)

    def scopes(self, path: str = BUNDLE) -> list[str]:
        return [each.scope for each in self.bundle(path).read()]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(pytester, monkeypatch)


ONE = "def test_one(): assert ask('why') == 'answer 1 to why'\n"


def test_records_that_a_bundle_does_not_take_are_written_elsewhere(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (run.folder / "cassettes").mkdir()
    (run.folder / "cassettes" / "blobs").symlink_to(tmp_path)
    run.tests("def test_large(): cache.call(1, lambda request: 'A1b2' * 6_000)\n\n" + ONE)
    result = run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: * is a link: *; what was recorded is in *: chatcache import *"])
    assert run.scopes() == ["test_one"]
    (elsewhere,) = tmp_path.glob("chatcache-*/*.chatcache")
    assert [each.scope for each in Bundle(elsewhere).read()] == ["test_large"]


def test_a_suite_is_recorded_once_and_replayed(run: Run) -> None:
    run.tests(ONE)
    run().stdout.fnmatch_lines(["*0 calls replayed, 1 recorded, 0 missed*"])
    text = run.bundle().path.read_bytes()
    result = run()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 calls replayed, 0 recorded, 0 missed*"])
    assert run.calls == 1
    assert run.bundle().path.read_bytes() == text
    assert not (run.folder / ".chatcache").exists()


def test_in_ci_it_is_replayed_strictly_and_a_miss_is_told_on_one_screen(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.tests(ONE)
    run()
    monkeypatch.setenv("CI", "true")
    run().assert_outcomes(passed=1)
    run.tests("def test_one():\n    assert ask('why not')\n")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "app.py:7: return cache.call({*",
            "no record to replay: the request differs from what was recorded",
            f"  bundle   {BUNDLE} (1 record of this test)",
            "    - why",
            "    + why{+ not+}",
            'Nothing was called. To record it: pytest "test_it.py::test_one" --chatcache=refresh',
            "FAILED test_it.py::test_one - *the request differs from what was recorded",
        ]
    )
    assert run.calls == 1
    assert len(result.outlines) < 45


@pytest.mark.parametrize(
    ("options", "calls", "failed"),
    [
        (["--chatcache=replay"], 1, 1),
        (["--chatcache=once"], 1, 1),
        (["--chatcache=auto"], 2, 0),
        (["--chatcache=refresh"], 3, 0),
        (["--chatcache=off"], 3, 0),
    ],
)
def test_the_modes(run: Run, options: list[str], calls: int, failed: int) -> None:
    run.tests("def test_one(): ask('why')\n")
    run()
    run.tests("def test_one(): ask('why'); ask('more')\n")
    run(*options).assert_outcomes(passed=1 - failed, failed=failed)
    assert run.calls == calls


def test_what_decides_about_the_mode(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.tests("@pytest.mark.chatcache(mode='replay')\n" + ONE)
    run().assert_outcomes(failed=1)
    monkeypatch.setenv("CHATCACHE_MODE", "off")
    run("--chatcache=once").assert_outcomes(passed=1)
    assert run.scopes() == ["test_one"]
    run.tests("@pytest.mark.chatcache(mode='off')\ndef test_one(): ask('why')\n")
    run("--chatcache=replay").assert_outcomes(passed=1)
    assert run.calls == 2


@pytest.mark.parametrize(("mode", "calls"), [("once", 1), ("read_only", 0), ("replay", 0)])
def test_the_modes_of_the_environment_are_those_of_suites_and_of_caches(
    run: Run, monkeypatch: pytest.MonkeyPatch, mode: str, calls: int
) -> None:
    monkeypatch.setenv("CHATCACHE_MODE", mode)
    run.tests("def test_one(): assert ResponseCache('app').call({'question': 'why'}, model)\n")
    run().assert_outcomes(passed=calls, failed=1 - calls)
    assert run.calls == calls


def test_the_ini_setting_is_a_mode_too(run: Run) -> None:
    run.pytester.makeini("[pytest]\nchatcache = replay\n")
    run.tests(ONE)
    run().assert_outcomes(failed=1)


def test_a_record_is_kept_only_if_its_test_passed(run: Run) -> None:
    run.tests("def test_one(): ask('why'); assert 0\ndef test_two(): ask('more')\n")
    run().assert_outcomes(passed=1, failed=1)
    assert run.scopes() == ["test_two"]


def test_it_is_not_kept_either_if_the_teardown_failed(run: Run) -> None:
    run.tests("@pytest.fixture\ndef broken():\n    yield\n    assert 0\ndef test_one(broken): ask('why')\n")
    run().assert_outcomes(passed=1, errors=1)
    assert not run.bundle().path.exists()


def test_a_refresh_that_fails_leaves_what_was_there(run: Run) -> None:
    run.tests(ONE)
    run()
    text = run.bundle().path.read_bytes()
    run("--chatcache=refresh").assert_outcomes(failed=1)  # it says answer 2 now
    assert run.bundle().path.read_bytes() == text


def test_the_nth_answer_and_the_policy_when_they_run_out(run: Run) -> None:
    run.tests("def test_one(): assert [again('why')[7] for _ in range(3)] == ['1', '2', '3']\n")
    run().assert_outcomes(passed=1)
    run("--chatcache=replay").assert_outcomes(passed=1)
    run.tests(
        "@pytest.mark.chatcache(exhausted='cycle')\n"
        "def test_one(): assert [again('why')[7] for _ in range(5)] == ['1', '2', '3', '1', '2']\n"
    )
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_samples_are_numbered_on_their_own(run: Run) -> None:
    text = """
def test_one(chatcache):
    with chatcache.sample({}, epoch=1): first = ask('why')
    with chatcache.sample({}, epoch=1): second = ask('why')
    assert (first[7], second[7]) == ({!r}, {!r})
"""
    run.tests(text.format(1, 2, "1", "2"))
    run().assert_outcomes(passed=1)
    run.tests(text.format(2, 1, "2", "1"))
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_what_a_shared_fixture_calls_is_its_own(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef shared(): return ask('shared')\n"
        "def test_one(shared): ask('one')\n"
        "def test_two(shared): ask('two')\n"
    )
    run().assert_outcomes(passed=2)
    assert run.scopes() == ["fixture test_it.py::shared", "test_one", "test_two"]
    for which in ("test_two", "test_one"):
        run("--chatcache=replay", "-k", which, "--chatcache-strict").assert_outcomes(passed=1, deselected=1)


def test_a_session_fixture_of_a_conftest_has_a_bundle_beside_it(run: Run) -> None:
    run.pytester.makeconftest(
        "import pytest\n@pytest.fixture(scope='session')\ndef once():\n    import app\n    return app.ask('x')\n"
    )
    run.tests("def test_one(once): assert once\n")
    run().assert_outcomes(passed=1)
    assert run.scopes("cassettes/conftest.chatcache") == ["fixture conftest.py::once"]


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        ("test", "cassettes/test_it/test_one[[]a_b].chatcache"),
        ("suite", "cassettes/suite.chatcache"),
        ("module", BUNDLE),
    ],
)
def test_the_layouts(run: Run, layout: str, path: str) -> None:
    run.pytester.makeini(f"[pytest]\nchatcache_layout = {layout}\n")
    run.tests("@pytest.mark.parametrize('x', ['a/b'])\ndef test_one(x): ask('why')\n")
    run().assert_outcomes(passed=1)
    assert len([*run.folder.glob(path)]) == 1
    run("--chatcache=replay").assert_outcomes(passed=1)


_AND_FORFEIT = "_and_forfeit_all_rights_to_community_support"
ODD = ["a/b", "a_b", "/a", "../a", "a::b", "c:\\d", "con", "a.", "a ", "A", "tab\t", "line\n", "*?<>|", "\x1b[31m"]
LONG = ["x" * 300, "y" * 200 + "1", "y" * 200 + "2", "漢" * 100, "\U0001f600" * 60, "é", "e\u0301", ""]
IDS = [*ODD, *LONG]
NAMES = f"""
IDS = {IDS!r}

@pytest.mark.parametrize("x", IDS, ids=[each or "empty" for each in IDS])
def test_ids(x): ask(ascii(x))

def test_{"名" * 80}(): ask("a")

class TestA:
    def test_a(self): ask("b")

class Testa:
    def test_a(self): ask("c")
"""


@pytest.mark.parametrize(
    "escaping", ["", "disable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n"]
)
def test_each_test_has_a_file_of_a_name_that_every_system_takes(run: Run, escaping: str) -> None:
    run.pytester.makeini(f"[pytest]\nchatcache_layout = test\n{escaping}")
    run.tests(NAMES)
    number = len(IDS) + 3
    assert run.apart("--chatcache-strict").parseoutcomes()["passed"] == number
    assert run.apart("--chatcache=replay", "--chatcache-strict").parseoutcomes()["passed"] == number
    files = [*(run.folder / "cassettes").rglob("*.chatcache")]
    assert len({str(each).casefold() for each in files}) == number
    for each in files:
        assert each.parent == run.folder / "cassettes" / "test_it"
        assert len(each.name.encode()) <= 200
        assert not re.search(r'[<>:"\\|?*\x00-\x1f]|[. ]\.chatcache$', each.name)
        assert each.name.partition(".")[0].casefold() not in {"con", "nul", "aux", "prn"}


def test_tests_of_several_files_may_share_a_bundle(run: Run) -> None:
    for name in ("test_a", "test_b"):
        run.tests("pytestmark = pytest.mark.chatcache(store='both')\ndef test_one(): ask('why')\n", name)
    run().assert_outcomes(passed=2)
    assert run.scopes("cassettes/both.chatcache") == ["test_a.py::test_one", "test_b.py::test_one"]
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=2)


def test_what_is_ignored_and_what_is_volatile_by_the_marker_and_by_the_ini_file(run: Run) -> None:
    run.pytester.makeini("[pytest]\nchatcache_ignore =\n    seed\nchatcache_volatile =\n    job = job-\\d+\n")
    text = (
        "@pytest.mark.chatcache(ignore=['run'], volatile={{'no': r'no\\.\\d+'}})\n"
        "def test_one(): assert '{0}' in ask('{0} {1}', seed={2}, run={2})\n"
    )
    run.tests(text.format("job-17", "no.4", 1))
    run().assert_outcomes(passed=1)
    run.tests(text.format("job-18", "no.5", 2))
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_faults_are_injected_and_retries_are_tested_without_a_provider(run: Run) -> None:
    text = """
import litellm, openai
from tenacity import retry, stop_after_attempt

@pytest.mark.chatcache(fail={kind}, times=2)
def test_one():
    tries = []
    @retry(stop=stop_after_attempt(3))
    def again():
        tries.append(1)
        return ask('why', model='gpt')
    assert again() and len(tries) == 3
"""
    for kind in ("openai.RateLimitError", "litellm.RateLimitError", "ValueError('x')", "lambda: KeyError('x')"):
        run.tests(text.format(kind=kind))
        run("-W", "ignore").assert_outcomes(passed=1)
    assert run.calls == 1


def test_errors_are_recorded_on_request(run: Run) -> None:
    run.tests(
        """
from chatcache import ReplayedError
def fail(request):
    model(request)
    raise RuntimeError("the provider is down")

@pytest.mark.chatcache(errors=True)
def test_one():
    with pytest.raises((RuntimeError, ReplayedError), match="down"):
        cache.call({"question": "why"}, fail)
    assert ask("why")
"""
    )
    run().assert_outcomes(passed=1)
    run("--chatcache=replay").assert_outcomes(passed=1)
    assert run.calls == 2


def test_a_miss_that_the_program_swallows_fails_the_test_all_the_same(run: Run) -> None:
    run.tests("def test_one():\n    try: ask('why')\n    except ReplayMiss: pass\n")
    run("--chatcache=replay").assert_outcomes(failed=1)
    run.tests("def test_one(chatcache):\n    try: ask('why')\n    except ReplayMiss: chatcache.misses.clear()\n")
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_a_secret_fails_the_recording(run: Run) -> None:
    key = "sk-proj-" + "aB3_" * 12
    run.tests(f"def test_one(): cache.call({{'{key}': 1, 'question': 'x'}}, model)\n")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py:4: test_one",
            "SecretError: a call of store 'app' was not recorded, it holds a secret: OpenAI key*",
        ]
    )
    result.stdout.no_fnmatch_line("*raise*")
    assert not run.bundle().path.exists()


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        ("cache.call({'question': object()}, lambda request: 'yes')", "$.question: the request has no key: *"),
        ("cache.call({'question': 'x'}, lambda request: object())", "$: the answer is not JSON: *"),
        ("cache.call({'question': 'x'}, lambda request: {1: 'yes'})", "$: the answer is not JSON: *"),
        ("[*cache.stream({'question': 'x'}, lambda request: ['a', object()])]", "$[[]1[]]: the answer is not JSON: *"),
        ("cache.call({'question': 'x'}, lambda request: 'yes', refuse=lambda answer: 1 / 0)", "division by zero"),
        ("cache.call({'question': 'x'}, lambda request: DEEP)", "*it nests more than 100 levels"),
    ],
)
def test_a_call_that_cannot_be_recorded_fails_its_test(run: Run, call: str, problem: str) -> None:
    run.tests(f"DEEP = []\nfor _ in range(150): DEEP = [DEEP]\n\ndef test_one(): assert {call}\n")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*NotRecordedError: a call of store 'app' was not recorded: {problem}"])
    assert not run.bundle().path.exists()


def test_a_miss_of_a_request_without_a_key_does_not_advise_to_record_it(run: Run) -> None:
    run.tests("def test_one(): cache.call({'question': object()}, model)\n")
    result = run("--chatcache=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*make the request JSON*, or leave the object out of it"])
    result.stdout.no_fnmatch_line("*To record it*")


def test_an_answer_that_a_replay_could_not_return_fails_the_recording_unless_it_is_allowed(run: Run) -> None:
    asked = "cache.call({'question': 'x'}, lambda request: {'password': 'hunter2-Blue42!'})"
    run.tests(f"def test_one(): assert {asked} == {{'password': 'hunter2-Blue42!'}}\n")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        "SecretError: *a value under the name of a secret at $.password of the answer*"
        "*If it is no secret: @pytest.mark.chatcache(not_secret=*If the test does not need it: *(masked_answers=True)."
    )
    assert not run.bundle().path.exists()
    run.pytester.makeini("[pytest]\nchatcache_not_secret =\n    hunter2-.*\n")
    run().assert_outcomes(passed=1)
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_a_test_can_do_without_the_secrets_of_its_answers(run: Run) -> None:
    asked = "cache.call({'question': 'x'}, lambda request: {'password': 'hunter2-Blue42!'})"
    marker = "import pytest\n@pytest.mark.chatcache(masked_answers=True)\n"
    run.tests(f"{marker}def test_one(): assert 'password' in {asked}\n")
    run().assert_outcomes(passed=1)
    assert "hunter2" not in run.bundle().path.read_text()
    run("--chatcache=replay").assert_outcomes(passed=1)


def test_the_network_is_blocked_on_request(run: Run) -> None:
    run.tests("import urllib.request\ndef test_one(): urllib.request.urlopen('http://127.0.0.1:9/')\n")
    result = run("--chatcache-block-network", "-W", "ignore")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SocketBlockedError*"])


def test_what_is_unused_or_orphaned_is_told_judged_and_pruned(run: Run) -> None:
    run.tests("def test_one(): ask('why'); ask('more')\ndef test_two(): ask('why')\ndef test_three(): ask('three')\n")
    run()
    run.tests("def test_one(): ask('why')\ndef test_three(): ask('three')\n")
    (run.folder / "cassettes" / "test_gone.chatcache").write_bytes(run.bundle().path.read_bytes())
    result = run("--chatcache=replay")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "cassettes/test_gone.chatcache: of no test",
            f"{BUNDLE}: 2 replayed, 1 record not used by their tests, 1 record of tests that there are no more",
        ]
    )
    assert run("--chatcache=replay", "-k", "test_one", "--chatcache-strict").ret == 1
    assert run("--chatcache=replay", "-k", "test_three", "--chatcache-strict", "test_it.py::test_three").ret == 0
    assert run("--chatcache=replay", "--chatcache-strict").ret == 1
    run("--chatcache=replay", "--chatcache-prune").stdout.fnmatch_lines(["6 records and blobs removed"])
    assert run.scopes() == ["test_one", "test_three"]
    assert not (run.folder / "cassettes" / "test_gone.chatcache").exists()
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


def test_what_became_of_each_bundle_is_told(run: Run) -> None:
    run.tests("def test_one(): again('why'); again('why')\n")
    run.tests("def test_two(): ask('two')\n", "test_same")
    run().stdout.fnmatch_lines(
        [
            "0 calls replayed, 3 recorded, 0 missed",
            f"{BUNDLE}: 0 replayed, 2 new",
            "cassettes/test_same.chatcache: 0 replayed, 1 new",
        ]
    )
    run().stdout.no_fnmatch_line("cassettes*")
    run("-v").stdout.fnmatch_lines([f"{BUNDLE}: 2 replayed", "cassettes/test_same.chatcache: 1 replayed"])
    run.tests("def test_one(): ask('why')\n")
    run("--chatcache=refresh", "test_it.py").stdout.fnmatch_lines([f"{BUNDLE}: 0 replayed, 1 changed, 1 removed"])


def test_the_order_of_the_tests_does_not_matter(run: Run) -> None:
    body = "first, second = (int(again('why').split()[1]) for _ in range(2)); assert second == first + 1"
    run.tests("".join(f"def test_{each}(): {body}; assert first == {2 * each + 1}\n" for each in range(5)))
    run()
    recorded = run.bundle().path.read_bytes()
    run.pytester.makeconftest("def pytest_collection_modifyitems(items): items.reverse()\n")
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=5)
    assert run.bundle().path.read_bytes() == recorded


def test_what_is_recorded_of_a_fixture_is_gone_with_the_file_that_defines_it(run: Run) -> None:
    run.tests("@pytest.fixture(scope='session')\ndef once(): return ask('once')\ndef test_one(once): pass\n", "test_a")
    run.tests("def test_two(): ask('two')\n")
    run()
    (run.folder / "test_a.py").unlink()
    for options in ((), ("-n", "2"), ("-k", "two")):
        run.apart(*options).stdout.fnmatch_lines(["cassettes/conftest.chatcache: of no test"])
    run("--chatcache-prune").stdout.fnmatch_lines(["1 records and blobs removed"])
    assert not (run.folder / "cassettes" / "conftest.chatcache").exists()


def test_what_a_fixture_calls_is_recorded_once_however_often_it_is_set_up(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='class')\ndef client(): return ask('setup')\n"
        "def test_a(client): ask(f'then {client}')\ndef test_b(client): ask(f'so {client}')\n"
    )
    run().assert_outcomes(passed=2)
    assert run.calls == 3
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=2)


def test_a_fixture_that_calls_something_else_when_it_is_set_up_again_is_recorded_too(run: Run) -> None:
    run.tests(
        "times = []\n@pytest.fixture(scope='class')\ndef client(): times.append(1); return ask(f'{len(times)} times')\n"
        "def test_a(client): pass\ndef test_b(client): pass\n"
    )
    for mode in ("once", "replay"):
        run.tests((run.folder / "test_it.py").read_text().split("\n\n", 1)[1])
        run(f"--chatcache={mode}", "--chatcache-strict").assert_outcomes(passed=2)


def test_a_fixture_that_fails_as_it_is_torn_down_is_not_recorded_and_not_judged(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef client():\n    yield 1\n    ask('bye 1')\n"
        "    if os.environ.get('BOOM'): raise RuntimeError\n    ask('bye 2')\n"
        "def test_a(client): pass\n"
    )
    for options in ((), ("--chatcache-prune",)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BOOM", "1")
            run(*options).assert_outcomes(passed=1, errors=1)
        run("--chatcache-strict").assert_outcomes(passed=1)
        assert len(run.bundle().read()) == 2


def test_what_a_test_that_ends_early_did_not_use_is_not_judged(run: Run) -> None:
    run.tests(
        "@pytest.mark.xfail\ndef test_a(): ask('1'); assert not os.environ.get('BAD'); ask('2')\n"
        "def test_b(): ask('1'); os.environ.get('BAD') and pytest.skip('no'); ask('2')\n"
        "@pytest.mark.skipif(\"os.environ.get('BAD')\")\ndef test_c(): ask('1')\n"
    )
    run()
    assert len(run.scopes()) == 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAD", "1")
        assert run("--chatcache-prune", "--chatcache-strict").ret == 0
        assert run("--chatcache=replay").ret == 0
    assert len(run.scopes()) == 5


def test_what_is_asked_before_a_skip_is_recorded(run: Run) -> None:
    run.tests(
        "def test_a():\n    if 'answer' in ask('can you?'): pytest.skip('cannot')\n"
        "@pytest.fixture(scope='module')\ndef c(): ask('here?'); pytest.skip('no')\ndef test_b(c): pass\n"
    )
    run().assert_outcomes(skipped=2)
    run("--chatcache=replay").assert_outcomes(skipped=2)
    assert run.calls == 2


def test_the_value_of_a_fixture_of_any_name_is_no_secret(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module', params=['a', 'b'])\ndef api_key(request): return request.param\n"
        "@pytest.fixture(scope='module')\ndef client(api_key): return ask(f'setup {api_key}')\n"
        "def test_a(client): pass\n"
    )
    run().assert_outcomes(passed=2)


def test_a_file_of_tests_of_another_sort_is_one(run: Run) -> None:
    run.tests("def test_a(): ask('a')\n", "test_a")
    run.tests("def test_x(): ask('x')\n", "test_x")
    run()
    (run.folder / "test_x.py").rename(run.folder / "test_x.yaml")
    assert run("--chatcache-prune", "--chatcache-strict").ret == 0
    assert run.scopes("cassettes/test_x.chatcache") == ["test_x"]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["", "xdist"])
def test_a_wrong_argument_of_the_marker_fails_its_test_and_no_other(run: Run, options: tuple[str, ...]) -> None:
    run.tests("@pytest.mark.chatcache(mod='off')\ndef test_one(): ask('one')\ndef test_two(): ask('two')\n")
    result = run.apart(*options)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*the marker chatcache takes mode, *; it got mod*"])
    assert run.scopes() == ["test_two"]


def test_what_is_too_old_is_told(run: Run) -> None:
    run.tests("def test_one(): ask('why')\n")
    run()
    path = run.bundle().path
    path.write_text(path.read_text().replace('"at": "20', '"at": "19'))
    run("--chatcache=replay").assert_outcomes(passed=1)
    run.tests("@pytest.mark.chatcache(max_age='90d')\ndef test_one(): ask('why')\n")
    result = run("--chatcache=replay")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no record to replay: what was recorded is too old", "*1 record too old"])


def test_misses_are_annotations_and_changes_a_table_on_github(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.tests("def test_one(): ask('why')\n")
    summary = run.folder / "summary.md"
    run(f"--chatcache-summary={summary}")
    assert f"| `{BUNDLE}` | 1 | 0 | 0 |" in summary.read_text()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run.tests("def test_one(): ask('who')\n")
    run("--chatcache=replay").stdout.fnmatch_lines(
        ["::error file=test_it.py,line=4,title=LLM call not recorded::test_it.py::test_one: the request *$.question*"]
    )
    assert "* `test_it.py::test_one` missed: the request differs from what was recorded" in summary.read_text()
    run.tests("def test_one(): cache.call({'question': object()}, model)\n")
    result = run("--chatcache=replay")
    result.stdout.fnmatch_lines(["::error *Such a call cannot be recorded.*"])
    result.stdout.no_fnmatch_line("*To record it*")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (["--chatcache=never"], "invalid mode 'never' in --chatcache: use one of replay"),
        (["-o", "chatcache_layout=file"], "'file' is not a valid Layout"),
        (["-o", "chatcache_volatile=a=("], "is no regular expression"),
        (["-o", "chatcache_max_age=soon"], "max_age is 'soon'"),
        (["-o", "chatcache_exhausted=stop"], "exhausted='stop': use one of error, last, cycle"),
    ],
)
def test_a_setting_that_cannot_be_right_is_refused(run: Run, setting: list[str], message: str) -> None:
    run.tests(ONE)
    result = run(*setting)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])


@pytest.mark.parametrize("marker", ["modus='replay'", "'replay'", "times=0, fail=ValueError", "store='a/b'"])
def test_a_marker_that_cannot_be_right_is_refused(run: Run, marker: str) -> None:
    run.tests(f"@pytest.mark.chatcache({marker})\n" + ONE)
    result = run()
    assert result.ret != 0
    said = result.stdout.str() + result.stderr.str()
    assert "chatcache(" in said or "the marker chatcache takes mode, store" in said


def test_a_bundle_that_is_damaged_fails_its_tests_and_says_where(run: Run) -> None:
    run.tests(ONE)
    run()
    path = run.bundle().path
    path.write_text(path.read_text().replace(' "store"', '<<<<<<< HEAD\n "store"'))
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*a merge left a conflict in the record at line 3*"])


def test_eight_workers_share_a_bundle(run: Run) -> None:
    run.tests("@pytest.mark.parametrize('x', range(24))\ndef test_one(x): assert ask(str(x)).endswith(f'to {x}')\n")
    result = run.apart("-n", "8")
    result.assert_outcomes(passed=24)
    assert (run.calls, len(run.scopes())) == (24, 24)
    text = run.bundle().path.read_bytes()
    result = run.apart("-n", "8", "--chatcache=replay", "--chatcache-strict")
    result.assert_outcomes(passed=24)
    result.stdout.fnmatch_lines(["24 calls replayed, 0 recorded, 0 missed*"])
    assert run.bundle().path.read_bytes() == text


def test_a_worker_that_crashes_loses_only_its_own_test(run: Run) -> None:
    run.tests(
        "import os\n@pytest.mark.parametrize('x', range(8))\n"
        "def test_one(x):\n    ask(str(x))\n    if x == 3: os._exit(1)\n"
    )
    run.apart("-n", "2").assert_outcomes(passed=7, failed=1)
    assert run.scopes() == [f"test_one[{x}]" for x in range(8) if x != 3]


def test_a_test_that_is_run_again_is_recorded_as_it_passed(run: Run) -> None:
    run.tests("tries = []\ndef test_one():\n    ask('why')\n    tries.append(1)\n    assert len(tries) == 2\n")
    run.apart("--reruns", "1").assert_outcomes(passed=1)
    assert [each.answer["answer"] for each in run.bundle().read()] == ["answer 2 to why"]


def git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *name, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_git_merges_what_two_branches_recorded_and_a_run_leaves_it_clean(run: Run) -> None:
    def recorded(*names: str) -> None:
        run.tests("".join(f"def test_{name}(): ask({name!r})\n" for name in names))
        run().assert_outcomes(passed=len(names))
        git(run.folder, "add", "cassettes")
        git(run.folder, "commit", "-qm", "more")

    git(run.folder, "init", "-q")
    recorded("b", "f")
    git(run.folder, "checkout", "-qb", "other")
    recorded("b", "c", "f")
    git(run.folder, "checkout", "-q", "main")
    recorded("b", "f", "g")
    assert git(run.folder, "merge", "-q", "other", "-m", "both").returncode == 0
    run.tests("".join(f"def test_{name}(): ask({name!r})\n" for name in "bcfg"))
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=4)
    assert git(run.folder, "status", "--short", "cassettes").stdout == ""


def test_a_miss_is_plain_data_as_well(run: Run) -> None:
    run.tests(
        "import json\ndef test_one(chatcache):\n    with pytest.raises(ReplayMiss) as miss: ask('why')\n"
        "    chatcache.misses.clear()\n    open('miss.json', 'w').write(json.dumps(miss.value.to_dict()))\n"
    )
    run("--chatcache=replay").assert_outcomes(passed=1)
    said = json.loads((run.folder / "miss.json").read_text())
    assert (said["code"], said["scope"], said["request"]) == ("nothing", "test_one", {"question": "why"})


def test_fixtures_of_one_name_have_records_of_their_own(run: Run) -> None:
    for name in ("test_a", "test_b"):
        run.tests(
            f"@pytest.fixture(scope='session')\ndef data(): return ask('{name}')\n"
            f"def test_one(data): assert data.endswith('to {name}')\n",
            name,
        )
    run().assert_outcomes(passed=2)
    run("--chatcache=replay").assert_outcomes(passed=2)


def test_a_failing_subtest_fails_its_test(run: Run) -> None:
    run.tests(
        "import unittest\n"
        "class T(unittest.TestCase):\n    def test_u(self):\n        ask('why')\n"
        "        with self.subTest('x'): assert 0\n"
    )
    assert run().ret == 1
    assert not run.bundle().path.exists()


def test_a_miss_in_a_fixture_that_is_swallowed_there_fails_its_tests(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef shared():\n    try: ask('x')\n    except ReplayMiss: return 1\n"
        "def test_one(shared): pass\n"
        "@pytest.fixture\ndef late():\n    yield\n    try: ask('y')\n    except ReplayMiss: pass\n"
        "def test_two(late): pass\n"
    )
    run("--chatcache=replay").assert_outcomes(passed=1, errors=2)


def test_a_fixture_is_replayed_whatever_the_mode_of_the_first_test_that_needs_it(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef shared(): return ask('x')\n"
        "@pytest.mark.chatcache(mode='off')\ndef test_one(shared): pass\n"
        "def test_two(shared): pass\n"
    )
    assert run("--chatcache=replay").ret == 1
    assert run.calls == 0


def test_pruning_removes_nothing_of_tests_that_are_not_known(run: Run) -> None:
    run.pytester.makeini("[pytest]\nchatcache_layout = suite\n")
    for name in ("test_a", "test_b"):
        run.tests("def test_one(): ask('why')\n", name)
    run()
    run("--chatcache=replay", "--chatcache-prune", "test_a.py").assert_outcomes(passed=1)
    assert len(run.scopes("cassettes/suite.chatcache")) == 2
    (run.folder / "test_b.py").write_text("import nothing_of_this_name\n")
    run("--chatcache=replay", "--chatcache-prune")
    assert len(run.scopes("cassettes/suite.chatcache")) == 2


def test_a_refresh_that_calls_no_more_leaves_no_record(run: Run) -> None:
    run.tests("def test_one(): ask('why')\n")
    run()
    run.tests("def test_one(): pass\n")
    run("--chatcache=refresh")
    assert not run.bundle().path.exists()


ONCE = "import pytest\nfrom app import ask\n@pytest.fixture(scope='session')\ndef once(): return ask('once')\n"


def test_a_run_of_a_part_judges_nothing_that_the_rest_may_need(run: Run) -> None:
    run.pytester.makeconftest(ONCE)
    run.tests("@pytest.mark.chatcache(store='test_shared')\ndef test_b(once): ask('b')\n", "test_b")
    run.tests("def test_a(): ask('a')\n", "test_a")
    (run.folder / "cassettes" / "blobs").mkdir(parents=True)
    (run.folder / "cassettes" / "blobs" / "mine.json").write_text("{}")
    run().assert_outcomes(passed=2)
    before = sorted(run.folder.glob("cassettes/**/*"))
    assert len(before) == 5
    for option in ("test_a.py", "-ktest_a", "test_a.py::test_a", "--ignore=test_b.py", "-otestpaths=test_a.py"):
        assert run("--chatcache-prune", "--chatcache-strict", option).ret == 0
        assert sorted(run.folder.glob("cassettes/**/*")) == before, option
    run.pytester.makepyfile(test_b="import nothing_of_this_name")
    assert run("--chatcache-prune", "--continue-on-collection-errors").ret == 1
    assert sorted(run.folder.glob("cassettes/**/*")) == before


def test_a_folder_within_another_one_is_judged_like_any_other(run: Run) -> None:
    ini = "[pytest]\nchatcache_dir = data/llm\n"
    run.pytester.makeini(ini)
    for name in ("test_a", "other_test"):
        run.tests("def test_one(): ask('one')\n", name)
    run()
    run("test_a.py", "--chatcache-prune", "--chatcache-strict")
    assert {each.name for each in run.folder.glob("data/llm/*")} == {"test_a.chatcache", "other_test.chatcache"}
    (run.folder / "other_test.py").unlink()
    run("--chatcache-prune").stdout.fnmatch_lines(["1 records and blobs removed"])
    assert [each.name for each in run.folder.glob("data/llm/*")] == ["test_a.chatcache"]
    run.pytester.makeini(ini.replace("data/llm", "../elsewhere"))
    assert run().ret == pytest.ExitCode.USAGE_ERROR


def test_what_is_no_test_function_is_not_judged(run: Run) -> None:
    run.tests(
        'def double(number):\n    """\n    >>> len(ask("x")) > 1\n    True\n    """\ndef test_one(): ask("one")\n'
    )
    run("--doctest-modules").assert_outcomes(passed=2)
    assert run("--chatcache-strict", "--chatcache-prune").ret == 0
    assert len(run.scopes()) == 2


def test_a_fixture_has_records_for_each_value_that_it_depends_on(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module', params=['gpt', 1, '1'])\ndef name(request): return request.param\n"
        "@pytest.fixture(scope='module')\ndef answer(name): return ask(f'hello from {name!r}')\n"
        "@pytest.fixture(scope='module')\ndef agent(request): return ask(str(request.param))\n"
        "def test_one(answer, name): assert answer.endswith(f'hello from {name!r}')\n"
        "@pytest.mark.parametrize('agent', [{'q': 'a'}], indirect=True)\n"
        "def test_two(agent): assert agent.endswith(\"{'q': 'a'}\")\n"
        "@pytest.mark.parametrize('agent', [{'q': 'b'}], indirect=True)\n"
        "def test_three(agent): assert agent.endswith(\"{'q': 'b'}\")\n"
    )
    run().assert_outcomes(passed=5)
    assert len(set(run.scopes())) == 5
    run("--chatcache=replay", "--chatcache-strict", "--chatcache-prune").assert_outcomes(passed=5)
    assert len(run.scopes()) == 5


SHARED = "@pytest.fixture(scope='module')\ndef shared(): return ask('shared')\n"


def test_workers_that_record_a_fixture_share_what_it_was_answered(run: Run) -> None:
    run.tests(SHARED + "".join(f"def test_{each}(shared): ask(f'{{shared}} and {each}')\n" for each in range(6)))
    run.apart("-n", "3").assert_outcomes(passed=6)
    assert run.calls == 7
    run.apart("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=6)


def test_a_test_that_is_recorded_anew_leaves_the_fixture_that_others_use(run: Run) -> None:
    run.tests(f"{SHARED}def test_one(shared): ask(f'{{shared}} one')\ndef test_two(shared): ask(f'{{shared}} two')\n")
    run()
    for options in (("test_it.py::test_two",), ("-k", "two")):
        run("--chatcache=refresh", *options)
        run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=2)
    assert run.calls == 5
    run("--chatcache=refresh")
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=2)
    assert run.calls == 8


def test_a_group_of_pytest_xdist_is_no_part_of_a_name(run: Run) -> None:
    run.tests("@pytest.mark.xdist_group('g')\ndef test_one(): ask('one')\n")
    run.apart("-n", "2", "--dist", "loadgroup").assert_outcomes(passed=1)
    assert run.scopes() == ["test_one"]


def test_a_fixture_is_found_from_whichever_folder_the_run_begins(run: Run) -> None:
    inner = run.folder / "tests"
    inner.mkdir()
    run.tests(f"{SHARED}def test_one(shared): ask('one')\n")
    (run.folder / "test_it.py").rename(inner / "test_it.py")
    run().assert_outcomes(passed=1)
    (inner / "pytest.ini").write_text("[pytest]\n")
    run("--chatcache=replay", "--chatcache-strict", "tests", "-c", "tests/pytest.ini").assert_outcomes(passed=1)


def test_a_miss_is_a_failure_also_of_who_skips_or_expects_to_fail(run: Run) -> None:
    swallowed = "    try: ask('x')\n    except Exception: pytest.skip('not today')\n"
    run.tests(f"def test_one():\n{swallowed}@pytest.mark.xfail\ndef test_two(): ask('y'); assert 0\n")
    run("--chatcache=replay").assert_outcomes(failed=2)
    run().assert_outcomes(passed=1, xfailed=1)
    assert run.scopes() == ["test_one", "test_two"]
    run("--chatcache=replay").assert_outcomes(passed=1, xfailed=1)


def test_a_fixture_that_swallowed_what_it_missed_fails_all_of_its_tests(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef shared():\n    try: return ask('x')\n    except Exception: return ''\n"
        "def test_one(shared): pass\ndef test_two(shared): pass\n"
    )
    run("--chatcache=replay").assert_outcomes(errors=2)


def test_what_a_fixture_missed_is_told_like_any_other_miss(run: Run) -> None:
    run.tests(f"{SHARED}def test_one(shared): pass\n")
    report = run.folder / "report.json"
    result = run("--chatcache=replay", "--chatcache-github", f"--chatcache-report={report}")
    result.stdout.fnmatch_lines(
        [
            "0 calls replayed, 0 recorded, 1 missed",
            "::error file=test_it.py,line=6,title=*test_it.py::test_one: nothing*",
        ]
    )
    assert [each["misses"][0]["code"] for each in json.loads(report.read_text()) if each["misses"]] == ["nothing"]


def test_a_miss_in_a_group_of_tasks_is_explained(run: Run) -> None:
    run.tests(
        "import asyncio\nasync def main():\n    async with asyncio.TaskGroup() as group:\n"
        "        for each in range(2): group.create_task(one(each))\n"
        "async def one(each): await cache.acall({'q': each}, model)\n"
        "def test_one(): asyncio.run(main())\n"
    )
    result = run("--chatcache=replay")
    result.stdout.fnmatch_lines(
        ["no record to replay: nothing is recorded", "FAILED *::test_one - nothing is recorded"]
    )
    result.stdout.no_fnmatch_line("*unhandled errors*")


def test_a_fixture_is_no_part_of_a_test_that_is_switched_on_by_a_marker(run: Run) -> None:
    run.pytester.makeini("[pytest]\nchatcache = off\n")
    marked = "@pytest.mark.chatcache(mode='once')\n"
    run.tests(f"{SHARED}{marked}def test_one(shared): ask('one')\n{marked}def test_two(shared): ask('two')\n")
    run().assert_outcomes(passed=2)
    assert [(each.scope, each.request["question"]) for each in run.bundle().read()] == [
        ("test_one", "one"),
        ("test_two", "two"),
    ]


def test_what_a_shared_fixture_calls_when_it_is_torn_down_is_its_own(run: Run) -> None:
    run.tests(
        "@pytest.fixture(scope='module')\ndef shared():\n    yield ask('up')\n    ask('down')\n"
        "def teardown_module(): ask('end')\n"
        "def test_one(shared): ask('one')\ndef test_two(shared): ask('two')\n"
    )
    run().assert_outcomes(passed=2)
    run("--chatcache=replay", "-k", "one").assert_outcomes(passed=1, deselected=1)
    run("--chatcache=replay", "--chatcache-strict").assert_outcomes(passed=2)
    run.apart("--chatcache=replay", "--chatcache-strict", "-n", "2").assert_outcomes(passed=2)


def test_a_bundle_that_cannot_be_written_costs_no_other_one_its_records(run: Run) -> None:
    run.tests(f"def test_one():\n    ask('one')\n    import os; os.makedirs('{BUNDLE}/x')\n")
    run.tests("def test_two(): ask('two')\ndef test_three(): ask('three')\n", "test_other")
    result = run()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: *test_it.chatcache is a folder: *"])
    assert run.scopes("cassettes/test_other.chatcache") == ["test_three", "test_two"]


def test_a_crash_loses_nothing_of_the_tests_before_it(run: Run) -> None:
    run.tests(
        "import os\nfrom pytest_chatcache import ledger\nledger._SHARE = 0  # what writing costs does not put it off\n"
        "def test_one(): ask('one')\ndef test_two(): ask('two')\ndef test_three(): os._exit(3)\n"
    )
    run.apart()
    assert run.scopes() == ["test_one", "test_two"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("volatile={'a': 5}", "volatile a=5 is no regular expression"),
        ("volatile={5: 'a'}", "volatile 5: a name is"),
        ("ignore=5", "ignore=5: pass a list"),
        ("max_age=[1]", "max_age is"),
        ("max_age=-5", "max_age is -5"),
        ("errors='no'", "errors='no'"),
        ("times=2", "say what the calls are to fail with"),
    ],
)
def test_an_argument_that_cannot_be_right_is_refused_in_a_line(run: Run, argument: str, said: str) -> None:
    run.tests(f"@pytest.mark.chatcache({argument})\ndef test_one(): ask('x')\n")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{said.replace('[', '[[]')}*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_report_that_cannot_be_written_is_told(run: Run) -> None:
    run.tests("def test_one(): ask('x')\n")
    result = run("--chatcache-report=no/such/report.json")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["ERROR: *no/such/report.json*"])


def test_the_fixture_is_there_in_mode_off(run: Run) -> None:
    run.tests("def test_one(chatcache):\n    with chatcache.sample(1): ask('x')\n    assert chatcache.hits == 0\n")
    run("--chatcache=off").assert_outcomes(passed=1)
    assert run.calls == 1


UNREPLAYABLE = """
def fail(request): raise OSError("down")
def stream(request): yield 1; yield 2

def test_an_error():
    with pytest.raises(OSError): cache.call({"question": "why"}, fail)

def test_an_unread_stream():
    assert next(cache.stream({"question": "why"}, stream)) == 1

def test_an_error_and_then_an_answer():
    with pytest.raises(OSError): cache.call({"question": "why"}, fail)
    assert ask("why")

def test_a_good_call():
    ask("why")
"""


def test_calls_that_cannot_be_replayed_are_listed_with_reasons_and_fail_a_strict_run(run: Run) -> None:
    run.tests(UNREPLAYABLE)
    result = run()
    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "2 calls were made and cannot be replayed:",
            "  test_it.py::test_an_error: a call of store 'app': it failed with OSError; *(errors=True) records errors",
            "  test_it.py::test_an_unread_stream: a call of store 'app': its stream was not read to its end*",
        ]
    )
    assert run("--chatcache=refresh", "--chatcache-strict").ret == 1
    assert run("--chatcache=refresh", "--chatcache-strict", "-k", "good or and_then").ret == 0


def test_the_advice_about_an_error_helps(run: Run) -> None:
    run.pytester.makeini("[pytest]\nchatcache_errors = true\n")
    run.tests(UNREPLAYABLE)
    assert run("--chatcache-strict", "-k", "an_error").ret == 0
    replayed = run("--chatcache-strict", "--chatcache=replay", "-k", "an_error and not answer")
    replayed.stdout.no_fnmatch_line("*cannot be replayed*")


def test_calls_that_share_an_answer_are_all_replayed(run: Run) -> None:
    run.tests(
        "import threading\ndef test_one():\n"
        "    threads = [threading.Thread(target=ask, args=['why']) for _ in range(4)]\n"
        "    for thread in threads: thread.start()\n    for thread in threads: thread.join()\n"
    )
    assert run("--chatcache-strict").ret == 0
    assert run("--chatcache-strict", "--chatcache=replay").ret == 0


def test_a_miss_of_a_test_without_records_says_so_and_advises_to_record_it_once(run: Run) -> None:
    run.tests("def test_one(): ask('what is the colour of the sky today')\n")
    run()
    run.tests("def test_two(): ask('what is the colour of the sky tomorrow')\n")
    result = run("--chatcache=replay")
    result.stdout.fnmatch_lines(
        [
            "no record to replay: nothing of this test is recorded",
            f"  bundle   {BUNDLE} (0 records of this test)",
            "  nearest  of test_one, *",
            'Nothing was called. To record it: pytest "test_it.py::test_two" --chatcache=once',
        ]
    )
    run.tests("def test_three(): ask('and now?')\n")
    run("--chatcache=replay").stdout.fnmatch_lines(['*pytest "test_it.py::test_three" --chatcache=once'])


LATER = """
import random
from chatcache import ReplayedError
def fail(request): raise OSError("down")
def failing():
    with pytest.raises((OSError, ReplayedError)): cache.call({"question": "x"}, fail)
"""
FIXTURE = """
@pytest.fixture(scope='module')
def asked(): return {call}

def test_one(asked): pass
def test_two(asked): pass
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "def test_one(): ask('why')\n"),
        ("def test_one(): ask('why is it so')\n", "def test_one(): ask('why is it not so')\n"),
        ("def test_one(): ask('why')\n", "def test_one(): again('why'); again('why')\n"),
        ("def test_two(): ask('why')\n", "def test_one(): ask('why')\ndef test_two(): ask('why')\n"),
        ("def test_one(): ask('why')\n", "def test_one(): [*cache.stream({'question': 'why'}, lambda request: [1])]\n"),
        ("", "@pytest.mark.parametrize('x', ['$HOME \"b\" `c` ! it\\'s'])\ndef test_one(x): ask(x)\n"),
        ("", FIXTURE.format(call="ask('why')")),
    ],
    ids=["nothing", "differs", "used up", "elsewhere", "other form", "a name that shells would change", "a fixture"],
)
def test_what_a_miss_advises_makes_the_next_run_pass(run: Run, before: str, after: str) -> None:
    run.tests(before)
    run()
    run.tests(after)
    run.advised()
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


@pytest.mark.parametrize(
    ("text", "advice", "mended"),
    [
        (
            "def test_one(): ask(f'why {random.random()}?')\n",
            'If it differs in each run: @pytest.mark.chatcache(ignore=["name"]), or volatile={"name": r"pattern"}',
            "@pytest.mark.chatcache(volatile={'a': r'[0-9.e-]+[?]'})\ndef test_one(): ask(f'why {random.random()}?')\n",
        ),
        (
            "def test_one(): ask('why', at=random.random())\n",
            'If it differs in each run: @pytest.mark.chatcache(ignore=["name"]), or volatile={"name": r"pattern"}',
            "@pytest.mark.chatcache(ignore=['at'])\ndef test_one(): ask('why', at=random.random())\n",
        ),
        (
            "def test_one(): failing()\n",
            "If that does not record it: the end of the run says why, and what helps",
            "@pytest.mark.chatcache(errors=True)\ndef test_one(): failing()\n",
        ),
        (
            "def test_one(): ask('why'); failing()\n",
            "If that does not record it: the end of the run says why, and what helps",
            "@pytest.mark.chatcache(errors=True)\ndef test_one(): ask('why'); failing()\n",
        ),
    ],
    ids=["a text", "an argument", "an error", "an error beside answers"],
)
def test_where_recording_again_does_not_help_a_miss_says_what_does(
    run: Run, text: str, advice: str, mended: str
) -> None:
    run.tests(LATER + text)
    assert run("-p", "no:randomly").ret == 0
    run("--chatcache=replay").stdout.fnmatch_lines([advice.replace("[", "[[]")])
    run.tests(LATER + mended)
    run.advised()
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


def test_what_helps_the_calls_of_a_fixture_is_in_the_ini_file(run: Run) -> None:
    run.tests(LATER + FIXTURE.format(call="failing()"))
    result = run()
    result.stdout.fnmatch_lines(
        [
            "  test_it.py::test_one: *it failed with OSError; chatcache_errors = true in the ini file records errors",
            "  Once that is mended, record these tests again with --chatcache=refresh.",
        ]
    )
    run.pytester.makeini("[pytest]\nchatcache_errors = true\n")
    assert run("--chatcache=refresh").ret == 0
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


def test_a_fixture_that_is_recorded_again_with_one_test_leaves_what_prune_removes(run: Run) -> None:
    run.tests(FIXTURE.format(call="ask('why is it so')"))
    run()
    run.tests(FIXTURE.format(call="ask('why is it not so')"))
    run.advised()
    result = run("--chatcache=replay", "--chatcache-strict")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["--chatcache-prune removes the records that are not used*"])
    run("--chatcache=replay", "--chatcache-prune")
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


def test_what_a_miss_advises_is_for_the_folder_that_the_run_began_in(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.folder / "inner"
    folder.mkdir()
    (folder / "test_inner.py").write_text("from app import *\n\ndef test_one(): ask('why')\n")
    monkeypatch.chdir(folder)
    run.advised()
    assert run("--chatcache=replay", "--chatcache-strict").ret == 0


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["", "xdist"])
def test_a_framework_that_is_imported_and_not_called_is_told(run: Run, options: tuple[str, ...]) -> None:
    run.tests("import litellm\ndef test_one(): pass\n")
    run.with_litellm(*options).stdout.fnmatch_lines(["*LLM calls*", "0 calls seen of litellm"])


def test_a_call_that_litellm_is_not_to_store_is_listed(run: Run) -> None:
    run.tests(
        "import litellm\ndef test_one():\n"
        "    asked = [{'role': 'user', 'content': 'why'}]\n"
        "    litellm.completion(model='gpt-4o', messages=asked, mock_response='yes', cache={'no-store': True})\n"
    )
    result = run.with_litellm("--chatcache-strict")
    result.stdout.fnmatch_lines(["  test_it.py::test_one: a call of store 'litellm': *no-store, call it without"])
    assert result.ret == 1

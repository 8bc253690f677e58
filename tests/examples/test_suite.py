"""The suite in the examples: replayed with no provider, no network and no key, and a miss in it, explained."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import warm

SUITE = Path(__file__).parents[2] / "examples" / "suite"
PLUGINS = ("pytest_socket", "pytest_chatcache.plugin")
MISS = """\
app.py:26: answer = litellm.completion(model=f"openai/{MODEL}", base_url=URL, api_key=KEY, messages=asked)

no record to replay: the request differs from what was recorded
  test     test_an_explanation_is_one_sentence, store 'app'
  bundle   cassettes/test_app.chatcache (1 record of this test)
  nearest  of this test, recorded 2026-11-29 20:54 UTC, 97% alike
  $.arguments.messages[0].content
    - … why the sky is blue to {-a-} child, in one sentence.
    + … why the sky is blue to {+my+} child, in one sentence.
  left out api_key
Nothing was called. To record it: pytest "test_app.py::test_an_explanation_is_one_sentence" --chatcache=refresh
If it differs in each run: @pytest.mark.chatcache(ignore=["name"]), or volatile={"name": r"pattern"}
If that does not record it: the end of the run says why, and what helps
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return shutil.copytree(SUITE, tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__", ".*"))


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
    plugins = " ".join([*(f"-p {name}" for name in PLUGINS), "-W ignore"])
    ours = {"CI": "true", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "LANGSMITH_TRACING": "false"}
    return {**kept, **ours, "PYTEST_ADDOPTS": plugins, **more}


def test_one_changed_word_is_a_miss_that_says_which(suite: Path) -> None:
    app = suite / "app.py"
    app.write_text(app.read_text().replace("to a child", "to my child"))
    options = ("--chatcache-block-network", "-k", "explanation")
    ended = warm.python("-m", "pytest", *options, cwd=suite, env=environment())
    assert ended.returncode == 1
    assert MISS in ended.stdout


def test_the_workflow_of_the_docs_replays_with_the_network_blocked_and_changes_nothing(suite: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text()
    jobs = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])["jobs"]
    commands = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    (replay,) = (each for each in commands["replay"] if each.startswith("pytest"))
    assert {"--chatcache-block-network", "--chatcache-strict"} <= {*replay.split()}
    bundle, summary = suite / "cassettes" / "test_app.chatcache", suite / "summary.md"
    recorded = bundle.read_bytes()
    command = [sys.executable, "-m", *replay.split()]
    variables = environment(GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary))
    ended = subprocess.run(command, cwd=suite, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert summary.read_text().startswith("### LLM calls\n\n5 calls replayed, 0 recorded, 0 missed; saved 124 tokens")
    assert "5 calls replayed, 0 recorded, 0 missed; saved 124 tokens" in ended.stdout
    assert bundle.read_bytes() == recorded
    assert not (suite / ".chatcache").exists()


def test_the_options_of_the_workflow_of_the_docs_exist(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pytest.md").read_text()
    used = {*re.findall(r"--chatcache[\w-]*", page.partition("```yaml\n")[2].partition("```")[0])}
    known = warm.python("-m", "pytest", "--help", cwd=tmp_path, env=environment()).stdout
    assert "--chatcache-prune" in used
    assert used <= {*re.findall(r"--[\w-]+", known)}


def test_the_plan_says_what_would_miss(suite: Path) -> None:
    app = suite / "app.py"
    app.write_text(app.read_text().replace("to a child", "to my child"))
    ended = warm.python("-m", "chatcache", "plan", "-k", "explanation or agent", cwd=suite, env=environment())
    assert ended.returncode == 1, ended.stderr
    assert "1 test would miss; to record them again cost $0.0000 the last time" in ended.stdout
    assert "the request differs from what was recorded" in ended.stdout

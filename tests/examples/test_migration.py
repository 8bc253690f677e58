"""Suites with cassettes of vcrpy are taken over: the cassettes answer once, as the provider did, and then can go."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import litellm
import pytest
import yaml
from click.testing import CliRunner
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

import langchain_chatcache
import litellm_chatcache
from chatcache import ReplayMiss, ResponseCache
from chatcache.cli.commands import chatcache
from chatcache.recording import Bundle
from tests.examples.test_caching_suites import run
from tests.integrations.traffic import FOLDER, running

RECORDING = ("-p", "pytest_recording.plugin")
MIGRATE = (*RECORDING, "--chatcache-from-cassettes")
DATE = "Tue, 05 Mar 2024 10:11:12 GMT"

MARKED = """
import asyncio
import os

import litellm
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

from chatcache import ResponseCache

URL = os.environ["PROVIDER"]
ASKED = {"base_url": f"{URL}/v1", "api_key": "any", "messages": [{"role": "user", "content": "why"}]}
litellm.suppress_debug_info = True
pytestmark = pytest.mark.vcr

def test_litellm():
    first, second = (litellm.completion(model=f"openai/rec-{number}", **ASKED) for number in (1, 2))
    assert first.choices[0].message != second.choices[0].message

def test_litellm_awaited():
    assert asyncio.run(litellm.acompletion(model="openai/rec-1", **ASKED)).choices

def test_litellm_streamed():
    chunks = list(litellm.completion(model="openai/rec-54", stream=True, **ASKED))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

def test_anthropic_through_litellm():
    assert litellm.completion(model="anthropic/rec-5", **{**ASKED, "base_url": URL}).choices

class TestLangChain:
    @pytest.mark.parametrize("name", ["openai/rec-1"])
    def test_openai(self, name):
        assert ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key="any").invoke("why").id

    def test_anthropic(self):
        assert ChatAnthropic(model="rec-5", base_url=URL, api_key="any").invoke("why").id

def ask(body):
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="any").chat.completions.create(**body).model_dump(mode="json")

def test_openai_behind_a_cache():
    assert ResponseCache("app").call({"model": "rec-1", "messages": ASKED["messages"]}, ask)["choices"]

def test_openai_without_a_cache():
    assert ask({"model": "rec-1", "messages": ASKED["messages"]})["choices"]
"""

PLAIN = """
import os

import litellm
import vcr

recorder = vcr.VCR(cassette_library_dir="old", record_mode=os.environ["VCR_MODE"], match_on=["method", "uri", "body"])
URL = os.environ["PROVIDER"]

def ask(number):
    asked = [{"role": "user", "content": "why"}]
    return litellm.completion(model=f"openai/rec-{number}", base_url=f"{URL}/v1", api_key="any", messages=asked)

@recorder.use_cassette("one.yaml")
def test_a_decorated_function():
    assert ask(1).choices

def test_a_block():
    with recorder.use_cassette("two.yaml"):
        assert ask(2).choices
    with recorder.use_cassette("three.yaml"):
        assert ask(3).choices
"""


def never(_request: Any) -> Any:
    raise AssertionError("called")


def told(ended: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines of the summary."""
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.partition(" LLM calls ")[2].splitlines()[1:]


def deletable(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("  ") and line.endswith(".yaml")]


@pytest.mark.skipif(not FOLDER.exists(), reason="there is no recorded traffic")
@pytest.mark.parametrize("kind", ["pytest-recording", "vcrpy"])
def test_a_suite_is_taken_over_from_its_cassettes(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_marked = kind == "pytest-recording"
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = vcr\n")
    (tmp_path / "test_it.py").write_text(MARKED if is_marked else PLAIN)
    old = tmp_path / ("cassettes/test_it" if is_marked else "old")
    kept = ["test_openai_without_a_cache.yaml"] if is_marked else []
    with running() as provider:
        monkeypatch.setenv("PROVIDER", provider.url)
        monkeypatch.setenv("VCR_MODE", "once")
        made = run(tmp_path, *RECORDING, "--record-mode=once", plugin=False)
        assert made.returncode == 0, made.stdout + made.stderr
        calls = provider.calls
        assert calls > 0
        for path in old.iterdir():
            path.write_text(re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", DATE, path.read_text()))
        lines = told(run(tmp_path, *MIGRATE, CI="true"))
        assert provider.calls == calls
    names = {path.name for path in old.iterdir()}
    recorded = calls - len(kept)
    assert f"0 calls replayed, {recorded} recorded, 0 missed" in lines
    assert f"{len(names)} cassettes opened: {calls} requests answered" in lines
    assert any(
        line.startswith(f"{len(names) - len(kept)} cassettes recorded from: run the same again") for line in lines
    )
    assert deletable(lines) == []
    records = Bundle(tmp_path / "cassettes" / "test_it.chatcache").read()
    assert len(records) == recorded
    assert {each.at // 1000 for each in records} == {1_709_633_472}  # DATE, and not now

    monkeypatch.setenv("VCR_MODE", "new_episodes")  # in which an unknown request would be made, and added to a cassette
    parallel = ("-p", "xdist", "-n", "2") if is_marked else ()
    lines = told(run(tmp_path, *MIGRATE, *parallel))
    assert {tmp_path / each for each in deletable(lines)} == {old / name for name in names} - {
        old / each for each in kept
    }
    assert [
        line for line in lines if "keep it, it answered what no cache recorded: POST 127.0.0.1/v1/chat" in line
    ] == [line for line in lines if "keep it" in line]
    assert len([line for line in lines if "keep it" in line]) == len(kept)
    for each in deletable(lines):
        (tmp_path / each).unlink()
    replayed = told(run(tmp_path, *RECORDING, "--chatcache-block-network", "--chatcache-strict", CI="true"))
    assert replayed[0].startswith(f"{recorded} calls replayed, 0 recorded, 0 missed")


SMALL = """
import urllib.request

import pytest

from chatcache import ResponseCache

def ask(body):
    request = urllib.request.Request(f"https://api.example.com/v1/{body}", data=b"{}", method="POST")
    with urllib.request.urlopen(request) as answer:
        return answer.read().decode()

@pytest.mark.vcr
def test_a_part():
    assert ResponseCache("app").call("one", ask) == "1"

@pytest.mark.vcr("shared.yaml")
def test_another_file():
    assert ResponseCache("app").call("two", ask) == "2"

@pytest.mark.vcr
def test_more():
    ResponseCache("app").call("other", ask)

def test_no_cassette():
    ResponseCache("app").call("one", ask)

@pytest.mark.vcr
@pytest.mark.chatcache(mode="off")
def test_off():
    pass
"""

SETTINGS = """
import pytest

@pytest.fixture(scope="module")
def vcr_config():
    return {"record_mode": "all", "drop_unused_requests": True}
"""


def small_suite(folder: Path) -> dict[Path, bytes]:
    """Write a suite, and the same two interactions for each of its tests; return the cassettes."""
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = vcr\n")
    (folder / "test_it.py").write_text(SMALL)
    (folder / "conftest.py").write_text(SETTINGS)
    interactions: list[Any] = [
        {
            "request": {"method": "POST", "uri": f"https://api.example.com/v1/{path}", "body": "{}", "headers": {}},
            "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": said}},
        }
        for path, said in (("one", "1"), ("two", "2"))
    ]
    old = folder / "cassettes" / "test_it"
    old.mkdir(parents=True)
    for name in ("test_a_part", "test_more", "test_off", "test_gone", "shared"):
        (old / f"{name}.yaml").write_text(yaml.safe_dump({"interactions": interactions, "version": 1}))
    return {path: path.read_bytes() for path in old.iterdir()}


def test_what_is_not_taken_over_is_named_and_nothing_is_called_or_changed(tmp_path: Path) -> None:
    cassettes = small_suite(tmp_path)
    first = run(tmp_path, *MIGRATE)
    assert first.returncode == 1
    lines = first.stdout.splitlines()
    old = "cassettes/test_it"
    unknown = "keep it, it is not known what needs it: test_it.py::{} did not pass, or is in mode off"
    assert f"{old}/test_a_part.yaml: not asked for, so not recorded: POST api.example.com/v1/two (1)" in lines
    assert f"{old}/test_more.yaml: {unknown.format('test_more')}" in lines
    assert f"{old}/test_off.yaml: {unknown.format('test_off')}" in lines
    assert f"{old}/test_gone.yaml: keep it or not, no test opened it" in lines
    assert "SocketBlockedError" in first.stdout
    records = Bundle(tmp_path / "cassettes" / "test_it.chatcache").read()
    assert [each.scope for each in records] == ["test_a_part", "test_another_file"]
    lines = run(tmp_path, *MIGRATE).stdout.splitlines()
    assert deletable(lines) == [f"{old}/shared.yaml", f"{old}/test_a_part.yaml"]
    assert {path: path.read_bytes() for path in cassettes} == cassettes
    lines = run(tmp_path, *MIGRATE, "-k", "part").stdout.splitlines()
    assert any("1 cassette not needed by the tests of this run" in line for line in lines)


def test_cassettes_that_would_be_deleted_or_cannot_be_read_are_refused(tmp_path: Path) -> None:
    cassettes = small_suite(tmp_path)
    (tmp_path / "conftest.py").unlink()
    refused = run(tmp_path, *MIGRATE, "--record-mode=rewrite")
    assert refused.returncode == 4
    assert "reads the cassettes that --record-mode=rewrite deletes" in refused.stderr
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['vcr'] = sys.modules['vcr.cassette'] = None\n")
    refused = run(tmp_path, "--chatcache-from-cassettes")
    assert refused.returncode == 4
    assert "--chatcache-from-cassettes needs vcrpy: pip install vcrpy" in refused.stderr
    assert {path: path.read_bytes() for path in cassettes} == cassettes


def test_imported_records_answer_the_callers_that_the_import_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "why"}]}
    request = {"method": "POST", "uri": "http://127.0.0.1:9/v1/chat/completions", "body": json.dumps(asked)}
    response = {"status": {"code": 200}, "headers": {}, "body": {"string": '{"choices": []}'}}
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"interactions": [{"request": request, "response": response}]}))
    command = ["import", str(tmp_path / "old.yaml"), "--store", "app", "--path", str(tmp_path / "objects")]
    said = CliRunner().invoke(chatcache, command).stdout
    assert "\nThe records answer ResponseCache('app').call and .stream of the bodies that were sent.\n" in said
    assert "They do not answer calls through LiteLLM or LangChain" in said
    cache = ResponseCache("app", path=tmp_path / "objects", mode="replay")
    assert cache.call(asked, never) == {"choices": []}
    monkeypatch.setattr(litellm, "cache", litellm_chatcache.DOCache("app", path=tmp_path / "objects", mode="replay"))
    with pytest.raises(ReplayMiss):
        litellm.completion(**asked, base_url="http://127.0.0.1:9/v1", api_key="any")
    langchain = langchain_chatcache.DOCache("app", path=tmp_path / "objects", mode="replay")
    model = ChatOpenAI(model="gpt-4o", base_url="http://127.0.0.1:9/v1", api_key=SecretStr("any"), cache=langchain)
    with pytest.raises(ReplayMiss):
        model.invoke("why")

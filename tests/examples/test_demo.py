"""The demo as a newcomer runs it, in a copy of the examples, and the provider that it brings along."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from openai import NotFoundError, OpenAI

from chatcache import ObjectNamespace
from tests.waiting import HANG

if TYPE_CHECKING:
    from provider import Provider

EXAMPLES = Path(__file__).parents[2] / "examples"
CALLS = (
    "completion",
    "completion stream",
    "ChatOpenAI.invoke",
    "acompletion",
    "acompletion stream",
    "ChatOpenAI.ainvoke",
)

# a program without a cache: it has to ask the provider, or it makes up an answer where it cannot
ASKS = """
import json, sys
from urllib.request import Request, urlopen
request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
answer = "said by the provider"
"""
MUST = """
urlopen(Request(sys.argv[1] + "/chat/completions", json.dumps(request).encode())).close()
"""
MAY = """
try:
    urlopen(Request(sys.argv[1] + "/chat/completions", json.dumps(request).encode())).close()
except OSError:
    answer = "made up"
"""
REPORTS = """
print(json.dumps({"call": "hello", "prompt": "hello", "answer": answer, "seconds": 0.5, "tokens": 2, "cost": 0.1}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with the examples in it, so that the developer's own records stay."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator["Provider"]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from provider import Provider

    with Provider() as provider:
        yield provider


@pytest.fixture
def client(provider: "Provider") -> Iterator[OpenAI]:
    with OpenAI(base_url=provider.url, api_key="any", max_retries=0) as client:
        yield client


def run(folder: Path, program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"examples/{program}", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG,
    )


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], **more}


def columns(output: str, call: str) -> list[str]:
    """Return what stands beside a call in the table."""
    line = next(line for line in output.splitlines() if line.startswith(f"{call}  "))
    return line.removeprefix(call).split()


def test_the_second_run_is_replayed_without_the_provider_whatever_an_earlier_demo_left(copy: Path) -> None:
    (copy / ".chatcache-demo/calls").mkdir(parents=True)
    (copy / ".chatcache-demo/calls/left.sqlite").write_text("of an earlier demo")
    # settings of a developer who has a provider, and runs everything in some mode
    demo = run(copy, "demo.py", CHATCACHE_MODE="off", CHATCACHE_DIR="elsewhere", OPENAI_BASE_URL="http://[::1]:9")

    assert (demo.returncode, demo.stderr) == (0, "")
    for call in CALLS:
        _, _, first, second, tokens, _, same = columns(demo.stdout, call)
        assert (first, second, same) == ("1", "0", "yes")
        assert int(tokens) > 0
    assert columns(demo.stdout, "6 calls")[2:4] == ["6", "0"]
    assert demo.stdout.splitlines()[-1].startswith("The second run made none of the 6 calls")
    assert "\x1b" not in demo.stdout, "colours are for terminals"

    [file] = (copy / ".chatcache-demo").rglob("*.sqlite")
    assert f"  {file.relative_to(copy)}\n" in demo.stdout
    assert {path.name for path in copy.iterdir()} == {"examples", ".chatcache-demo"}
    for path in (".chatcache-demo", str(file.relative_to(copy))):
        look = run(copy, "look.py", path)
        assert (look.returncode, look.stderr) == (0, "")
        assert look.stdout.count("demo  ") == 6
        assert look.stdout.count("  LiteLLM    gpt-4o  ") == 4
        assert look.stdout.count("  LangChain  gpt-4o  ") == 2
        assert "Air scatters the short waves" in look.stdout
        assert f"6 records in {path}" in look.stdout or f"6 records in {file}" in look.stdout


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        pytest.param(MUST, "The second run ended with 1", id="the program fails"),
        pytest.param(MAY, "hello: first 'said by the provider', then 'made up'.", id="it answers something else"),
    ],
)
def test_a_program_that_is_not_replayed_fails_the_demo(copy: Path, how: str, complaint: str) -> None:
    (copy / "examples/program.py").write_text(ASKS + how + REPORTS)
    demo = run(copy, "demo.py")
    assert demo.returncode == 1
    assert complaint in demo.stderr
    assert "saved." not in demo.stdout


def test_a_provider_that_is_asked_again_fails_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    report = demo.Report("hello", "hello", "hi", 0.5, 2, 0.1)
    demo.check([demo.Row(report, report, 1, 0)])
    with pytest.raises(SystemExit, match="hello: the second run asked the provider"):
        demo.check([demo.Row(report, report, 1, 1)])
    with pytest.raises(SystemExit, match="hello: the first run asked the provider 2 times, not once"):
        demo.check([demo.Row(report, report, 2, 0)])


def test_look_shows_what_no_adapter_wrote_and_what_a_terminal_should_not_see(copy: Path) -> None:
    thing = ObjectNamespace(copy / "records", "calls").get_by_name("default")
    call = {"function": {"name": "weather"}}
    thing.storage.put_many(
        {
            "a%3Ab:0123456789": [{"model": "m-1", "choices": [{"message": {"content": "[red]one\n\x1b[31mtwo"}}]}, 0],
            "c:1": [{"model": "m-2", "choices": [{"message": {"content": None, "tool_calls": [call]}}]}, 10**18],
            "d:1": [[{"kind": "Generation", "info": None, "text": "an old model"}], None],
            "e": {"anything": 1},
        }
    )
    thing.close()

    look = run(copy, "look.py", "records")

    assert (look.returncode, look.stderr) == (0, "")
    lines = [line.split() for line in look.stdout.splitlines()]
    assert [*lines[2][:2], *lines[2][4:]] == ["a:b", "01234567", "LiteLLM", "m-1", "[red]one", "[31mtwo"]
    assert lines[3] == ["c", "1", "after", "9999", "LiteLLM", "m-2", "weather(...)"]
    assert lines[4] == ["d", "1", "never", "LangChain", "an", "old", "model"]
    assert lines[5] == ["e", '{"anything":', "1}"]


def test_look_says_what_it_cannot_show(copy: Path) -> None:
    (copy / "nonsense").mkdir()
    (copy / "nonsense/file.sqlite").write_text("no database")
    empty, wrong = run(copy, "look.py", "nowhere"), run(copy, "look.py", "nonsense/file.sqlite")
    assert (empty.returncode, wrong.returncode) == (1, 1)
    assert "nothing is recorded there" in empty.stderr
    assert "is not the file of the object 'default'" in wrong.stderr
    assert not (copy / "nowhere").exists()


def test_the_provider_answers_and_counts(provider: "Provider", client: OpenAI) -> None:
    sky = client.chat.completions.create(**asked("Why is the sky blue?"))
    again = client.chat.completions.create(**asked("Why is the sky blue?"))
    parts = client.chat.completions.create(**asked([{"type": "text", "text": "Hello, you"}]))  # type: ignore[arg-type]

    assert sky.choices[0].message.content == again.choices[0].message.content
    assert sky.choices[0].finish_reason == "stop"
    assert sky.id != again.id
    assert sky.model == "gpt-4o"
    assert parts.choices[0].message.content == "You said: Hello, you"
    assert parts.usage is not None
    assert (parts.usage.prompt_tokens, parts.usage.completion_tokens, parts.usage.total_tokens) == (10, 6, 16)
    assert provider.calls == 3
    assert provider.prompts == ["Why is the sky blue?", "Why is the sky blue?", "Hello, you"]


def test_the_provider_streams_the_same_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(**asked("What makes the tides?"))
    usage = {"include_usage": True}
    chunks = list(client.chat.completions.create(**asked("What makes the tides?", stream=True, stream_options=usage)))
    bare = list(client.chat.completions.create(**asked("What makes the tides?", stream=True)))

    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 10
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert [chunk.usage for chunk in bare] == [None] * (len(chunks) - 1)


def test_the_provider_serves_nothing_else(provider: "Provider", client: OpenAI) -> None:
    with pytest.raises(NotFoundError):
        client.moderations.create(model="any", input="text")
    assert provider.calls == 0


def test_a_stopped_provider_refuses_connections(provider: "Provider") -> None:
    at = urlsplit(provider.url)
    with type(provider)() as another:
        assert another.url != provider.url
    with socket.create_connection((at.hostname, at.port)):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((at.hostname, urlsplit(another.url).port))


def test_the_provider_is_a_program_too() -> None:
    command = [sys.executable, str(EXAMPLES / "provider.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = program.stdout.readline().split()[-1]
        with OpenAI(base_url=url, api_key="any", max_retries=0) as client:
            answer = client.chat.completions.create(**asked("Hello"))
        program.terminate()
    assert json.loads(answer.model_dump_json())["choices"][0]["message"]["content"] == "You said: Hello"

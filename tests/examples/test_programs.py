"""The programs in the examples, each run twice by new processes: the second run asks the provider for nothing."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import warm
from tests.integrations.tool_provider import ToolProvider
from tests.waiting import HANG, until

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def provider() -> Iterator[ToolProvider]:
    with ToolProvider() as provider:
        yield provider


@pytest.fixture
def environment(provider: ToolProvider, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": provider.url,
        "OPENAI_API_BASE": provider.url,
        "CHATCACHE_DIR": str(tmp_path / "objects"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }


@contextmanager
def served(environment: dict[str, str]) -> Iterator[str]:
    """Serve the agent by uvicorn; give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "agent:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            until(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/openapi.json"))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.communicate(timeout=HANG)


def answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False


def asked(address: str, question: str) -> list[str]:
    """Return the pieces in which an answer comes."""
    with httpx.stream("GET", f"{address}/ask", params={"question": question}, timeout=HANG) as response:
        return [*response.iter_text()]


def test_an_agent_that_streams_costs_each_question_once(provider: ToolProvider, environment: dict[str, str]) -> None:
    said = []
    for _ in range(2):
        with served(environment) as address:
            said += ["".join(asked(address, "What is the weather in 'Rome'?")) for _ in range(2)]
    assert said == ["You said: It is sunny in Rome."] * 4
    assert [request["stream"] for request in provider.requests] == [True] * 2, "one calls the tool, and one answers"


def test_a_notebook_costs_each_cell_once(provider: ToolProvider, environment: dict[str, str], tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "notebook.ipynb", tmp_path)
    outputs = []
    for run in ("first", "second"):
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "notebook.ipynb"]
        ended = subprocess.run(
            [*command, "--output", run], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        outputs.append(shown(tmp_path / f"{run}.ipynb"))
    assert provider.calls == 2, "completion is answered by the record of acompletion"
    said = ["'You said: Why is the sky blue?'"] * 2 + ["You said: What makes the tides?"]
    assert [each[:-1] for each in outputs] == [said, said]
    assert outputs[0][-1].startswith("looked up  1 hits, 2 misses")
    assert outputs[1][-1].startswith("looked up  4 hits, 2 misses")


def test_a_rag_program_costs_its_embeddings_and_answers_once(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from provider import Provider

    question = "On which working day after it left the depot is a parcel here?"
    with Provider() as provider:
        environment |= {"OPENAI_BASE_URL": provider.url, "OPENAI_API_BASE": provider.url}
        runs = [warm.python(EXAMPLES / "rag.py", question, cwd=tmp_path, env=environment) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs
    assert provider.calls == 3, "the documents, the question, and the answer"
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith(f"You said: {question} Answer from this alone: A parcel arrives on")


def shown(notebook: Path) -> list[str]:
    """Return what the cells of a notebook show."""
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]

"""What a user gets who installs one distribution, in the environments that prepare.py made. Needs no network."""

import json
import os
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.waiting import HANG

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build"
PACKAGES = ("chatcache", "litellm_chatcache", "langchain_chatcache", "pytest_chatcache")
FRAMEWORKS = ("litellm", "langchain_core", "openai", "pydantic", "pytest")

Facts = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _prepared() -> None:
    if not (BUILD / "venvs" / "ready").exists():
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("run make test, which prepares the environments")


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def core(_prepared: None) -> Facts:
    return facts_of("core")


@pytest.fixture(scope="module")
def litellm(_prepared: None) -> Facts:
    return facts_of("litellm")


@pytest.fixture(scope="module")
def langchain(_prepared: None) -> Facts:
    return facts_of("langchain")


def test_a_wheel_holds_its_package_and_nothing_beside_it(package: str) -> None:
    with wheel(package) as files:
        top = {name.split("/")[0] for name in files.namelist()}
    assert top == {package, metadata_folder(package)}


def test_a_wheel_holds_no_tests(package: str) -> None:
    with wheel(package) as files:
        parts = {part for name in files.namelist() for part in name.split("/")}
    assert not [part for part in parts if part in ("tests", "conftest.py") or part.startswith("test_")]


def test_type_checkers_are_told_that_a_package_is_typed(package: str) -> None:
    with wheel(package) as files:
        assert f"{package}/py.typed" in files.namelist()


def test_a_wheel_carries_its_licence(package: str) -> None:
    with wheel(package) as files:
        assert b"MIT License" in files.read(f"{metadata_folder(package)}/licenses/LICENSE")


@pytest.mark.parametrize(
    ("extra", "name"),
    [("litellm", "litellm-chatcache"), ("langchain", "langchain-chatcache"), ("pytest", "pytest-chatcache")],
)
def test_an_extra_of_chatcache_is_the_adapter_of_that_name(extra: str, name: str) -> None:
    with wheel("chatcache") as files:
        metadata = message_from_bytes(files.read(f"{metadata_folder('chatcache')}/METADATA"))
    assert extra in metadata.get_all("Provides-Extra", [])
    assert f"{name}; extra == '{extra}'" in metadata.get_all("Requires-Dist", [])


def test_importing_chatcache_imports_no_framework_even_where_all_are_installed() -> None:
    program = f"import sys, chatcache; print([name for name in {FRAMEWORKS} if name in sys.modules])"
    assert output_of(sys.executable, "-c", program).strip() == "[]"


def test_chatcache_alone_installs_no_framework(core: Facts) -> None:
    assert core["importable"] == core["imported"] == []


def test_chatcache_alone_stores_values_and_reads_them_again(core: Facts) -> None:
    assert core["read"] == core["put"]


def test_the_adapter_of_litellm_installs_neither_the_proxy_nor_langchain(litellm: Facts) -> None:
    assert litellm["importable"] == []


def test_litellm_calls_once_and_replays_whether_blocking_or_awaited_streamed_or_whole(litellm: Facts) -> None:
    assert litellm["calls"] == ["blocking", "awaited", "blocking stream", "awaited stream"]
    for first, second in litellm["answers"].values():
        assert first == second
        assert first.startswith("answer number")


def test_a_hit_in_litellms_own_cache_crashes_where_its_proxy_is_not_installed(litellm: Facts) -> None:
    affected = tuple(map(int, litellm["litellm"].split(".")[:2])) >= (1, 102)
    outcome = "ModuleNotFoundError: No module named 'fastapi'" if affected else "served"
    assert litellm["litellm's cache before"] == outcome, "if LiteLLM mended it, repairs.py need not in these versions"


def test_a_hit_in_litellms_own_cache_is_served_once_a_chatcache_was_made(litellm: Facts) -> None:
    assert litellm["litellm's cache after"] == "served"


def test_the_adapter_of_langchain_installs_langchain_core_and_nothing_else_of_it(langchain: Facts) -> None:
    assert langchain["importable"] == []


def test_langchain_calls_once_and_replays_whether_blocking_or_awaited(langchain: Facts) -> None:
    assert langchain["calls"] == ["blocking", "awaited"]
    assert langchain["answers"] == {"blocking": ["answer number 1"] * 2, "awaited": ["answer number 2"] * 2}


def wheel(package: str) -> ZipFile:
    (path,) = (BUILD / "dist").glob(f"{package}-*.whl")
    return ZipFile(path)


def metadata_folder(package: str) -> str:
    with wheel(package) as files:
        (folder,) = {name.split("/")[0] for name in files.namelist() if name.endswith(".dist-info/METADATA")}
    return folder


def facts_of(venv: str) -> Facts:
    """Return what the program for an environment finds in it; what it found is what that environment has installed."""
    folder = BUILD / "venvs" / venv
    facts: Facts = json.loads(output_of(folder / "bin" / "python", HERE / f"installed_{venv}.py"))
    assert Path(facts["from"]).is_relative_to(folder)
    return facts


def output_of(python: str | Path, *arguments: str | Path) -> str:
    """Run Python with no variable of this environment, and none of its folders to import from."""
    environment = {"PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [python, "-I", *arguments], env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_needs_no_more_than_langchain_core_needs_no_more(langchain: Facts) -> None:
    assert langchain["streamed"] == ["streamed"]
    assert langchain["streams"] == [["answer number 1"]] * 2
    assert langchain["kept"] == [True, ["Hi"]]


def test_what_needs_langchain_or_langgraph_says_so_when_it_is_used(langchain: Facts) -> None:
    assert langchain["needs"] == {
        "DOCacheMiddleware": "DOCacheMiddleware needs LangChain: pip install 'langchain-chatcache[agents]'",
        "DONodeCache": "DONodeCache needs LangGraph: pip install 'langchain-chatcache[langgraph]'",
    }


def test_the_plugin_records_and_replays_where_there_is_nothing_but_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from chatcache import ResponseCache\n"
        "def test_one(): assert ResponseCache('app').call({'q': 1}, lambda _request: {'a': 2}) == {'a': 2}\n"
    )
    python = str(BUILD / "venvs" / "pytest" / "bin" / "python")
    for said in ("0 calls replayed, 1 recorded", "1 calls replayed, 0 recorded"):
        command = [python, "-m", "pytest", "--chatcache=once", "--chatcache-block-network"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert said in ended.stdout

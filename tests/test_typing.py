"""What a type checker says of a user's program, and what Python says of a wrong import."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chatcache
import litellm_chatcache
from chatcache import MissingPackageError
from litellm_chatcache.switch import Options

ROOT = Path(__file__).parents[1]

PROGRAM = """
from datetime import timedelta

import langchain_chatcache
import litellm_chatcache
from chatcache import Mode, Refusal, ResponseCache, cached

litellm_chatcache.enable(store_id="s", mode="replay", ttl="90d")
for kind in (ResponseCache, langchain_chatcache.DOCache, litellm_chatcache.DOCache):
    with kind("s", mode="replay", allow=["length", Refusal.EMPTY], ttl=timedelta(days=1)) as cache:
        with cache.using(mode=Mode.OFF), cache.disabled():
            cache.clear()
cache = ResponseCache("s", accept=lambda answer: answer["ok"])


@cached(cache, ttl="12h")
def add(a: int, b: int) -> int:
    return a + b


number: int = add(1, 2)
"""

WRONG = """
import langchain_chatcache
import litellm_chatcache
from chatcache import ResponseCache, cached

one = ResponseCache("s", mode="reply")
two = litellm_chatcache.DOCache("s", mode="reply")
three = langchain_chatcache.DOCache("s", mode="reply")
one.using(mode="reply")
two.using(mode="reply")
one.call({}, len, mode="reply")
four = ResponseCache("s", allow=["too_large"])
five = three.from_env(store_id="s").stats().hits + "1"
litellm_chatcache.enable("s", mode="reply")


@cached(one)
def add(a: int) -> int:
    return a


add("1")
"""


README = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
PROGRAMS = {"program.py": PROGRAM, "wrong.py": WRONG, **{f"readme_{at}.py": text for at, text in enumerate(README)}}
FAULTS = [6, 7, 8, 9, 10, 11, 12, 13, 14, 22]  # the lines of WRONG
OF_LITELLM = '"choices" for class'  # it returns a stream, too, as far as it says, and mypy is told nothing
Checked = dict[str, list[tuple[int, str]]]


def by_mypy(folder: Path) -> Checked:
    """Return where mypy finds fault with programs, as a user runs it."""
    cache = f"--cache-dir={ROOT / 'build' / 'mypy'}"  # not the one of `make types`: other options empty it
    command = [sys.executable, "-m", "mypy", "--strict", cache, "--config-file=", *map(str, folder.glob("*.py"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    found = re.findall(r"^(?:.*/)?(\w+\.py):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return {name: [(int(line), said) for file, line, said in found if file == name] for name in PROGRAMS}


def by_pyright(folder: Path) -> Checked:
    """Return where pyright, in its community's distribution, finds fault with programs."""
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {
        name: [
            (each["range"]["start"]["line"] + 1, each["message"]) for each in found if Path(each["file"]).name == name
        ]
        for name in PROGRAMS
    }


@pytest.fixture(scope="module", params=[by_mypy, by_pyright])
def faults(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    folder = tmp_path_factory.mktemp("programs")
    for name, text in PROGRAMS.items():
        (folder / name).write_text(text)
    found: Checked = request.param(folder)
    return found


def test_what_is_right_passes(faults: Checked) -> None:
    assert faults["program.py"] == []


def test_a_name_that_is_no_mode_or_reason_is_flagged(faults: Checked) -> None:
    assert sorted({line for line, _ in faults["wrong.py"]}) == FAULTS


def test_the_programs_of_the_readme_pass(faults: Checked) -> None:
    told = [said for name, each in faults.items() if name.startswith("readme") for _, said in each]
    assert [said for said in told if OF_LITELLM not in said] == []


def test_enable_takes_what_the_cache_takes() -> None:
    taken = inspect.signature(litellm_chatcache.DOCache).parameters.keys()
    assert Options.__annotations__.keys() | {"store_id", "single_flight"} == taken


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("DOCache", {"litellm_chatcache", "langchain_chatcache"}),
        ("enable", {"litellm_chatcache"}),
        ("DONodeCache", {"langchain_chatcache"}),
    ],
)
def test_an_import_from_the_wrong_package_says_which_one_is_right(name: str, packages: set[str]) -> None:
    with pytest.raises(MissingPackageError, match=f"chatcache has no {name}") as error:
        exec(f"from chatcache import {name}", {})  # noqa: S102 - an import as a user writes it
    assert {*re.findall(r"from (\w+) import", str(error.value))} == packages
    assert not hasattr(chatcache, "anything_else")

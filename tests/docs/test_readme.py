"""Every code block of the README and of docs/ does what it says, as a newcomer would run it."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from provider import Provider

from tests import warm

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    block
    for path in DOCUMENTS
    for block in re.findall(r"^```(\w+)\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
]
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


def test_there_are_programs_and_commands_and_nothing_else() -> None:
    assert {language for language, _ in BLOCKS} == {"python", "sh", "yaml"}


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_runs_and_its_calls_are_replayed_when_it_runs_again(number: int, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    folder.mkdir()
    with Provider() as provider:
        settings = {
            **os.environ,
            "OPENAI_BASE_URL": provider.url,
            "OPENAI_API_BASE": provider.url,
            "OPENAI_API_KEY": "none",
        }
        first, again = (warm.python("-c", PROGRAMS[number], cwd=folder, env=settings) for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout == again.stdout != ""
    assert provider.calls == PROGRAMS[number].count("# asks the provider")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_one_that_make_knows(command: str) -> None:
    """`make test` runs this very test, and `make demo` is run by the tests of the examples; here make plans them."""
    make, target = command.partition("#")[0].split()
    assert make == "make"
    planned = subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {"demo": "examples/demo.py", "test": "-m pytest"}[target] in planned

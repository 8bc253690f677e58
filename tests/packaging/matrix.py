"""Runs the tests of the LiteLLM adapter in plain installs of several releases of LiteLLM.

``matrix.py PYTHON`` makes an environment of PYTHON for each list in ``versions/``, below build/venvs-matrix, without
the extra ``proxy``, and installs both of our distributions there as they are in this checkout. Then it runs the tests
in each, and says how they ended. It is an error where one of them fails.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
LISTS = sorted(
    (ROOT / "versions").glob("litellm-*.txt"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)]
)
VENVS = ROOT / "build" / "venvs-matrix"
UV = Path(sys.executable).with_name("uv")
NEEDS_THE_PROXY = {"test_litellm_proxy.py"}
COUNTED = ("passed", "skipped", "failed", "errors")


def main(python: str) -> int:
    """Run the tests with each release; return how many of those did not pass."""
    table = Table("litellm", *COUNTED, title="The LiteLLM adapter with plain installs")
    failed = 0
    for pins in LISTS:
        version = pins.stem.removeprefix("litellm-")
        folder = VENVS / version
        make(folder, pins, python)
        outcome, code = tested(folder)
        failed += code != 0
        table.add_row(version, *(outcome.get(each, "0") for each in COUNTED))
    Console().print(table)
    return failed


def make(folder: Path, pins: Path, python: str) -> None:
    """Make an environment, or install our own distributions anew in the one that is there."""
    made_of = folder / "made-of.txt"
    if not made_of.exists() or made_of.read_text() != pins.read_text():
        run(UV, "venv", "--quiet", "--clear", "--python", python, folder)
        run(UV, "pip", "install", "--quiet", "--python", folder, "-r", pins)
        made_of.write_text(pins.read_text())
    ours = [ROOT, ROOT / "integrations" / "litellm"]
    run(UV, "pip", "install", "--quiet", "--python", folder, "--no-deps", *(f"--editable={each}" for each in ours))


def tested(folder: Path) -> tuple[dict[str, str], int]:
    """Run the tests in an environment; return how many ended how, and the exit code."""
    tests = sorted((ROOT / "tests" / "integrations").glob("test_litellm*.py"))
    chosen = [path for path in tests if path.name not in NEEDS_THE_PROXY]
    python = folder / "bin" / "python"
    command = [str(each) for each in (python, "-m", "pytest", "-p", "no:cacheprovider", "--quiet", "-rfE", *chosen)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stdout.write(f"{folder.name}:\n" + "\n".join(done.stdout.splitlines()[-60:]) + done.stderr[-2000:] + "\n")
    counts = re.findall(r"(\d+) (passed|skipped|failed|error)s?", done.stdout.splitlines()[-1] if done.stdout else "")
    return {f"{how}s" if how == "error" else how: number for number, how in counts}, done.returncode


def run(*command: object) -> None:
    """Run a command that is to succeed."""
    subprocess.run([str(each) for each in command], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

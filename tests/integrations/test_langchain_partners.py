"""The chat models of LangChain's partner packages: each is answered from records, and never as another one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "partners"
DOCS = ROOT / "docs" / "langchain.md"

pytestmark = pytest.mark.skipif(not (PACKAGES / "ready").exists(), reason="run `make build/partners/ready` first")


@pytest.fixture(scope="module")
def reports() -> list[dict[str, Any]]:
    """What a program found out that imports all of the packages: some of them change what others do."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.partners.program", PACKAGES],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_each_model_is_answered_from_records_and_none_as_another_one(reports: list[dict[str, Any]]) -> None:
    assert {report["class"]: report["wrong"] for report in reports if report["wrong"]} == {}


def test_the_address_of_a_provider_is_a_part_of_the_key(reports: list[dict[str, Any]]) -> None:
    assert [report["class"] for report in reports if not report["address counts"]] == []


def test_the_docs_say_which_settings_are_a_part_of_the_key(reports: list[dict[str, Any]]) -> None:
    table = table_of(reports)
    assert table in DOCS.read_text(), f"the table of docs/langchain.md has to be\n\n{table}"


def table_of(reports: list[dict[str, Any]]) -> str:
    rows = [
        f"| `{each['package']}` {each['version']} | `{each['class']}` | {len(each['counts'])} "
        f"| {', '.join(f'`{name}`' for name in each['left_out'])} |"
        for each in reports
    ]
    head = ["| package | model | settings that count | left out |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])

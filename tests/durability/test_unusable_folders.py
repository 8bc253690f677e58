"""A folder that becomes unusable while a cache is open: calls go on without it, and use it again once it is mended."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.forms import FORMS
from tests.waiting import HANG

from .unusable import RENEWED, SPOILS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has other permissions")


def outcomes(what: str) -> list[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-m", "tests.durability.unusable", folder, what]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    return [told[form] for form in FORMS]


ANSWERS = [{"to": request} for request in ("one", "two", "three", "four")]


@pytest.mark.parametrize("what", SPOILS)
def test_each_call_returns_its_answer_and_is_counted_and_logged_once_per_kind(what: str) -> None:
    for outcome in outcomes(what):
        assert outcome["answers"] == ANSWERS
        assert all(outcome["bypassed"])
        assert len(outcome["said"]) == 1
        assert outcome["after"] == [{"to": "five"}] * 2
        assert outcome["calls"] == 2 + 4 + 1


@pytest.mark.parametrize("what", RENEWED)
def test_where_the_folder_is_gone_records_are_made_anew(what: str) -> None:
    for outcome in outcomes(what):
        assert outcome["answers"] == ANSWERS
        assert not any(outcome["bypassed"])
        assert outcome["said"] == []
        assert outcome["after"] == [{"to": "five"}] * 2
        assert outcome["calls"] == 2 + 4 + 1

"""A leader that is killed: its waiters go on at once."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatcache import ResponseCache
from tests.waiting import HANG, until

from .leading import NOBODY_WAITS

PROGRAM = Path(__file__).with_name("leading.py")
FORMS = ["call", "stream", "hook"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signals")


class Process:
    def __init__(self, folder: Path, name: str, form: str, length: float, stops: str = "") -> None:
        told = {"path": str(folder / "cache"), "name": name, "form": form, "length": length, "stops": stops}
        self.said = folder / f"{name} said"
        with self.said.open("w") as output:
            self.process = subprocess.Popen([sys.executable, str(PROGRAM), json.dumps(told)], stdout=output)

    def calls(self) -> bool:
        return "calls" in self.said.read_text()

    def answer(self) -> tuple[Any, int]:
        """Return what it is answered, and how many of its calls were bypassed, when it ends."""
        assert self.process.wait(HANG) == 0
        said = self.said.read_text().splitlines()[-1].removeprefix("answered ")
        answer, _, bypasses = said.rpartition(" ")
        return json.loads(answer), int(bypasses)


Begin = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    begun: list[Process] = []

    def start(name: str, form: str, length: float, stops: str = "") -> Process:
        begun.append(Process(tmp_path, name, form, length, stops))
        return begun[-1]

    yield start
    for each in begun:
        each.process.kill()
        each.process.wait()


def answer_of(name: str, form: str) -> Any:
    answer = f"the answer of {name}"
    return ["first", answer] if form == "stream" else answer


def is_followed(folder: Path) -> bool:
    cache = ResponseCache("shop", path=folder / "cache")
    rows = cache._object.storage.list(prefix="%lease:")
    cache.close()
    return any(row[2] for row in rows.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_leader_that_was_killed_is_replaced_before_its_lease_runs_out(
    begin: Begin, tmp_path: Path, form: str
) -> None:
    leader = begin("leader", form, NOBODY_WAITS, "waits")
    until(leader.calls)
    followers = [begin(f"follower {number}", form, NOBODY_WAITS) for number in range(2)]
    until(lambda: is_followed(tmp_path))
    leader.process.kill()
    answers = [follower.answer()[0] for follower in followers]
    assert answers[0] == answers[1]
    assert answers[0] in [answer_of(f"follower {number}", form) for number in range(2)]

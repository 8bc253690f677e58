"""A leader that is killed or stopped: its waiters go on, and it ends well if it goes on later."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chatcache import ResponseCache
from tests.waiting import HANG, until

from .leading import NOBODY_WAITS, REQUEST, STOPS

PROGRAM = Path(__file__).with_name("leading.py")
FORMS = ["call", "stream", "hook"]
SHORT = 0.5  # seconds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are stopped by signals")


class Process:
    def __init__(self, folder: Path, name: str, form: str, length: float, timeout: float, stops: str) -> None:
        told = {"path": str(folder / "cache"), "name": name, "form": form, "stops": stops}
        command = [sys.executable, str(PROGRAM), json.dumps({**told, "length": length, "timeout": timeout})]
        self._said = folder / f"{name} said"
        with self._said.open("w") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)
        assert self.process.stdin is not None
        self._input = self.process.stdin.fileno()

    def said(self, words: str, times: int = 1) -> bool:
        return self._said.read_text().count(words) >= times

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.wait_until_stopped()

    def wait_until_stopped(self) -> None:
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def write_line(self) -> None:
        os.write(self._input, b"\n")

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        for _ in range(2):
            self.write_line()

    def answer(self) -> tuple[Any, int]:
        """Return what it is answered, and how many of its calls were bypassed, when it ends."""
        assert self.process.wait(HANG) == 0
        said = self._said.read_text().splitlines()[-1].removeprefix("answered ")
        answer, _, bypasses = said.rpartition(" ")
        return json.loads(answer), int(bypasses)


Begin = Callable[..., Process]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    begun: list[Process] = []

    def start(
        name: str, form: str, *, length: float = SHORT, timeout: float = NOBODY_WAITS, stops: str = ""
    ) -> Process:
        begun.append(Process(tmp_path, name, form, length, timeout, stops))
        return begun[-1]

    yield start
    for each in begun:
        each.process.kill()
        each.process.communicate()


def answer_of(name: str, form: str) -> Any:
    answer = f"the answer of {name}"
    return ["first", "second", answer] if form == "stream" else answer


def is_followed(folder: Path) -> bool:
    cache = ResponseCache("shop", path=folder / "cache")
    rows = cache._object.storage.list(prefix="%lease:")
    cache.close()
    return any(row[2] for row in rows.values())


def recorded(folder: Path, form: str) -> Any:
    cache = ResponseCache("shop", path=folder / "cache", mode="replay")
    answer = list(cache.stream(REQUEST, iter)) if form == "stream" else cache.call(REQUEST, list)
    cache.close()
    return answer


@pytest.mark.parametrize("form", FORMS)
def test_a_leader_that_was_killed_is_replaced_before_its_lease_runs_out(
    begin: Begin, tmp_path: Path, form: str
) -> None:
    leader = begin("leader", form, length=NOBODY_WAITS, stops="in its call")
    until(lambda: leader.said("calls"))
    followers = [begin(f"follower {number}", form, length=NOBODY_WAITS) for number in range(2)]
    until(lambda: is_followed(tmp_path))
    leader.process.kill()
    answers = [follower.answer()[0] for follower in followers]
    assert answers[0] == answers[1]
    assert answers[0] in [answer_of(f"follower {number}", form) for number in range(2)]


@pytest.mark.parametrize("form", FORMS)
def test_a_leader_that_was_stopped_in_its_call_is_replaced_and_stores_nothing_over_the_others_answer(
    begin: Begin, tmp_path: Path, form: str
) -> None:
    leader = begin("leader", form, stops="in its call")
    until(lambda: leader.said("calls"))
    leader.stop()
    followers = [begin(f"follower {number}", form) for number in range(2)]
    theirs = [answer_of(f"follower {number}", form) for number in range(2)]
    assert all(follower.answer()[0] in theirs for follower in followers)
    stored = recorded(tmp_path, form)
    assert stored in theirs
    leader.go_on()
    assert leader.answer()[0] == answer_of("leader", form)
    assert recorded(tmp_path, form) == stored


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stops", STOPS)
def test_calls_go_on_without_the_cache_while_a_stopped_leader_holds_the_lock_of_the_file(
    begin: Begin, tmp_path: Path, form: str, stops: str
) -> None:
    leader = begin("leader", form, stops=stops)
    leader.wait_until_stopped()
    followers = [begin(f"follower {number}", form, timeout=SHORT) for number in range(2)]
    for number, follower in enumerate(followers):
        answer, bypasses = follower.answer()
        assert answer == answer_of(f"follower {number}", form)
        assert bypasses > 0
    leader.go_on()
    assert leader.answer()[0] == answer_of("leader", form)
    assert recorded(tmp_path, form) == answer_of("leader", form)


def test_who_follows_a_stream_whose_leader_is_stopped_begins_a_new_one(begin: Begin, tmp_path: Path) -> None:
    length = 3.0  # seconds, in which a busy machine renews a lease
    leader = begin("leader", "stream", length=length, stops="later in its call")
    until(lambda: leader.said("calls"))
    follower = begin("follower", "stream", length=length)
    until(lambda: is_followed(tmp_path) or follower.said("answered"))
    leader.write_line()
    until(lambda: follower.said("hears second") and leader.said("calls", times=2))
    leader.stop()
    assert follower.answer()[0] == answer_of("follower", "stream")
    leader.go_on()
    assert leader.answer()[0] == answer_of("leader", "stream")
    assert recorded(tmp_path, "stream") == answer_of("follower", "stream")

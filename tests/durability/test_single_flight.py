"""Real processes that ask one store for the same at the same time: one call, and nobody waits for the dead."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from chatcache import ObjectNamespace, request_key
from tests.waiting import HANG, until

from .asking import CHUNKS, LENGTH, lines

HERE = Path(__file__).parent
PROCESSES = 8
SECONDS = float(os.environ.get("FUZZ_SECONDS", "6"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


class Processes:
    """The processes that a program forks, see ``asking.py``."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        self.folder = folder
        self.errors = (folder / "errors").open("w+")
        self.program = subprocess.Popen(
            [sys.executable, str(HERE / "asking.py"), str(folder)],
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )

    def begin(self, **what: Any) -> int:
        """Begin a process; return its id."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(f"{json.dumps(what)}\n")
        self.program.stdin.flush()
        return int(self.program.stdout.readline())

    def ended(self) -> dict[int, int]:
        """Return the exit code of each process, when all of them ended by themselves or were killed."""
        said, _ = self.program.communicate(timeout=HANG)
        self.errors.seek(0)
        assert self.errors.read() == ""
        return {int(child): int(code) for child, code in map(str.split, said.splitlines())}

    def calls(self) -> list[list[str]]:
        return lines(self.folder / "calls")

    def answers(self) -> list[list[str]]:
        return lines(self.folder / "answers")

    def until_called(self) -> None:
        until(self.calls)

    def until_asked(self, times: int) -> None:
        until(lambda: len(lines(self.folder / "asked")) == times)

    def until_heard(self, times: int) -> None:
        """Wait until so many callers have the first chunk of a stream."""
        until(lambda: len(lines(self.folder / "live")) == times)

    def go_on(self) -> None:
        """Let the calls that are held go on."""
        (self.folder / "go on").touch()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.program.kill()
    started.program.communicate()
    started.errors.close()


@pytest.mark.parametrize(("threads", "tasks"), [(0, 50), (50, 0), (25, 25)])
def test_eight_processes_with_fifty_callers_each_make_one_call(processes: Processes, threads: int, tasks: int) -> None:
    begun = [processes.begin(threads=threads, tasks=tasks, delay=0.5, key="k") for _ in range(PROCESSES)]
    assert processes.ended() == dict.fromkeys(begun, 0)
    ((key, answer),) = processes.calls()
    assert key == "k"
    assert Counter(map(tuple, processes.answers())) == {("k", answer): PROCESSES * 50}


def test_an_answer_that_is_refused_is_that_of_everybody_who_waited(processes: Processes) -> None:
    begun = [processes.begin(threads=5, tasks=5, delay=1, refuses=1, held=True, key="k") for _ in range(PROCESSES)]
    processes.until_asked(PROCESSES * 10)
    processes.go_on()
    assert processes.ended() == dict.fromkeys(begun, 0)
    ((_, answer),) = processes.calls()
    assert Counter(map(tuple, processes.answers())) == {("k", answer): PROCESSES * 10}


@pytest.mark.parametrize(("threads", "tasks"), [(0, 20), (20, 0)])
def test_nobody_waits_for_a_leader_that_was_killed(processes: Processes, threads: int, tasks: int) -> None:
    asks = {"threads": threads, "tasks": tasks, "delay": 0, "held": True, "key": "k"}
    leader = processes.begin(**asks)
    processes.until_called()
    others = [processes.begin(**asks) for _ in range(3)]
    processes.until_asked(80)
    time.sleep(LENGTH * 1.5)  # longer than a lease that nobody renews
    assert len(processes.calls()) == 1
    os.kill(leader, signal.SIGKILL)
    processes.go_on()
    assert processes.ended() == {leader: -signal.SIGKILL, **dict.fromkeys(others, 0)}
    _, (_, answer) = processes.calls()
    assert Counter(map(tuple, processes.answers())) == {("k", answer): 60}


@pytest.mark.parametrize(("threads", "tasks"), [(0, 5), (5, 0)])
def test_a_stream_is_heard_by_all_processes(processes: Processes, threads: int, tasks: int) -> None:
    begun = [processes.begin(threads=threads, tasks=tasks, delay=0.08, held=True, stream="k") for _ in range(4)]
    processes.until_heard(20)  # the first chunk, before the last one comes
    processes.go_on()
    assert processes.ended() == dict.fromkeys(begun, 0)
    ((_, name),) = processes.calls()
    whole = ",".join(chunks(name))
    assert Counter(map(tuple, processes.answers())) == {("k", whole): 20}


def test_a_stream_whose_leader_is_killed_is_made_once_more(processes: Processes) -> None:
    leader = processes.begin(threads=1, tasks=0, delay=0.1, held=True, stream="k")
    processes.until_called()
    others = [processes.begin(threads=2, tasks=2, delay=0.01, held=True, stream="k") for _ in range(3)]
    processes.until_heard(13)
    os.kill(leader, signal.SIGKILL)
    processes.go_on()
    assert processes.ended() == {leader: -signal.SIGKILL, **dict.fromkeys(others, 0)}
    (_, first), (_, second) = processes.calls()
    assert Counter(map(tuple, processes.answers())) == {("k", ",".join(chunks(second))): 12}
    lost = [said.split(",") for _, said in lines(processes.folder / "lost")]
    assert len(lost) == 12
    assert all(said == chunks(first)[: len(said)] for said in lost)


def chunks(name: str) -> list[str]:
    return [f"{name}-{number}" for number in range(CHUNKS)]


def test_random_kills_leave_no_wrong_answer_and_nobody_who_waits(processes: Processes) -> None:
    """Set FUZZ_SECONDS and FUZZ_SEED to have it go on for longer, and otherwise."""
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    ends = time.monotonic() + SECONDS
    what = {"threads": 3, "tasks": 3, "delay": 0.1, "refuses": 0.1}
    alive = [processes.begin(**what) for _ in range(5)]
    killed: list[int] = []
    while time.monotonic() < ends or len(killed) <= SECONDS:
        time.sleep(chance.uniform(0, 0.2))  # to kill at any moment
        victim = alive.pop(chance.randrange(len(alive)))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        alive.append(processes.begin(**what))
    until(lambda: len(processes.answers()) > len(processes.calls()))  # calls are shared
    (processes.folder / "over").touch()
    codes = processes.ended()
    assert codes == {**dict.fromkeys(killed, -signal.SIGKILL), **dict.fromkeys(alive, 0)}
    calls, answers = processes.calls(), processes.answers()
    assert {tuple(answer) for answer in answers} <= {tuple(call) for call in calls}
    thing = ObjectNamespace(processes.folder / "cache", "calls").get_by_name("thing")
    stored = {(key.partition(":")[2], value[0]["answer"]) for key, value in thing.storage.list(prefix="shop:").items()}
    assert stored <= {(request_key({"key": key}), answer) for key, answer in calls}
    thing.close()

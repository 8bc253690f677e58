"""Writers that are killed at any moment: what was confirmed is there, and nothing half-written is seen."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from chatcache import ObjectNamespace

from .writer import KEYS_OF_A_TURN, LANES, Notes

HERE = Path(__file__).parent
KILLS = 100
KILLS_OF_AN_OBJECT = 8
LATEST = 0.12  # seconds after the beginning


@contextmanager
def writers(folder: Path) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([str(HERE), str(HERE.parents[1])])
    command = [sys.executable, str(HERE / "writer.py"), str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes) as process:  # type: ignore[call-overload]
        yield process


def killed(process: subprocess.Popen[str], name: str, durability: str, after: float) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{name} {durability}\n")
    process.stdin.flush()
    writer = int(process.stdout.readline())
    time.sleep(after)
    with suppress(ProcessLookupError):
        os.kill(writer, signal.SIGKILL)
    ended = int(process.stdout.readline())
    if ended != -signal.SIGKILL:
        _, error = process.communicate()
        pytest.fail(f"the writer ended by itself, {ended}: {error}")


def rows_of_sql(path: Path) -> list[int]:
    """Return the numbers in the table of the writer, of a file that is whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'numbers'").fetchone() is None:
            return []
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY rowid")]


def hold(folder: Path, name: str, notes: Notes) -> None:
    thing = ObjectNamespace(folder).get_by_name(name)
    if not thing.path.exists():
        assert all(notes.of(lane)[1] == 0 for lane in LANES)
        return
    numbers = rows_of_sql(thing.path)
    found = thing.storage.list()
    window = [key for key in found if key.startswith("window ")]
    last = {
        "put": found.get("put", 0),
        "pair": found.get("pair a", 0),
        "turn": found.get("turn 0", 0),
        "count": found.get("count", 0),
        "acount": found.get("acount", 0),
        "window": found[window[-1]] if window else 0,
        "sql": found.get("sql", 0),
        "chain": found.get("chain 1", 0),
    }
    for lane in LANES:
        begun, confirmed = notes.of(lane)
        assert confirmed <= last[lane] <= begun, f"{lane}: {confirmed} was confirmed, {begun} begun, {last[lane]} found"
    assert found.get("pair a") == found.get("pair b")
    assert found.get("sql") == found.get("sql again")
    assert len({found.get(f"turn {each}") for each in range(KEYS_OF_A_TURN)}) == 1
    assert [found[key] for key in found if key.startswith("count ")] == [*range(1, last["count"] + 1)]
    assert [found[key] for key in found if key.startswith("acount ")] == [*range(1, last["acount"] + 1)]
    assert [found[key] for key in window] == [*range(last["window"] - len(window) + 1, last["window"] + 1)]
    assert len(window) == 1 or notes.of("window")[1] < last["window"] or window == []
    assert numbers == [*range(1, last["sql"] + 1)]
    assert found.get("chain 2", 0) <= last["chain"]
    thing.close()


def test_what_was_confirmed_survives_a_hundred_kills_and_nothing_is_seen_by_half(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(bytes(16 * len(LANES)))
    notes = Notes(tmp_path / "notes")
    moments = random.Random(6)  # noqa: S311 - the same ones each time
    confirmed = dict.fromkeys(LANES, 0)
    with writers(tmp_path) as process:
        for kill in range(KILLS):
            if kill % KILLS_OF_AN_OBJECT == 0:
                notes.clear()
            name = f"object-{kill // KILLS_OF_AN_OBJECT}"
            killed(process, name, ("full", "normal")[kill % 2], moments.uniform(0, LATEST))
            hold(tmp_path, name, notes)
            confirmed = {lane: count + notes.of(lane)[1] for lane, count in confirmed.items()}
    assert all(confirmed[lane] > 0 for lane in LANES if lane != "chain"), confirmed  # on a busy machine few are

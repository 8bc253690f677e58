"""Several writers of one bundle: none loses what another one recorded, and a killed one leaves nothing behind."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from chatcache import BundleError, Form, ResponseCache
from chatcache.cli.commands import chatcache
from chatcache.recording import Bundle, Policy, Record, RecordMode, recording
from chatcache.recording.bundle import files

WRITER = """
import sys
from chatcache import ResponseCache
from chatcache.recording import recording
folder, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
cache = ResponseCache("app", path=f"{folder}/store-{name}")
for each in range(number):
    with recording(f"{folder}/calls/x.chatcache", scope=f"{name}:{each}"):
        cache.call({"prompt": f"{name} {each}"}, lambda request: {"content": "x" * 20_000})
"""

# a writer that stops, or is killed, as it is about to rename a file: what is temporary is there, and the lock is held
STOPPING = """
import os, signal, sys
from pathlib import Path
from chatcache.recording import Bundle, Record
from chatcache.cache import Form
target, suffix, how = Path(sys.argv[1]), sys.argv[2], getattr(signal, sys.argv[3])
rename = Path.replace
def replace(self, other):
    if other.suffix == suffix:
        print("there", flush=True)
        os.kill(os.getpid(), how)
    return rename(self, other)
Path.replace = replace
Bundle(target).write([Record(scope="killed", store="app", key="cd" * 32, number=1, form=Form.ANSWER,
                             request={}, answer="x" * 100_000, sketch="0" * 16, at=1_790_000_000_000)])
"""


def record(**fields: Any) -> Record:
    known: dict[str, Any] = {
        "scope": "test_one",
        "store": "app",
        "key": "ab" * 32,
        "number": 1,
        "form": Form.ANSWER,
        "request": {"model": "m"},
        "answer": {"content": "yes"},
        "sketch": "0" * 16,
        "at": 1_790_000_000_000,
    }
    return Record(**{**known, **fields})


def started(program: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def stopped(target: Path, suffix: str, how: str) -> "subprocess.Popen[str]":
    """Return a process that wrote a temporary file, and then was stopped or killed."""
    process = started(STOPPING, target, suffix, how)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    if how == "SIGKILL":
        process.communicate()
    else:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    return process


def hidden(folder: Path) -> list[str]:
    return [each.name for each in folder.rglob(".*")]


def test_processes_that_record_into_one_bundle_lose_nothing(tmp_path: Path) -> None:
    processes = [started(WRITER, tmp_path, name, 8) for name in "abc"]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(Bundle(tmp_path / "calls" / "x.chatcache").read()) == 24
    assert hidden(tmp_path / "calls") == []


def test_threads_that_record_into_one_bundle_lose_nothing(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "x.chatcache")

    def write(name: int) -> None:
        for number in range(5):
            bundle.revise([record(scope=f"{name}:{number}", answer="x" * 20_000)])
            with bundle.locked():
                bundle.sweep_blobs()

    with ThreadPoolExecutor(4) as pool:
        [*pool.map(write, range(4))]
    assert len(bundle.read()) == 20


def test_of_two_runs_that_record_one_test_the_one_that_ends_last_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.chatcache"
    cache = ResponseCache("app", path=tmp_path / "store")

    def nested(mode: RecordMode) -> list[tuple[int, str]]:
        with recording(path, Policy(mode=mode), scope="test"):
            cache.call({"n": 0}, lambda _: "first")
            with recording(path, Policy(mode=mode), scope="test"):
                cache.call({"n": 0}, lambda _: "second")
                cache.call({"n": 1}, lambda _: "second")
        return [(each.request["n"], each.answer) for each in Bundle(path).read()]

    assert nested(RecordMode.ONCE) == [(0, "first"), (1, "second")]
    path.unlink()
    assert nested(RecordMode.REFRESH) == [(0, "first")]


@pytest.mark.parametrize("suffix", [".chatcache", ".json"])
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, suffix: str) -> None:
    bundle = Bundle(tmp_path / "x.chatcache")
    stopped(bundle.path, suffix, "SIGKILL")
    assert len(hidden(tmp_path)) == 1
    bundle.write([record()])
    assert hidden(tmp_path) == []
    assert [each.scope for each in bundle.read()] == ["test_one"]


def test_a_temporary_file_of_a_writer_at_work_stays_and_others_wait_for_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle(tmp_path / "x.chatcache")
    process = stopped(bundle.path, ".chatcache", "SIGSTOP")
    waits: list[float] = []
    ticks = iter(range(1_000))
    monkeypatch.setattr(files, "monotonic", lambda: float(next(ticks)))
    monkeypatch.setattr(files, "pause", waits.append)
    with pytest.raises(BundleError, match=r"is locked: .* if it is a process that is stopped, continue or end it"):
        bundle.write([record()])
    assert 0 < len(waits) <= 11
    assert len(hidden(tmp_path)) == 1
    process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == 0
    monkeypatch.undo()
    bundle.revise([record()])
    assert [each.scope for each in bundle.read()] == ["killed", "test_one"]
    assert hidden(tmp_path) == []


def test_a_folder_that_stays_locked_costs_one_wait_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ResponseCache("app", path=tmp_path / "store")
    folder = tmp_path / "calls"
    waits: list[float] = []
    now = count()
    monkeypatch.setattr(files, "monotonic", lambda: next(now) / 100)
    monkeypatch.setattr(files, "pause", waits.append)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def record_paid(name: str) -> int:
        waits.clear()
        with recording(folder / name):
            cache.call({"prompt": name}, lambda _: "paid")
        return len(waits)

    commands = []
    with ThreadPoolExecutor(1) as pool, files.locked(folder):
        for at in range(5):
            with pytest.raises(BundleError, match=r"is locked: .*; what was recorded is in ") as caught:
                pool.submit(record_paid, f"{at}.chatcache").result()
            assert len(waits) < 20 or at == 0
            commands.append(str(caught.value).rpartition(": chatcache ")[2])
    assert list(folder.iterdir()) == []
    for command in commands:
        assert CliRunner().invoke(chatcache, shlex.split(command)).exit_code == 0
    assert [Bundle(each).read()[0].answer for each in sorted(folder.glob("*"))] == ["paid"] * 5
    assert record_paid("free.chatcache") == 0
    with ThreadPoolExecutor(1) as pool, files.locked(folder):
        with pytest.raises(BundleError, match="is locked"):
            pool.submit(record_paid, "again.chatcache").result()
        assert len(waits) > 900


def test_files_of_others_are_no_leftovers(tmp_path: Path) -> None:
    names = [".x.chatcache.swp", ".gitignore", f".{'a' * 64}.json", ".x.chatcache", ".settings.json.abcdefgh"]
    names += [
        ".x.chatcache.original",
        ".x.chatcache.20261130",
        ".notes.chatcache.old_copy",
        f".{'a' * 64}.json.20261130",
    ]
    (tmp_path / "blobs").mkdir()
    for name in names:
        (tmp_path / name).write_text("mine")
        (tmp_path / "blobs" / name).write_text("mine")
    Bundle(tmp_path / "x.chatcache").write([record(answer="x" * 100_000)])
    assert sorted(hidden(tmp_path)) == sorted(2 * names)


def test_a_folder_that_is_replaced_while_it_is_waited_for_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "calls"
    waits: list[float] = []

    def replace_folder(seconds: float) -> None:
        if not waits:
            folder.rename(tmp_path / "old")
            folder.mkdir()
        waits.append(seconds)

    with files.locked(folder), ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(files, "pause", replace_folder)
        pool.submit(Bundle(folder / "x.chatcache").write, [record()]).result()
    assert len(Bundle(folder / "x.chatcache").read()) == 1


def test_names_are_synced_after_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append("folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", note)
    Bundle(tmp_path / "x.chatcache").write([record(answer="x" * 100_000)])
    assert synced == ["file", "folder", "file", "folder"]


def test_a_folder_of_blobs_that_is_a_link_is_neither_written_nor_swept(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{'0' * 64}.json").write_text("1")
    bundle = Bundle(tmp_path / "calls" / "x.chatcache")
    bundle.write([record()])
    bundle.folder.symlink_to(elsewhere)
    for use in (bundle.sweep_blobs, lambda: bundle.write([record(answer="x" * 100_000)])):
        with pytest.raises(BundleError, match="blobs is a link"):
            use()
    assert len([*elsewhere.iterdir()]) == 1


def test_a_name_as_long_as_a_file_system_takes_is_written(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / ("漢" * 81 + "..chatcache"))
    bundle.write([record()])
    assert len(bundle.read()) == 1


def test_a_link_to_a_bundle_is_followed(tmp_path: Path) -> None:
    real, link = Bundle(tmp_path / "far" / "real.chatcache"), tmp_path / "near" / "x.chatcache"
    real.write([record(answer="A1b2" * 6_000)])
    link.parent.mkdir()
    link.symlink_to("../far/real.chatcache")
    Bundle(link).revise([record(scope="test_two", answer="A1b3" * 6_000)])
    assert link.is_symlink()
    assert (
        [each.answer[:4] for each in real.read()]
        == [each.answer[:4] for each in Bundle(link).read()]
        == ["A1b2", "A1b3"]
    )
    assert real.sweep_blobs() == Bundle(link).sweep_blobs() == 0
    assert not (link.parent / "blobs").exists()


@pytest.mark.parametrize("target", ["victim", "gone"])
def test_a_link_to_what_is_no_bundle_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "victim").write_text("mine")
    bundle = Bundle(tmp_path / "x.chatcache")
    bundle.path.symlink_to(tmp_path / target)
    bundle = Bundle(bundle.path)
    cache = ResponseCache("app", path=tmp_path / "store")
    for use in (partial(bundle.write, [record()]), partial(bundle.revise, [record()])):
        with pytest.raises(BundleError, match=r"is no bundle|which is not there"):
            use()
    with pytest.raises(BundleError), recording(bundle.path):
        cache.call(1, lambda _: pytest.fail("a call whose record would be lost"))
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_bundle_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    bundle = Bundle(tmp_path / "x.chatcache")
    bundle.write([record()])
    bundle.path.chmod(mode)
    bundle.revise([record(scope="test_two")])
    assert bundle.path.stat().st_mode & 0o777 == mode

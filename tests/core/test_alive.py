"""Whether the process that holds a lease lives: no process that does is ever taken for dead."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatcache._bridge import RENEWALS
from chatcache.cache.leases.alive import Alive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

PROGRAM = """
import sys
from pathlib import Path
from chatcache.cache.leases.alive import Alive
here = Alive(Path(sys.argv[1]))
print(here.mark(), flush=True)
sys.stdin.read()
"""


class Other:
    """Another process that shows that it lives."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.mark = self.process.stdout.readline().strip()
        self.file = folder / f"{self.mark.split()[0]}.alive"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    started = Other(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Alive]:
    made = Alive(tmp_path)
    yield made
    made.close()


def test_a_process_that_was_killed_is_dead_at_once(here: Alive, other: Other) -> None:
    assert not here.is_dead(other.mark)
    other.kill()
    assert here.is_dead(other.mark)


def test_a_process_that_lives_is_not_dead_to_itself(here: Alive) -> None:
    assert not here.is_dead(here.mark())


def test_one_file_is_made_for_all_leases_readable_for_its_owner_only(here: Alive, tmp_path: Path) -> None:
    assert {here.mark() for _ in range(3)} == {here.mark()}
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_file_is_removed_when_the_process_closes_it_or_ends(here: Alive, tmp_path: Path, other: Other) -> None:
    here.mark()
    here.close()
    assert [*tmp_path.iterdir()] == [other.file]
    other.process.communicate("")
    assert [*tmp_path.iterdir()] == []
    assert not here.is_dead(other.mark)  # nothing is known of it any more


@pytest.mark.parametrize("how", ["deleted", "made anew", "copied over"])
def test_a_process_whose_file_was_tampered_with_is_not_dead(
    here: Alive, other: Other, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copy(other.file, copy)
    if how == "copied over":
        copy.replace(other.file)
    else:
        other.file.unlink()
    if how == "made anew":
        other.file.touch()
    assert not here.is_dead(other.mark)


def test_a_copy_of_the_folder_does_not_know_who_lives(other: Other, tmp_path: Path) -> None:
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert not Alive(tmp_path / "copy").is_dead(other.mark)


def test_a_process_of_another_kernel_or_device_is_not_dead(here: Alive, other: Other) -> None:
    other.kill()
    file, kernel, device, inode = other.mark.split()
    for mark in ([file, "0" * 16, device, inode], [file, kernel, "0", inode], [file, kernel, device, "0"]):
        assert not here.is_dead(" ".join(mark))


@pytest.mark.parametrize("mark", ["", "x", "../../../../etc/passwd 0 0 0", f"{'0' * 16} {'0' * 16} 0 0"])
def test_a_mark_of_another_make_says_nothing(here: Alive, mark: str) -> None:
    assert not here.is_dead(mark)


def test_a_pipe_under_the_name_of_a_file_holds_nobody_up(here: Alive, other: Other) -> None:
    other.file.unlink()
    os.mkfifo(other.file)
    assert not here.is_dead(other.mark)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_child_does_not_keep_its_parent_alive_nor_takes_its_file_away(here: Alive, tmp_path: Path) -> None:
    mark = here.mark()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, f"{here.is_dead(mark)} {here.mark() == mark}".encode())
            here.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"False False"
    os.close(read)
    os.close(write)
    assert not Alive(tmp_path).is_dead(mark)
    assert here.mark() == mark


def test_a_process_whose_descriptors_were_closed_makes_a_new_file(here: Alive, tmp_path: Path) -> None:
    before = here.mark()
    os.close(here._files[0].descriptor.number)
    after = here.mark()
    assert after != before
    assert not Alive(tmp_path).is_dead(after)


def test_where_there_are_no_locks_nothing_is_said_and_nothing_left_behind(
    here: Alive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_descriptor: int, _kind: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("chatcache.cache.leases.alive.fcntl.flock", no_locks)
    assert here.mark() == ""
    assert [*tmp_path.iterdir()] == []


def test_where_nothing_can_be_written_nothing_is_said(tmp_path: Path) -> None:
    assert Alive(tmp_path / "absent").mark() == ""


def test_the_files_of_the_dead_are_removed_by_the_next_process(here: Alive, tmp_path: Path, other: Other) -> None:
    other.kill()
    before = time.time() - 3_600
    os.utime(other.file, (before, before))
    living = Other(tmp_path)
    os.utime(living.file, (before, before))
    mine = here.mark()
    assert {each.stem for each in tmp_path.iterdir()} == {mine.split()[0], living.mark.split()[0]}
    assert not here.is_dead(living.mark)
    living.kill()


def test_a_file_stays_while_a_lease_is_held(here: Alive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = here.mark()
    monkeypatch.setattr(type(RENEWALS), "holds_any", lambda _self: True)
    here.close()
    assert here.mark() == mark
    assert len([*tmp_path.iterdir()]) == 1

"""A program that closes whatever is open, as a daemon does: nothing raises, and no file of the program is closed."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap
from pathlib import Path

import pytest

from chatcache.cache.leases.alive import Alive
from chatcache.storage import recent
from chatcache.storage.descriptors import Descriptor
from chatcache.storage.locks import FileLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it locks and maps no files here")


def index_of(folder: Path) -> object:
    (folder / "file-shm").write_bytes(bytes(4096))
    return recent.WalIndex.beside(folder / "file")


def lock_of(folder: Path) -> object:
    lock = FileLock(folder / "file.lock")
    assert lock.acquire()
    return lock


def sign_of_life(folder: Path) -> object:
    alive = Alive(folder)
    assert alive.mark()
    return alive


OWNERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: Descriptor(folder / "file", os.O_RDWR | os.O_CREAT),
    "the index of a log": index_of,
    "a lock": lock_of,
    "a sign of life": sign_of_life,
}


def descriptors_of(folder: Path) -> set[int]:
    """Return the descriptors of this process that are of files in a folder."""
    files = {(each.stat().st_dev, each.stat().st_ino) for each in folder.iterdir()}

    def is_one(number: int) -> bool:
        try:
            found = os.fstat(number)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) in files

    return set(filter(is_one, range(1024)))


@pytest.fixture(autouse=True)
def _no_index_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent.WalIndex, "_open", {})


@contextmanager
def another_file_in_place_of(numbers: set[int], folder: Path) -> Iterator[None]:
    """Close descriptors, and open another file by their numbers; check that it is still open afterwards."""
    other = os.open(folder / "another file", os.O_RDWR | os.O_CREAT)
    for number in numbers:
        os.dup2(other, number)
    yield
    for number in numbers:
        assert os.path.sameopenfile(number, other)
        os.close(number)
    os.close(other)


def drop() -> None:
    recent.WalIndex._open.clear()
    gc.collect()


@pytest.mark.parametrize("owner", OWNERS)
def test_descriptors_are_closed_when_their_owner_is_collected(owner: str, tmp_path: Path) -> None:
    owned = OWNERS[owner](tmp_path)
    assert descriptors_of(tmp_path)
    del owned
    drop()
    assert not descriptors_of(tmp_path)


@pytest.mark.parametrize("owner", OWNERS)
def test_a_descriptor_that_the_program_closed_is_left_alone(owner: str, tmp_path: Path) -> None:
    owned = OWNERS[owner](tmp_path)
    for number in descriptors_of(tmp_path):
        os.close(number)
    del owned
    drop()  # what a finalizer raises fails the test


@pytest.mark.parametrize("owner", ["a file", "a lock", "a sign of life"])
def test_a_descriptor_that_is_another_files_by_now_is_left_alone(owner: str, tmp_path: Path) -> None:
    owned = OWNERS[owner](tmp_path)
    with another_file_in_place_of(descriptors_of(tmp_path), tmp_path):
        del owned
        drop()


def test_the_map_of_an_index_closes_no_file_that_took_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphans: list[mmap] = []
    monkeypatch.setattr(recent, "_ORPHANS", orphans)
    index = index_of(tmp_path)
    with another_file_in_place_of(descriptors_of(tmp_path), tmp_path):
        (tmp_path / "file-shm").unlink()
        assert recent.WalIndex.beside(tmp_path / "file") is None
        del index
        drop()
    assert len(orphans) == 1


def test_a_lock_whose_descriptor_was_closed_is_taken_again(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "file.lock")
    assert lock.acquire()
    with another_file_in_place_of(descriptors_of(tmp_path), tmp_path):
        assert lock.acquire()
        assert not FileLock(tmp_path / "file.lock").acquire()
        lock.release()
    assert FileLock(tmp_path / "file.lock").acquire()

"""Stores that cannot be written: on a read-only mount, in an image layer, or without the permission."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatcache import ResponseCache
from tests.waiting import HANG

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")

USE = """
import asyncio, os, sys, tempfile
from chatcache import ChatcacheError, ResponseCache

async def called(request):
    return "called"

def said(use):
    try:
        print(use())
    except ChatcacheError as error:
        print(f"{type(error).__name__}: {error}")

def use(path, mode, other=2):
    cache = ResponseCache("s", path=path, mode=mode)
    said(lambda: cache.call({"q": 1}, lambda _: "called"))
    said(lambda: asyncio.run(cache.acall({"q": 1}, called)))
    said(lambda: len([*cache.records()]))
    said(lambda: cache.call({"q": other}, lambda _: "called"))
    cache.close()

with tempfile.TemporaryDirectory() as warm:  # imports what it needs while it may read Python's own files
    use(warm, "auto")
    use(warm, "replay", other=3)
print("as another user")
if os.getuid() == 0:  # who may write everything
    os.setgid(65534)
    os.setuid(65534)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that every user may look into, unlike those of pytest."""
    made = Path(tempfile.mkdtemp(prefix="chatcache-test-"))
    made.chmod(0o755)
    yield made / "a store, 100% ?mode=rwc#"
    for path in (made, *made.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(made)


def record(folder: Path, *, closed: bool) -> Path:
    program = """
import os, sys
from chatcache import ResponseCache
cache = ResponseCache("s", path=sys.argv[1])
cache.call({"q": 1}, lambda _: "recorded")
if sys.argv[2] == "True":
    cache.close()
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", program, folder, str(closed)], check=True, timeout=HANG)
    return next(folder.rglob("*.sqlite"))


def protect(folder: Path, *, file: int = 0o444, within: int = 0o555) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(within if path.is_dir() else file)


def use(folder: Path | str, mode: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{USE}use(*sys.argv[1:])", folder, mode],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.stdout.partition("as another user\n")[2].splitlines(), done.stderr


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("file", "within"), [(0o444, 0o555), (0o666, 0o555), (0o444, 0o777)], ids=["both", "folder", "file"]
)
@pytest.mark.parametrize("mode", ["replay", "read_only", "auto"])
def test_a_closed_store_that_cannot_be_written_is_read_and_left_as_it_is(
    folder: Path, mode: str, file: int, within: int
) -> None:
    record(folder, closed=True)
    protect(folder, file=file, within=within)
    before = files(folder)
    lines, problems = use(folder, mode)
    assert lines[:3] == ["recorded", "recorded", "1"]
    assert lines[3].startswith("ExplainedMiss" if mode == "replay" else "called")
    assert ("let this user read the file and its folder" in problems) == (mode == "auto")
    assert files(folder) == before


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("slashes", ["/", "//", "///"])
def test_a_path_may_begin_with_any_number_of_slashes(folder: Path, slashes: str, closed: bool) -> None:  # noqa: FBT001
    record(folder, closed=closed)
    protect(folder)
    written = f"{slashes}{str(folder).lstrip('/')}"
    assert use(written, "replay")[0][:3] == ["recorded", "recorded", "1"]


@pytest.mark.parametrize("mode", ["replay", "read_only"])
def test_a_store_whose_writer_was_killed_is_read_with_its_log(folder: Path, mode: str) -> None:
    record(folder, closed=False)
    protect(folder)
    before = files(folder)
    assert use(folder, mode)[0][:3] == ["recorded", "recorded", "1"]
    assert files(folder) == before


def test_without_the_index_of_the_log_the_error_says_what_to_do(folder: Path) -> None:
    file = record(folder, closed=False)
    file.with_name(f"{file.name}-shm").unlink()
    protect(folder)
    lines, _ = use(folder, "replay")
    assert all("was not closed by its last writer" in line and "then copy the .sqlite alone" in line for line in lines)
    lines, problems = use(folder, "read_only")
    assert lines[0] == lines[1] == lines[3] == "called"
    assert problems.count("was not closed by its last writer") == 1


def test_a_store_in_a_read_only_mount_is_read(folder: Path) -> None:
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, to mount")
    record(folder, closed=True)
    command = 'mount --bind "$2" "$2" && mount -o remount,bind,ro "$2" && exec "$0" -c "$1" "$2" replay'
    program = f"{USE}use(*sys.argv[1:])".replace("os.getuid() == 0", "False")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, sys.executable, program, folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount")
    assert done.stdout.partition("as another user\n")[2].splitlines()[:3] == ["recorded", "recorded", "1"]
    assert not done.stderr


def test_a_reader_without_permission_sees_what_the_owner_writes_later(folder: Path) -> None:
    """SQLite does not tell such a reader of a change, so it looks at the file itself."""
    record(folder, closed=True)
    protect(folder)
    program = (
        USE
        + """
cache = ResponseCache("s", path=sys.argv[1], mode="read_only")
said(lambda: cache.call({"q": 2}, lambda _: "called"))
input()
while cache.call({"q": 2}, lambda _: "called") == "called":
    pass
said(lambda: cache.call({"q": 2}, lambda _: "called"))
"""
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert "as another user\n" in iter(reader.stdout.readline, "")
    assert reader.stdout.readline() == "called\n"
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    owner = ResponseCache("s", path=folder)
    owner.call({"q": 2}, lambda _: "written later")
    owner.close()
    assert reader.communicate("\n", timeout=60)[0] == "written later\n"

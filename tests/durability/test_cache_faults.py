"""A cache whose store fails: every call returns its answer, every fault is counted, and later all is well again."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chatcache import NotStoredError, ResponseCache, StorageError
from chatcache.storage import database
from tests import forms
from tests.forms import FORMS, Provider

from .faults import needs_linux, run

CALLS = 5

Ask = Callable[[ResponseCache, int], Awaitable[list[Any]]]


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture(params=FORMS)
def ask(request: pytest.FixtureRequest, provider: Provider) -> Ask:
    """Asks a cache so many requests, one after the other; gives the answers."""

    async def asked(cache: ResponseCache, start: int) -> list[Any]:
        bodies = [{"number": number} for number in range(start, start + CALLS)]
        return [await forms.ask(request.param, cache, body, provider) for body in bodies]

    return asked


@pytest.fixture
def _looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at each read whether the file is still there, not ten times a second."""
    monkeypatch.setattr(database, "_LOOK", 0.0)


def answers(start: int) -> list[Any]:
    return [{"to": {"number": number}} for number in range(start, start + CALLS)]


async def test_a_file_that_is_locked_for_long(tmp_path: Path, ask: Ask, provider: Provider) -> None:
    patient = ResponseCache("store", path=tmp_path, timeout=60)
    cache = ResponseCache("store", path=tmp_path, timeout=0.05)
    assert await ask(patient, 0) == answers(0)
    holder = sqlite3.connect(cache.location, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    assert await ask(cache, 0) == answers(0)  # what is recorded is replayed
    assert await ask(cache, 10) == answers(10)
    assert provider.calls == 2 * CALLS
    holder.execute("ROLLBACK")
    assert cache.stats().bypasses == CALLS
    for _ in range(2):
        assert await ask(patient, 10) == answers(10)
    assert provider.calls == 3 * CALLS
    holder.close()
    patient.close()
    cache.close()


@pytest.mark.usefixtures("_looks_each_time")
async def test_a_file_that_is_deleted(tmp_path: Path, ask: Ask, provider: Provider) -> None:
    cache = ResponseCache("store", path=tmp_path)
    assert await ask(cache, 0) == answers(0)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink(missing_ok=True)
    assert await ask(cache, 0) == answers(0)
    assert provider.calls == 2 * CALLS
    assert await ask(ResponseCache("store", path=tmp_path, mode="replay"), 0) == answers(0)
    cache.close()


@pytest.mark.usefixtures("_looks_each_time")
@pytest.mark.parametrize("how", ["replaced", "written over"])
async def test_a_file_that_becomes_garbage(tmp_path: Path, ask: Ask, provider: Provider, how: str) -> None:
    cache = ResponseCache("store", path=tmp_path)
    assert await ask(cache, 0) == answers(0)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(os.urandom(100_000))
    if how == "replaced":
        # the log first: with it any file is the database, and the cache sweeps beside the calls
        for beside in cache.location.parent.glob("*.sqlite-*"):
            beside.unlink(missing_ok=True)
        garbage.replace(cache.location)
    else:
        cache.close()
        cache.location.write_bytes(garbage.read_bytes())
    for start in (0, 10):
        assert await ask(cache, start) == answers(start)
    assert provider.calls == 3 * CALLS
    assert cache.stats().bypasses == 2 * CALLS
    cache.location.unlink()
    for _ in range(2):
        assert await ask(cache, 10) == answers(10)
    assert provider.calls == 4 * CALLS
    cache.close()


async def test_faults_are_raised_where_that_is_asked_for(
    tmp_path: Path, ask: Ask, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ResponseCache("store", path=tmp_path, timeout=0.5, on_store_error="raise")
    assert await ask(cache, 0) == answers(0)
    holder = sqlite3.connect(cache.location, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(NotStoredError) as caught:
        await ask(cache, 10)
    assert caught.value.answer in ({"to": {"number": 10}}, [{"to": {"number": 10}}])
    assert isinstance(caught.value.__cause__, StorageError)
    assert "its write lock" in str(caught.value)
    assert "Calls proceed without the cache" not in caplog.text  # the failed lease is only logged
    holder.close()
    cache.close()
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage" * 10_000)
    garbage.replace(cache.location)
    # where a lease that is given back late has the file open still, it is the store that fails, after the call
    with pytest.raises((StorageError, NotStoredError), match="is no SQLite database"):
        await ask(cache, 20)
    assert provider.calls in {CALLS + 1, CALLS + 2}


FAULTY = """
import asyncio, sys
from faulty import FOR_EVER, Faults
from chatcache import ResponseCache

async def answer(request):
    return {"to": request}

async def chunks(request):
    yield {"to": request}

def stream(request):
    yield {"to": request}

async def asked(cache, start):
    for number in range(start, start + 5):
        request = {"number": number}
        assert cache.call(request, lambda request: {"to": request}) == {"to": request}
        assert await cache.acall({"a": number}, answer) == {"to": {"a": number}}
        assert list(cache.stream(request, stream)) == [{"to": request}]
        assert [each async for each in cache.astream({"a": number}, chunks)] == [{"to": {"a": number}}]

faults = Faults(sys.argv[1], int(sys.argv[2]))
cache = ResponseCache("store", path=sys.argv[3], timeout=0.1)
asyncio.run(asked(cache, 0))
cache.close()
faults.on(0, FOR_EVER)
asyncio.run(asked(cache, 0))
asyncio.run(asked(cache, 10))
failed, before = faults.off(), cache.stats()
assert failed > 0
assert before.bypasses >= 20, before
asyncio.run(asked(cache, 10))
again = cache.stats()
assert (again.bypasses, again.stores) == (before.bypasses, before.stores + 20), (before, again)
asyncio.run(asked(cache, 10))
assert cache.stats().hits == again.hits + 20
print("all answered")
"""


@needs_linux
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("write", errno.ENOSPC),
        ("write", errno.EIO),
        ("sync", errno.EIO),
        ("read", errno.EIO),
        ("lock", errno.ENOLCK),
    ],
)
def test_a_disk_that_is_full_or_broken(library: Path, memory: Path, kind: str, error: int) -> None:
    done = run(["-c", FAULTY, kind, str(error)], library, memory)
    assert (done.returncode, done.stdout) == (0, "all answered\n"), done.stderr
    assert "Calls proceed without the cache" in done.stderr


FORBIDDEN = """
import os, sys
from pathlib import Path
from chatcache import ResponseCache

folder = Path(sys.argv[1])
if os.geteuid() == 0:  # root may write everywhere
    os.chown(folder, 65534, 65534)
    os.setuid(65534)
cache = ResponseCache("store", path=folder / "objects")
for number in range(5):
    assert cache.call({"number": number}, lambda request: "first") == "first"
cache.close()
for mode in (0o500, 0o000):
    for path in [*(folder / "objects").rglob("*.sqlite"), cache.location.parent]:
        path.chmod(mode & 0o444 if path.is_file() else mode)
    before = cache.stats().bypasses
    for number in range(5, 10):
        assert cache.call({"number": number}, lambda request: "second") == "second"
    assert cache.stats().bypasses == before + 5
    cache.close()
    cache.location.parent.chmod(0o700)
cache.location.chmod(0o600)
assert cache.call({"number": 1}, lambda request: "second") == "first"
assert cache.call({"number": 5}, lambda request: "third") == "third"
assert cache.call({"number": 5}, lambda request: "fourth") == "third"
print("all answered")
"""


def test_a_permission_that_is_lost() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        command = [sys.executable, "-c", FORBIDDEN, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all answered\n"), done.stderr

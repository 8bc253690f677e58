"""The engine: what each mode does, what is refused, and that a cache that fails takes no call down."""

import asyncio
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chatcache import (
    CorruptStorageError,
    Hit,
    InvalidInputError,
    InvalidModeError,
    InvalidNameError,
    InvalidTTLError,
    Mode,
    ModeName,
    Refusal,
    ReplayMiss,
    ResponseCache,
    StorageError,
)
from chatcache.testing import ManualClock
from tests.under_way import waiting
from tests.waiting import HANG, auntil

REQUEST = {"model": "m", "prompt": "How high is it?"}
Call = Callable[..., Awaitable[Any]]


def same(hit: Hit) -> Any:
    return hit.answer


@pytest.fixture(params=["blocking", "awaiting"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a cache, or its awaiting twin."""

    async def either(cache: ResponseCache, name: str, *args: Any, **options: Any) -> Any:
        if request.param == "blocking":
            return getattr(cache, name)(*args, **options)
        return await getattr(cache, f"a{name}")(*args, **options)

    return either


@pytest.mark.parametrize(
    ("mode", "found", "stored"),
    [
        ("auto", "old", "new"),
        ("read_only", "old", "old"),
        ("refresh", None, "new"),
        ("replay", "old", "old"),
        ("off", None, "old"),
    ],
)
async def test_each_mode_reads_and_writes_as_it_says(
    tmp_path: Path, call: Call, mode: ModeName, found: str | None, stored: str
) -> None:
    recorder = ResponseCache("store", path=tmp_path)
    recorder.update("key", "old")
    cache = ResponseCache("store", path=tmp_path, mode=mode)
    assert await call(cache, "lookup", "key", REQUEST, same) == found
    assert await call(cache, "update", "key", "new") is (stored == "new")
    assert recorder.lookup("key", REQUEST, same) == stored


@pytest.mark.parametrize("mode", ["auto", "read_only", "refresh", "off"])
async def test_a_miss_is_none_in_every_mode_but_replay(tmp_path: Path, call: Call, mode: ModeName) -> None:
    assert await call(ResponseCache("store", path=tmp_path, mode=mode), "lookup", "key", REQUEST, same) is None


async def test_a_miss_in_replay_names_the_key_and_the_request(tmp_path: Path, call: Call) -> None:
    cache = ResponseCache("store", path=tmp_path, mode="replay")
    with pytest.raises(ReplayMiss) as caught:
        await call(cache, "lookup", "0123abcd", REQUEST, same)
    miss = caught.value
    assert (miss.key, miss.request, miss.store_id) == ("0123abcd", REQUEST, "store")
    assert str(miss) == (
        "no record to replay: nothing is recorded in this store\n"
        f"  store    'store' in {cache.location} (0 records)\n"
        "  key      0123abcd\n"
        "  request  {'model': 'm', 'prompt': 'How high is it?'}\n"
        "Nothing was called. To record it: run once with mode='auto', where the provider can be reached"
    )
    assert str(pickle.loads(pickle.dumps(miss))) == str(miss)  # noqa: S301 - our own


async def test_a_call_may_have_a_mode_of_its_own(tmp_path: Path, call: Call) -> None:
    cache = ResponseCache("store", path=tmp_path, mode="off")
    await call(cache, "update", "key", "kept", mode=Mode.AUTO)
    assert await call(cache, "lookup", "key", REQUEST, same) is None
    assert await call(cache, "lookup", "key", REQUEST, same, mode=Mode.READ_ONLY) == "kept"


def test_the_environment_decides_where_the_program_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATCACHE_MODE", "replay")
    monkeypatch.setenv("CHATCACHE_DIR", str(tmp_path / "elsewhere"))
    assert ResponseCache("store").mode is Mode.REPLAY
    assert ResponseCache("store", mode="refresh").mode is Mode.REFRESH
    assert ResponseCache("store").location.parent == tmp_path / "elsewhere" / "calls"
    assert ResponseCache("store", path=tmp_path).location.parent == tmp_path / "calls"
    monkeypatch.setenv("CHATCACHE_MODE", "once")  # a mode of test suites
    assert ResponseCache("store").mode is Mode.AUTO


async def test_a_record_lives_as_long_as_its_ttl(tmp_path: Path, clock: ManualClock, call: Call) -> None:
    cache = ResponseCache("store", path=tmp_path, ttl=10, clock=clock)
    await call(cache, "update", "short", 1)
    await call(cache, "update", "long", 2, ttl=20)
    await call(cache, "update", "none", 3, ttl=0)
    clock.now += 10
    assert [await call(cache, "lookup", key, REQUEST, same) for key in ("short", "long", "none")] == [None, 2, None]


async def test_refused_answers_are_counted_and_can_be_allowed(tmp_path: Path, call: Call) -> None:
    cache = ResponseCache("store", path=tmp_path, allow=["length"])
    for refusal in Refusal:
        await call(cache, "update", refusal, "answer", refusal=refusal)
    assert cache.stats().refusals == {
        Refusal.CONTENT_FILTER: 1,
        Refusal.EMPTY: 1,
        Refusal.INTERRUPTED: 1,
        Refusal.TOO_LARGE: 1,
        Refusal.REJECTED: 1,
    }
    assert await call(cache, "lookup", "length", REQUEST, same) == "answer"
    assert await call(cache, "lookup", "empty", REQUEST, same) is None


async def test_a_record_that_cannot_be_read_is_a_miss(tmp_path: Path, call: Call) -> None:
    cache = ResponseCache("store", path=tmp_path)
    await call(cache, "update", "key", {"no": "text"})
    assert await call(cache, "lookup", "key", REQUEST, lambda hit: hit.answer["text"]) is None
    with pytest.raises(ReplayMiss, match="what was recorded cannot be read\n  KeyError: 'text'"):
        await call(cache, "lookup", "key", REQUEST, lambda hit: hit.answer["text"], mode=Mode.REPLAY)


async def test_clear_spares_other_stores(tmp_path: Path, call: Call) -> None:
    one, other = ResponseCache("one", path=tmp_path), ResponseCache("other", path=tmp_path)
    one.update("key", 1)
    other.update("key", 2)
    await call(one, "clear")
    assert (one.lookup("key", REQUEST, same), other.lookup("key", REQUEST, same)) == (None, 2)


async def corrupt(folder: Path) -> ResponseCache:
    cache = ResponseCache("store", path=folder)
    cache.location.parent.mkdir()
    cache.location.write_bytes(b"this is no database, but it is long enough to be taken for one" * 100)
    return cache


async def test_a_corrupt_file_is_bypassed_counted_and_said_once(
    tmp_path: Path, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await corrupt(tmp_path)
    before = cache.location.read_bytes()
    with caplog.at_level(logging.WARNING, "chatcache"):
        for _ in range(3):
            assert await call(cache, "lookup", "key", REQUEST, same) is None
            assert await call(cache, "update", "key", "answer") is False
    assert cache.stats().bypasses == 3
    assert len(caplog.records) == 1
    assert f"{cache.location} is no SQLite database" in caplog.text
    assert "move it away to begin anew" in caplog.text
    assert cache.location.read_bytes() == before


async def test_a_corrupt_file_is_an_error_in_replay(tmp_path: Path, call: Call) -> None:
    cache = await corrupt(tmp_path)
    with pytest.raises(CorruptStorageError, match="is no SQLite database"):
        await call(cache, "lookup", "key", REQUEST, same, mode=Mode.REPLAY)


async def test_a_value_that_cannot_be_stored_is_bypassed(
    tmp_path: Path, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ResponseCache("store", path=tmp_path)
    assert await call(cache, "update", "key", {"answer": object()}) is False
    assert "of type object, which cannot be stored" in caplog.text


AS_NOBODY = """
import os, sys
from chatcache import ObjectNamespace, ResponseCache, StorageError

if os.geteuid() == 0:  # root may write everywhere
    os.setuid(65534)
cache = ResponseCache("store", path=sys.argv[1])
assert cache.lookup("key", {}, str) is None
assert cache.update("key", "answer") is False
assert cache.stats().bypasses == 1
try:
    ObjectNamespace(sys.argv[1]).get_by_name("x").storage.put("key", 1)
except StorageError as error:
    print(error)
"""


def test_a_folder_that_this_user_may_not_write_is_bypassed() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        done = subprocess.run([sys.executable, "-c", AS_NOBODY, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be opened or written" in done.stdout
    assert "let this user read the file and its folder (and write them, to record)" in done.stdout
    assert done.stderr.count("Calls proceed without the cache") == 1


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"store_id": ""}, InvalidNameError, "store id ''"),
        ({"store_id": "x" * 600}, InvalidNameError, "use at most 512"),
        ({"object": "../../x"}, InvalidNameError, "reads as a path"),
        (
            {"mode": "sometimes"},
            InvalidModeError,
            "invalid mode 'sometimes': use one of auto, read_only, refresh, replay, off",
        ),
        ({"mode": None}, InvalidModeError, "invalid mode None"),
        ({"ttl": "10"}, InvalidTTLError, "'10' is no time to live"),
        ({"allow": ["errors"]}, InvalidInputError, "some of 'length', 'content_filter', 'empty', 'interrupted'"),
        ({"allow": ["too_large"]}, InvalidInputError, "some of 'length', 'content_filter', 'empty', 'interrupted'"),
        ({"allow": "length"}, InvalidInputError, "allow='length': pass a list of"),
        ({"allow": 5}, InvalidInputError, "allow=5: pass a list of"),
        ({"path": ""}, InvalidInputError, "pass the path of a folder"),
        ({"path": 5}, InvalidInputError, "pass the path of a folder"),
        ({"path": "a\0b"}, InvalidInputError, "no file can have this name"),
        ({"path": "\ud800"}, InvalidInputError, "no file can have this name"),
        ({"path": "x" * 5000}, StorageError, "cannot be looked at"),
    ],
)
def test_bad_input_says_what_to_do(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ResponseCache(**{"store_id": "store", "path": tmp_path, **arguments})


def test_a_mode_of_the_environment_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATCACHE_MODE", "offline")
    with pytest.raises(InvalidModeError, match="invalid mode 'offline' in CHATCACHE_MODE"):
        ResponseCache("store")


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is a file: pass a folder"):
        ResponseCache("store", path=tmp_path / "file")


class Provider:
    """Answers whoever calls it, blocking or awaiting, and counts."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self, request: Any) -> Any:
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"to": request, "number": self.calls} if self.answer is None else self.answer

    async def awaited(self, request: Any) -> Any:
        return self(request)


Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Asks a provider through a cache."""

    async def either(cache: ResponseCache, asked: Any, provider: Provider, **options: Any) -> Any:
        if request.param == "blocking":
            return cache.call(asked, provider, **options)
        return await cache.acall(asked, provider.awaited, **options)

    return either


async def test_a_call_is_made_once_and_replayed_by_another_cache(tmp_path: Path, ask: Ask) -> None:
    provider = Provider()
    first = await ask(ResponseCache("store", path=tmp_path), REQUEST, provider)
    assert first == {"to": REQUEST, "number": 1}
    again = await ask(ResponseCache("store", path=tmp_path, mode="replay"), dict(reversed(REQUEST.items())), provider)
    assert (again, provider.calls) == (first, 1)
    with pytest.raises(ReplayMiss):
        await ask(ResponseCache("other", path=tmp_path, mode="replay"), REQUEST, provider)
    assert provider.calls == 1


@pytest.mark.parametrize(("mode", "calls"), [("auto", 1), ("read_only", 3), ("refresh", 3), ("off", 3)])
async def test_a_call_is_made_as_often_as_its_mode_says(tmp_path: Path, ask: Ask, mode: str, calls: int) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    for _ in range(3):
        await ask(cache, REQUEST, provider, mode=mode)
    assert provider.calls == calls


@pytest.mark.parametrize("answer", ["", [], {}])
async def test_an_empty_answer_is_returned_and_refused(tmp_path: Path, ask: Ask, answer: Any) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider(answer)
    assert [await ask(cache, REQUEST, provider) for _ in range(2)] == [answer, answer]
    assert (provider.calls, cache.stats().refusals) == (2, {"empty": 2})


async def test_a_caller_says_what_is_not_worth_keeping(tmp_path: Path, ask: Ask) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider({"cut": "of"})
    for _ in range(2):
        await ask(cache, REQUEST, provider, refuse=lambda answer: Refusal.LENGTH if "cut" in answer else None)
    assert (provider.calls, cache.stats().refusals) == (2, {"length": 2})


async def test_an_error_is_raised_and_not_kept(tmp_path: Path, ask: Ask) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider(ConnectionError("down"))
    with pytest.raises(ConnectionError, match="down"):
        await ask(cache, REQUEST, provider)
    provider.answer = "up"
    assert await ask(cache, REQUEST, provider) == "up"


async def test_a_paid_answer_is_returned_whatever_becomes_of_its_record(tmp_path: Path, ask: Ask) -> None:
    cache = await corrupt(tmp_path)
    assert await ask(cache, REQUEST, Provider("paid")) == "paid"
    assert cache.stats().bypasses == 1
    healthy = ResponseCache("store", path=tmp_path / "healthy")
    thing = object()
    assert await ask(healthy, REQUEST, Provider(thing)) is thing
    assert await ask(healthy, {"no": object()}, Provider("keyless")) == "keyless"
    assert healthy.stats().bypasses == 2


async def test_tasks_that_ask_for_the_same_at_once_share_a_call_and_not_its_answer(tmp_path: Path) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()

    async def slow(request: Any) -> Any:
        await auntil(lambda: waiting(cache) == 49)
        return provider(request)

    answers = await asyncio.gather(*(cache.acall(REQUEST, slow) for _ in range(50)))
    assert (provider.calls, cache.stats().joins) == (1, 49)
    answers[0]["to"] = "somebody else"
    assert answers[1:] == [{"to": REQUEST, "number": 1}] * 49


async def test_threads_and_tasks_share_a_call(tmp_path: Path) -> None:
    cache, provider = ResponseCache("store", path=tmp_path), Provider()
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: Any) -> Any:
        begun.set()
        go_on.wait(HANG)
        return provider(request)

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cache.call, REQUEST, slow)
        begun.wait()
        thread = pool.submit(cache.call, REQUEST, provider)
        task = asyncio.create_task(cache.acall(REQUEST, provider.awaited))
        await auntil(lambda: waiting(cache) == 2)
        go_on.set()
        assert await task == leader.result() == thread.result()
    assert (provider.calls, cache.stats().joins) == (1, 2)


async def test_a_task_that_is_cancelled_leaves_the_call_to_the_others(tmp_path: Path) -> None:
    cache, provider, go_on = ResponseCache("store", path=tmp_path), Provider(), asyncio.Event()

    async def slow(request: Any) -> Any:
        await go_on.wait()
        return provider(request)

    first, second = (asyncio.create_task(cache.acall(REQUEST, slow)) for _ in range(2))
    await auntil(lambda: waiting(cache) == 1)
    first.cancel()
    go_on.set()
    assert await second == {"to": REQUEST, "number": 1}
    assert first.cancelled()


async def test_a_cache_is_closed_at_the_end_of_with(tmp_path: Path) -> None:
    with ResponseCache("store", path=tmp_path) as cache:
        assert cache.call("q", lambda request: request) == "q"
        assert cache._object._turns.is_open()
    assert not cache._object._turns.is_open()
    async with ResponseCache("store", path=tmp_path) as cache:
        assert await cache.acall("q", awaited) == "q"
    assert not cache._object._turns.is_open()


async def awaited(request: Any) -> Any:
    return request

"""What a `ResponseCache` keeps of a call: its story, how much of all of it, and what hits saved."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from chatcache import (
    About,
    Hit,
    InvalidInputError,
    ModeName,
    NotStoredError,
    ObjectNamespace,
    ReplayedError,
    ResponseCache,
    Story,
    request_key,
)
from chatcache.codec import encode
from chatcache.testing import ManualClock
from tests.under_way import leads_elsewhere, waiting
from tests.waiting import HANG, auntil, until


class Model(StrEnum):
    SMALL = "small"


REQUEST = {"model": Model.SMALL, "messages": ({"role": "user", "content": "How high is it?"},), "seed": 7}
AS_JSON = {"model": "small", "messages": [{"role": "user", "content": "How high is it?"}], "seed": 7}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ANSWER = {"model": "small-2", "text": "Very.", "usage": USAGE}
KEY = request_key(REQUEST)

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Has a request answered through a cache."""

    async def either(cache: ResponseCache, asked: Any = REQUEST, answer: Any = ANSWER, **options: Any) -> Any:
        async def awaited(_request: Any) -> Any:
            return answer

        if request.param == "blocking":
            return cache.call(asked, lambda _request: answer, **options)
        return await cache.acall(asked, awaited, **options)

    return either


async def test_a_hit_says_where_it_came_from(tmp_path: Path, ask: Ask, clock: ManualClock) -> None:
    cache, hits = ResponseCache("store", path=tmp_path, clock=clock), list[Hit]()
    began = clock.now
    await ask(cache, on_hit=hits.append)
    assert hits == []
    clock.now += 90
    assert await ask(cache, on_hit=hits.append) == ANSWER
    (hit,) = hits
    assert (hit.key, hit.age, hit.recorded_at) == (KEY, 90, datetime.fromtimestamp(began, UTC))
    assert (hit.answer, hit.tokens, hit.cost) == (ANSWER, 7, 0)
    assert hit.took > 0
    assert repr(hit) == f"<Hit {KEY} recorded at {hit.recorded_at:%Y-%m-%d %H:%M:%S} UTC>"


async def test_a_record_tells_its_story(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("store", path=tmp_path, writers=["orjson", "no-such-package"])
    assert cache.story(KEY) is None
    await ask(cache)
    versions = {"chatcache": version("chatcache"), "orjson": version("orjson")}
    story = Story(request=AS_JSON, model="small", answered_by="small-2", usage=USAGE, versions=versions)
    assert cache.story(KEY) == await cache.astory(KEY) == story
    cache.clear()
    assert cache.story(KEY) is None


@pytest.mark.parametrize(
    ("kept", "request_"),
    [
        ("full", AS_JSON),
        (
            "redacted",
            {"model": "small", "messages": [{"role": "user", "content": "<15 characters>"}], "seed": 7},
        ),
        ("digest", None),
    ],
)
async def test_a_user_decides_what_is_kept_of_requests(tmp_path: Path, ask: Ask, kept: Any, request_: Any) -> None:
    cache = ResponseCache("store", path=tmp_path, store_requests=kept)
    await ask(cache)
    story = cache.story(KEY)
    assert story is not None
    assert story.request == request_
    cache.close()
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*.sqlite*"))
    assert (b"How high is it?" in held) is (kept == "full")


async def test_an_adapter_tells_what_it_knows(tmp_path: Path) -> None:
    cache, hits = ResponseCache("store", path=tmp_path), list[Hit]()
    about = About(request={"a": 1}, model="m", answered_by="m-2", usage={"input_tokens": 3}, cost=0.25, took=1.5)
    assert cache.lookup("key", {"a": 1}, str) is None
    cache.update("key", {"b": 2}, about=about)
    cache.lookup("key", {"a": 1}, hits.append)
    assert (hits[0].tokens, hits[0].cost, hits[0].took) == (3, 0.25, 1.5)
    story = cache.story("key")
    assert story is not None
    assert (story.request, story.model, story.answered_by, story.usage) == ({"a": 1}, "m", "m-2", {"input_tokens": 3})
    saved = cache.stats()
    assert (saved.hits, saved.misses, saved.tokens_saved, saved.cost_saved, saved.seconds_saved) == (1, 1, 3, 0.25, 1.5)


async def test_how_long_a_call_took_is_measured_from_its_lookup(tmp_path: Path) -> None:
    cache, hits = ResponseCache("store", path=tmp_path), list[Hit]()
    began = time.monotonic()
    await cache.alookup("key", {}, str)
    await asyncio.sleep(0.02)  # the call
    await cache.aupdate("key", "answer")
    ended = time.monotonic()
    await cache.alookup("key", {}, hits.append)
    assert 0.02 <= hits[0].took <= ended - began


def test_the_rows_of_a_record(tmp_path: Path) -> None:
    cache = ResponseCache("a:b", path=tmp_path, clock=ManualClock(1_700_000_000), store_requests="digest")
    cache.update("key", "answer", about=About(took=0.5, cost=0.01), ttl=60)
    cache.close()
    rows = ObjectNamespace(tmp_path, "calls").get_by_name("default").storage.list()
    rows["%note:a%3Ab:key"][0].pop("versions")
    assert rows == {
        "%due:a%3Ab:1700000060000:key": None,
        "%note:a%3Ab:key": [{}, 1_700_000_060_000],
        "%stats:a%3Ab": {"stores": 1, "bytes_stored": len(encode("answer"))},
        "a%3Ab:key": [{"answer": "answer", "at": 1_700_000_000_000, "saves": [9, 0, 0.01, 0.5]}, 1_700_000_060_000],
    }


async def test_a_store_holds_no_more_than_it_may(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("store", path=tmp_path, max_entries=10)
    for number in range(25):
        await ask(cache, {"n": number})
    assert cache.stats().evictions == 15
    kept = [number for number in range(25) if cache.story(request_key({"n": number})) is not None]
    assert len(kept) == 10
    small = ResponseCache("small", path=tmp_path, max_bytes=5_000)
    for number in range(25):
        await ask(small, {"n": number}, "x" * 1_000)
    assert small.stats().evictions > 15


async def test_an_answer_of_50_mb_is_recorded(tmp_path: Path, ask: Ask) -> None:
    cache, answer = ResponseCache("store", path=tmp_path), {"image": "x" * 50_000_000}
    await ask(cache, answer=answer)
    assert await ask(ResponseCache("store", path=tmp_path, mode="replay")) == answer
    assert cache.stats().bytes_stored > 50_000_000


async def test_caches_of_one_store_share_calls_and_counts(tmp_path: Path) -> None:
    caches = [ResponseCache("store", path=tmp_path) for _ in range(5)]
    calls = 0

    async def slow(_request: Any) -> Any:
        nonlocal calls
        calls += 1
        await auntil(lambda: waiting(caches[0]) == 4)
        return ANSWER

    assert await asyncio.gather(*(cache.acall(REQUEST, slow) for cache in caches)) == [ANSWER] * 5
    assert calls == 1
    assert {cache.stats().joins for cache in caches} == {4}


async def test_what_was_counted_is_kept_over_a_restart(tmp_path: Path, ask: Ask) -> None:
    cache = ResponseCache("store", path=tmp_path)
    for _ in range(3):
        await ask(cache)
    await cache.aclose()
    program = "import sys; from chatcache import ResponseCache; print(ResponseCache('store', path=sys.argv[1]).stats())"
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert said == f"{cache.stats()}\n"
    assert (cache.stats().hits, cache.stats().tokens_saved) == (2, 14)


@pytest.mark.parametrize("mode", ["replay", "read_only", "off"])
async def test_a_mode_that_writes_nothing_leaves_the_folder_as_it_is(tmp_path: Path, ask: Ask, mode: ModeName) -> None:
    writer = ResponseCache("store", path=tmp_path, ttl=3_600)
    await ask(writer)
    writer.close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.suffix == ".sqlite"}
    cache = ResponseCache("store", path=tmp_path, mode=mode)
    assert await ask(cache) == ANSWER
    cache.close()
    assert {path: path.read_bytes() for path in before} == before
    assert (cache.stats().hits, writer.stats().hits) == (mode != "off", 0)


FAILING = """
import sys, time
from pathlib import Path
from chatcache import ResponseCache

def fail(request):
    print("begun", flush=True)
    sys.stdin.readline()
    error = ConnectionError("reset by peer")
    error.status = 503
    raise error

try:
    ResponseCache("store", path=sys.argv[1]).call({"n": 1}, fail)
except ConnectionError:
    print("failed", flush=True)
"""


@pytest.mark.parametrize("errors", [(), (ConnectionError,)])
def test_an_error_of_another_process_reaches_those_who_wait_for_it(
    tmp_path: Path, errors: tuple[type[Exception], ...]
) -> None:
    cache = ResponseCache("store", path=tmp_path, errors=errors)
    waiting = threading.Event()

    def never(_request: Any) -> Any:
        raise AssertionError("it was called twice")

    def call() -> Any:
        waiting.set()
        return cache.call({"n": 1}, never)

    program = [sys.executable, "-c", FAILING, str(tmp_path)]
    with (
        ThreadPoolExecutor(1) as pool,
        subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        waits = pool.submit(call)
        waiting.wait(HANG)
        until(lambda: leads_elsewhere(cache))
        other.stdin.write("\n")
        other.stdin.flush()
        error = waits.exception(HANG)
    if errors:
        assert type(error) is ConnectionError
        assert (str(error), vars(error)) == ("reset by peer", {"status": 503})
    else:
        assert isinstance(error, ReplayedError)
        assert (error.name, error.message, error.data) == ("ConnectionError", "reset by peer", {"status": 503})
    assert cache.call({"n": 1}, lambda _request: "now") == "now"  # it was not recorded


async def test_an_answer_that_cannot_be_stored_is_in_the_error_where_one_is_asked_for(tmp_path: Path, ask: Ask) -> None:
    thing = object()
    cache = ResponseCache("store", path=tmp_path, on_store_error="raise")
    with pytest.raises(NotStoredError, match="of type object, which cannot be stored") as caught:
        await ask(cache, answer=thing)
    assert caught.value.answer is thing


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"store_requests": "some"}, "store_requests='some': use one of 'full', 'redacted', 'digest'"),
        ({"on_store_error": "ignore"}, "on_store_error='ignore': pass 'bypass' or 'raise'"),
        ({"max_entries": 0}, "max_entries=0: pass a whole number from 1 on"),
        ({"max_bytes": 1.5}, "max_bytes=1.5: pass a whole number from 1 on"),
        ({"errors": ["ValueError"]}, "errors: 'ValueError' is no exception class"),
        ({"timeout": -1}, "timeout -1: pass seconds"),
    ],
)
def test_bad_input_says_what_to_do(tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        ResponseCache("store", path=tmp_path, **arguments)


def test_statistics_are_plain_data(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)
    cache.call(REQUEST, lambda _request: "")
    assert json.loads(json.dumps(cache.stats().to_dict()))["refusals"] == {"empty": 1}


FAILING_STREAM = """
import sys
from chatcache import ResponseCache

def fail(request):
    yield "one"
    sys.stdin.readline()
    raise ConnectionError("reset by peer")

try:
    for chunk in ResponseCache("store", path=sys.argv[1]).stream({"n": 1}, fail):
        print("begun", flush=True)
except ConnectionError:
    print("failed", flush=True)
"""


def test_a_stream_of_another_process_that_fails_is_joined_once(tmp_path: Path) -> None:
    cache = ResponseCache("store", path=tmp_path)

    def never(_request: Any) -> Any:
        raise AssertionError("it was called twice")

    program = [sys.executable, "-c", FAILING_STREAM, str(tmp_path)]
    with (
        ThreadPoolExecutor(1) as pool,
        subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        follows = pool.submit(lambda: list(cache.stream({"n": 1}, never)))
        until(lambda: cache.stats().joins)
        other.stdin.write("\n")
        other.stdin.flush()
        assert isinstance(follows.exception(HANG), ReplayedError)
    assert cache.stats().joins == 1

"""One call for all who ask for the same, where there is no function to be shared: what hooks of frameworks use."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from chatcache import Form, Hit, Leader, ModeName, Refusal, ReplayedError, ResponseCache, request_key
from tests.under_way import leads_elsewhere, waiting
from tests.waiting import HANG, auntil, until

KEY = "0" * 64
FORMS = (Form.ANSWER, Form.STREAM)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    cache = ResponseCache("store", path=tmp_path)
    yield cache
    cache.close()


def read(hit: Hit) -> Any:
    return hit.chunks if hit.form is Form.STREAM else hit.answer


def led(cache: ResponseCache) -> Leader:
    leader = cache.lead(KEY, read)
    assert isinstance(leader, Leader)
    return leader


class Follower(Thread):
    """Asks for what somebody else leads."""

    def __init__(self, cache: ResponseCache) -> None:
        super().__init__()
        self.cache = cache
        self.got: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.got = self.cache.lead(KEY, read, forms=FORMS)
        except Exception as error:  # noqa: BLE001 - whatever the leader failed with
            self.got = error

    def end(self) -> Any:
        self.join(HANG)
        assert not self.is_alive()
        return self.got


def test_who_waits_gets_what_the_leader_recorded(cache: ResponseCache) -> None:
    leader = led(cache)
    followers = [Follower(cache) for _ in range(5)]
    until(lambda: waiting(cache) == 5)
    assert cache.update(KEY, "answer", leader=leader)
    assert [each.end() for each in followers] == ["answer"] * 5
    assert cache.stats().joins == 5


def test_who_waits_gets_chunks_too(cache: ResponseCache) -> None:
    leader = led(cache)
    follower = Follower(cache)
    cache.update(KEY, ["a", "b"], form=Form.STREAM, offsets=[0.1, 0.2], leader=leader)
    assert follower.end() == ["a", "b"]


def test_who_waits_gets_an_answer_that_is_not_kept(cache: ResponseCache) -> None:
    leader = led(cache)
    follower = Follower(cache)
    until(lambda: waiting(cache))
    assert not cache.update(KEY, "cut", refusal=Refusal.LENGTH, leader=leader)
    assert follower.end() == "cut"
    assert isinstance(cache.lead(KEY, read), Leader)


def test_who_waits_gets_the_error_of_the_leader(cache: ResponseCache) -> None:
    leader = led(cache)
    follower = Follower(cache)
    until(lambda: waiting(cache))
    error = ConnectionError("refused")
    leader.failed(error)
    assert follower.end() is error


@pytest.mark.parametrize("how", ["gives up", "is dropped"])
def test_where_the_leader_leaves_one_of_those_who_wait_leads(cache: ResponseCache, how: str) -> None:
    leaders = [led(cache)]
    followers = [Follower(cache), Follower(cache)]
    until(lambda: waiting(cache) == 2)
    if how == "gives up":
        leaders.pop().give_up()
    else:
        leaders.clear()
        gc.collect()
    until(lambda: any(each.got for each in followers))
    cache.update(KEY, "answer", leader=next(each.got for each in followers if each.got))
    assert "answer" in [each.end() for each in followers]


def elsewhere(cache: ResponseCache) -> "asyncio.Task[Any]":
    """A task that is no part of the leader's."""
    return asyncio.get_running_loop().create_task(cache.alead(KEY, read), context=Context())


async def test_tasks_of_one_loop_wait_for_a_leader_that_is_dropped(cache: ResponseCache) -> None:
    leaders = [await cache.alead(KEY, read)]
    follower = elsewhere(cache)
    await auntil(lambda: waiting(cache))
    leaders.clear()
    gc.collect()
    assert isinstance(await asyncio.wait_for(follower, HANG), Leader)


async def test_tasks_wait_for_what_the_leader_records(cache: ResponseCache) -> None:
    leader = await cache.alead(KEY, read)
    assert isinstance(leader, Leader)
    followers = [elsewhere(cache) for _ in range(5)]
    await auntil(lambda: waiting(cache) == 5)
    await cache.aupdate(KEY, "answer", leader=leader)
    assert await asyncio.wait_for(asyncio.gather(*followers), HANG) == ["answer"] * 5


def test_nobody_waits_for_itself(cache: ResponseCache) -> None:
    leader = led(cache)
    assert cache.lead(KEY, read) is None
    leader.give_up()


@pytest.mark.parametrize("mode", ["read_only", "refresh"])
def test_where_nothing_is_shared_everybody_calls(tmp_path: Path, mode: ModeName) -> None:
    assert ResponseCache("store", path=tmp_path, mode=mode).lead(KEY, read) is None


OTHER = """
import sys
from chatcache import ResponseCache
cache = ResponseCache("store", path=sys.argv[1])
leader = cache.lead("0" * 64, lambda hit: hit.answer)
print("leads", flush=True)
match sys.stdin.readline().strip():
    case "record":
        cache.update("0" * 64, "answer", leader=leader)
    case "refuse":
        cache.update("0" * 64, "answer", refusal="length", leader=leader)
    case "fail":
        leader.failed(ConnectionError("refused"))
cache.close()
"""


@pytest.mark.parametrize("what", ["record", "refuse", "fail"])
def test_other_processes_wait_too(cache: ResponseCache, tmp_path: Path, what: str) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "leads\n"
        follower = Follower(cache)
        until(lambda: leads_elsewhere(cache))
        other.stdin.write(f"{what}\n")
        other.stdin.flush()
        got = follower.end()
    if what == "fail":
        assert isinstance(got, ReplayedError)
        assert "refused" in str(got)
    else:
        assert got == "answer"


REQUEST = {"model": "m", "messages": []}
ANSWERS = ["ab", {"a": 1, "b": 2}, {"a": 1}, [1, 2, 3]]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_call_never_gets_what_a_hook_left_in_place_of_its_answer(cache: ResponseCache, answer: Any) -> None:
    key = request_key(REQUEST)
    leader = cache.lead(key, read)
    assert isinstance(leader, Leader)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(cache.call, REQUEST, lambda _: answer)
        until(lambda: leads_elsewhere(cache))
        cache.update(key, answer, refusal=Refusal.LENGTH, leader=leader)
        assert call.result(HANG) == answer


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_hook_that_waits_for_a_call_whose_answer_is_not_kept_makes_its_own(cache: ResponseCache, answer: Any) -> None:
    ends = Event()
    with ThreadPoolExecutor(2) as threads:
        made = threads.submit(
            cache.call, REQUEST, lambda _: ends.wait(HANG) and answer, refuse=lambda _: Refusal.LENGTH
        )
        until(lambda: bool(cache._object.storage.list(prefix="%lease:")))
        led = threads.submit(cache.lead, request_key(REQUEST), read)
        until(lambda: leads_elsewhere(cache))
        ends.set()
        assert made.result(HANG) == answer
        assert isinstance(led.result(HANG), Leader)


def test_each_who_waits_gets_an_answer_of_its_own(cache: ResponseCache) -> None:
    leader = led(cache)
    followers = [Follower(cache) for _ in range(2)]
    until(lambda: waiting(cache) == 2)
    answer = {"choices": [{"text": "as it was"}]}
    cache.update(KEY, answer, refusal=Refusal.LENGTH, leader=leader)
    answers = [answer, *(follower.end() for follower in followers)]
    for each in answers:
        assert each == {"choices": [{"text": "as it was"}]}
        each["choices"][0]["text"] = "edited"

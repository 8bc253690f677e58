"""Which concurrency libraries work, in a program each; the others are refused at once, with what to do instead."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG

GEVENT = """
from gevent import monkey
monkey.patch_all()
import asyncio, gevent, time
from chatcache import ObjectNamespace, ResponseCache

def wait_for(jobs):
    gevent.joinall(jobs, raise_error=True)
    return [job.value for job in jobs]

def call(request):
    calls.append(request)
    gevent.sleep(0.2)
    return "a"

def chunks(request):
    calls.append(request)
    for chunk in "abc":
        gevent.sleep(0.05)
        yield chunk

calls, fired = [], []
cache = ResponseCache("shop", path="store")
assert wait_for([gevent.spawn(cache.call, "one", call) for _ in range(8)]) == ["a"] * 8
assert calls == ["one"]
assert wait_for([gevent.spawn(cache.call, number, call) for number in range(20)]) == ["a"] * 20
assert cache.call("one", None) == "a"
calls.clear()
assert wait_for([gevent.spawn(lambda: [*cache.stream("stream", chunks)]) for _ in range(4)]) == [[*"abc"]] * 4
assert [*cache.stream("stream", None)] == [*"abc"]
assert calls == ["stream"]

# two namespaces have two loops beside the program, and it may have one of its own
namespaces = [ObjectNamespace("alarms", name, alarm=lambda thing, alarm: fired.append(1)) for name in ("a", "b")]
for namespace in namespaces:
    namespace.get_by_name("thing").storage.set_alarm(time.time())
while len(fired) < 2:
    gevent.sleep(0.01)

async def main():
    async def answer(request):
        calls.append(request)
        await asyncio.sleep(0.1)
        return "a"
    return await asyncio.gather(*(cache.acall("two", answer) for _ in range(5)))

assert asyncio.run(main()) == ["a"] * 5
assert calls == ["stream", "two"]
stats = cache.stats()
assert (stats.hits, stats.stores, stats.bypasses) == (2, 23, 0), stats
"""

GREENLETS = """
import chatcache, gevent, greenlet
cache = chatcache.ResponseCache("shop", path="store")

def call(request):
    gevent.sleep(0.1)
    return "a"

def chunks(request):
    for chunk in "abc":
        gevent.sleep(0.1)
        yield chunk

def asked(ask, *arguments):
    try:
        return ask(*arguments)
    except chatcache.UnsupportedLibraryError as error:
        assert "Call gevent.monkey.patch_all() before chatcache is imported" in str(error), error
        return "refused"

def answers(*asks):
    jobs = [gevent.spawn(asked, *ask) for ask in asks]
    gevent.joinall(jobs, raise_error=True)
    return [job.value for job in jobs]

assert answers((cache.call, 1, call), (cache.call, 2, call)) == ["a", "a"]  # no one waits for another
assert answers((cache.call, 3, call), (cache.call, 3, call)) == ["a", "refused"]
assert answers((lambda: [*cache.stream(4, chunks)],), (lambda: [*cache.stream(4, chunks)],)) == [[*"abc"], "refused"]
assert asked(cache.call, 3, None) == "a"
"""

PATCHED_LATE = """
import chatcache
from gevent import monkey
monkey.patch_all()
try:
    chatcache.ResponseCache("shop", path="store")
except chatcache.UnsupportedLibraryError as error:
    assert "call gevent.monkey.patch_all() before chatcache is imported" in str(error), error
    print("refused")
"""

EVENTLET = """
import eventlet
eventlet.monkey_patch()
import chatcache
try:
    chatcache.ResponseCache("shop", path="store")
except chatcache.UnsupportedLibraryError as error:
    assert "eventlet.monkey_patch(thread=False)" in str(error), error
    print("refused")
"""

EVENTLET_WITHOUT_THREADS = """
import eventlet
eventlet.monkey_patch(thread=False)
import chatcache
cache = chatcache.ResponseCache("shop", path="store")
assert [eventlet.spawn(cache.call, "q", lambda _: "a").wait() for _ in range(3)] == ["a"] * 3
assert cache.stats().hits == 2
"""

TRIO = """
import chatcache, {library}
cache = chatcache.ResponseCache("shop", path="store")
calls = []

async def call(request):
    calls.append(request)

async def refused(awaited):
    try:
        await awaited
    except chatcache.UnsupportedLibraryError as error:
        assert "trio.to_thread.run_sync" in str(error), error
        return True

async def main():
    assert await refused(cache.acall("q", call))
    assert await refused(anext(cache.astream("q", call)))
    assert await refused(cache.alead("q", lambda hit: hit))
    assert await refused(cache.aupdate("q", "a"))
    assert await {library}.to_thread.run_sync(cache.call, "q", lambda _: "a") == "a"
    assert await {library}.to_thread.run_sync(cache.call, "q", None) == "a"
    assert calls == []

{library}.run(main{options})
"""

ANYIO_ON_ASYNCIO = """
import anyio, chatcache
cache = chatcache.ResponseCache("shop", path="store")
answers, calls = [], []

async def call(request):
    calls.append(request)
    await anyio.sleep(0.1)
    return "a"

async def ask():
    answers.append(await cache.acall("q", call))

async def main():
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    with anyio.move_on_after(0.01) as scope:
        await cache.acall("slow", call)
    assert scope.cancelled_caught

anyio.run(main)
assert (answers, calls) == (["a"] * 5, ["q", "slow"])
"""

PROGRAMS = {
    "gevent": GEVENT,
    "gevent without patches": GREENLETS,
    "gevent patched late": PATCHED_LATE,
    "eventlet": EVENTLET,
    "eventlet without threads": EVENTLET_WITHOUT_THREADS,
    "trio": TRIO.format(library="trio", options=""),
    "anyio on trio": TRIO.format(library="anyio", options=", backend='trio'"),
    "anyio on asyncio": ANYIO_ON_ASYNCIO,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_concurrency_library_works_or_is_refused_at_once(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAMS[name]]
    # the resolver of eventlet and trio cannot be in one process
    environment = {**os.environ, "EVENTLET_NO_GREENDNS": "yes"}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ("refused\n" if name in {"eventlet", "gevent patched late"} else "")
    assert ended.stderr == ""

"""A program that leaves things unread, held or unfinished ends at once, and says nothing about it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG, PATIENT

PROGRAMS = {
    "an unread stream": """
        chunks = cache.stream("q", lambda _: iter(["a", "b"]))
        next(chunks)
    """,
    "a stream that nobody began to read": """
        chunks = cache.stream("q", lambda _: iter(["a", "b"]))
    """,
    "an unread stream in a reference cycle": """
        class Holder: pass
        holder = Holder()
        holder.own, holder.cache = holder, cache
        holder.chunks = cache.stream("q", lambda _: iter(["a", "b"]))
        next(holder.chunks)
    """,
    "two readers of one stream": """
        readers = [cache.stream("q", lambda _: iter(["a", "b"])) for _ in range(2)]
        for each in readers: next(each)
    """,
    "an unread stream of an iterator that never ends": """
        chunks = cache.stream("q", lambda _: itertools.count())
        next(chunks)
    """,
    "an unread stream in another thread": """
        read = threading.Event()
        def reader():
            chunks = cache.stream("q", lambda _: iter(["a", "b"]))
            next(chunks)
            read.set()
            threading.Event().wait()
        threading.Thread(target=reader, daemon=True).start()
        read.wait()
    """,
    "an unread awaited stream whose loop was closed": """
        async def source(_):
            yield "a"
            yield "b"
        async def main():
            global chunks
            chunks = cache.astream("q", source)
            await anext(chunks)
        asyncio.run(main())
    """,
    "an unread awaited stream whose loop was left open": """
        async def source(_):
            yield "a"
            await asyncio.sleep(1000)
        async def main():
            global chunks
            chunks = cache.astream("q", source)
            await anext(chunks)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
    """,
    "an awaited stream of a blocking iterator": """
        async def main():
            global chunks
            chunks = cache.astream("q", lambda _: iter(["a", "b"]))
            await anext(chunks)
        asyncio.run(main())
    """,
    "a leader that was not told how its call ended": """
        key = chatcache.request_key("q")
        assert cache.lookup(key, "q", lambda hit: hit.answer) is None
        leader = cache.lead(key, lambda hit: hit.answer)
    """,
    "a loop that runs in a daemon thread": """
        asked = threading.Event()
        async def call(_):
            asked.set()
            await asyncio.sleep(1000)
        threading.Thread(target=lambda: asyncio.run(cache.acall("q", call)), daemon=True).start()
        asked.wait()
    """,
    "a call in a daemon thread": """
        asked = threading.Event()
        def call(_):
            asked.set()
            threading.Event().wait()
        threading.Thread(target=lambda: cache.call("q", call), daemon=True).start()
        asked.wait()
    """,
    "a call within an exit handler": """
        import atexit
        atexit.register(lambda: print(cache.call("q", lambda _: "a")))
    """,
    "an alarm that is set within an exit handler": """
        import atexit
        namespace = chatcache.ObjectNamespace("more", alarm=lambda thing, alarm: None)
        storage = namespace.get_by_name("thing").storage
        atexit.register(storage.set_alarm, 4e9)
    """,
}

BEGIN = """
import asyncio, gc, itertools, threading
import chatcache
cache = chatcache.ResponseCache("shop", path="store")
cache.call("before", lambda _: "a")
"""


def run(folder: Path, program: str, begin: str = BEGIN) -> subprocess.CompletedProcess[str]:
    code = PATIENT + begin + "\n".join(line.removeprefix("        ") for line in program.splitlines())
    command = [sys.executable, "-X", "dev", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANG, check=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_although_it_leaves(name: str, tmp_path: Path) -> None:
    ended = run(tmp_path, PROGRAMS[name])
    assert ended.stderr == ""
    assert ended.returncode == 0


@pytest.mark.parametrize("use", ['cache.call("q", lambda _: "a")', 'next(cache.stream("q", lambda _: iter("a")))'])
def test_a_finalizer_gets_an_answer_when_the_program_has_ended(use: str, tmp_path: Path) -> None:
    program = f"""
        class Holder:
            def __init__(self, cache): self.cache = cache
            def __del__(self, write=sys.stdout.write): write((lambda cache: {use})(self.cache))
        holder = Holder(cache)
    """
    ended = run(tmp_path, "import sys" + program)
    assert (ended.returncode, ended.stdout) == (0, "a")
    assert "the program has ended" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_cache_can_be_closed_when_its_files_were(tmp_path: Path) -> None:
    """Exit handlers run in reverse order: this one after that which closes the files."""
    before = "import atexit, sys; atexit.register(lambda: cache.close())\n"
    ended = run(tmp_path, "", begin=before + BEGIN)
    assert ended.stderr == ""
    assert ended.returncode == 0


LEADER = """
import sys, time
from chatcache import ResponseCache
def chunks(_):
    for number in range(1_000_000):
        yield number
        time.sleep(0.01)
for chunk in ResponseCache("shop", path="store").stream("q", chunks):
    print(chunk, flush=True)
"""

FOLLOWERS = {
    "blocking": """
        chunks = cache.stream("q", lambda _: iter(["mine"]))
        print(next(chunks))
    """,
    "awaited": """
        async def mine(_):
            yield "mine"
        async def main():
            global chunks
            chunks = cache.astream("q", mine)
            print(await anext(chunks))
        asyncio.run(main())
    """,
    "in another thread": """
        read = threading.Event()
        def reader():
            for chunk in cache.stream("q", lambda _: iter(["mine"])):
                if not read.is_set():
                    print(chunk)
                read.set()
        threading.Thread(target=reader, daemon=True).start()
        read.wait()
    """,
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_program_ends_although_it_follows_a_stream_of_another_process(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEADER]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as leader:
        try:
            assert leader.stdout is not None
            assert leader.stdout.readline() == "0\n"
            ended = run(tmp_path, FOLLOWERS[name])
        finally:
            leader.kill()
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")

"""A program that leaves things unread, held or unfinished ends at once, and says nothing about it."""

import subprocess
import sys
from pathlib import Path

import pytest

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
    "a call within a finalizer": """
        class Holder:
            def __init__(self, cache): self.cache = cache
            def __del__(self): self.cache.call("q", lambda _: "a")
        holder = Holder(cache)
    """,
    "a stream within a finalizer": """
        class Holder:
            def __init__(self, cache): self.cache = cache
            def __del__(self): next(self.cache.stream("q", lambda _: iter(["a", "b"])))
        holder = Holder(cache)
    """,
    "an alarm that is set within an exit handler": """
        import atexit
        class Alarmed(chatcache.DurableObject):
            def alarm(self, alarm): pass
        storage = chatcache.ObjectNamespace("more", handler=Alarmed).get_by_name("thing").storage
        atexit.register(storage.set_alarm, 1e12)
    """,
}

BEGIN = """
import asyncio, gc, itertools, threading
import chatcache
cache = chatcache.ResponseCache("shop", path="store")
cache.call("before", lambda _: "a")
"""


def run(folder: Path, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    code = BEGIN + "\n".join(line.removeprefix("        ") for line in program.splitlines())
    command = [sys.executable, "-X", "dev", *options, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_although_it_leaves(name: str, tmp_path: Path) -> None:
    ended = run(tmp_path, PROGRAMS[name])
    assert (ended.returncode, ended.stderr) == (0, "")

"""Forks: nothing is lost, nothing hangs, and what cannot go on says so, in the parent and in the child."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")


def run(program: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", "-c", program, str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG)
    return done.returncode, done.stdout, done.stderr


FORKED = """
import asyncio, os, sys, threading
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
async def durably(key, value):
    await storage.aput(key, value)
    await storage.aflush()
asyncio.run(durably("parent", 0))
stop = threading.Event()
def write():
    while not stop.is_set():
        storage.put("thread", 1)
thread = threading.Thread(target=write)
thread.start()
for child in range(10):
    if os.fork() == 0:
        assert storage.get("parent") == 0
        storage.put(f"child {child}", child)
        asyncio.run(durably(f"child {child} awaiting", child))
        os._exit(0)
print({os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(10)})
stop.set()
thread.join()
print(len(storage.list()))
"""


def test_a_forked_child_has_connections_of_its_own(tmp_path: Path) -> None:
    assert run(FORKED, tmp_path) == (0, "{0}\n22\n", "")


FORKED_THEN_CLOSED = """
import os, sys
from chatcache import ObjectNamespace
def open_one(): return ObjectNamespace(sys.argv[1]).get_by_name("thing")
thing = open_one()
thing.storage.put("parent", 0)
begin, go = os.pipe()
children = []
for child in range(2):
    pid = os.fork()
    if pid == 0:
        thing.storage.put(f"{child} first", 0)
        os.read(begin, 1)
        for number in range(30):
            thing.storage.put(f"{child} {number}", number)
        os._exit(0)
    children.append(pid)
thing.close()
for _ in range(20):  # as other programs would: the last to close a file takes its WAL away
    other = open_one()
    other.storage.get("parent")
    other.close()
os.write(go, b"xx")
print([os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in children])
print(len(open_one().storage.list()))
"""


def test_a_forked_child_loses_nothing_when_its_parent_closes(tmp_path: Path) -> None:
    assert run(FORKED_THEN_CLOSED, tmp_path) == (0, "[0, 0]\n63\n", "")


FORKERS = """
import os, sys, threading
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1], durability="normal")
things = [namespace.get_by_name(str(number)) for number in range(10)]
def fork():
    for number in range(20):
        things[number % 10].storage.put("key", number)
        if os.fork() == 0:
            os._exit(things[0].storage.get("key") is None)
        assert os.wait()[1] == 0
threads = [threading.Thread(target=fork) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_two_threads_fork_at_once(tmp_path: Path) -> None:
    assert run(FORKERS, tmp_path) == (0, "", "")


FORKS = """
import asyncio, os, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
storage.put("before", 1)
def child():
    assert storage.get("before") == 1
    storage.put("child", 1)
    os._exit(0)
async def main():
    await storage.aput("sealed", 1)
    await asyncio.sleep(0)
    await storage.aput("open", 1)
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        child()
    await storage.aput("open still", 1)
    await storage.aflush()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
asyncio.run(main())
print(sorted(storage.list()))
"""


def test_a_fork_with_turns_open_leaves_them_to_the_parent(tmp_path: Path) -> None:
    assert run(FORKS, tmp_path) == (0, "['before', 'child', 'open', 'open still', 'sealed']\n", "")


BESIDE = """
import asyncio, faulthandler, os, sys, threading, time
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1], alarm=lambda thing, alarm: None, durability="normal", timeout=100)
things = [namespace.get_by_name(str(number)) for number in range(60)]
for thing in things: thing.storage.put("key", 1)
stop = threading.Event()
def alarms():
    while not stop.is_set():
        things[0].storage.set_alarm(time.time() + 1000)
async def listings():
    while not stop.is_set():
        for thing in things: assert await thing.storage.alist() != {}
working = {"alarms": alarms, "listings": lambda: asyncio.run(listings())}[sys.argv[2]]
threads = [threading.Thread(target=working) for _ in range(2)]
for thread in threads: thread.start()
time.sleep(0.2)
for number in range(60):
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(300, exit=True)
        things[number].storage.put("child", 1)
        things[number].storage.set_alarm(time.time() + 1000)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
for thread in threads: thread.join()
print(sum(thing.storage.get("child") for thing in things))
"""


@pytest.mark.parametrize("working", ["alarms", "listings"])
def test_a_child_does_not_wait_for_what_its_parent_was_about(working: str, tmp_path: Path) -> None:
    assert run(BESIDE, tmp_path, working) == (0, "60\n", "")


SQL = """
import asyncio, os, sys
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
async def main():
    storage.sql.exec("CREATE TABLE t(a)")
    await storage.aput("key", 1)
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    await storage.aflush()
asyncio.run(main())
print(storage.get("key"), storage.sql.exec("SELECT count(*) FROM t").to_list())
"""


def test_a_fork_in_a_turn_in_which_sql_wrote_loses_nothing_of_it(tmp_path: Path) -> None:
    assert run(SQL, tmp_path) == (0, "1 [{'count(*)': 0}]\n", "")


ANOTHERS = """
import os, sys, threading, time
from chatcache import ObjectNamespace
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
begun = threading.Event()
def body(transaction):
    transaction.put("first", 1)
    begun.set()
    time.sleep(0.3)
    transaction.put("second", 2)
thread = threading.Thread(target=storage.transaction, args=(body,))
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    assert storage.list() == {"first": 1, "second": 2}
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), storage.list())
"""


def test_a_fork_waits_for_the_transaction_of_another_thread(tmp_path: Path) -> None:
    assert run(ANOTHERS, tmp_path) == (0, "0 {'first': 1, 'second': 2}\n", "")


OWN = """
import os, sys
from chatcache import ObjectNamespace, TransactionError
storage = ObjectNamespace(sys.argv[1]).get_by_name("thing").storage
def told(call):
    try:
        call()
    except TransactionError as error:
        return "forked" in str(error)
def body(transaction):
    transaction.put("key", 1)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if told(lambda: transaction.put("child", 1)) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), told(lambda: transaction.get("key")))
print(told(lambda: storage.transaction(body)), storage.list())
storage.put("after", 1)
print(storage.list())
"""


def test_a_fork_within_a_transaction_ends_it_and_both_processes_are_told(tmp_path: Path) -> None:
    assert run(OWN, tmp_path) == (0, "0 True\nTrue {}\n{'after': 1}\n", "")


LEFT_READER = """
import asyncio, os, sys
from chatcache import ObjectNamespace
thing = ObjectNamespace(sys.argv[1]).get_by_name("thing")
thing.storage.put_many({f"{number:05}": "x" * 100 for number in range(20_000)})
begin, go = os.pipe()
async def main():
    listing = asyncio.create_task(thing.storage.alist())
    while not any(reader._connection for reader, _ in thing._turns._loops._values.values()):
        await asyncio.sleep(0)
    thing.close()  # while the listing is read
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        thing.storage.put("first", 0)
        os.read(begin, 1)
        for number in range(30):
            thing.storage.put(f"then {number}", number)
        os._exit(0)
    assert len(await listing) == 20_000
    return pid
pid = asyncio.run(main())
thing.close()
for _ in range(20):  # as other programs would: the last to close a file takes its WAL away
    other = ObjectNamespace(sys.argv[1]).get_by_name("thing")
    other.storage.get("first")
    other.close()
os.write(go, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), len(thing.storage.list(start="a")))
"""


def test_a_child_has_no_part_in_a_long_read_that_was_under_way(tmp_path: Path) -> None:
    assert run(LEFT_READER, tmp_path) == (0, "0 31\n", "")


TWO_OBJECTS = """
import os, sys, threading, time
from chatcache import ObjectNamespace
namespace = ObjectNamespace(sys.argv[1], timeout=20)
one, two = (namespace.get_by_name(name).storage for name in ("one", "two"))
def forks_while(outer, inner):
    begun = threading.Event()
    def body(transaction):
        transaction.put("key", 1)
        begun.set()
        time.sleep(0.2)
        inner.put("key", 1)
    thread = threading.Thread(target=outer.transaction, args=(body,))
    thread.start()
    begun.wait()
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    thread.join()
forks_while(one, two)
forks_while(two, one)
print(one.list(), two.list())
"""


def test_a_fork_lets_a_transaction_go_on_that_writes_to_another_object(tmp_path: Path) -> None:
    assert run(TWO_OBJECTS, tmp_path) == (0, "{'key': 1} {'key': 1}\n", "")


INHERITED = """
import gc, os, sys
from chatcache import ObjectNamespace
things = [ObjectNamespace(sys.argv[1]).get_by_name(str(number)) for number in range(60)]
for thing in things: thing.storage.put("key", 1)
pid = os.fork()
if pid == 0:
    things.clear()  # had each to wait a second for a lock of the parent's, this test would not end in time
    gc.collect()
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_drops_what_it_inherited_without_waiting(tmp_path: Path) -> None:
    assert run(INHERITED, tmp_path) == (0, "0\n", "")


FORKED_WITHIN = """
import asyncio, os, sys
from chatcache import ResponseCache, request_key
form = sys.argv[2]
request = {"q": 1}
cache = ResponseCache("s", path=sys.argv[1])
def lead(): return cache.lead(request_key(request), lambda hit: hit.answer)
def child():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.events._set_running_loop(None)
        if form == "hook":
            lead()
            answer = "child"
        elif "stream" in form:
            (answer,) = cache.stream(request, lambda _: ["child"])
        else:
            answer = cache.call(request, lambda _: "child")
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        answer = told.read()
    os.waitpid(pid, 0)
    return answer
async def achild(): return child()
async def aitems(): yield child()
async def collect(): return [chunk async for chunk in cache.astream(request, lambda _: aitems())]
match form:
    case "call": print(cache.call(request, lambda _: child()))
    case "acall": print(asyncio.run(cache.acall(request, lambda _: achild())))
    case "stream": print(*cache.stream(request, lambda _: (child() for _ in range(1))))
    case "astream": print(*asyncio.run(collect()))
    case "hook":
        leader = lead()
        print(child())
        leader.give_up()
"""


@pytest.mark.parametrize("form", ["call", "acall", "stream", "astream", "hook"])
def test_a_child_that_is_forked_within_a_call_does_not_wait_for_its_parent(tmp_path: Path, form: str) -> None:
    assert run(FORKED_WITHIN, tmp_path, form) == (0, "child\n", "")

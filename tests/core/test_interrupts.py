"""A Ctrl-C at whatever moment: who asked is told, and everybody else goes on.

An interrupt comes to the main thread only, so that the tests run there, and send it themselves.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chatcache import ObjectNamespace, ResponseCache

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),  # it was interrupted before it began
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # within a finalizer
]

INTERRUPTS = 150


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def do(work: Callable[[], object], until: float) -> None:
    # a function of its own: in CPython 3.13.0 the jump back of a `while` is outside of the `try` that is around it
    while time.monotonic() < until:
        work()


def interrupted(work: Callable[[], object], longest: float, seed: int) -> Iterator[None]:
    """Do some work again and again, interrupted at another moment each time; go on after each interrupt."""
    random = Random(seed)  # noqa: S311
    for _ in range(INTERRUPTS):
        late = time.monotonic() + 0.1  # one that comes within a finalizer is not heard of
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00005, longest))
            do(work, late)
            signal.setitimer(signal.ITIMER_REAL, 0)  # a busy machine may come here before the timer goes off
        except KeyboardInterrupt:
            pass
        yield


def in_a_thread(work: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(4)  # less than anybody waits for a lock or a lease
    assert results, "it hangs"
    return results[0]


@pytest.mark.parametrize("streams", [False, True])
def test_an_interrupted_call_holds_nobody_up(tmp_path: Path, streams: bool) -> None:  # noqa: FBT001 - a parameter
    cache = ResponseCache("shop", path=tmp_path)
    asked = 0

    def ask() -> Any:
        nonlocal asked
        asked += 1
        return answer(asked)

    def answer(number: int) -> Any:
        if streams:
            return [*cache.stream({"q": number}, lambda _: ["a", "b"])]
        return cache.call({"q": number}, lambda _: "a")

    ask()
    for _ in interrupted(ask, 0.003, seed=1):
        assert in_a_thread(lambda: answer(asked)) == (["a", "b"] if streams else "a")
    assert cache._sharing.flights._flights == {}


def test_an_interrupted_write_holds_nobody_up(tmp_path: Path) -> None:
    storage = ObjectNamespace(tmp_path, durability="normal").get_by_name("thing").storage
    storage.put("key", 0)
    written = 0

    def write() -> None:
        nonlocal written
        storage.put("key", written + 1)
        written += 1

    def write_more() -> Any:
        storage.put("other", written)
        return storage.transaction(lambda inner: (inner.get("key"), inner.get("other")))

    for _ in interrupted(write, 0.001, seed=2):
        key, other = in_a_thread(write_more)
        assert key in {written, written + 1}
        assert other == written

"""An exception that a signal handler raises belongs to the caller, whatever our code does with exceptions there."""

import functools
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import FrameType, GeneratorType
from typing import Any
from unittest.mock import Mock

import pytest

from chatcache import Leader, ObjectNamespace, ResponseCache, request_key
from chatcache.interrupts import interrupt_of, raise_interrupt, suppress

PLACES = 100  # of one kind of call

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")


class OutOfTimeError(Exception):
    """What a task queue raises in a handler."""


class Limit:
    """A handler with state, as RQ's."""

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self._expire()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self._expire()

    def _expire(self) -> None:
        raise OutOfTimeError


def handler(signum: int, frame: FrameType | None) -> None:
    raise OutOfTimeError


def timeout(*_args: object) -> None:
    raise TimeoutError("out of time")


def reset(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise OutOfTimeError


def configured(limit: int, signum: int, frame: FrameType | None, *, name: str = "") -> None:
    raise OutOfTimeError(limit)


HANDLERS: dict[str, Callable[[int, FrameType | None], Any]] = {
    "function": handler,
    "variadic": timeout,
    "lambda": lambda _signum, _frame: timeout(),
    "method": Limit().handle,
    "object": Limit(),
    "partial": functools.partial(configured, 3, name="x"),
    "mock": Mock(side_effect=OutOfTimeError),
    "one that resets itself": reset,
}


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def raised_by(work: Callable[[], Any]) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its class is what is asked
        work()
    return raised.value


@pytest.mark.parametrize("name", HANDLERS)
def test_the_exception_of_a_signal_handler_is_recognized(name: str) -> None:
    signal.signal(signal.SIGUSR1, HANDLERS[name])
    error = raised_by(lambda: signal.raise_signal(signal.SIGUSR1))
    assert interrupt_of(error) is error
    with pytest.raises(type(error)) as again:
        raise_interrupt(error)
    assert again.value is error


def test_the_exception_of_a_signal_handler_is_found_behind_the_error_it_became() -> None:
    signal.signal(signal.SIGUSR1, timeout)

    def convert() -> None:
        try:
            signal.raise_signal(signal.SIGUSR1)
        except OSError as error:
            raise sqlite3.OperationalError("unable to open") from error

    error = raised_by(convert)
    assert interrupt_of(error) is error.__cause__


def test_other_exceptions_are_not_taken_for_a_signal_handlers() -> None:
    def fail(number: int, frame: object) -> None:
        raise OutOfTimeError(number, frame)

    assert interrupt_of(None) is None
    assert interrupt_of(OutOfTimeError()) is None
    error = raised_by(lambda: fail(1, None))
    assert interrupt_of(error) is None
    raise_interrupt(error)


def test_an_error_within_a_signal_handler_s_own_try_is_not_the_callers() -> None:
    """A handler may call whatever it likes, and catch what that raises."""
    caught: list[Exception] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        try:
            timeout()
        except TimeoutError as error:
            caught.append(error)

    signal.signal(signal.SIGUSR1, handle)
    signal.raise_signal(signal.SIGUSR1)
    assert interrupt_of(caught[0]) is None


def test_only_the_exceptions_of_signal_handlers_are_not_suppressed() -> None:
    signal.signal(signal.SIGUSR1, timeout)
    with suppress(OSError):
        raise TimeoutError
    with pytest.raises(TimeoutError), suppress(OSError):
        signal.raise_signal(signal.SIGUSR1)
    with pytest.raises(ValueError, match="x"), suppress(OSError):
        raise ValueError("x")


class Interruption:
    """One exception of a signal handler, at the nth place of a program at which Python calls signal handlers.

    Those are the beginnings of Python functions and the ends of built-in ones, which a profiler is told of too.
    """

    def __init__(self, place: int | None) -> None:
        self._place = place
        self.passed = 0
        self.raised = False

    def over(self, work: Callable[[], object]) -> None:
        sys.setprofile(self._profile)
        try:
            work()
        finally:
            sys.setprofile(None)

    def _profile(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_return"}:
            self.passed += 1
            if self.passed == self._place:
                self.raised = True
                sys.setprofile(None)
                signal.raise_signal(signal.SIGUSR1)


def in_a_thread(work: Callable[[], object]) -> None:
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(work()), daemon=True)
    thread.start()
    thread.join(30)
    assert done, "it hangs, or failed"


def calls(folder: Path) -> Iterator[Callable[[], object]]:
    cache, numbers = ResponseCache("shop", path=folder), count()
    cache.call("hit", lambda _: "a")
    yield lambda: cache.call("hit", lambda _: "b")
    yield lambda: cache.call({"q": next(numbers)}, lambda _: "a")
    yield lambda: [*cache.stream({"q": next(numbers)}, lambda _: ["a", "b"])]

    def hook() -> None:
        request = {"hook": next(numbers)}
        key = request_key(request)
        if cache.lookup(key, request, lambda hit: hit.answer) is None:
            leader = cache.lead(key, lambda hit: hit.answer)
            cache.update(key, "a", leader=leader if isinstance(leader, Leader) else None)

    yield hook

    def save() -> None:
        cache.call("hit", lambda _: "b")
        assert cache._own_counts.save()

    yield save


def storages(folder: Path) -> Iterator[Callable[[], object]]:
    storage, numbers = ObjectNamespace(folder).get_by_name("thing").storage, count()
    storage.sql.exec("CREATE TABLE number (it)")
    yield lambda: storage.put("key", next(numbers))
    yield lambda: storage.transaction(lambda inner: inner.put("key", next(numbers)))
    yield lambda: storage.get("key")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # it was interrupted before it began
@pytest.mark.parametrize("handle", [handler, timeout])
@pytest.mark.parametrize("works", [calls, storages])
def test_the_exception_of_a_signal_handler_reaches_the_caller_and_leaves_nothing_locked(
    tmp_path: Path,
    works: Callable[[Path], Iterator[Callable[[], object]]],
    handle: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lost.append)
    signal.signal(signal.SIGUSR1, handle)
    for work in works(tmp_path):
        work()
        whole = Interruption(None)
        whole.over(work)
        for place in range(1, whole.passed + 1, 1 + whole.passed // PLACES):
            lost.clear()
            interruption = Interruption(place)
            try:
                interruption.over(work)
            except (OutOfTimeError, TimeoutError):
                pass
            else:  # the end of a generator that is dropped is no such place, but the profiler says so
                assert not interruption.raised or isinstance(lost[0].object, GeneratorType), place
            in_a_thread(work)


def waits(cache: ResponseCache) -> bool:
    """Return whether somebody waits for the call or the stream of another caller."""
    flights, streams = cache._sharing.flights._flights.values(), cache._sharing.broadcasts._streams.values()
    return any(flight.over._bells for flight in flights) or any(len(stream.readers) > 1 for stream in streams)


@pytest.mark.parametrize("streams", [False, True])
def test_a_call_that_a_signal_handler_stops_is_made_by_another_caller(tmp_path: Path, streams: bool) -> None:  # noqa: FBT001 - a parameter
    """The exception is the caller's alone: neither a waiter gets it, nor a record of a failure."""
    cache = ResponseCache("shop", path=tmp_path)
    signal.signal(signal.SIGUSR1, timeout)
    answers: list[Any] = []

    def ask(fn: Callable[[Any], Any]) -> Any:
        return [*cache.stream("q", fn)] if streams else cache.call("q", fn)

    follower = threading.Thread(target=lambda: answers.append(ask(lambda _: ["a"])), daemon=True)

    def led(_request: Any) -> Any:
        follower.start()
        while not waits(cache):
            time.sleep(0.001)
        signal.raise_signal(signal.SIGUSR1)
        return "b"

    with pytest.raises(TimeoutError):
        ask(led)
    follower.join(60)
    assert answers == [["a"]]


IMPORTS = """
import sys, threading
from chatcache import ResponseCache

class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            print(name)

cache = ResponseCache("store", path=sys.argv[1])
sys.meta_path.insert(0, Finder())
cache.call("request", lambda _: "answer")
cache.stats()
sys.meta_path.pop(0)
"""


def test_a_call_imports_nothing_where_a_signal_handler_could_leave_the_lock_of_an_import_taken(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")

"""An exception that a signal handler raises belongs to the caller, whatever our code does with exceptions there."""

import functools
import signal
import sqlite3
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest

from chatcache._bridge import interrupt_of, raise_interrupt, suppress

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

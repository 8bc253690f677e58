"""Exceptions of signal handlers, such as Celery's soft time limit or a timeout decorator: they belong to the caller.

Python calls a signal handler wherever the main thread happens to be, so its exception surfaces in the middle of our
code and may be of any class: `TimeoutError` is an `OSError`, as a failing disk's is. Every ``except`` clause that turns
errors into something else therefore calls `raise_interrupt`, and `suppress` replaces that of `contextlib`.
"""

import contextlib
import inspect
from itertools import pairwise
from types import FrameType, TracebackType
from typing import Any

__all__ = ["interrupt_of", "is_interrupt", "raise_interrupt", "suppress"]


def interrupt_of(error: BaseException | None) -> BaseException | None:
    """Return the exception of a signal handler that an error is, or was raised from; None if there is none."""
    while error is not None and not _passed_a_handler(error.__traceback__):
        error = error.__cause__
    return error


def is_interrupt(error: BaseException) -> bool:
    """Return whether an exception stops its caller and says nothing about the call.

    Those are the exceptions of signal handlers, and all that are no `Exception`: `KeyboardInterrupt`, a cancellation.
    Callers that wait for the same answer never get them.
    """
    return not isinstance(error, Exception) or _passed_a_handler(error.__traceback__)


def raise_interrupt(error: BaseException) -> None:
    """Raise the exception of a signal handler if an error is one, or was raised from one.

    Every ``except`` clause that turns the errors of a cache into something else calls this first.
    """
    interrupt = interrupt_of(error)
    if interrupt is not None:
        raise interrupt


class suppress(contextlib.suppress):  # noqa: N801 - a drop-in replacement
    """Suppress exceptions of some classes, except those of signal handlers."""

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Return whether the exception ends here."""
        return super().__exit__(type_, error, traceback) is True and interrupt_of(error) is None


def _passed_a_handler(traceback: TracebackType | None) -> bool:
    while traceback is not None and traceback.tb_next is not None:
        if _handles_a_signal(traceback.tb_next.tb_frame, traceback.tb_frame):
            return True
        traceback = traceback.tb_next
    return False


def _handles_a_signal(frame: FrameType, interrupted: FrameType) -> bool:
    """Return whether a frame is a signal handler's: only that is passed a number and the frame it interrupted."""
    return any(isinstance(number, int) and value is interrupted for number, value in pairwise(_arguments(frame)))


def _arguments(frame: FrameType) -> list[Any]:
    """Return the positional arguments of a frame's function, None for each that it deleted."""
    code, values = frame.f_code, frame.f_locals
    named = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if not code.co_flags & inspect.CO_VARARGS:
        return named
    return [*named, *values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ())]

"""A gate before a provider of this machine: its requests wait until the gate is opened, and may be refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from threading import Event, Lock
from typing import Any

from tests.waiting import HANG

__all__ = ["Gate", "gate"]


class Gate:
    """What waits before a provider, so that a test knows what is under way at once, whatever time it takes.

    Attributes:
        arrived: how many requests came.
        refusals: the statuses that the next ones are refused with, instead of being answered.
        opened: whether requests pass.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self.refusals: list[int] = []
        self.opened = Event()
        self._lock = Lock()

    def arrive(self) -> int | None:
        """Wait, and return the status that a request is refused with, if it is."""
        with self._lock:
            self.arrived += 1
            refusal = self.refusals.pop(0) if self.refusals else None
        self.opened.wait(HANG)
        return refusal


@contextmanager
def gate(server: ThreadingHTTPServer) -> Iterator[Gate]:
    """Put a gate before a provider."""
    placed = Gate()
    handler: Any = server.RequestHandlerClass

    class Guarded(handler):  # type: ignore[misc]  # whatever handler the provider has
        def do_POST(self) -> None:  # noqa: N802 - what its base class calls it
            status = placed.arrive()
            if status is None:
                super().do_POST()
            else:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_error(status, "refused")

    server.RequestHandlerClass = Guarded
    try:
        yield placed
    finally:
        placed.opened.set()
        server.RequestHandlerClass = handler

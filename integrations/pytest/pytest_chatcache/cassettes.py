"""Cassettes of vcrpy that answer in the place of a provider, while a suite moves from them to bundles.

The tests open them by pytest-recording, pytest-vcr or vcrpy itself, as before. This module makes them read-only: a
cassette answers the requests that it holds, refuses others, and is never written. The plugin records the calls as it
does with a provider. A cassette that answers nothing while all calls are replayed is no longer needed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chatcache.recording import recorded_at, request_line

__all__ = ["Cassettes", "Opened"]

_STEP = 0.001  # seconds between two answers of one second, to which a header rounds: it keeps the order of the calls


@dataclass(slots=True)
class Opened:
    """A cassette that was opened.

    Attributes:
        path: its file.
        requests: the requests that it holds, as `chatcache.recording.request_line` names them.
        answered: those of them that it answered.
        nodes: the ids of the tests that opened it, or that it answered.
    """

    path: str
    requests: list[str]
    answered: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)

    def note(self, node: str) -> None:
        """Note that a test has to do with it."""
        if node not in self.nodes:
            self.nodes.append(node)


class Cassettes:
    """Watches the cassettes that tests open, and makes them read-only.

    Attributes:
        opened: those that were opened, each time.
    """

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self._node = "the collection of tests"
        self._answered_at: float | None = None
        self._restore: Callable[[], None] | None = None

    def begin(self) -> None:
        """Open every cassette only to be read, from now on.

        Raises:
            pytest.UsageError: vcrpy is not installed.
        """
        try:
            from vcr.cassette import Cassette
            from vcr.record_mode import RecordMode
        except ImportError as error:
            raise pytest.UsageError("--chatcache-from-cassettes needs vcrpy: pip install vcrpy") from error
        load = Cassette.__dict__["load"]

        def load_to_read(kind: Any, /, **arguments: Any) -> Any:
            cassette = load.__get__(None, kind)(**arguments)
            cassette.record_mode = RecordMode.NONE
            cassette.drop_unused_requests = False  # or closing it would delete what was not asked for
            self._watch(cassette)
            return cassette

        Cassette.load = classmethod(load_to_read)
        self._restore = lambda: setattr(Cassette, "load", load)

    def end(self) -> None:
        """Leave cassettes alone again."""
        if self._restore is not None:
            self._restore()
            self._restore = None

    def begin_test(self, node: str) -> None:
        """Note which test runs now."""
        self._node, self._answered_at = node, None

    def dated(self, clock: Callable[[], float]) -> Callable[[], float]:
        """Return a clock that gives the ``Date`` of the last answer to the running test, or else another's time."""
        return lambda: clock() if self._answered_at is None else self._answered_at

    def _watch(self, cassette: Any) -> None:
        files = [cassette._path, *getattr(cassette._persister, "extra_paths", ())]  # noqa: SLF001 - there is no other way
        requests = [request_line(request.method, request.uri) for request in cassette.requests]
        opened = [Opened(str(Path(file).absolute()), requests) for file in files if Path(file).exists()]
        for each in opened:
            each.note(self._node)
        self.opened += opened
        play = cassette.play_response

        def play_response(request: Any) -> Any:
            before = cassette.play_counts.copy()
            response = play(request)
            answered = [requests[index] for index in cassette.play_counts - before]
            for each in opened:
                each.answered += answered
                each.note(self._node)
            at = recorded_at({"response": response})
            if at is not None:
                self._answered_at = max(at, (self._answered_at or 0) + _STEP)
            return response

        cassette.play_response = play_response

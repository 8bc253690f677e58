"""workerd, the runtime of Cloudflare's Workers, with a Durable Object that repeats one operation for many keys.

What an operation takes is the time of a whole request, divided by the number of its keys: workerd's own clock stands
still while a Worker computes. `tests/differential/fetch.py` brings the program.
"""

import atexit
import http.client
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from .answers import COUNT, answer, key
from .measure import AbsentError

__all__ = ["Workerd", "workerd"]

_PROGRAMS = Path(__file__).parents[3] / "build" / "workerd"
_CONFIG = Path(__file__).parent / "worker" / "config.capnp"
_AT_A_TIME = 5_000


class Workerd:
    """A running workerd."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def time(self, operation: str, keys: Sequence[str]) -> float:
        """Do an operation for each of some keys; return the mean of the µs that one took."""
        body = json.dumps({"operation": operation, "keys": keys, "value": answer(0)})
        self._connection.close()  # one that nobody used for a while is closed by workerd
        self._connection.connect()
        began = perf_counter()
        self._connection.request("POST", "/", body)
        response = self._connection.getresponse()
        said = response.read()
        took = perf_counter() - began
        assert response.status == http.HTTPStatus.OK, said
        return took / len(keys) * 1e6


@cache
def workerd() -> Workerd:
    """Return one whose object holds as many answers as ours. It runs until the program ends.

    Raises:
        AbsentError: the program is not there.
    """
    programs = sorted(_PROGRAMS.glob("*/package/bin/workerd"))
    if not programs:
        raise AbsentError("no workerd")
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    folder = until_the_end.enter_context(TemporaryDirectory(prefix="chatcache-bench-"))
    running = until_the_end.enter_context(_serving(programs[-1], folder))
    for start in range(0, COUNT, _AT_A_TIME):
        running.time("fill", [key(number) for number in range(start, start + _AT_A_TIME)])
    return running


@contextmanager
def _serving(program: Path, folder: str) -> Iterator[Workerd]:
    reading, writing = os.pipe()
    command = [str(program), "serve", str(_CONFIG), "config", f"--directory-path=storage={folder}"]
    command += ["--socket-addr=http=127.0.0.1:0", f"--control-fd={writing}"]
    with os.fdopen(reading) as control, subprocess.Popen(command, pass_fds=[writing]) as process:
        os.close(writing)
        try:
            port = json.loads(control.readline())["port"]  # it says so as soon as it listens, or ends
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                yield Workerd(connection)
        finally:
            process.terminate()

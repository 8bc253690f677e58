"""A running workerd, which runs scripts in Durable Objects. It needs no node, and asks nothing but this machine."""

import http.client
import json
import os
import resource
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.waiting import HANG

NAMESPACE, OTHER_NAMESPACE = "differential", "other.key-2"  # the unique keys in oracle/config.capnp

_CONFIG = Path(__file__).parent / "oracle" / "config.capnp"
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, http.client.CannotSendRequest)


class Workerd:
    """workerd with the oracle in it, from ``with`` to its end.

    Args:
        binary: the program.
        folder: an empty folder for the objects.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        self._command = [str(binary), "serve", str(_CONFIG), "config", f"--directory-path=storage={folder}"]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection = http.client.HTTPConnection("127.0.0.1")

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        with os.fdopen(reading) as control, _many_files():
            self._process = subprocess.Popen(
                [*self._command, "--socket-addr=http=127.0.0.1:0", f"--control-fd={writing}"], pass_fds=[writing]
            )
            os.close(writing)
            line = control.readline()  # it says so as soon as it listens, or ends
        if not line:
            raise RuntimeError(f"workerd ended with exit code {self._process.wait()}: {' '.join(self._command)}")
        self._connection = http.client.HTTPConnection("127.0.0.1", json.loads(line)["port"], timeout=HANG)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(HANG)

    def run(self, name: str, script: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run a script in the object of that name; return the results, one an operation."""
        results: list[dict[str, Any]] = self._post({"namespace": NAMESPACE, "object": name, "script": script})
        return results

    def ids(self, namespace: str, names: Iterable[str]) -> list[str]:
        """Return the ids of the objects of those names."""
        ids: list[str] = self._post({"namespace": namespace, "ids": list(names)})
        return ids

    def _post(self, message: Any) -> Any:
        body = json.dumps(message, allow_nan=False)
        try:
            return self._exchange(body)
        except _STALE:  # workerd closes a connection that nobody used for a while
            self._connection.close()
            return self._exchange(body)

    def _exchange(self, body: str) -> Any:
        self._connection.request("POST", "/", body)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the oracle failed with status {response.status}: {answer.decode()}\n{body}")
        return json.loads(answer)


@contextmanager
def _many_files() -> Iterator[None]:
    """Let what is started have as many files open as may be: an object keeps its own for 10 s after its last script."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

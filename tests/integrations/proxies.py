"""LiteLLM's proxy as a process of its own, with chatcache as the example has it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any

import httpx

from tests import warm
from tests.waiting import HANG, until

__all__ = ["EXAMPLE", "KEY", "KEYS", "Proxy", "starting", "with_keys"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "proxy" / "config.yaml"
KEY = "sk-only-on-this-machine"

KEYS: dict[str, dict[str, str]] = {
    "sk-ann": {"user_id": "ann", "team_id": "red", "org_id": "us"},
    "sk-ben": {"user_id": "ben", "team_id": "red", "org_id": "us"},
    "sk-cat": {"user_id": "ann", "org_id": "us"},
}
"""Keys of tenants, and whose they are. Keys that the proxy makes itself need its database."""

_AUTH = f"""
from litellm.proxy._types import UserAPIKeyAuth

KEYS = {KEYS!r}

async def user_api_key_auth(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, **KEYS.get(api_key, {{}}))
"""
_NOT_OURS = ("CHATCACHE_", "LITELLM_", "OPENAI_", "ANTHROPIC_", "DATABASE_", "REDIS_")
_NOWHERE = "http://127.0.0.1:9"  # nothing listens there: what is not on this machine is not reached


class Proxy:
    """A proxy that runs.

    Attributes:
        client: reaches it, with its master key, over a new connection each time.
    """

    def __init__(self, has_ended: Callable[[], bool], port: int, log: Path, workers: int) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Connection": "close"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=HANG, trust_env=False)
        self._has_ended = has_ended
        self._log = log
        self._workers = workers

    def wait(self) -> None:
        """Wait until all of its workers serve."""
        until(self._has_started)

    def _has_started(self) -> bool:
        log = self.log()
        if "Application startup failed." in log or self._has_ended():
            raise RuntimeError(f"the proxy does not start:\n{log}")
        has_bound = "Uvicorn running on" in log  # a single worker says so after its startup
        return has_bound and log.count("Application startup complete.") >= self._workers

    def log(self) -> str:
        """Return what it has printed."""
        return self._log.read_text()

    def workers(self) -> list[int]:
        """Return the ids of the processes that serve."""
        return [int(each) for each in re.findall(r"Started server process \[(\d+)\]", self.log())]

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Have only one of its workers serve."""
        others = [each for each in self.workers() if each != worker]
        for each in others:
            os.kill(each, signal.SIGSTOP)
        try:
            yield
        finally:
            for each in others:
                os.kill(each, signal.SIGCONT)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        """Ask it for something, and return the answer, whatever its status."""
        return self.client.post(path, json=body)


def with_keys(config: str, folder: Path) -> str:
    """Return a configuration of a proxy that also knows `KEYS`, beside a file that says so."""
    (folder / "keys.py").write_text(_AUTH)
    return config.replace("general_settings:\n", "general_settings:\n  custom_auth: keys.user_api_key_auth\n")


@contextmanager
def starting(config: str, folder: Path, *, workers: int = 1, **settings: str) -> Iterator[Proxy]:
    """Give a proxy that does not serve yet: see `Proxy.wait`. It ends with the block.

    Args:
        config: its configuration, as YAML.
        folder: where its records are.
        workers: how many processes are to serve.
        settings: further variables of its environment.
    """
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file, log = folder / f"{port}.yaml", folder / f"{port}.log"
    file.write_text(config)
    command = [
        str(Path(sys.executable).with_name("litellm")),
        "--config",
        str(file),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    if workers > 1:  # uvicorn ends workers that take longer to start than 5 seconds
        command += ["--num_workers", str(workers), "--timeout_worker_healthcheck", f"{HANG:.0f}"]
    run = _several if workers > 1 else _single
    with run(command, folder, _environment(folder, settings), log) as has_ended:
        proxy = Proxy(has_ended, port, log, workers)
        try:
            yield proxy
        finally:
            proxy.client.close()


@contextmanager
def _single(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[Callable[[], bool]]:
    """Run one process, a fork of one that has imported LiteLLM; give what says whether it has ended."""
    process = warm.start(*command, cwd=folder, env=environment, output=log, errors=log)
    try:
        yield lambda: process.exitcode is not None
    finally:
        process.terminate()
        process.join(HANG)
        process.kill()


@contextmanager
def _several(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Iterator[Callable[[], bool]]:
    """Run a new process, and those that it starts; give what says whether it has ended."""
    with (
        log.open("w") as out,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        ) as process,
    ):
        try:
            yield lambda: process.poll() is not None
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(HANG)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    private = {"CHATCACHE_DIR": str(folder / "records"), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    closed = {"HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "NO_PROXY": "127.0.0.1"}
    return {**kept, **private, **closed, "PYTHONWARNINGS": "default", **settings}

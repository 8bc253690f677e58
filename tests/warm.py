"""Runs Python programs as forks of one process that has imported what takes seconds to import: see tests/warmed.py."""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from contextlib import chdir
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from tests.waiting import HANG

__all__ = ["python", "start"]

_ROOT = Path(__file__).parents[1]


def python(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Do what ``subprocess.run([sys.executable, *arguments], ...)`` does, with output captured as text.

    Args:
        arguments: as Python takes them: ``-c PROGRAM``, ``-m MODULE`` or a file, and the program's own.
        cwd: the folder in which the program runs.
        env: its environment, by default the one of this process.
    """
    with TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = start(*arguments, cwd=cwd, env=env, output=output, errors=errors)
        process.join(HANG)
        assert process.exitcode is not None, f"{arguments} hang"
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_text(), errors.read_text())


def start(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, output: Path, errors: Path
) -> ForkServerProcess:
    """Start a program like `python`, which writes to two files, or to one; return its process."""
    for path in (output, errors):
        path.touch()
    environment = dict(os.environ if env is None else env)
    process = _context().Process(target=_main, args=([*map(str, arguments)], cwd, environment, output, errors))
    process.start()
    return process


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.warmed"])
    with chdir(_ROOT):  # from where the server finds that module
        ensure_running()
    return context


def _main(command: list[str], cwd: Path, environment: dict[str, str], output: Path, errors: Path) -> None:
    for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    if "PYTHONWARNINGS" in environment:
        warnings.simplefilter(environment["PYTHONWARNINGS"])  # type: ignore[arg-type]  # it is an action
    try:
        _run(command)
    except Exception:  # noqa: BLE001 - whatever it raises, as Python itself does
        traceback.print_exc()
        sys.exit(1)
    finally:  # a fork would leave these out
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()


def _run(command: list[str]) -> None:
    from tests.warmed import PATH

    match command:
        case ["-c", program, *rest]:
            sys.path[:] = ["", *PATH]
            sys.argv[:] = ["-c", *rest]
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(program, "<string>", "exec"), main.__dict__)  # noqa: S102 - it is a program of a test
        case ["-m", module, *rest]:
            sys.path[:] = [str(Path.cwd()), *PATH]
            sys.argv[:] = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case [file, *rest]:
            sys.path[:] = [str(Path(file).parent.resolve()), *PATH]
            sys.argv[:] = [file, *rest]
            runpy.run_path(file, run_name="__main__")

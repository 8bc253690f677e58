"""Programs that run as forks of one process, which has imported what they import: that takes seconds for each."""

import atexit
import multiprocessing
import os
import sys
import traceback
from dataclasses import dataclass
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tests.waiting import HANG

__all__ = ["Ended", "run"]

_IMPORTED = ["litellm", "langchain_openai", "litellm_chatcache", "langchain_chatcache"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended, and what it printed."""

    code: int | None
    output: str
    errors: str


def run(program: str, folder: Path, **settings: str) -> Ended:
    """Run the text of a program in a folder, with settings in its environment."""
    output, errors = folder.with_name(f"{folder.name}.out"), folder.with_name(f"{folder.name}.err")
    process = _context().Process(target=_main, args=(program, folder, settings, output, errors))
    process.start()
    process.join(HANG)
    assert process.exitcode is not None, "the program hangs"
    return Ended(process.exitcode, output.read_text(), errors.read_text())


@cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


def _main(program: str, folder: Path, settings: dict[str, str], output: Path, errors: Path) -> None:
    for stream, path in ((sys.stdout, output), (sys.stderr, errors)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(folder)
    os.environ.update(settings)
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is from our documents
    except Exception:  # noqa: BLE001 - whatever it raises, as Python itself does
        traceback.print_exc()
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # a fork would leave them out

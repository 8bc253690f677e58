"""A program whose calls on the files of a folder are made to fail, by `faults.c`."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.waiting import HANG

HERE = Path(__file__).parent

needs_linux = pytest.mark.skipif(
    sys.platform != "linux" or which("gcc") is None, reason="the faults are a library to be preloaded, made by gcc"
)


def run(program: list[str], library: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    told = folder / "told"
    told.write_bytes(bytes(20))
    faults = {"LD_PRELOAD": str(library), "FAULTS_TOLD": str(told), "FAULTS_FOLDER": str(folder / "objects")}
    environment = {**os.environ, **faults, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    command = [sys.executable, *program, str(folder / "objects")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=HANG)

"""Builds every distribution, and makes clean environments that hold one of them each, as plain pip installs it.

``prepare.py PYTHON`` leaves the sdists and wheels in build/dist, and in build/venvs one environment of PYTHON for each
distribution. The wheels are built from the sdists, so both are whole. Where an environment is there already, only our
wheels are installed anew, unless something else that it is made of has changed: see `ingredients`.
"""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).parents[2]
DIST = ROOT / "build" / "dist"
VENVS = ROOT / "build" / "venvs"
VERSIONS = ROOT / "versions.txt"

SOURCES = {
    "chatcache": ROOT,
    "litellm-chatcache": ROOT / "integrations" / "litellm",
    "langchain-chatcache": ROOT / "integrations" / "langchain",
    "pytest-chatcache": ROOT / "integrations" / "pytest",
}
INSTALLED = {
    "core": "chatcache",
    "litellm": "litellm-chatcache",
    "langchain": "langchain-chatcache",
    "pytest": "pytest-chatcache",
}


def main(python: str) -> None:
    """Build, then install; each of both for all distributions at once."""
    began = perf_counter()
    shutil.rmtree(DIST, ignore_errors=True)
    VENVS.mkdir(parents=True, exist_ok=True)
    (VENVS / "ready").unlink(missing_ok=True)  # what is left of a run that fails is not ready
    with ThreadPoolExecutor(len(SOURCES)) as pool:
        wheels = dict(zip(SOURCES, pool.map(build, SOURCES), strict=True))
        # Their names might be somebody else's on an index: these files are meant, whatever is found there.
        ours = VENVS / "constraints.txt"
        ours.write_text("".join(f"{name} @ {wheel.as_uri()}\n" for name, wheel in wheels.items()))
        list(pool.map(lambda venv: install(venv, python, wheels, ours), INSTALLED))
    print(f"build/venvs: {', '.join(INSTALLED)} ready in {perf_counter() - began:.0f} s")  # noqa: T201 - a program


def build(name: str) -> Path:
    """Build the sdist of a distribution, and the wheel from it; return the wheel."""
    run(f"building {name}", sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST, SOURCES[name])
    (wheel,) = DIST.glob(f"{name.replace('-', '_')}-*.whl")
    return wheel


def install(venv: str, python: str, wheels: Mapping[str, Path], ours: Path) -> None:
    """Make an environment with one distribution, or install it anew in the one that is there."""
    folder, name = VENVS / venv, INSTALLED[venv]
    stamp, made_of = folder / "made-of.json", json.dumps(ingredients(python, name))
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if stamp.exists() and stamp.read_text() == made_of:
        again = [wheels[each] for each in with_ours(name)]
        run(f"installing {name} anew in {folder}", *pip, "--force-reinstall", "--no-deps", *again)
        return
    shutil.rmtree(folder, ignore_errors=True)
    run(f"making {folder}", python, "-m", "venv", folder)
    run(f"installing {name} in {folder}", *pip, "--constraint", VERSIONS, "--constraint", ours, name)
    stamp.write_text(made_of)


def ingredients(python: str, name: str) -> list[Any]:
    """Return what an environment is made of beside our own wheels."""
    which = run(f"starting {python}", python, "-c", "import sys; print(sys.executable, sys.version)")
    return [which, VERSIONS.read_text(), [dependencies(each) for each in with_ours(name)]]


def with_ours(name: str) -> list[str]:
    """Return a distribution, and before it the ones of ours that it depends on."""
    return list(dict.fromkeys(["chatcache", name]))


def dependencies(name: str) -> list[str]:
    """Return what a distribution declares that it needs."""
    project = tomllib.loads((SOURCES[name] / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def run(doing: str, *command: str | Path) -> str:
    """Run a program and return what it printed, or end with all of that where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        line = " ".join(map(str, command))
        sys.exit(f"prepare.py: {doing} failed with exit code {done.returncode}\n$ {line}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/packaging/prepare.py PYTHON")
    main(sys.argv[1])

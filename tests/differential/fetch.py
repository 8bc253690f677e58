"""Fetches what the differential tests compare us with: workerd, the runtime of Cloudflare's Workers, and Effect.

``python tests/differential/fetch.py`` leaves the pinned versions in ``build/workerd`` and ``build/effect``, unless they
are there, and prints where. npm brings them, from wherever npm is set up to fetch from. Where that is impossible the
program says why and ends well: the tests are then skipped, or fail where the environment variable CI is set.
"""

import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

_BUILD = Path(__file__).parents[2] / "build"
_WORKERD = _BUILD / "workerd" / "1.20261117.1"
_EFFECT = _BUILD / "effect" / "4.1.0"
BINARY = _WORKERD / "package" / "bin" / "workerd"
EFFECT = _EFFECT / "package"

_PACKAGES = {
    ("Linux", "x86_64"): "@cloudflare/workerd-linux-64",
    ("Linux", "aarch64"): "@cloudflare/workerd-linux-arm64",
    ("Darwin", "x86_64"): "@cloudflare/workerd-darwin-64",
    ("Darwin", "arm64"): "@cloudflare/workerd-darwin-arm64",
}


class UnavailableError(Exception):
    """Something cannot be had here; the message says why."""


def main() -> None:
    """Fetch whatever is not there."""
    for folder, name in ((_WORKERD, _workerd_package), (_EFFECT, lambda: "effect")):
        try:
            if not folder.exists():
                fetch(name(), folder)
        except UnavailableError as reason:
            what = f"{folder.parent.name} {folder.name}"
            sys.stdout.write(f"{what} is not here ({reason}): the differential tests with it will be skipped\n")
        else:
            sys.stdout.write(f"{folder}\n")


def _workerd_package() -> str:
    here = (platform.system(), platform.machine())
    if here not in _PACKAGES:
        raise UnavailableError(f"there is no package of it for {' '.join(here)}")
    return _PACKAGES[here]


def fetch(package: str, folder: Path) -> None:
    """Have npm fetch a package, and unpack it into a folder that is named after its version.

    Raises:
        UnavailableError: there is no npm, or it failed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent) as scratch:
        command = [npm, "pack", "--silent", "--fetch-retries=1", f"{package}@{folder.name}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not archives:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise UnavailableError(f"npm pack failed: {said[-300:]}")
        unpacked = Path(scratch, "unpacked")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)  # whole or not at all


if __name__ == "__main__":
    main()

"""Fetches workerd, the runtime of Cloudflare's Workers, which the differential tests compare our storage with.

``python tests/differential/fetch.py`` leaves the pinned version in ``build/workerd``, unless it is there, and prints
where. npm brings it, from wherever npm is set up to fetch from. Where that is impossible the program says why and ends
well: the tests are then skipped, or fail where the environment variable CI is set.
"""

import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

VERSION = "1.20261117.1"
FOLDER = Path(__file__).parents[2] / "build" / "workerd"
BINARY = FOLDER / VERSION / "package" / "bin" / "workerd"

_PACKAGES = {
    ("Linux", "x86_64"): "@cloudflare/workerd-linux-64",
    ("Linux", "aarch64"): "@cloudflare/workerd-linux-arm64",
    ("Darwin", "x86_64"): "@cloudflare/workerd-darwin-64",
    ("Darwin", "arm64"): "@cloudflare/workerd-darwin-arm64",
}


class UnavailableError(Exception):
    """workerd cannot be had here; the message says why."""


def main() -> None:
    """Fetch workerd unless it is there."""
    try:
        if not BINARY.exists():
            fetch()
    except UnavailableError as reason:
        sys.stdout.write(f"workerd {VERSION} is not here ({reason}): the differential tests will be skipped\n")
    else:
        sys.stdout.write(f"{BINARY}\n")


def fetch() -> None:
    """Have npm fetch the package of this platform, and unpack it.

    Raises:
        UnavailableError: there is no such package, no npm, or npm failed.
    """
    here = (platform.system(), platform.machine())
    if here not in _PACKAGES:
        raise UnavailableError(f"there is no package of it for {' '.join(here)}")
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=FOLDER) as scratch:
        command = [npm, "pack", "--silent", "--fetch-retries=1", f"{_PACKAGES[here]}@{VERSION}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode or not archives:
            said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
            raise UnavailableError(f"npm pack failed: {said[-300:]}")
        unpacked = Path(scratch, "unpacked")
        with tarfile.open(archives[0]) as archive:
            archive.extractall(unpacked, filter="data")
        shutil.rmtree(FOLDER / VERSION, ignore_errors=True)
        unpacked.rename(FOLDER / VERSION)  # whole or not at all


if __name__ == "__main__":
    main()

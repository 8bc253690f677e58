"""What a fixture calls is recorded once in a run, and replayed where it is set up again: its tests depend on it.

That is so in one process, and for all workers of pytest-xdist. They have a folder in common, with a lock and a bundle
for each fixture that is recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from chatcache.recording import SUFFIX, Bundle, Tape

__all__ = ["Sharing"]


class Sharing:
    """What is shared in a run.

    Args:
        folder: the folder of all workers; by default one of this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._own: TemporaryDirectory[str] | None = None
        self._given = folder

    @property
    def folder(self) -> Path:
        """The folder, which is made when it is first asked for."""
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = TemporaryDirectory(prefix="chatcache-", ignore_cleanup_errors=True)
        return Path(self._own.name)

    @contextmanager
    def turn(self, path: Path, name: str) -> Iterator[Path | None]:
        """Wait until no other worker records a fixture; yield the bundle in which it was recorded, if it was.

        Args:
            path: the bundle of the fixture.
            name: what it is called there.
        """
        from filelock import FileLock  # which only a run that records shared fixtures needs

        made = self._of(path, name)
        with FileLock(made.with_suffix(".lock")):
            yield made if made.exists() else None

    def keep(self, path: Path, name: str, tape: Tape) -> None:
        """Have what a tape has recorded, and what it has replayed, be replayed from now on."""
        there = [tape.shelf.record(each) for each in tape.shelf.of_scope(name) if each.row in tape.used]
        Bundle(self._of(path, name)).write([*there, *tape.made])

    def close(self) -> None:
        """Delete the folder, if it is of this process."""
        if self._own is not None:
            self._own.cleanup()

    def _of(self, path: Path, name: str) -> Path:
        return self.folder / f"{sha256(f'{path} {name}'.encode('utf-8', 'surrogatepass')).hexdigest()}{SUFFIX}"

"""What a fixture calls is recorded by one worker of pytest-xdist, and replayed by the others: their tests depend on it.

The workers of a run have a folder in common, with a lock and a bundle for each fixture that is recorded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from chatcache.recording import SUFFIX, Bundle, Tape

__all__ = ["Sharing"]


class Sharing:
    """What the workers of a run share.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def turn(self, path: Path, name: str) -> Iterator[Path | None]:
        """Wait until no other worker records a fixture; yield the bundle in which one has, if it has.

        Args:
            path: the bundle of the fixture.
            name: what it is called there.
        """
        from filelock import FileLock  # which only a run that records on several workers needs

        made = self._of(path, name)
        with FileLock(made.with_suffix(".lock")):
            yield made if made.exists() else None

    def keep(self, path: Path, name: str, tape: Tape) -> None:
        """Have the other workers replay what a tape has recorded, and what it has replayed."""
        there = [tape.shelf.record(each) for each in tape.shelf.of_scope(name) if each.row in tape.used]
        Bundle(self._of(path, name)).write([*there, *tape.made])

    def _of(self, path: Path, name: str) -> Path:
        return self._folder / f"{sha256(f'{path} {name}'.encode()).hexdigest()}{SUFFIX}"

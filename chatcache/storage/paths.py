"""Paths as users write them: ``~`` is the home folder also where no shell expands it, as in a ``.env`` file."""

import os
import re
from os import PathLike
from pathlib import Path

from chatcache.errors import InvalidInputError, StorageError
from chatcache.interrupts import raise_interrupt

__all__ = ["DEFAULT_FOLDER", "absolute", "default_folder", "expanded"]

DEFAULT_FOLDER = ".chatcache"
"""Where objects are kept where nobody says anything else, in the working folder."""

_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


def expanded(path: str | PathLike[str]) -> Path:
    """Return a path with the home folder in place of ``~`` or ``~user`` at its beginning.

    Raises:
        InvalidInputError: there is no such home folder, or no file can have that name.
    """
    if not _is_name(path):
        raise InvalidInputError(f"path {os.fspath(path)!r:.200}: no file can have this name; choose another one")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise_interrupt(error)
        raise InvalidInputError(
            f"path {os.fspath(path)!r:.200}: there is no home folder for {Path(path).parts[0]}; write the path out"
        ) from None


def absolute(path: Path) -> Path:
    """Return a path from the root on.

    Raises:
        StorageError: it is relative, and the working folder was deleted.
    """
    try:
        return path.absolute()
    except OSError as error:
        raise_interrupt(error)
        raise StorageError(
            f"{path} cannot be found: the working folder was deleted; change to another one, or pass an absolute path"
        ) from error


def _is_name(path: str | PathLike[str]) -> bool:
    """Whether the system has a form for a path: not of a lone surrogate, or of a null character."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError as error:
        raise_interrupt(error)
        return False


def default_folder() -> str:
    """Return the folder that ``CHATCACHE_DIR`` names, with its variables expanded, or else ``.chatcache``.

    Raises:
        InvalidInputError: it names a variable that is not set.
    """
    named = os.environ.get("CHATCACHE_DIR") or DEFAULT_FOLDER
    folder = os.path.expandvars(named)
    unset = _VARIABLE.search(folder)
    if unset is not None:
        raise InvalidInputError(
            f"CHATCACHE_DIR is {named!r:.200}: {unset[0]} is not set; set it, or write the path out"
        )
    return folder

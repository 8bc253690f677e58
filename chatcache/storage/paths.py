"""Paths as users write them: ``~`` is the home folder also where no shell expands it, as in a ``.env`` file."""

import os
import re
from os import PathLike
from pathlib import Path

from chatcache.errors import InvalidInputError
from chatcache.interrupts import raise_interrupt

__all__ = ["default_folder", "expanded"]

_VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


def expanded(path: str | PathLike[str]) -> Path:
    """Return a path with the home folder in place of ``~`` or ``~user`` at its beginning.

    Raises:
        InvalidInputError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise_interrupt(error)
        raise InvalidInputError(
            f"path {os.fspath(path)!r:.200}: there is no home folder for {Path(path).parts[0]}; write the path out"
        ) from None


def default_folder() -> str:
    """Return the folder that ``CHATCACHE_DIR`` names, with its variables expanded, or else ``.chatcache``.

    Raises:
        InvalidInputError: it names a variable that is not set.
    """
    named = os.environ.get("CHATCACHE_DIR") or ".chatcache"
    folder = os.path.expandvars(named)
    unset = _VARIABLE.search(folder)
    if unset is not None:
        raise InvalidInputError(
            f"CHATCACHE_DIR is {named!r:.200}: {unset[0]} is not set; set it, or write the path out"
        )
    return folder

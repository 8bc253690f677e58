"""Records that their bundle did not take: they were paid for, so they are written elsewhere."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from chatcache.errors import ChatcacheError
from chatcache.interrupts import raise_interrupt

from .bundle import SUFFIX, Bundle, Record

__all__ = ["rescue"]


def rescue(bundle: Bundle, records: Sequence[Record]) -> str:
    """Write records into a bundle in a new folder for temporary files; return where they are, to follow an error.

    Args:
        bundle: the bundle that could not be written.
        records: what it was to hold more.
    """
    try:
        other = Bundle(Path(mkdtemp(prefix="chatcache-")) / f"calls{SUFFIX}")
        other.write(records)
    except (ChatcacheError, OSError) as error:
        raise_interrupt(error)
        return f"; what was recorded is lost, for it could not be written elsewhere: {error}"
    command = shlex.join(["chatcache", "import", str(other.path), "--to", str(bundle.path)])
    return f"; what was recorded is in {other.path}: {command}"

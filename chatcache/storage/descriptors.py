"""How many files this process may have open."""

import os
import sys
from errno import EMFILE

from chatcache.interrupts import raise_interrupt

if sys.platform != "win32":
    import resource

__all__ = ["descriptor_limit", "is_at_the_limit", "share_of_descriptors"]

_FOR_OTHERS = 32  # the program's own files, connections and event loops


def descriptor_limit() -> int | None:
    """Return how many descriptors this process may have, or None where there is no such limit."""
    if sys.platform == "win32":  # whose limit is far away
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def share_of_descriptors(each: int, most: int) -> int:
    """Return how many things may be open at once that take `each` descriptors; at most `most`, at least one."""
    limit = descriptor_limit()
    return most if limit is None else max(1, min(most, (limit - _FOR_OTHERS) // each))


def is_at_the_limit() -> bool:
    """Return whether this process cannot open another file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise_interrupt(error)
        return error.errno == EMFILE
    return False

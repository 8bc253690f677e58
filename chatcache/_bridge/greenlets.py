"""Greenlets, as of gevent: several callers in one thread, of which one that blocks keeps the others from running."""

import sys
from threading import get_ident

from chatcache.errors import UnsupportedLibraryError

__all__ = ["Caller"]


class Caller:
    """The thread and the greenlet of a caller for whom others may wait.

    If gevent has patched `threading` before chatcache was imported, each greenlet counts as a thread.
    """

    __slots__ = ("_greenlet", "_thread")

    def __init__(self) -> None:
        self._thread, self._greenlet = get_ident(), _greenlet()

    def check_wait(self) -> None:
        """Check that the present caller may block until this one goes on.

        Raises:
            UnsupportedLibraryError: this caller is another greenlet of the same thread, so it would never go on.
        """
        if self._greenlet is None or self._thread != get_ident() or self._greenlet is _greenlet():
            return
        raise UnsupportedLibraryError(
            "a greenlet would block its thread forever: it waits for another greenlet of that thread, which makes the "
            "same call. Call gevent.monkey.patch_all() before chatcache is imported, or use threads or asyncio"
        )


def _greenlet() -> object | None:
    module = sys.modules.get("greenlet")
    return None if module is None else module.getcurrent()

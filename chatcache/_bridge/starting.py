"""The one place that starts threads."""

from threading import Thread, main_thread

from chatcache.interrupts import raise_interrupt

__all__ = ["start"]


def start(thread: Thread) -> bool:
    """Start a thread; return False if the program is ending, or the system has no more threads.

    When the main thread has ended, the interpreter starts no more threads: since Python 3.12 it raises, and Python
    3.11 waits forever for one that is started while modules are torn down.
    """
    if not main_thread().is_alive():
        return False
    try:
        thread.start()
    except RuntimeError as error:
        raise_interrupt(error)
        return False
    return True

"""When what an awaited call returned is stored."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread, main_thread
from typing import Any

from litellm.caching import caching_handler

from chatcache import raise_interrupt
from litellm_chatcache.hook import hooked

from .replacing import replace

__all__ = ["briefly", "install", "nothing_left"]

_BRIEFLY = 0.1  # seconds; a commit takes less than one


def install() -> None:
    """Have answers stored before the caller goes on."""
    replace(caching_handler, "create_cache_write_task", _at_once)
    replace(caching_handler, "is_response_without_output", _left_to_the_cache)


def briefly(work: Callable[[], None]) -> Thread | None:
    """Do work that may wait for the disk or for another process, and hold up the running event loop only so long.

    What takes longer goes on in a thread, which is returned, and for which the program waits at its end.
    """
    done: SimpleQueue[None] = SimpleQueue()  # no join: `langgraph dev` forbids one on the thread of a loop

    def write() -> None:
        work()
        done.put(None)

    thread = Thread(target=copy_context().run, args=[write])  # in which the cache may have another mode, or a tape
    if not main_thread().is_alive():  # the program is ending, and Python 3.11 would wait forever for a new thread
        work()
        return None
    try:
        thread.start()
    except RuntimeError as error:  # the system has no more threads
        raise_interrupt(error)
        work()
        return None
    with suppress(Empty):
        done.get(timeout=_BRIEFLY)
        return None
    return thread


async def nothing_left() -> None:
    """Be awaited by LiteLLM where everything was done before."""


def _left_to_the_cache(original: Callable[..., bool]) -> Callable[..., bool]:
    """Have the cache itself refuse answers without output, which it counts, or allow them."""

    def is_empty(result: Any) -> bool:
        return hooked() is None and original(result)

    return is_empty


def _at_once(original: Callable[..., Any]) -> Callable[..., Any]:
    def create(write_factory: Callable[[], Awaitable[None]]) -> Any:
        if hooked() is None:
            return original(write_factory)
        return asyncio.ensure_future(write_factory())  # ours wrote when it was called

    return create

"""Where LiteLLM tells its cache less than it needs, or breaks what any cache returns: small changes of its classes.

Each applies to calls with a cache of ours, and only where LiteLLM has what it changes:

``handler``
    For each call LiteLLM makes an object that asks the cache. From it the cache knows what is called, which call is a
    part of which, and, in mode ``replay``, of the calls that LiteLLM would not ask it for.
``arguments``
    LiteLLM edits the caller's tools, schemas and messages for some providers. It is passed copies of them, so the next
    call of an agent has the key that it had before.
``embeddings``
    They are recorded input by input. LiteLLM asks for less where some are known, but only in awaited calls, and before
    1.102 it then hands out wrong ones.
``streams``
    LiteLLM tells a cache no chunk of a stream, but what it makes of them, which lacks something. So the chunks are
    recorded as the caller reads them.
``failures``
    LiteLLM tells a cache no error. Who waits for a call that failed is told so.
``callbacks``
    Of a blocking hit LiteLLM tells its callbacks only where one of them is of a sort that awaited calls have, too, such
    as the ``"cache"`` that its own cache adds.
``retries``
    What LiteLLM tries again, it does not ask the cache for, nor does it store the answer. A miss is not tried again,
    and a Router asks no other model group instead.
``unasked``
    Some functions ask no cache whatever. None of them is called in mode ``replay``.
``gathering``
    What makes several calls returns their errors, or hides them. In mode ``replay`` a miss is raised.
``native``
    Some calls LiteLLM hands to native code, past the cache: those of Anthropic messages where ``LITELLM_RUST`` is set,
    and OCR. The former are made by Python, the latter not at all in mode ``replay``.
``writes``
    What an awaited call returned is stored by a task that nobody waits for. A program that asks the same again at once
    pays twice; one that ends there (``asyncio.run`` returns) may cancel the task before it begins, and has paid in
    vain. It is stored before the caller goes on. Answers without output are for the cache to refuse, or to allow.
``imports``
    From 1.102 on, the first hit crashes where ``litellm[proxy]`` is not installed: LiteLLM looks whether a hit is a
    stream of one of its proxy's classes, and cannot import them (BerriAI/litellm#42195).
"""

from . import (
    arguments,
    callbacks,
    embeddings,
    failures,
    gathering,
    handler,
    imports,
    native,
    retries,
    streams,
    unasked,
    writes,
)
from .handler import call_of
from .writes import briefly, nothing_left

__all__ = ["briefly", "call_of", "install", "nothing_left"]

_SEAMS = (
    handler,
    arguments,
    embeddings,  # within which is what the handler does
    streams,
    failures,
    callbacks,
    retries,
    unasked,
    gathering,
    native,
    writes,
    imports,
)

_installed = False


def install() -> None:
    """Make the changes, once in a process."""
    global _installed  # noqa: PLW0603 - LiteLLM is there once
    if not _installed:
        _installed = True
        for seam in _SEAMS:
            seam.install()

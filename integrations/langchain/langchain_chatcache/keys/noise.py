"""What a model is configured, or called, with that does not change its answer."""

from collections.abc import Iterable
from typing import Any

from chatcache import without_credentials

__all__ = ["UnkeyableError", "counting", "is_noise", "left_out"]

_NOISE = frozenset(
    {
        "cache",
        "callback_manager",
        "callbacks",
        "custom_get_token_ids",
        "default_request_timeout",
        "disable_streaming",
        "http_async_client",
        "http_client",
        "max_retries",
        "metadata",
        "name",
        "profile",
        "rate_limiter",
        "request_timeout",
        "stream",
        "streaming",
        "tags",
        "timeout",
        "verbose",
    }
)
_FURTHER = frozenset({"extra_body", "model_kwargs"})  # hold further arguments
_PROXY = "_proxy"  # the end of a name


class UnkeyableError(ValueError):
    """It is not known enough of a request: another one would have its key, or it would never have one twice.

    Args:
        message: what is wrong, and what to do.
        subject: what it is about, such as a field of a class. The cache logs each once.
    """

    def __init__(self, message: str, subject: str = "") -> None:
        super().__init__(message)
        self.subject = subject


def counting(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return those fields of a model, or arguments of a call, that are a part of its key.

    Left out are credentials, wherever they stand, how often and how long a model is tried, and which way, whether it is
    streamed, and what LangChain does beside.
    """
    counts = without_credentials({str(name): value for name, value in pairs if not is_noise(str(name))})
    for name in _FURTHER & counts.keys():
        if isinstance(counts[name], dict):
            counts[name] = counting(counts[name].items())
    return counts


def left_out(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the names of those fields and arguments that `counting` leaves out, and that say something."""
    said = {str(name): value for name, value in pairs if value is not None}
    return sorted(said.keys() - counting(said.items()).keys())


def is_noise(name: str) -> bool:
    """Return whether a field or an argument of this name changes no answer, whatever it holds."""
    return name in _NOISE or name.endswith(_PROXY)

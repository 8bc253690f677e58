"""What a model is configured, or called, with that does not change its answer."""

from collections.abc import Iterable
from typing import Any

from chatcache import without_credentials

__all__ = ["UnkeyableError", "counting", "is_noise"]

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
        "stream_usage",
        "streaming",
        "tags",
        "timeout",
        "verbose",
    }
)
_HEADERS = frozenset({"default_headers", "extra_headers", "headers"})
_ENDS = ("api_key", "api_token", "access_token", "ad_token", "token_provider", "credentials", "_proxy")


class UnkeyableError(ValueError):
    """It is not known enough of a request: another one would have its key, or it would never have one twice."""


def counting(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return those fields of a model, or arguments of a call, that are a part of its key.

    Left out are how often and how long it is tried, by which credentials and which way, whether it is streamed, what
    LangChain does beside, and headers that hold a secret.
    """
    counts = {str(name): value for name, value in pairs if not is_noise(str(name))}
    for name in _HEADERS & counts.keys():
        counts[name] = without_credentials(counts[name])
    if isinstance(counts.get("model_kwargs"), dict):  # further arguments of each call
        counts["model_kwargs"] = counting(counts["model_kwargs"].items())
    return counts


def is_noise(name: str) -> bool:
    """Return whether a name is that of a field, or an argument, that is no part of a key."""
    return name in _NOISE or name.endswith(_ENDS)

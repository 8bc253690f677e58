"""What a model is configured, or called, with that does not change its answer."""

import re
from collections.abc import Iterable
from typing import Any

from chatcache import without_credentials

__all__ = ["UnkeyableError", "counting", "left_out"]

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
        "password",
        "rate_limiter",
        "request_timeout",
        "stream",
        "secret",
        "streaming",
        "tags",
        "timeout",
        "token",
        "verbose",
    }
)
_HEADERS = frozenset({"default_headers", "default_query", "extra_headers", "extra_query", "headers"})
_WITHIN = ("extra_body", "model_kwargs")  # further arguments of each call
_SECRETS = ("api_key", "api_token", "access_token", "ad_token", "auth_token", "bearer_token", "token_provider")
_ENDS = (*_SECRETS, "access_key", "client_secret", "credentials", "password", "secret_key", "_proxy")
_USER = re.compile(r"(?<=://)[^/?#@]*@")  # in a URL


class UnkeyableError(ValueError):
    """It is not known enough of a request: another one would have its key, or it would never have one twice."""


def counting(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return those fields of a model, or arguments of a call, that are a part of its key.

    Left out are how often and how long it is tried, by which credentials and which way, whether it is streamed, and
    what LangChain does beside: also in headers, in the query and in the user's part of a URL.
    """
    counts = {str(name): value for name, value in pairs if not _is_noise(str(name))}
    for name, value in counts.items():
        if isinstance(value, str) and "://" in value:
            counts[name] = _USER.sub("", value)
    for name in _HEADERS & counts.keys():
        counts[name] = without_credentials(counts[name])
    for name in _WITHIN:
        if isinstance(counts.get(name), dict):
            counts[name] = counting(counts[name].items())
    return counts


def left_out(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the names of those fields and arguments that `counting` leaves out, and that say something."""
    return sorted({str(name) for name, value in pairs if value is not None and _is_noise(str(name))})


def _is_noise(name: str) -> bool:
    return name in _NOISE or name.endswith(_ENDS)

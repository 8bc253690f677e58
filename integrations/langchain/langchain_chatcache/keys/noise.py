"""What a model is configured, or called, with that does not change its answer."""

__all__ = ["UnkeyableError", "is_noise"]

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
_ENDS = ("api_key", "api_token", "access_token", "ad_token", "token_provider", "credentials", "_proxy")


class UnkeyableError(ValueError):
    """It is not known enough of a request: another one would have its key, or it would never have one twice."""


def is_noise(name: str) -> bool:
    """Return whether a field of a model, or an argument of a call, is no part of a key.

    Those are how often and how long it is tried, by which credentials and which way, whether it is streamed, and what
    LangChain does beside.
    """
    return name in _NOISE or name.endswith(_ENDS)

"""From the arguments of a LiteLLM call to a request that can be keyed. Pure.

Every argument counts, known or not, except those listed here, which do not change what the model answers.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from chatcache import InvalidValueError, request_key

__all__ = ["keyed", "request_of"]

_NOISE = frozenset(
    {
        # what one call is known by, and is logged under
        "litellm_call_id",
        "litellm_logging_obj",
        "litellm_metadata",
        "litellm_parent_otel_span",
        "litellm_session_id",
        "litellm_trace_id",
        "logger_fn",
        "metadata",
        "model_info",
        "no-log",
        "parent_otel_span",
        "proxy_server_request",
        "tags",
        "verbose",
        # how the provider is reached: by which key and client, how long, how often
        "api_key",
        "client",
        "context_window_fallback_dict",
        "fallbacks",
        "max_retries",
        "num_retries",
        "original_function",
        "request_timeout",
        "retry_policy",
        "retry_strategy",
        "shared_session",
        "stream_timeout",
        "timeout",
        # how this call is cached, here and at the provider
        "cache",
        "cache_key",
        "caching",
        "preset_cache_key",
        "prompt_cache_key",
        "prompt_cache_retention",
        # marks that LiteLLM leaves on its way
        "acompletion",
        "async_call",
        "input_cost_per_token",
        "output_cost_per_token",
    }
)


def keyed(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the key of a chat completion, and the request that it is the key of.

    Raises:
        InvalidValueError: an argument holds what is not JSON, nor can be taken for it, or the call asks for a stream of
            several choices, which LiteLLM merges into one before a cache sees it.
    """
    if arguments.get("stream") and (arguments.get("n") or 1) > 1:
        raise InvalidValueError("LiteLLM merges the choices of a stream: ask for one (n=1), or without stream", "$.n")
    request = request_of(arguments)
    try:
        return request_key(request), request
    except InvalidValueError:
        request = _plain(request)
        return request_key(request), request


def request_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request of the arguments that count.

    One that is None, or a ``stream`` that is False, is as good as left out; a name that begins with ``_`` is LiteLLM's
    own, as those that its Router passes.
    """
    counting = {
        name: value
        for name, value in arguments.items()
        if value is not None and name not in _NOISE and not name.startswith("_")
    }
    if counting.get("stream") is False:
        del counting["stream"]
    namespace = (arguments.get("cache") or {}).get("namespace")
    return {"client": "litellm", "namespace": namespace, "arguments": counting}


def _plain(value: Any) -> Any:
    """Return a value with pydantic's classes as their JSON schemas, its models as their fields, and str keys."""
    match value:
        case type() if issubclass(value, BaseModel):
            return {"title": value.__name__, "schema": value.model_json_schema()}
        case BaseModel():
            return value.model_dump(mode="json", exclude_none=True)
        case dict():
            return {str(key) if isinstance(key, int | float) else key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value

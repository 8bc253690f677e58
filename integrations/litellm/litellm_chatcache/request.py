"""From the arguments of a LiteLLM call to a request that can be keyed. Pure.

Every argument counts, known or not, except those listed here, which do not change what the model answers. Neither do
credentials, and they are secret: they are left out of the request altogether, from its headers too.
"""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import PydanticSerializationError

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
        # who asks: credentials have no place in a key, nor in what a miss shows
        "api_key",
        "aws_access_key_id",
        "aws_profile_name",
        "aws_role_name",
        "aws_secret_access_key",
        "aws_session_name",
        "aws_session_token",
        "aws_web_identity_token",
        "azure_ad_token",
        "azure_ad_token_provider",
        "azure_password",
        "azure_scope",
        "azure_username",
        "client_id",
        "client_secret",
        "litellm_credential_name",
        "organization",
        "tenant_id",
        "vertex_credentials",
        "vertex_ai_credentials",
        # how the provider is reached: by which client, how long, how often
        "client",
        "context_window_fallback_dict",
        "cooldown_time",
        "fallbacks",
        "itpm",
        "max_parallel_requests",
        "max_retries",
        "num_retries",
        "order",
        "original_function",
        "otpm",
        "request_timeout",
        "retry_policy",
        "retry_strategy",
        "rpm",
        "shared_session",
        "stream_timeout",
        "timeout",
        "tpm",
        "weight",
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

_HEADERS = {"default_headers", "extra_headers", "headers"}
_CREDENTIAL = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


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
        pass
    try:
        request = _plain(request)
    except (PydanticSchemaGenerationError, PydanticSerializationError, PydanticUserError) as error:
        raise InvalidValueError(f"a pydantic class or model in this call has no form in JSON: {error}") from error
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
    for name in _HEADERS & counting.keys():
        counting[name] = _without_credentials(counting[name])
    namespace = (arguments.get("cache") or {}).get("namespace")
    return {"client": "litellm", "namespace": namespace, "arguments": counting}


def _without_credentials(headers: Any) -> Any:
    """Return HTTP headers without those that hold a secret."""
    if not isinstance(headers, Mapping):
        return headers
    return {name: value for name, value in headers.items() if not _CREDENTIAL.search(str(name))}


def _plain(value: Any) -> Any:
    """Return a value with pydantic's classes as their JSON schemas, its models as their fields, and str keys."""
    match value:
        case type() if issubclass(value, BaseModel):
            return {"title": value.__name__, "schema": value.model_json_schema()}
        case BaseModel():
            return value.model_dump(mode="json", exclude_none=True)
        case dict():
            plain = {str(key) if isinstance(key, int | float) else key: _plain(item) for key, item in value.items()}
            if len(plain) < len(value):
                raise InvalidValueError(f"in {value!r:.200} two keys are one in JSON: write them as different strings")
            return plain
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
